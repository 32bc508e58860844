// The list of runs, and the slider through the pictures of one. Runs once in the gr.HTML of each:
// element and trigger are Gradio's. Native controls, so both work by keyboard.
element.addEventListener('click', (event) => {
  const run = event.target.closest('.tr-run');
  if (run) trigger('click', {id: run.dataset.id});
  const open = event.target.closest('.tr-open');
  if (open) trigger('opencase', {id: open.dataset.open, run: open.closest('.tr-compared').dataset.run});
});

const frames = (gallery) => JSON.parse(gallery.querySelector('script').textContent);

const show = (gallery, frame) => {
  gallery.querySelector('output').value = frame.step;
  gallery.querySelectorAll('figure').forEach((figure, k) => {
    const shown = frame.shown[k];
    if (!shown) return;
    const image = figure.querySelector('img'), said = figure.querySelector('.tr-said');
    image.src = shown.image;
    image.alt = shown.alt;
    figure.querySelector('.tr-truth').textContent = shown.truth;
    said.textContent = shown.said;
    said.className = `tr-said ${shown.kind}`;
  });
};

// The moment someone looks at stays when a new one is measured; the newest is followed.
const kept = new Map();
element.addEventListener('input', (event) => {
  const gallery = event.target.closest('.tr-gallery');
  if (!gallery) return;
  const all = frames(gallery), at = Number(event.target.value);
  show(gallery, all[at]);
  if (at === all.length - 1) kept.delete(gallery.dataset.run);
  else kept.set(gallery.dataset.run, all[at].step);
});

const restore = () => {
  const gallery = element.querySelector('.tr-gallery:not([data-drawn])');
  if (!gallery) return;
  gallery.dataset.drawn = 'yes';
  const step = kept.get(gallery.dataset.run);
  if (step === undefined) return;
  const all = frames(gallery);
  const near = all.reduce((best, frame, k) =>
    Math.abs(frame.step - step) < Math.abs(all[best].step - step) ? k : best, 0);
  gallery.querySelector('input').value = near;
  show(gallery, all[near]);
};
new MutationObserver(restore).observe(element, {childList: true, subtree: true});
