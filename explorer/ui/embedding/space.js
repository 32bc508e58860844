// Two Plotly maps that share selection, step and tools. Runs once, in the stage's gr.HTML: element,
// trigger, props and watch are Gradio's. Texts of people are only ever set as text.
const root = element.querySelector('.sp');
const find = (name) => root.querySelector(name);
const all = (name) => [...root.querySelectorAll(name)];
const said = (text) => { find('.sp-wait').textContent = text; find('.sp-wait').hidden = !text; };
// '' without WebGL; 'slow' where the processor plays the graphics card: SVG moves faster then.
const webgl = (() => {
  try {
    const gl = document.createElement('canvas').getContext('webgl');
    if (!gl) return '';
    const told = gl.getExtension('WEBGL_debug_renderer_info');
    const name = told ? gl.getParameter(told.UNMASKED_RENDERER_WEBGL) : gl.getParameter(gl.RENDERER);
    return /swiftshader|llvmpipe|software|basic render/i.test(name) ? 'slow' : 'fast';
  } catch { return ''; }
})();
let page = null, picked = '', drag = 'pan', asked = '', attack = '', lassoing = false;
const hidden = new Set(); // names of what was pressed away
const make = (tag, name = '', text = '') => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text) node.textContent = text;
  return node;
};

const address = () => (root.dataset.plotly.startsWith('/gradio_api/') ? rootPath() : '') + root.dataset.plotly;

// --- from the server's figure to what this browser and theme can draw
const tone = (kind) => (page.inks[kind] || page.inks.caption)[dark() ? 1 : 0];
const dressed = (figure) => {
  const ink = dark() ? '#f3f4f6' : '#111827', line = dark() ? '#3b4452' : '#d6dae1';
  const data = figure.data.map((trace) => {
    const own = {...trace};
    if (own.type === 'scattergl' && webgl !== 'fast') own.type = 'scatter';
    const colour = own.meta && own.meta.ink ? tone(own.meta.ink) : null;
    if (colour && own.marker) {
      own.marker = {...own.marker, color: colour};
      if (own.marker.line) own.marker.line = {...own.marker.line, color: dark() ? '#161c27' : '#ffffff'};
    }
    if (colour && own.line) own.line = {...own.line, color: colour};
    if (own.textfont) own.textfont = {...own.textfont, color: ink};
    if (hidden.has(own.name)) own.visible = false;
    return own;
  });
  const layout = structuredClone(figure.layout);
  layout.font = {...layout.font, color: ink, family: 'system-ui, sans-serif'};
  layout.dragmode = layout.scene ? 'orbit' : drag;
  layout.autosize = true;
  const axes = layout.scene ? ['xaxis', 'yaxis', 'zaxis'].map((a) => layout.scene[a]) : [layout.xaxis, layout.yaxis];
  axes.forEach((axis) => Object.assign(axis, {gridcolor: line, color: ink}));
  (layout.annotations || []).forEach((arrow) => { arrow.arrowcolor = tone(arrow.name); });
  if (layout.scene) layout.scene.uirevision = layout.uirevision;
  return {data: [...data, ring(layout, data)], layout};
};
const ring = (layout, data) => ({
  type: layout.scene ? 'scatter3d' : data.some((t) => t.type === 'scattergl') ? 'scattergl' : 'scatter', mode: 'markers', name: 'selected', showlegend: false,
  hoverinfo: 'skip', x: [], y: [], ...(layout.scene ? {z: []} : {}), meta: {role: 'picked'},
  marker: {symbol: 'circle-open', size: layout.scene ? 14 : 24, color: tone('picked'), line: {width: 3, color: tone('picked')}},
});
const role = (trace) => (trace.meta && trace.meta.role) || '';
const points = (figure) => figure.data.filter((t) => t.customdata && !['trail', 'step'].includes(role(t)));
const place = (figure, key) => {
  for (const trace of points(figure)) {
    const i = trace.customdata.findIndex((d) => d[0] === key);
    if (i >= 0) return {x: trace.x[i], y: trace.y[i], z: trace.z && trace.z[i], name: trace.customdata[i][1], kind: trace.meta.ink};
  }
  return null;
};
const plots = () => all('.sp-plot');

