"""What a teacher set beforehand, applied when a page is opened: see docs/teaching.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from explorer.attacks.registry import settings_of
from explorer.base.errors import InputError
from explorer.data.examples import load_examples
from explorer.data.pairs import open_image
from explorer.models.library import Library
from explorer.ui.learn.state import Standing, read
from explorer.ui.learn.tab import STORAGE, LearnTab
from explorer.ui.shared.address import OWN, Preset, from_file, from_query
from explorer.ui.shared.desk import ANY_WRONG, Desk
from explorer.ui.shared.runs import LIGHT, PLAIN

PRESS = """() => { setTimeout(() => {
  if (document.querySelector('#ln-press [data-go]')) document.querySelector('#rx-go')?.click();
}, 300); }"""


class Arrival:
    """Wires what happens when a page is opened. file: path of a preset for everybody, or "";
    raises InputError when it is wrong."""

    def __init__(self, demo: gr.Blocks, tabs: gr.Tabs, library: Library, desk: Desk,
                 learn: LearnTab, file: str = "") -> None:
        self.library, self.pair, self.choice = library, desk.pair_ids, desk.choice
        self.base = from_file(Path(file), library.cards()) if file else Preset()
        self.tabs = [str(tab.id) for tab in tabs.children if isinstance(tab, gr.Tab)]
        press = gr.HTML("", elem_id="ln-press", **PLAIN)  # a gr.State stays on the server
        learn.wire(gr.BrowserState(Standing().plain(), storage_key=STORAGE, secret=STORAGE))
        learn.arrive(demo.load(self._learn, learn.progress, [learn.progress, learn.pair], **LIGHT))
        demo.load(self._hide, None, gr.HTML("", elem_id="ln-hide", **PLAIN), **LIGHT).then(
            self._turn, None, tabs, **LIGHT)
        demo.load(
            self._attack, None, [
                desk.photo, desk.captions, desk.listed, desk.true, desk.target, desk.standard,
                desk.robust, desk.alt, press, desk.goal, desk.seed, *desk.choice.components()],
            show_progress="hidden", api_visibility="private").then(
            None, None, None, js=PRESS, api_visibility="private")

    def preset(self, request: gr.Request) -> Preset:
        """The address's over the file's. A wrong address changes nothing; `_attack` says so."""
        query = {str(k): str(v) for k, v in dict(request.query_params or {}).items()}
        try:
            return from_query(query, self.library.cards()).over(self.base)
        except InputError:
            return self.base

    def _learn(self, raw: Any, request: gr.Request) -> tuple[Any, Any]:
        state, preset = read(raw), self.preset(request)
        plain = state.plain()
        if preset.lang:
            plain["lang"] = preset.lang
        if preset.lesson and preset.lesson != state.lesson:
            plain |= {"lesson": preset.lesson, "step": 1}
        pair = (preset.standard or self.pair[0], preset.robust or self.pair[1])
        return plain, pair

    def _hide(self, request: gr.Request) -> str:
        """A style that hides their buttons: Gradio 6.17 does not follow a tab's `visible`."""
        hide = self.preset(request).hide
        buttons = ", ".join(f'button[data-tab-id="{name}"]' for name in hide)
        return f"<style>{buttons} {{ display: none !important; }}</style>" if hide else ""

    def _turn(self, request: gr.Request) -> Any:
        preset = self.preset(request)
        shown = [name for name in self.tabs if name not in preset.hide]
        asked = preset.tab if preset.tab in shown else ""
        return gr.Tabs(selected=asked or shown[0]) if asked or preset.hide else gr.skip()

    def _attack(self, request: gr.Request) -> tuple[Any, ...]:
        query = {str(k): str(v) for k, v in dict(request.query_params or {}).items()}
        try:
            from_query(query, self.library.cards())
        except InputError as error:
            gr.Warning(f"The address was not understood: {error}.")
        preset = self.preset(request)
        if not preset.attacks:
            return (*[gr.skip()] * 8, "", *[gr.skip()] * (2 + len(self.choice.components())))
        models = [name or gr.skip() for name in (preset.standard, preset.robust)]
        go = "" if preset.image == OWN else "<i data-go></i>"
        if not go:
            gr.Info("This link holds captions and settings, and no photo: choose one of yours, "
                    "then press Attack.")
        return (*self._photo(preset), *models, self._alt(preset), go, preset.goal or gr.skip(),
                preset.seed or gr.skip(), *self._choice(preset))

    def _choice(self, preset: Preset) -> list[Any]:
        """The attack's controls."""
        made = preset.made()
        if made is None:
            return [gr.skip()] * len(self.choice.components())
        return self.choice.show(preset.kind, preset.attack, settings_of(made))

    def _photo(self, preset: Preset) -> tuple[Any, ...]:
        """Photo, captions, what the menus list, the true one, the target."""
        if not preset.image and not preset.captions:
            return (gr.skip(),) * 5
        example = load_examples().get(preset.image)
        captions = list(preset.captions or (example.captions if example else ()))
        true = preset.true or (example.truth if example else "")
        true = true if true in captions else captions[0]
        photo: Any = gr.skip()
        if preset.image == OWN:
            photo = None
        elif preset.image:
            photo = str(example.path) if example else open_image(Path(preset.image))
        return (photo, "\n".join(captions), captions, gr.update(choices=captions, value=true),
                gr.update(choices=[ANY_WRONG, *captions], value=preset.target or ANY_WRONG))

    @staticmethod
    def _alt(preset: Preset) -> Any:
        if preset.image == OWN:
            return "your photo"
        if not preset.image:
            return gr.skip()
        example = load_examples().get(preset.image)
        return example.alt if example else "the teacher's photo"
