"""What a page opens with and comes back to: its address, a teacher's file. See docs/teaching.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import gradio as gr

from explorer.attacks.registry import kind_of, name_of, settings_of
from explorer.base.errors import InputError
from explorer.data.examples import load_examples
from explorer.data.pairs import open_image
from explorer.models.library import Library
from explorer.server.gate import visitor_of
from explorer.ui.attack.running import Drawn
from explorer.ui.attack.tab import AttackTab
from explorer.ui.learn.state import Standing, read
from explorer.ui.learn.tab import STORAGE, LearnTab
from explorer.ui.shared.address import OWN, Preset, from_file, from_query
from explorer.ui.shared.asked import Asked, asked_of
from explorer.ui.shared.desk import ANY_WRONG
from explorer.ui.shared.runs import DEVICE, LIGHT, PLAIN, heavy


def query_of(request: gr.Request) -> dict[str, str]:
    return {str(k): str(v) for k, v in dict(request.query_params or {}).items()}


class Arrival:
    """Wires what happens when a page is opened, and when the browser goes back. line: asks for a
    case by its event `go`; file: path of a preset for everybody, or ""; raises InputError when it
    is wrong; hide: tabs that no address shows."""

    def __init__(self, demo: gr.Blocks, tabs: gr.Tabs, library: Library, attack: AttackTab,
                 learn: LearnTab, line: gr.HTML, file: str = "",
                 hide: tuple[str, ...] = ()) -> None:
        self.library, self.attack, self.desk = library, attack, attack.desk
        base = from_file(Path(file), library.cards()) if file else Preset()
        self.base, self.closed = replace(base, hide=(*base.hide, *hide)), hide
        self.tabs = [str(tab.id) for tab in tabs.children if isinstance(tab, gr.Tab)]
        learn.wire(gr.BrowserState(Standing().plain(), storage_key=STORAGE, secret=STORAGE))
        learn.arrive(demo.load(self._learn, learn.progress, [learn.progress, learn.pair], **LIGHT))
        demo.load(self._hide, None, gr.HTML("", elem_id="ln-hide", **PLAIN), **LIGHT).then(
            self._turn, None, tabs, **LIGHT)
        self._cases(demo, line)

    def _cases(self, demo: gr.Blocks, line: gr.HTML) -> None:
        desk, query = self.desk, gr.State({})
        controls = [*desk.case(), desk.standard, desk.robust, desk.goal, desk.seed,
                    *desk.choice.components()]
        seen = [self.attack.status, self.attack.stage]
        demo.load(self._opened, None, controls, show_progress="hidden",
                  api_visibility="private")
        demo.load(self._first, None, seen, **heavy(DEVICE)).then(**self.attack.count)
        cast(Any, line).go(self._back, None, [query, *controls], **LIGHT).then(
            self._again, query, seen, trigger_mode="multiple", **heavy(DEVICE)).then(
            **self.attack.count)

    def preset(self, query: Mapping[str, str]) -> Preset:
        """The address's over the file's. A wrong address changes nothing; `_opened` says so."""
        try:
            found = from_query(query, self.library.cards()).over(self.base)
            return replace(found, hide=tuple(dict.fromkeys((*found.hide, *self.closed))))
        except InputError:
            return self.base

    def asked(self, query: Mapping[str, str], request: gr.Request) -> Asked:
        """The case of an address; without one, what pages open on."""
        visitor = visitor_of(request)
        return asked_of(self.preset(query), self.desk.pair_ids,
                        lambda address: self.attack.running.photos.last(f"{visitor} {address}"))

    def plain(self) -> str:
        """The address of what a page opens on where its own names no case."""
        return asked_of(self.base, self.desk.pair_ids, lambda _: None).address

    def _first(self, request: gr.Request) -> Drawn:
        yield from self.attack.running.show(request, self.asked(query_of(request), request))

    def _again(self, request: gr.Request, query: dict[str, str]) -> Drawn:
        yield from self.attack.running.show(request, self.asked(query, request))

    def _back(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        query = dict(parse_qsl(str(event._data.get("query", "")).removeprefix("?")))
        return query, *self._controls(query, request)

    def _opened(self, request: gr.Request) -> tuple[Any, ...]:
        query = query_of(request)
        try:
            from_query(query, self.library.cards())
        except InputError as error:
            gr.Warning(f"The address was not understood: {error}.")
        if not self.preset(query).attacks:
            return (gr.skip(),) * (10 + len(self.desk.choice.components()))
        return self._controls(query, request)

    def _controls(self, query: Mapping[str, str], request: gr.Request) -> tuple[Any, ...]:
        """The Attack tab's, as a case has them."""
        asked = self.asked(query, request).request
        captions, attack = list(asked.captions), asked.attack
        photo: Any = str(asked.pictures[0]) if asked.pictures else None
        if self.preset(query).image not in ("", OWN, *load_examples()):
            photo = open_image(Path(photo))  # a teacher's, outside of what is served
        return (photo, "\n".join(captions), captions,
                gr.update(choices=captions, value=asked.true[0]),
                gr.update(choices=[ANY_WRONG, *captions], value=asked.target or ANY_WRONG),
                asked.alt, *asked.models, asked.goal, asked.seed,
                *self.desk.choice.show(kind_of(attack), name_of(attack), settings_of(attack)))

    def _learn(self, raw: Any, request: gr.Request) -> tuple[Any, Any]:
        state, preset = read(raw), self.preset(query_of(request))
        plain = state.plain()
        if preset.lang:
            plain["lang"] = preset.lang
        if preset.lesson and preset.lesson != state.lesson:
            plain |= {"lesson": preset.lesson, "step": 1}
        pair = self.desk.pair_ids
        return plain, (preset.standard or pair[0], preset.robust or pair[1])

    def _hide(self, request: gr.Request) -> str:
        """A style that hides their buttons: Gradio 6.17 does not follow a tab's `visible`."""
        hide = self.preset(query_of(request)).hide
        buttons = ", ".join(f'button[data-tab-id="{name}"]' for name in hide)
        return f"<style>{buttons} {{ display: none !important; }}</style>" if hide else ""

    def _turn(self, request: gr.Request) -> Any:
        preset = self.preset(query_of(request))
        shown = [name for name in self.tabs if name not in preset.hide]
        asked = preset.tab if preset.tab in shown else ""
        return gr.Tabs(selected=asked or shown[0]) if asked or preset.hide else gr.skip()
