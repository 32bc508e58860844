// What draws with Plotly begins with this. Plotly.js: 5 MB from this server, once, when there is
// something to see; `address` says from where.
const dark = () => document.body.classList.contains('dark');
const rootPath = () => (window.gradio_config && window.gradio_config.root) || '';
let plotly = null;
const load = () => {
  plotly = plotly || new Promise((done, fail) => {
    if (window.Plotly) { done(window.Plotly); return; }
    const script = document.createElement('script');
    script.src = address();
    script.onload = () => done(window.Plotly);
    script.onerror = () => { plotly = null; fail(new Error('not loaded')); };
    document.head.append(script);
  });
  return plotly;
};