const sides = () => {
  const box = find('.sp-panels');
  while (box.children.length > page.panels.length) box.lastChild.remove();
  while (box.children.length < page.panels.length) {
    const panel = make('section', 'sp-panel'), head = make('header');
    head.append(make('b'), make('span'));
    panel.append(head, make('div', 'sp-plot'), make('p', 'sp-quality'));
    box.append(panel);
  }
  page.panels.forEach((side, i) => {
    const panel = box.children[i];
    panel.className = `sp-panel ${side.role === 'robust' ? 'sp-robust' : ''}`;
    panel.setAttribute('aria-label', `Map of ${side.name}; the table below has its points as text`);
    panel.querySelector('header b').textContent = side.role === 'robust' ? 'Adversarially fine-tuned' : 'Standard';
    panel.querySelector('header span').textContent = side.name;
    panel.querySelector('.sp-quality').textContent = [side.quality, ...side.notes].join(' ');
  });
};

// The ring around the chosen point and the step shown move often: over a flat map they are elements.
const movable = (trace) => ['step', 'picked'].includes(role(trace));
const complete = (side) => {
  const {data, layout} = dressed(side.figure);
  data.filter(movable).forEach((trace) => {
    const at = role(trace) === 'step' ? stepped(side) : ringed(side);
    if (at) Object.assign(trace, at.z === undefined ? {x: [at.x], y: [at.y]} : {x: [at.x], y: [at.y], z: [at.z]});
  });
  return {data, layout};
};
const over = (i) => {
  const plot = plots()[i], side = page.panels[i];
  if (!plot || !side || !plot._fullLayout) return;
  const flat = !side.figure.layout.scene;
  markOver(plot, {...(flat ? pictures(plot, side) : {}), ...lit(side, i, flat), 'sp-step': flat && stepped(side), 'sp-ring': flat && ringed(side)});
  if (flat) return;
  complete(side).data.forEach((trace, k) => {
    if (movable(trace)) window.Plotly.restyle(plot, {x: [trace.x], y: [trace.y], z: [trace.z]}, [k]);
  });
};

// Small pictures in the place of the examples' points, but where they would hide the attack.
const CLOSE = 26;
const pictures = (plot, side) => {
  const {xaxis, yaxis} = plot._fullLayout, apart = ['clean', 'attacked', 'noise'].map((key) => place(side.figure, key)).filter(Boolean);
  const far = (a, b) => Math.hypot(xaxis.d2p(a.x) - xaxis.d2p(b.x), yaxis.d2p(a.y) - yaxis.d2p(b.y)) > CLOSE;
  return Object.fromEntries(Object.entries(page.thumbs).map(([key, src]) => {
    const at = hidden.has('examples') ? null : place(side.figure, key);
    return [`sp-thumb-${key.split(':').pop()}`, at && apart.every((one) => far(at, one)) ? {...at, src} : null];
  }));
};
const lit = (side, i, flat) => {
  const near = listed()[i] || [];
  return Object.fromEntries([...Array(MOST_LIT).keys()].flatMap((k) => [false, true].map((fresh) => {
    const found = flat && near[k] && near[k][1] === fresh ? place(side.figure, near[k][0]) : null;
    return [`sp-${fresh ? 'new' : 'lit'}-${k}`, found];
  })));
};
const saying = new Set();
const words = async (i) => {
  const plot = plots()[i], side = page.panels[i];
  if (!plot || !side || side.figure.layout.scene || !plot._fullLayout || saying.has(i)) return;
  const weights = {landmark: [0.04, 2], own: [0.04, 2], example: [1.5, 12], caption: [2, 5]};
  const busy = points(side.figure).flatMap((t) => t.x.map((x, k) => [x, t.y[k], ...(weights[t.meta.ink] || [4, 8])]));
  const colours = (kind) => (kind === 'words' ? (dark() ? '#f3f4f6' : '#111827') : tone(kind));
  const arrows = (plot.layout.annotations || []).filter((one) => one.name !== 'label');
  saying.add(i);
  await window.Plotly.relayout(plot, {annotations: [...arrows, ...placed(plot, side.labels, busy, arrows, colours)]});
  saying.delete(i);
};

