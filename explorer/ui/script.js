// Sliders and the blink button of the result columns. Everything is native HTML, so it works by
// keyboard; one set of listeners on the document serves every column ever drawn.
(() => {
  const near = (event, name) =>
    event.target instanceof Element ? event.target.closest(name) : null;

  const wipe = (slider) => {
    const view = slider.closest('.rx-compare').querySelector('.rx-view');
    view.style.setProperty('--wipe', `${100 - slider.value}%`);
  };

  const percent = (p) => {
    if (p >= 0.995) return '100 %';
    if (p >= 0.0995) return `${Math.round(p * 100)} %`;
    return p >= 0.0005 ? `${(p * 100).toFixed(1)} %` : '<0.1 %';
  };

  const signed = (c) => {
    const text = c.toFixed(2);
    return Number(text) === 0 ? '0.00' : text.replace('-', '\u2212');
  };

  const trails = new WeakMap();
  const trail = (model) => {
    const source = model.querySelector('.rx-trail');
    if (!source) return null;
    if (!trails.has(source)) trails.set(source, JSON.parse(source.textContent));
    return trails.get(source);
  };

  const toStep = (model, index) => {
    const frames = trail(model);
    if (!frames || !frames[index]) return;
    const frame = frames[index];
    model.querySelector('.rx-adv').src = frame.image;
    model.querySelector('.rx-steps output').value = frame.step;
    const diff = model.querySelector('.rx-diff');
    if (diff && frame.caption) diff.innerHTML = frame.caption;
    const verdict = model.querySelector('.rx-verdict');
    verdict.className = `rx-verdict rx-${frame.kind}`;
    verdict.querySelector('.rx-say').innerHTML = frame.sentence;
    verdict.querySelector('.rx-mark').textContent =
      {fooled: '✗', held: '✓', wrong: '!', unchanged: '='}[frame.kind] || '';
    model.querySelectorAll('.rx-bars .rx-row:not(.rx-top)').forEach((row, k) => {
      const p = frame.p[k], c = Math.max(-1, Math.min(1, frame.c[k]));
      row.querySelector('[data-p]').style.width = `${p * 100}%`;
      row.querySelector('[data-pt]').textContent = percent(p);
      const bar = row.querySelector('[data-c]');
      bar.style.left = `${50 + Math.min(c, 0) * 50}%`;
      bar.style.width = `${Math.abs(c) * 50}%`;
      row.querySelector('[data-ct]').textContent = signed(frame.c[k]);
    });
  };

  document.addEventListener('input', (event) => {
    const slider = near(event, '.rx-wipe');
    if (slider) wipe(slider);
    const step = near(event, '.rx-step');
    if (!step) return;
    document.dispatchEvent(new CustomEvent('rx-step', {
      detail: {step: Number(step.value), of: Number(step.max) + 1}}));
    walk(step);
  });

  // Both models walk together, each through its own steps.
  const walk = (step) => {
    const stage = step.closest('.rx-stage');
    stage.querySelectorAll('.rx-model').forEach((model) => {
      const own = model.querySelector('.rx-step');
      if (!own) return;
      own.value = Math.min(Number(step.value), Number(own.max));
      toStep(model, Number(own.value));
    });
  };

  document.addEventListener('rx-step', (event) => {
    if (event.detail.from !== 'space') return;
    const step = document.querySelector('.rx-stage .rx-step');
    if (!step) return;
    step.value = event.detail.step;
    walk(step);
  });

  document.addEventListener('click', (event) => {
    const button = near(event, '.rx-blink');
    if (!button) return;
    const view = button.closest('.rx-compare').querySelector('.rx-view');
    if (button.dataset.timer) {
      clearInterval(Number(button.dataset.timer));
      delete button.dataset.timer;
      view.classList.remove('rx-show-clean');
      button.setAttribute('aria-pressed', 'false');
      return;
    }
    button.setAttribute('aria-pressed', 'true');
    button.dataset.timer = setInterval(() => {
      if (!button.isConnected) clearInterval(Number(button.dataset.timer));
      view.classList.toggle('rx-show-clean');
    }, 600);
  });

  // The step slider as a film: from the first step to the last, once.
  const stopFilm = (button) => {
    clearInterval(Number(button.dataset.timer));
    delete button.dataset.timer;
    button.setAttribute('aria-pressed', 'false');
    button.textContent = 'Play';
  };

  const playFilm = (button, step) => {
    const ended = Number(step.value) >= Number(step.max);
    step.value = ended ? 0 : step.value;
    walk(step);
    button.setAttribute('aria-pressed', 'true');
    button.textContent = 'Pause';
    button.dataset.timer = setInterval(() => {
      if (!button.isConnected || Number(step.value) >= Number(step.max)) {
        stopFilm(button);
        return;
      }
      step.value = Number(step.value) + 1;
      step.dispatchEvent(new Event('input', {bubbles: true}));
    }, 120);
  };

  document.addEventListener('click', (event) => {
    const button = near(event, '.rx-play');
    if (!button) return;
    if (button.dataset.timer) stopFilm(button);
    else playFilm(button, button.closest('.rx-steps').querySelector('.rx-step'));
  });

  // A picture of a step that the server has let go of since.
  document.addEventListener('error', (event) => {
    const model = near(event, '.rx-model'), steps = model && model.querySelector('.rx-steps');
    if (!steps || !event.target.matches('.rx-adv') || model.querySelector('.rx-gone')) return;
    const said = document.createElement('p');
    said.className = 'rx-note rx-gone';
    said.textContent = 'The server has let go of the pictures of the steps: run the attack again to see them.';
    steps.after(said);
  }, true);

  const held = async (address) => {
    if (!address || address.startsWith('data:')) return address;
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(address);
    const blob = await answer.blob();
    return new Promise((done, fail) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.onerror = fail;
      reader.readAsDataURL(blob);
    });
  };

  // A copy of the stage that holds its pictures and files itself.
  const whole = async (stage) => {
    const copy = stage.cloneNode(true);
    copy.querySelectorAll('.rx-keep').forEach((part) => part.remove());
    for (const img of copy.querySelectorAll('img')) img.setAttribute('src', await held(img.getAttribute('src')));
    for (const link of copy.querySelectorAll('a[download]')) link.setAttribute('href', await held(link.getAttribute('href')));
    for (const source of copy.querySelectorAll('.rx-trail')) {
      const frames = JSON.parse(source.textContent);
      for (const frame of frames) frame.image = await held(frame.image);
      source.textContent = JSON.stringify(frames).replaceAll('</', '<\\/');
    }
    return copy;
  };

  // The stage with its styles and this script, as one file that needs nothing else.
  const page = async (stage) => {
    const parts = ['rx-look', 'rx-code'].map((id) => document.getElementById(id).textContent);
    const copy = await whole(stage);
    copy.querySelectorAll('[data-strong]').forEach((part) => part.closest('.rx-note').remove());
    const dark = document.body.classList.contains('dark') ? ' class="dark"' : '';
    return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>CLIP robustness ` +
      `explorer: a case</title><style>body{font-family:system-ui,sans-serif;margin:1rem;` +
      `background:Canvas}${parts[0]}</style></head><body${dark}>${copy.outerHTML}` +
      `<script>${parts[1]}<\/script></body></html>`;
  };

  document.addEventListener('click', async (event) => {
    const button = near(event, '[data-page]');
    if (!button) return;
    let made;
    try {
      made = await page(button.closest('.rx-stage'));
    } catch {
      button.textContent = 'The server has let go of the pictures: run the attack again';
      return;
    }
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([made], {type: 'text/html'}));
    link.download = 'case.html';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });

  // Gradio's own photo preview has no text alternative.
  const describe = () => document.querySelectorAll('#rx-photo img:not([alt])').forEach((img) => {
    img.alt = 'The photo to be attacked';
  });
  // The copy of the tabs by which Gradio measures their width is no place for the keyboard.
  const inertCopies = () => document.querySelectorAll(
    '.tab-container.visually-hidden:not([inert])').forEach((copy) => { copy.inert = true; });
  // Its drop-downs of several choices show their label but do not say that it is the field's.
  const label = () => document.querySelectorAll(
    '#ev-models input:not([aria-label]), #ev-here input:not([aria-label])').forEach((input) => {
    const said = input.closest('.block').querySelector('[data-testid="block-info"]');
    input.setAttribute('aria-label', said ? said.textContent.trim() : 'Choice');
  });
  new MutationObserver(() => { describe(); inertCopies(); label(); }).observe(document, {childList: true, subtree: true});
})();
