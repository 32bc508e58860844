"""What the Embedding space tab shows one visitor: two sides, laid out, as data for the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np

from explorer.analysis.embedding import words as space_words
from explorer.analysis.embedding.figures import INKS, panel
from explorer.analysis.embedding.layout import (
    Chosen,
    Layout,
    View,
    lay_out,
    mirrored,
    one_scale,
)
from explorer.analysis.embedding.shift import Anchors, Attacked, among, attacked
from explorer.analysis.embedding.state import CELL, OwnSet, SetAttack, Spaces, columns
from explorer.analysis.embedding.umaps import UmapSettings
from explorer.base.errors import InputError, sentence
from explorer.base.store import Store
from explorer.data.examples import load_examples
from explorer.models.library import Library
from explorer.results.outcome import Outcome
from explorer.results.views import esc
from explorer.ui.embedding.thumbs import example_thumbs, thumbs_of
from explorer.ui.shared.runs import error_line


def examples_like(outcome: Outcome | None, name: str, anchors: Anchors,
                  finished: Sequence[Outcome]) -> Chosen | None:
    """Where the attack of an outcome took the other example photos on one model, as far as that is
    known; None for none."""
    asked = next((p.result for p in outcome.parts if p.result), None) if outcome else None
    if outcome is None or asked is None or asked.kind == "text":
        return None
    rows = {e.alt: anchors.keys.index(f"example:{i}") for i, e in enumerate(
        load_examples().values()) if f"example:{i}" in anchors.keys}
    ends = {rows[other.alt]: part.result.adversarial.features[0].numpy()
            for other in finished if other.alt in rows and other.alt != outcome.alt
            for part in other.parts
            if part.card.id == name and part.result is not None and (
                part.result.attack, part.result.settings) == (asked.attack, asked.settings)}
    return Chosen(np.array(list(ends), int), np.stack(list(ends.values()))) if ends else None


Side = tuple[str, str, Anchors | None, Attacked | None]


def _chosen(own: OwnSet | None, name: str, anchors: Anchors, landmarks: str) -> SetAttack | None:
    """The attack on a visitor's set, by its places among the landmarks looked at."""
    made = own.attacks.get(name) if own else None
    gone = len(anchors.keys) - len(among(anchors, landmarks).keys)
    return made.without(gone) if made else None


class Panels:
    """Joins the visitor's last attack with the clean points. pair: models before any attack;
    finished: attacks on examples that anybody may see."""

    def __init__(self, library: Library, store: Store[Outcome], pair: tuple[str, ...],
                 finished: Callable[[], Sequence[Outcome]] = list) -> None:
        self.library, self.store, self.pair, self.finished = library, store, pair, finished
        examples = load_examples()
        self.spaces, self.thumbs = Spaces(library, examples), example_thumbs(examples)

    def sides(self, session: str) -> tuple[list[Side], Outcome | None, OwnSet | None]:
        outcome, own = self.store.last(session), self.spaces.sets.last(session)
        if outcome is None:
            cards = [self.library.card(name) for name in self.pair]
            return ([(c.id, c.kind, self.spaces.anchors(c.id, own), None) for c in cards], None,
                    own)
        sides: list[Side] = []
        for part in outcome.parts:
            found = None if part.result is None else attacked(part.result, part.noise)
            sides.append((part.card.id, part.card.kind, self.spaces.anchors(part.card.id, own),
                          found))
        return sides, outcome, own

    def names(self, session: str) -> tuple[str, ...]:
        return tuple(name for name, *_ in self.sides(session)[0])

    def known(self, session: str, landmarks: str = "both",
              ) -> tuple[list[space_words.Side], list[SetAttack | None]]:
        sides, _, own = self.sides(session)
        known = [(name, anchors, found) for name, _, anchors, found in sides if anchors is not None]
        return ([(name, among(anchors, landmarks), found) for name, anchors, found in known],
                [_chosen(own, name, anchors, landmarks) for name, anchors, _ in known])

    def show(self, request: gr.Request, projection: str, dims: int, centre: bool, near: float,
             min_dist: float, metric: str, seed: float, k: float, landmarks: str,
             ) -> tuple[Any, ...]:
        """The whole picture from what is known; what is not asks the page for `prepare`."""
        sides, outcome, own = self.sides(str(request.session_hash))
        captions = list(outcome.parts[0].result.captions) if (
            outcome and outcome.parts[0].result) else []
        menu = gr.update(choices=captions) if captions else gr.skip()
        if any(anchors is None for _, _, anchors, _ in sides):
            return json.dumps({"missing": True}), gr.skip(), gr.skip(), menu
        try:
            umap = UmapSettings(int(near), float(min_dist), metric, int(seed or 0))
            view = View(projection, int(dims), bool(centre), umap, str(landmarks))
            whole = [(name, role, anchors, found) for name, role, anchors, found in sides
                     if anchors is not None]
            known = [(name, role, among(anchors, view.landmarks), found)
                     for name, role, anchors, found in whole]
            chosen = [made.chosen if (made := _chosen(own, name, anchors, view.landmarks))
                      else examples_like(outcome, name, fewer, self.finished())
                      for (name, _, anchors, _), (_, _, fewer, _) in zip(whole, known, strict=True)]
            layouts = [lay_out(anchors, found, view, self.spaces.maps, made)
                       for (_, _, anchors, found), made in zip(known, chosen, strict=True)]
            layouts = [layouts[0], *(mirrored(at, layouts[0]) for at in layouts[1:])]
        except (InputError, TypeError, ValueError, OverflowError) as error:
            return gr.skip(), error_line(sentence(InputError(str(error)))), gr.skip(), menu
        plain = [(name, anchors, found) for name, _, anchors, found in known]
        return (self._payload(known, chosen, layouts, view, outcome, own),
                f'<p class="sp-say">{esc(space_words.sentence(plain))}</p>',
                space_words.numbers(plain, [at.shown for at in layouts], int(k)), menu)

    def _payload(self, known: list[Any], chosen: list[Chosen | None], layouts: list[Layout],
                 view: View, outcome: Outcome | None, own: OwnSet | None) -> str:
        panels = []
        side, said = one_scale(layouts)
        for i, ((name, role, anchors, found), made, at) in enumerate(
                zip(known, chosen, layouts, strict=True)):
            drawn = panel(name, role, anchors, found, at, view, made, side)
            drawn |= {"quality": at.quality, "notes": at.notes,
                      "thumbs": thumbs_of(outcome.parts[i]) if outcome else {}}
            panels.append(drawn)
        sheet = None if own is None else {"cell": CELL, "columns": columns(len(own.examples))}
        pending = view.projection == "umap" and any(
            at.drawn != "umap" and any("being fitted" in n for n in at.notes) for at in layouts)
        return json.dumps({"panels": panels, "inks": INKS, "thumbs": self.thumbs, "sheet": sheet,
                           "pending": pending, "scale": said}, separators=(",", ":"))
