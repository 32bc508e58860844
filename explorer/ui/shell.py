"""The page around the tabs: theme, header, background start of the models, launch options."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.errors import InputError
from explorer.models import Library, describe_device
from explorer.ui.attack_tab import PLAIN, AttackTab
from explorer.ui.examples import FOLDER
from explorer.views import esc

HERE = Path(__file__).parent
PAIR = ("pocket", "pocket-robust")
SYSTEM = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """One look for light and dark, in fonts that every system has."""
    return gr.themes.Base(
        primary_hue="slate", secondary_hue="slate", neutral_hue="slate",
        font=list(SYSTEM), font_mono=list(MONO), radius_size="sm", spacing_size="sm",
        text_size="md",
    ).set(button_primary_background_fill="#1f2937", button_primary_background_fill_hover="#111827",
          button_primary_text_color="#ffffff", button_primary_background_fill_dark="#e5e7eb",
          button_primary_background_fill_hover_dark="#ffffff",
          button_primary_text_color_dark="#111827")


def header() -> str:
    return ('<header class="rx-title"><h1>CLIP robustness explorer</h1>'
            "<p>Change a photo by less than the eye can see, and watch a standard and an "
            "adversarially fine-tuned CLIP answer.</p>"
            f'<p class="rx-device">{esc(describe_device())}</p></header>')


def warm(library: Library, names: tuple[str, ...]) -> threading.Thread:
    """Opens models behind the first page."""

    def work() -> None:
        from explorer.fastconv import keep_memory

        keep_memory()
        for name in names:
            try:
                library.load(name)
            except InputError:
                return  # said again, in words, by the first attack

    thread = threading.Thread(target=work, name="warm-models", daemon=True)
    thread.start()
    return thread


def build(library: Library, pair: tuple[str, str] = PAIR) -> gr.Blocks:
    """The whole page. Launch it with `launch_options`."""
    demo: gr.Blocks
    with gr.Blocks(title="CLIP robustness explorer", analytics_enabled=False,
                   delete_cache=(3600, 24 * 3600)) as demo:
        gr.HTML(header(), **PLAIN)
        with gr.Tabs(), gr.Tab("Attack"):
            AttackTab(demo, library, pair)
    demo.queue(max_size=64, default_concurrency_limit=8)
    return demo


def _head() -> str:
    """Styles and script inline: Gradio would confine a css= argument to the inner page."""
    style = (HERE / "style.css").read_text(encoding="utf-8")
    script = (HERE / "script.js").read_text(encoding="utf-8")
    return f"<style>{style}</style><script>{script}</script>"


def launch_options() -> dict[str, Any]:
    """Theme, styles and limits for Blocks.launch."""
    return {
        "theme": theme(), "head": _head(),
        "max_file_size": "40mb", "show_error": True, "footer_links": ["settings"],
        "ssr_mode": False, "allowed_paths": [str(FOLDER)],
    }
