// The line above the tabs: its buttons, and the address. Runs once, in the line's gr.HTML: element
// and trigger are Gradio's. The address names the tab, the case, and what is open in a list; each
// change is a step that Back undoes.
const CASE = ['image', 'captions', 'true', 'standard', 'robust', 'kind', 'attack', 'settings', 'goal', 'target', 'seed'];
const LONGEST = 4000; // letters of a case in an address; a longer one is left out
const LISTS = '#fx-hunts, #ev-works, #tr-runs'; // whose buttons open something by its id
const DEMO = document.documentElement.classList.contains('rx-demo'); // where the next visitor must not go back
let told = null, going = null, loose = false, byHand = false, opened = '', settled = false;

const bar = () => document.querySelector('.tab-wrapper');
const isTab = (button, name) => button.dataset.tabId === name ||
  (!button.dataset.tabId && told && button.textContent.trim() === told.tabs[name]);
const buttons = () => (bar() ? [...bar().querySelectorAll('.tab-container:not([inert]) button, .overflow-dropdown button')] : []);
const button = (name) => buttons().find((one) => isTab(one, name));
const selected = () => {
  const chosen = buttons().find((one) => one.classList.contains('selected'));
  return told && chosen ? Object.keys(told.tabs).find((name) => isTab(chosen, name)) || '' : '';
};
const turn = (name) => { const one = button(name); if (one && selected() !== name) one.click(); };

const here = () => new URLSearchParams(location.search);
const same = (a, b) => { a.sort(); b.sort(); return a.toString() === b.toString(); };
const caseOf = (query) => new URLSearchParams([...query].filter(([name]) => CASE.includes(name)));
const write = (replace) => {
  if (!told) return;
  const next = here(), shown = going === null ? told.case : going, tab = selected();
  [...CASE, 'open'].forEach((name) => next.delete(name));
  new URLSearchParams(shown.length > LONGEST ? '' : shown).forEach((value, name) => next.set(name, value));
  if (tab && (tab !== 'attack' || next.has('tab'))) next.set('tab', tab);
  if (opened) next.set('open', opened);
  if (same(next, here())) return;
  const address = next.toString() ? `?${next}` : location.pathname;
  history[replace || !settled || DEMO ? 'replaceState' : 'pushState'](null, '', address);
};

// --- a tab was changed, by whomever; opened: in a list, goes with its tab
let seen = '';
const look = () => {
  element.dataset.tab = selected();
  if (!told || !selected() || selected() === seen) return;
  if (seen) opened = '';
  seen = selected();
  button(seen).scrollIntoView({block: 'nearest', inline: 'nearest'});
  write(false);
  loose = settled && seen === 'attack' && !byHand; // a case that another tab opens comes with its tab
  byHand = false;
};
document.addEventListener('click', (event) => {
  if (event.isTrusted && event.target instanceof Element && event.target.closest('.tab-wrapper, [data-to]')) byHand = true;
}, true);
const follow = () => {
  if (!bar()) { requestAnimationFrame(follow); return; }
  new MutationObserver(look).observe(bar(), {subtree: true, childList: true, attributes: true, attributeFilter: ['class']});
};
follow();

// --- another case is looked at: the step to its tab and the case are one. Gradio changes what is
// there in its place where it can.
const CHANGED = {childList: true, subtree: true, attributes: true, attributeFilter: ['data-told']};
new MutationObserver(() => {
  const part = element.querySelector('[data-told]');
  if (!part || (told && part.dataset.told === JSON.stringify(told))) return;
  told = JSON.parse(part.dataset.told);
  const first = !settled;
  going = null;
  if (first) {
    seen = selected();
    button(seen)?.scrollIntoView({block: 'nearest', inline: 'nearest'});
    restore();
  }
  look();
  write(loose);
  loose = false;
  settled = true;
}).observe(element, CHANGED);

// --- what is open in a list
const restore = () => {
  opened = here().get('open') || '';
  if (!opened) return;
  let tries = 100;
  const press = () => {
    const one = [...document.querySelectorAll(LISTS)].map((list) => list.querySelector(`[data-id="${CSS.escape(opened)}"]`)).find(Boolean);
    if (one) { if (one.getAttribute('aria-pressed') !== 'true') one.click(); } else if (tries-- && opened) setTimeout(press, 100);
  };
  press();
};
document.addEventListener('click', (event) => {
  const one = event.isTrusted && event.target instanceof Element && event.target.closest('[data-do="look"][data-id]');
  if (!one || !one.closest(LISTS)) return;
  opened = one.dataset.id;
  write(false);
}, true);

window.addEventListener('popstate', () => {
  if (!told) return;
  const want = here(), wanted = caseOf(want);
  seen = want.get('tab') || Object.keys(told.tabs)[0];
  turn(seen);
  restore();
  if (same(wanted, new URLSearchParams(told.case))) { going = null; return; }
  going = wanted.toString();
  trigger('go', {query: location.search});
});

document.addEventListener('rx-go', (event) => {
  loose = true;
  going = null;
  trigger('go', {query: event.detail.query});
});

// --- one click with all settings
const START = {'failures': '#fx-start', 'evaluate': '#ev-start', 'train': '#tr-start'};
element.addEventListener('click', (event) => {
  const one = event.target.closest('[data-to]');
  if (!one) return;
  const to = one.dataset.to;
  turn(to);
  if (!START[to]) return;
  const carry = () => {
    const start = document.querySelector(START[to]);
    if (!start) { setTimeout(carry, 50); return; } // a tab is built when it is first opened
    trigger(to, {});
    start.focus({preventScroll: true});
  };
  carry();
});
// The case is of before, until its run is over.
document.addEventListener('click', (event) => {
  if (event.target instanceof Element && event.target.closest('#rx-go, .rx-card')) element.classList.add('st-old');
});
new MutationObserver(() => element.classList.remove('st-old')).observe(element, CHANGED);
