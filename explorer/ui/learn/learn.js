// Gradio gives each radio button a group of its own, so the arrow keys do nothing: here they move on
// within the question, as they do in any other form.
element.closest('#ln-style').parentElement.addEventListener('keydown', (event) => {
  const at = event.target;
  const way = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
  if (!way || !(at instanceof HTMLInputElement) || at.type !== 'radio') return;
  const all = [...at.closest('fieldset, .block').querySelectorAll('input[type=radio]')];
  const next = all[(all.indexOf(at) + way + all.length) % all.length];
  event.preventDefault();
  next.focus();
  next.click();
});
