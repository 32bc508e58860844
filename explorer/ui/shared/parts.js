// Buttons and boxes of a list of works, or of one of them. Runs once in each gr.HTML: element and
// trigger are Gradio's. Native controls, so all works by keyboard; focus stays where it was when a
// part is drawn again.
let last = '';
const tell = (target) => {
  last = target.dataset.key || '';
  const said = {do: target.dataset.do, id: target.dataset.id};
  if (target.type === 'checkbox') said.on = target.checked;
  trigger(said.do === 'open' ? 'opencase' : 'click', said);
};
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-do]');
  if (!target || target.type === 'checkbox') return;
  if (target.dataset.do === 'ask') {  // deleting takes a second press
    target.dataset.do = 'delete';
    target.textContent = 'Yes, delete it for good';
  } else tell(target);
});
element.addEventListener('change', (event) => {
  const target = event.target.closest('[data-do]');
  if (target && target.type === 'checkbox') tell(target);
});
new MutationObserver(() => {
  if (!last || document.activeElement !== document.body) return;
  const again = element.querySelector(`[data-key="${CSS.escape(last)}"]`);
  if (again && !again.disabled) again.focus({preventScroll: true});
}).observe(element, {childList: true, subtree: true});