const draw = async () => {
  const library = await load();
  sides();
  steps();
  const flat = page.panels.every((side) => !side.figure.layout.scene);
  if (!flat && !webgl) { said('This browser has no WebGL, which the 3-D view needs: choose 2-D.'); return; }
  await Promise.all(page.panels.map(async (side, i) => {
    const plot = plots()[i], {data, layout} = complete(side);
    await library.react(plot, flat ? data.filter((t) => !movable(t)) : data, layout, {displayModeBar: false, responsive: true, scrollZoom: true, doubleClick: 'reset'});
    if (!plot.dataset.wired) wire(plot, i);
  }));
  for (let i = 0; i < page.panels.length; i += 1) {
    await words(i);
    over(i);
  }
  said('');
  find('.sp-scale').textContent = page.scale;
  keyLine(find('.sp-key'), page.panels.flatMap((side) => side.figure.data), tone, hidden, () => draw());
  find('.sp-bar').hidden = false;
  find('.sp-table').hidden = false;
  all('[data-drag], [data-do="in"], [data-do="out"]').forEach((b) => { b.disabled = !flat; });
  list();
  if (find('.sp-table').open) table();
  root.dataset.drawn = String(Number(root.dataset.drawn || 0) + 1);
};

const wire = (plot, i) => {
  plot.dataset.wired = '1';
  wheelZoom(plot, () => webgl !== 'fast' && plot.data.some((t) => role(t) === 'density'));
  plot.on('plotly_click', (event) => {
    const found = event.points.find((p) => p.customdata);
    if (found) pick(found.customdata[0]);
  });
  plot.on('plotly_hover', (event) => {
    const found = event.points.find((p) => p.customdata);
    if (found) tip(event.event, i, found);
  });
  ['plotly_relayouting', 'plotly_afterplot'].forEach((name) => plot.on(name, () => {
    if (!page.panels[i].figure.layout.scene) over(i);
  }));
  plot.on('plotly_relayout', () => words(i));
  plot.on('plotly_unhover', () => tip(null));
  plot.on('plotly_deselect', () => { if (!lassoing) lasso(i, null); });
  plot.on('plotly_selected', (event) => { if (!lassoing) lasso(i, event); });
};

// --- selection
const pick = (key, tell = true) => {
  picked = key;
  trigger('pick', {key});
  mark();
  const spot = page.panels.map((s) => place(s.figure, key)).find(Boolean);
  if (tell && spot) {
    const image = ['example', 'own', 'clean', 'attacked', 'noise'].includes(spot.kind) && !key.startsWith('attacked:');
    const number = key.includes(':') ? Number(key.split(':').pop()) : 0;
    document.dispatchEvent(new CustomEvent('rx-select', {detail: {
      kind: image ? 'image' : 'caption', index: number, text: spot.name, key, from: 'space'}}));
  }
};
document.addEventListener('rx-select', (event) => {
  const detail = event.detail || {};
  if (detail.from === 'space' || !page) return;
  pick(detail.key || (detail.kind === 'image' ? 'attacked' : `caption:${detail.index}`), false);
});
const ringed = (side) => (picked && side ? place(side.figure, picked) : null);
const mark = () => plots().forEach((_, i) => over(i));
const lasso = async (i, event) => {
  const keys = event ? event.points.filter((p) => p.customdata).map((p) => p.customdata[0]) : [];
  if (event) trigger('lasso', {keys});
  const held = new Set(keys);
  lassoing = true; // the same points in the other map
  await Promise.all(plots().map((plot, j) => {
    if (j === i || !plot.data) return null;
    const rows = plot.data.map((t) => (!event || !t.customdata ? null : t.customdata.flatMap((d, n) => (held.has(d[0]) ? [n] : []))));
    return window.Plotly.restyle(plot, {selectedpoints: rows});
  }));
  lassoing = false;
};

