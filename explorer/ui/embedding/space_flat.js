// Wheel zoom of a map of many points that is drawn as SVG. Plotly would move every point at each
// turn and draw all anew 50 ms later, which stands still for most of a second. Here the picture is
// scaled as a whole while the wheel turns, and drawn once when the hand rests.
const wheelZoom = (plot, many) => {
  let seen = null, rest = 0;
  const show = () => {
    const {xaxis, yaxis, _plots} = plot._fullLayout, area = _plots.xy.plot.node();
    const {scale, x, y} = seen || {scale: 1, x: 0, y: 0};
    const clip = plot.querySelector(`#${/url\(.*#([^'")]+)/.exec(area.getAttribute('clip-path'))[1]} rect`);
    area.setAttribute('transform', `translate(${xaxis._offset + x},${yaxis._offset + y})scale(${scale})`);
    clip.setAttribute('transform', `scale(${1 / scale})translate(${-x},${-y})`);
    plot.classList.toggle('sp-zooming', Boolean(seen)); // hides what does not scale
  };
  const settle = () => {
    const {scale, x, y} = seen, {xaxis, yaxis} = plot._fullLayout;
    const across = [0, xaxis._length].map((p) => xaxis.p2l((p - x) / scale));
    const up = [yaxis._length, 0].map((p) => yaxis.p2l((p - y) / scale));
    seen = null;
    show();
    window.Plotly.relayout(plot, {'xaxis.range': across, 'yaxis.range': up});
  };
  plot.addEventListener('wheel', (event) => {
    if (!many() || !event.target.closest('.draglayer')) return;
    event.preventDefault();
    event.stopPropagation();
    const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
    const turn = Math.max(-60, Math.min(60, event.deltaY * (event.deltaMode === 1 ? 20 : 1)));
    const by = Math.exp(-turn / 300), now = seen || {scale: 1, x: 0, y: 0};
    const left = event.clientX - box.left - xaxis._offset, top = event.clientY - box.top - yaxis._offset;
    if (!seen) requestAnimationFrame(function frame() { if (seen) { show(); requestAnimationFrame(frame); } });
    seen = {scale: now.scale * by, x: by * (now.x - left) + left, y: by * (now.y - top) + top};
    clearTimeout(rest);
    rest = setTimeout(settle, 250);
  }, {capture: true, passive: false});
};

// Marks that move often, as plain elements over a flat map: a trace of Plotly's would draw all points
// anew with each move. spots: class name -> {x, y, and src of a picture} or null.
const markOver = (plot, spots) => {
  const {xaxis, yaxis} = plot._fullLayout, share = ({range: [low, high]}, value) => (value - low) / (high - low);
  Object.entries(spots).forEach(([name, at]) => {
    let dot = plot.querySelector(`.${name}`);
    if (!dot && !at) return;
    if (!dot) {
      dot = plot.appendChild(document.createElement('i'));
      dot.className = `sp-over ${name}`;
    }
    dot.hidden = !at;
    if (!at) return;
    if (at.src && !dot.style.backgroundImage) dot.style.backgroundImage = `url(${at.src})`;
    const x = share(xaxis, at.x), y = share(yaxis, at.y);
    dot.hidden = x < 0 || x > 1 || y < 0 || y > 1;
    dot.style.translate = `${xaxis._offset + x * xaxis._length}px ${yaxis._offset + (1 - y) * yaxis._length}px`;
    Object.assign(dot.dataset, {x: at.x, y: at.y});
  });
};
