// What lies over a flat map and is placed by the page, which alone knows its size: words beside
// points, small pictures, and the nearest points of the one that is chosen.
const DIRECTIONS = 16, DISTANCES = [12, 24, 40, 60, 84], LETTER = 6.7, LINE = 17;

// The words where they cover neither each other nor points nor arrows: of the places around a point,
// the freest. labels: {x, y, text, ink}; busy: [x, y, weight, radius in pixels]; lines: arrows.
const placed = (plot, labels, busy, lines, colours) => {
  const {xaxis, yaxis} = plot._fullLayout;
  const spots = busy.map(([x, y, weight, radius]) => [xaxis.d2p(x), yaxis.d2p(y), weight, radius]);
  lines.forEach(({x, y, ax, ay}) => { for (let t = 0; t <= 1; t += 0.1) spots.push([xaxis.d2p(ax + t * (x - ax)), yaxis.d2p(ay + t * (y - ay)), 2, 5]); });
  const taken = [];
  const cost = ([l, t, r, b]) => spots.reduce((sum, [x, y, weight, radius]) => sum
      + (x > l - radius && x < r + radius && y > t - radius && y < b + radius ? weight : 0), 0)
    + taken.reduce((sum, [a, c, d, e]) => sum + 0.2 * Math.max(0, Math.min(r, d) - Math.max(l, a) + 4) * Math.max(0, Math.min(b, e) - Math.max(t, c) + 2), 0)
    + (Math.max(0, -l) + Math.max(0, -t) + Math.max(0, r - xaxis._length) + Math.max(0, b - yaxis._length));
  return labels.flatMap(({x, y, text, ink}) => {
    const px = xaxis.d2p(x), py = yaxis.d2p(y), wide = LETTER * text.length + 6;
    if (px < 0 || py < 0 || px > xaxis._length || py > yaxis._length) return [];
    let best = null;
    DISTANCES.forEach((far) => {
      for (let k = 0; k < DIRECTIONS; k += 1) {
        const turn = 2 * Math.PI * k / DIRECTIONS - Math.PI / 2, across = Math.cos(turn), down = Math.sin(turn);
        const dx = across * (far + wide / 2), dy = down * (far + LINE / 2);
        const box = [px + dx - wide / 2, py + dy - LINE / 2, px + dx + wide / 2, py + dy + LINE / 2];
        const asked = cost(box) + far / 40;
        if (!best || asked < best.asked) best = {asked, dx, dy, box};
      }
    });
    taken.push(best.box);
    return [{name: 'label', x, y, xref: 'x', yref: 'y', ax: best.dx, ay: best.dy, axref: 'pixel', ayref: 'pixel', xanchor: 'center',
      yanchor: 'middle', text, showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: colours(ink), standoff: 6, borderpad: 1,
      font: {size: 12, color: colours('words')}, bgcolor: colours('halo')}];
  });
};

// Names and colours of what is drawn, on one line; a press hides it in both maps.
const keyLine = (box, traces, colours, hidden, changed) => {
  const seen = new Map();
  traces.forEach((trace) => {
    const {ink, role} = trace.meta || {};
    if (ink && !['step', 'arrow', 'picked'].includes(role)) seen.set(trace.name, trace);
  });
  box.replaceChildren(...[...seen].map(([name, trace]) => {
    const chip = document.createElement('button'), mark = document.createElement('i');
    chip.type = 'button';
    chip.title = 'Show or hide';
    chip.setAttribute('aria-pressed', String(!hidden.has(name)));
    mark.style.background = colours(trace.meta.ink);
    mark.className = /circle/.test((trace.marker || {}).symbol) ? 'sp-round' : '';
    chip.append(mark, name);
    chip.addEventListener('click', () => {
      hidden[hidden.has(name) ? 'delete' : 'add'](name);
      changed();
    });
    return chip;
  }));
};

// Of each map, the neighbours that are listed beside it: [key, whether it is new].
const listed = () => [...document.querySelectorAll('#sp-details .sp-near')].map((part) =>
  [...new Map([...part.querySelectorAll('[data-near]')].map((one) => [one.dataset.near, Boolean(one.querySelector('b'))]))]);
const MOST_LIT = 60;