// --- hover
const floating = document.body.appendChild(make('div', 'sp-tip'));
floating.hidden = true;
const tip = (mouse, i, point) => {
  floating.hidden = !mouse;
  if (!mouse) return;
  floating.replaceChildren();
  const key = point.customdata[0], uri = page.panels[i].thumbs[key] || page.thumbs[key];
  const sheet = document.querySelector('#sp-sheet [data-sheet]');
  if (uri) {
    const image = make('img');
    image.src = uri;
    image.alt = '';
    floating.append(image);
  } else if (/^(own|after):/.test(key) && page.sheet && sheet && sheet.dataset.sheet) {
    const row = Number(key.split(':').pop()), {cell, columns} = page.sheet, side = 96;
    const image = make('i');
    image.style.backgroundImage = `url(${sheet.dataset.sheet})`;
    image.style.backgroundSize = `${columns * side}px auto`;
    image.style.backgroundPosition = `-${(row % columns) * side}px -${Math.floor(row / columns) * side}px`;
    image.dataset.cell = cell;
    floating.append(image);
  }
  floating.append(make('span', '', point.customdata[1]));
  floating.style.left = `${Math.min(mouse.clientX + 14, innerWidth - 240)}px`;
  floating.style.top = `${Math.min(mouse.clientY + 14, innerHeight - 150)}px`;
};

// --- the step slider, shared with the Attack tab by the event rx-step
const slider = find('.sp-steps input');
const steps = () => {
  const most = Math.max(0, ...page.panels.map((s) => s.trail.length));
  const label = find('.sp-steps');
  label.hidden = most < 2;
  if (most < 2) return;
  if (Number(slider.max) !== most - 1 || !slider.dataset.set) { slider.max = most - 1; slider.value = most - 1; }
  slider.dataset.set = '1';
  tellStep();
};
const stepOf = (side) => Math.round(Number(slider.value) / Number(slider.max) * (side.trail.length - 1));
const stepped = (side) => {
  if (side.trail.length < 2) return null;
  const [x, y, z] = side.trail[stepOf(side)];
  return {x, y, z};
};
const tellStep = () => {
  const side = page.panels.find((s) => s.trail.length);
  if (!side) return;
  find('.sp-steps output').value = side.steps[stepOf(side)];
  find('.sp-steps b').textContent = side.steps[side.steps.length - 1];
};
const toStep = () => {
  tellStep();
  mark();
};
slider.addEventListener('input', () => {
  toStep();
  document.dispatchEvent(new CustomEvent('rx-step', {detail: {
    step: Number(slider.value), of: Number(slider.max) + 1, from: 'space'}}));
});
document.addEventListener('rx-step', (event) => {
  const {step, of, from} = event.detail || {};
  if (from === 'space' || !page || !(of > 1)) return;
  slider.value = Math.round(step / (of - 1) * Number(slider.max));
  toStep();
});

