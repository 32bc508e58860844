// The curves, by Plotly. Runs once in its gr.HTML: element, props and watch are Gradio's.
const root = element.querySelector('.ev-curve');
const plot = root.querySelector('.ev-plot');
let page = null;

const address = () => `${rootPath()}/gradio_api/file=${root.dataset.plotly}`;
const dressed = () => {
  const ink = dark() ? '#f3f4f6' : '#111827', line = dark() ? '#3b4452' : '#d6dae1';
  const data = page.data.map((trace) => {
    const colour = page.inks[trace.meta.ink][dark() ? 1 : 0];
    return {...trace, line: {...trace.line, color: colour}, marker: {...trace.marker, color: colour},
      error_y: {...trace.error_y, color: colour}};
  });
  const layout = structuredClone(page.layout);
  layout.font = {...layout.font, color: ink, family: 'system-ui, sans-serif'};
  layout.autosize = true;
  Object.keys(layout).filter((key) => /^[xy]axis/.test(key)).forEach((key) =>
    Object.assign(layout[key], {gridcolor: line, linecolor: line, color: ink}));
  return {data, layout};
};
const draw = async () => {
  root.hidden = !page;
  if (!page || !root.offsetParent) return;
  const library = await load(), {data, layout} = dressed();
  await library.react(plot, data, layout, {displayModeBar: false, responsive: true});
  root.dataset.drawn = String(data.length);
};
const take = () => {
  page = props.value ? JSON.parse(props.value) : null;
  root.querySelector('.ev-words').innerHTML = page ? page.words : '';
  draw();
};
root.querySelectorAll('[data-save]').forEach((button) => button.addEventListener('click', async () => {
  const library = await load();
  library.downloadImage(plot, {format: button.dataset.save, filename: root.dataset.file, width: 1000,
    height: plot.offsetHeight, scale: button.dataset.save === 'png' ? 2 : 1});
}));
new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting) && !root.dataset.drawn) draw(); })
  .observe(element);
new MutationObserver(() => { if (page && root.dataset.drawn) draw(); })
  .observe(document.body, {attributes: true, attributeFilter: ['class']});
watch('value', take);
take();
