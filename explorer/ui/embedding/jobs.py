"""Heavy work of the Embedding space tab: in its turn, with progress, until it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import numpy as np

from explorer.analysis.embedding import words as space_words
from explorer.analysis.embedding.state import MOST_ATTACKED, Job, OwnSet
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.store import Store
from explorer.server.gate import Gate
from explorer.ui.embedding.saliency import saliency_job
from explorer.ui.embedding.scene import Panels
from explorer.ui.shared.runs import IDLE, Tickets, in_turn, status, told

SAMPLE, LASSO = "a random sample", "what the lasso holds"


class SpaceJobs:
    """lassos: the keys that each visitor's last lasso held."""

    def __init__(self, scene: Panels, gate: Gate) -> None:
        self.scene, self.gate = scene, gate
        self.tickets, self.lassos = Tickets(), Store[list[str]]()

    def stop(self, request: gr.Request) -> Any:
        return gr.skip() if self.tickets.stop(request) else IDLE

    def job(self, request: gr.Request, ticket: int, work: Callable[[], Job]) -> Iterator[str]:
        """The status line of a heavy job, in its turn, until it is stopped."""
        return self.tickets.held(request, ticket, in_turn(self.gate, request, work, status, str),
                                 lambda: told("Stopped."))

    def prepare(self, request: gr.Request, ticket: int) -> Iterator[str]:
        session = str(request.session_hash)
        names, own = self.scene.names(session), self.scene.spaces.sets.last(session)

        def work() -> Job:
            yield from self.scene.spaces.prepare(names, own)
            yield Progress("", last=True)

        yield from self.job(request, ticket, work)

    def put(self, request: gr.Request, ticket: int, path: str | None) -> Iterator[Any]:
        session = str(request.session_hash)
        names = self.scene.names(session)
        for said in self.job(request, ticket,
                              lambda: self.scene.spaces.take_set(session, path, names)):
            yield said, gr.skip()
        own = self.scene.spaces.sets.last(session)
        yield gr.skip(), own.sheet if own else gr.skip()

    def rows(self, own: OwnSet, session: str, which: str, contains: str, count: int) -> list[int]:
        """Places in the set of the slice to be attacked."""
        anchors = next(iter(own.anchors.values()))
        word = (contains or "").strip().lower()
        rows = [int(key.removeprefix("own:")) for key, name in zip(anchors.keys, anchors.names,
                                                                   strict=True)
                if word in name.lower()]
        if which == LASSO:
            held = set(self.lassos.last(session) or [])
            rows = [r for r in rows if f"own:{r}" in held]
        if not rows:
            raise InputError("no picture of your set is chosen: draw a lasso around some, or "
                             "change the words that their captions must contain")
        if len(rows) > count:
            rows = np.random.default_rng(0).choice(rows, count, replace=False).tolist()
        return sorted(rows)

    def attack(self, request: gr.Request, ticket: int, which: str, contains: str, count: float,
                eps: float) -> Iterator[Any]:
        session = str(request.session_hash)
        names = self.scene.names(session)

        def work() -> Job:
            own = self.scene.spaces.sets.last(session)
            if own is None:
                raise InputError("put pictures of your own on the map first")
            if not 1 <= count <= MOST_ATTACKED:
                raise InputError(f"choose 1 to {MOST_ATTACKED:,} pictures")
            rows = self.rows(own, session, which, contains, int(count))
            yield from self.scene.spaces.attack_set(own, rows, names, float(eps))

        for said in self.job(request, ticket, work):
            yield said, gr.skip()
        own = self.scene.spaces.sets.last(session)
        yield gr.skip(), space_words.set_table(own.attacks) if own else gr.skip()

    def draw(self, request: gr.Request, ticket: int, method: str, caption: str | None,
              ) -> Iterator[Any]:
        outcome, made = self.scene.store.last(str(request.session_hash)), list[str]()
        for said in self.job(request, ticket, lambda: saliency_job(
                self.scene.library, outcome, method, caption, made)):
            yield said, "".join(made) or gr.skip()
        if made:
            yield gr.skip(), "".join(made)