// --- the list of points: the way to them by keyboard
const search = () => document.querySelector('#sp-search');
const list = () => {
  const box = document.querySelector('#sp-list');
  if (!box || !page) return;
  const word = (search().value || '').trim().toLowerCase(), seen = new Map();
  const rank = {clean: 0, attacked: 1, noise: 2, caption: 3, 'attacked caption': 4, example: 5, own: 6, sentence: 7, landmark: 8};
  page.panels.forEach((side) => points(side.figure).forEach((t) => t.customdata.forEach(([key, name]) => {
    if (!seen.has(key) && (!word || name.toLowerCase().includes(word))) seen.set(key, [name, t.meta.ink]);
  })));
  const rows = [...seen].sort((a, b) => rank[a[1][1]] - rank[b[1][1]]);
  box.replaceChildren(...rows.slice(0, 200).map(([key, [name, kind]]) => {
    const row = make('option', '', `${name} (${kind})`);
    row.value = key;
    row.selected = key === picked;
    return row;
  }));
  if (rows.length > 200) {
    const more = make('option', '', `and ${rows.length - 200} more: type to narrow`);
    more.disabled = true;
    box.append(more);
  }
};
let waiting = 0;
document.addEventListener('input', (event) => { if (event.target.id === 'sp-search') list(); });
document.addEventListener('change', (event) => {
  if (event.target.id !== 'sp-list' || !event.target.value) return;
  clearTimeout(waiting);
  const key = event.target.value;
  waiting = setTimeout(() => pick(key), 60); // arrow keys pass over many
});

// --- the table, made when it is opened
const rows = () => page.panels.flatMap((side) => points(side.figure).flatMap((t) =>
  t.customdata.map(([key, name], i) => [side.name, key, name, t.meta.ink, t.x[i], t.y[i], ...(t.z ? [t.z[i]] : [])])));
const heads = () => ['model', 'key', 'name', 'kind', 'x', 'y', ...(page.panels[0].figure.layout.scene ? ['z'] : [])];
const table = () => {
  const most = 1000, every = rows(), first = [...every].sort((a, b) => /^(landmark|sentence|own|example)/.test(a[1]) - /^(landmark|sentence|own|example)/.test(b[1]));
  const grid = make('table'), top = make('tr'), body = make('tbody'), head = make('thead');
  grid.append(make('caption', '', every.length > most ? `The first ${most} of ${every.length} points; the CSV has all.` : 'All points of both maps.'));
  heads().forEach((text) => top.append(Object.assign(make('th', '', text), {scope: 'col'})));
  head.append(top);
  first.slice(0, most).forEach((cells) => {
    const line = make('tr');
    cells.forEach((cell) => line.append(make('td', '', String(cell))));
    body.append(line);
  });
  grid.append(head, body);
  const box = make('div', 'rx-scroll');
  box.tabIndex = 0;
  box.append(grid);
  find('.sp-table > div').replaceChildren(box);
};
find('.sp-table').addEventListener('toggle', () => { if (find('.sp-table').open && page) table(); });

