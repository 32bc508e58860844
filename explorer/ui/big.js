// Stage mode, for an audience: the photos, the change and the two sentences alone. F turns it on and
// off, Escape off; left and right walk through the steps, B blinks, space attacks the next example.
(() => {
  const HELP = 'Left and right: steps. B: blink. Space: next photo. F or Escape: back.';
  const isBig = () => document.body.classList.contains('rx-big');
  const shown = () => {
    const stage = document.querySelector('#rx-stage .rx-stage');
    return stage && stage.getClientRects().length ? stage : null;
  };
  const typing = (target) => target instanceof Element && target.closest(
    'input:not([type=range]), textarea, select, [contenteditable]');

  const turn = (on, words = HELP) => {
    document.body.classList.toggle('rx-big', on);
    let help = document.getElementById('rx-big-help');
    if (!help) {
      help = document.createElement('p');
      help.id = 'rx-big-help';
      help.setAttribute('role', 'status');
      document.body.append(help);
    }
    help.textContent = on ? words : '';
    if (on) window.scrollTo(0, 0);
  };

  const step = (stage, by) => {
    const slider = stage.querySelector('.rx-step:not(:disabled)');
    if (!slider) return;
    slider.value = Number(slider.value) + by;
    slider.dispatchEvent(new Event('input', {bubbles: true}));
  };

  document.addEventListener('rx-big', (event) => turn(event.detail.on, event.detail.words));

  let last = 0;  // the example that was pressed last; the page opens on the first
  document.addEventListener('click', (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest('[data-big]')) turn(true);
    const card = event.target.closest('#rx-examples .rx-card');
    if (card) last = [...document.querySelectorAll('#rx-examples .rx-card')].indexOf(card);
  });

  const next = () => {
    const cards = document.querySelectorAll('#rx-examples .rx-card');
    if (cards.length) cards[(last + 1) % cards.length].click();
  };

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const stage = shown(), key = event.key.toLowerCase();
    if (!stage) return;
    if (key === 'f') turn(!isBig());
    else if (!isBig()) return;
    else if (key === 'escape') turn(false);
    else if (key === 'arrowleft') step(stage, -1);
    else if (key === 'arrowright') step(stage, 1);
    else if (key === 'b') stage.querySelectorAll('.rx-blink').forEach((button) => button.click());
    else if (key === ' ') next();
    else return;
    event.preventDefault();
  });
})();
