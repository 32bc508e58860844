"""One line above the tabs: what is looked at, and one click to see it in another tab. With its
script it also keeps the address, so that links, Back and a reload lead to the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, urlencode

import gradio as gr
from PIL import Image

from explorer.analysis.embedding.state import jpeg_uri
from explorer.attacks.registry import REGISTRIES
from explorer.data.pairs import to_image
from explorer.results.views import counted, esc
from explorer.ui.shared.case import Case
from explorer.ui.shared.desk import Desk
from explorer.ui.shared.runs import LIGHT, PLAIN

HERE = Path(__file__).parent
SIDE = 64  # of the thumbnail, pixels: twice what is shown
STEPS = {"space": "See it in Embedding space", "failures": "Hunt for more like it",
         "evaluate": "Evaluate this attack", "train": "Train against it"}
WHAT = {"image": "the photo", "text": "the caption", "joint": "photo and caption"}


class Taker(Protocol):
    """A tab's form that can be set as a case is."""

    def carried(self) -> list[Any]: ...
    def carry(self, case: Case) -> list[Any]: ...


class Story:
    """Builds the line; call `wire` when all tabs are there."""

    def __init__(self) -> None:
        style = f"<style>{(HERE / 'story.css').read_text('utf-8')}</style>"
        self.line = gr.HTML("", elem_id="st-line", html_template=style + "${value}",
                            js_on_load=(HERE / "story.js").read_text("utf-8"), **PLAIN)

    def wire(self, tabs: gr.Tabs, desk: Desk, takers: Mapping[str, Taker],
             plain: Callable[[], str]) -> None:
        """takers: by the tab's id; plain: the address of what a page opens on."""
        self.desk, self.takers, self.plain = desk, takers, plain
        self.tabs = {str(tab.id): str(tab.label) for tab in tabs.children
                     if isinstance(tab, gr.Tab)}
        desk.finished.change(self._draw, None, self.line, **LIGHT)
        for name, form in takers.items():
            getattr(cast(Any, self.line), name)(self._carry(form), None, form.carried(), **LIGHT)

    def _carry(self, form: Taker) -> Callable[[gr.Request], list[Any]]:
        def carry(request: gr.Request) -> list[Any]:
            case = self._case(request)
            return form.carry(case) if case else [gr.skip()] * len(form.carried())

        return carry

    def _case(self, request: gr.Request) -> Case | None:
        return Case.of(self.desk.store.last(str(request.session_hash)))

    def _draw(self, request: gr.Request) -> str:
        case = self._case(request)
        if case is None:
            return ""
        address = "" if case.address == self.plain() else where(case.address)
        told = json.dumps({"at": time.monotonic_ns(), "case": address, "tabs": self.tabs})
        return f'<div class="st" data-told="{esc(told)}">{self._words(case)}{self._steps()}</div>'

    def _words(self, case: Case) -> str:
        photo = to_image(case.result.images[0]).resize((SIDE, SIDE), Image.Resampling.BOX)
        others = len(case.captions) - 1
        among = f" among {counted(others, 'other')}" if others else ""
        left, right = (esc(name) for name in case.models)
        return (f'<img src="{jpeg_uri(photo)}" alt="{esc(case.alt)}">'
                f'<p class="st-words" title="{esc(chr(10).join(case.captions))}">'
                f"<b>“{esc(case.true)}”</b>{among}</p>"
                f'<p class="st-how">{esc(how(case))} · <i class="rx-chip st-left">{left}</i>, '
                f'<i class="rx-chip st-right">{right}</i></p>')

    def _steps(self) -> str:
        here = {"space", *self.takers}
        buttons = "".join(
            f'<button type="button" class="st-step" data-to="{name}">{said}</button>'
            for name, said in STEPS.items() if name in here and name in self.tabs)
        back = '<button type="button" class="st-step" data-to="attack">Back to the attack</button>'
        return f'<nav class="st-steps" aria-label="With this case">{back}{buttons}</nav>'


def how(case: Case) -> str:
    """The attack in a few words: what it changes, its name and its budget."""
    found, grey = case.result, case.grey_levels
    kind = REGISTRIES[found.kind].get(found.attack)
    name = kind.title if kind else found.attack
    size = f" ε {grey:g}/255" if grey is not None else ""
    if found.settings.get("norm") == "l2" and found.kind != "text":
        size = f" ε {found.settings['eps']:g} (L2)"
    return f"{name.split(':')[0]}{size} on {WHAT[found.kind]}"


def where(address: str) -> str:
    """An address without its tab and its question mark."""
    return urlencode([pair for pair in parse_qsl(address.removeprefix("?")) if pair[0] != "tab"])
