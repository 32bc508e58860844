// A demonstration that runs by itself: one finished example after the other, large, until somebody
// touches the page; who leaves it alone for two minutes leaves it to the next as it was at first.
(() => {
  const SHOWN = 12000, IDLE = 120000; // milliseconds
  const WORDS = 'Touch the page to try it yourself.';
  const own = new URLSearchParams(location.search);
  own.delete('fresh');
  history.replaceState(null, '', own.toString() ? `?${own}` : location.pathname);
  const started = own.toString();
  let touched = 0, at = 0;

  const large = (on) => document.dispatchEvent(new CustomEvent('rx-big', {detail: {on, words: WORDS}}));
  const ready = () => [...document.querySelectorAll('.rx-status')].some((one) => one.textContent === 'Done.');
  const next = () => {
    const cards = [...document.querySelectorAll('#rx-examples [data-example]')];
    if (touched || !cards.length || !ready()) return;
    large(true);
    at = (at + 1) % cards.length;
    document.dispatchEvent(new CustomEvent('rx-go', {detail: {query: `?image=${cards[at].dataset.example}`}}));
  };
  const begin = () => {
    if (touched) return;
    if (ready()) large(true);
    else setTimeout(begin, 300);
  };
  const touch = (event) => {
    if (!event.isTrusted) return;
    if (!touched) large(false);
    touched = performance.now();
  };
  const anew = () => {
    localStorage.clear();
    sessionStorage.clear();
    const query = new URLSearchParams(started);
    query.set('fresh', '1');
    location.replace(`${location.pathname}?${query}`);
  };
  ['pointerdown', 'keydown', 'wheel', 'touchstart'].forEach((name) => document.addEventListener(name, touch, {capture: true, passive: true}));
  document.addEventListener('pointermove', (event) => { if (touched) touch(event); }, {passive: true});
  setInterval(next, SHOWN);
  setInterval(() => { if (touched && performance.now() - touched > IDLE) anew(); }, 1000);
  begin();
})();