// --- tools
const save = (name, parts, type) => {
  const link = make('a');
  link.href = URL.createObjectURL(new Blob(parts, {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
const stem = (i) => `embedding-space-${page.panels[i].name.replace(/[^\w.-]+/g, '-')}`;
const shown = (i) => [...plots()[i].data.filter((t) => !movable(t)), ...complete(page.panels[i]).data.filter(movable)];
const picture = (format) => page.panels.forEach((side, i) => {
  const plot = plots()[i], back = dark() ? '#161c27' : '#ffffff';
  const layout = {...plot.layout, paper_bgcolor: back, plot_bgcolor: back, title: {text: side.name, font: {size: 14}}, margin: {...plot.layout.margin, t: 34}};
  window.Plotly.downloadImage({data: shown(i), layout}, {format, filename: stem(i), width: plot.clientWidth, height: plot.clientHeight, scale: format === 'png' ? 2 : 1});
});
const whole = async () => {
  const code = await (await fetch(address())).text();
  const text = (value) => JSON.stringify(value).replace(/</g, '\\u003c');
  const plain = (s) => s.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  const back = dark() ? '#161c27' : '#ffffff', ink = dark() ? '#f3f4f6' : '#111827';
  const html = ['<!doctype html><html lang="en"><meta charset="utf-8"><title>Embedding space</title>',
    `<body style="font-family:system-ui,sans-serif;background:${back};color:${ink}"><script>`, code, '</', 'script>'];
  page.panels.forEach((side, i) => {
    html.push(`<h1 style="font-size:1rem">${plain(side.name)}</h1><p>${plain([side.quality, ...side.notes].join(' '))}</p>`,
      `<div id="map${i}" style="height:75vh"></div><script>Plotly.newPlot("map${i}",`, text(shown(i).map((t) => ({
        ...t, hoverinfo: t.customdata ? 'text' : 'skip', hovertext: t.customdata ? t.customdata.map((d) => plain(d[1])) : null}))),
      ',', text(plots()[i].layout), ');</', 'script>');
  });
  save('embedding-space.html', html, 'text/html');
};
const csv = () => {
  const cell = (value) => {
    const text = String(value);
    const safe = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // no formulas
    return /[",\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
  };
  save('embedding-space.csv', ['\ufeff', [heads(), ...rows()].map((r) => r.map(cell).join(',')).join('\r\n')], 'text/csv');
};
const scale = (factor) => plots().forEach((plot) => {
  const change = {};
  ['xaxis', 'yaxis'].forEach((axis) => {
    const [a, b] = plot._fullLayout[axis].range, middle = (a + b) / 2, half = (b - a) / 2 * factor;
    change[`${axis}.range`] = [middle - half, middle + half];
  });
  window.Plotly.relayout(plot, change);
});
const first = ({xaxis, yaxis}) => (xaxis.range ? {'xaxis.range': [...xaxis.range], 'yaxis.range': [...yaxis.range]}
  : {'xaxis.autorange': true, 'yaxis.autorange': true});
const tools = {
  in: () => scale(0.7), out: () => scale(1 / 0.7), png: () => picture('png'), svg: () => picture('svg'), html: whole, csv,
  reset: () => plots().forEach((plot, i) => window.Plotly.relayout(plot, plot._fullLayout.scene
    ? {'scene.camera': {eye: {x: 1.25, y: 1.25, z: 1.25}}} : first(page.panels[i].figure.layout))),
};
root.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || !page) return;
  if (button.dataset.do) tools[button.dataset.do]();
  if (!button.dataset.drag) return;
  drag = button.dataset.drag;
  all('[data-drag]').forEach((b) => b.setAttribute('aria-pressed', String(b === button)));
  plots().forEach((plot) => window.Plotly.relayout(plot, {dragmode: drag}));
});

// --- from and to the server
let seen = false;
// A map that is being made is asked about each second, until it is there.
let again = 0;
const ask = () => {
  clearTimeout(again);
  if (!seen || !page || !page.pending) return;
  again = setTimeout(() => { if (!asked) trigger('opened', {}); ask(); }, 1000);
};
const take = () => {
  if (!props.value) return;
  const next = JSON.parse(props.value);
  if (next.missing) {
    if (!page) said('The models are reading the landmarks and examples; that is kept for the next time.');
    if (seen && asked !== props.value) { asked = props.value; trigger('prepare', {}); }
    return;
  }
  asked = '';
  const told = JSON.stringify(next.panels.map((s) => [s.name, s.steps, s.thumbs]));
  if (attack && told !== attack) {
    delete slider.dataset.set; // a new attack is shown at its end
    if (picked) trigger('pick', {key: picked}); // and its neighbours are others
  }
  attack = told;
  page = next;
  if (!seen) return;
  ask();
  draw().catch(() => said('The map could not be drawn: reload the page.'));
};
watch('value', take);
new IntersectionObserver((entries) => {
  const now = entries[entries.length - 1].isIntersecting;
  if (now && !seen) {
    seen = true;
    load().catch(() => said('Plotly.js could not be loaded from this server: reload the page.'));
    asked = '';
    trigger('opened', {});
    take();
  } else if (!now && !root.offsetParent) {
    seen = false;
    tip(null);
  }
}).observe(root);
take();
new MutationObserver(() => { if (seen && page) mark(); }).observe(document.querySelector('#sp-details') || root, {childList: true, subtree: true});
let theme = dark();
new MutationObserver(() => {
  if (dark() === theme) return;
  theme = dark();
  if (seen && page) draw();
}).observe(document.body, {attributes: true, attributeFilter: ['class']});
