"""Long work of the tabs, done in this process: which kinds there are, where it is kept, and its
turns on the device between the visitors' own."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.actions import learning
from explorer.analysis.evaluation.work import carry_out
from explorer.analysis.failures.hunt import hunt, plan_of
from explorer.base.errors import InputError
from explorer.base.paths import EXAMPLES
from explorer.base.settings import Settings
from explorer.jobs.job import BUSY
from explorer.jobs.queue import Fill
from explorer.jobs.threads import Runner, ThreadJobs
from explorer.models.library import Library
from explorer.server.gate import TICK, Gate, visitor_of
from explorer.server.logs import say
from explorer.server.scheduler import Turn
from explorer.ui.shared.runs import IDLE, error_line, guarded, obeyed, told

FULL = 2.0  # seconds until the next try for a place in a full queue


def owner_of(request: gr.Request) -> str:
    """Whose works they are, without the visitor's cookie on disk."""
    return hashlib.sha256(visitor_of(request).encode()).hexdigest()[:32]


class Orders:
    """What the buttons of a kind of work do with a visitor's own: each gives a line to show."""

    def __init__(self, works: ThreadJobs, gate: Gate, kind: str) -> None:
        self.works, self.gate, self.kind = works, gate, kind

    def start(self, request: gr.Request, fill: Fill) -> tuple[str, Any]:
        """And the id of what was started. fill: as ThreadJobs.submit takes it; what it says under
        left_out is told."""
        def started() -> Iterator[tuple[str, Any]]:
            wait = self.gate.rate.take(visitor_of(request))
            if wait:
                raise InputError(f"too many runs in a minute: try again in {wait:.0f} s")
            work = self.works.submit(self.kind, owner_of(request), fill)
            yield told(" ".join(["Started. You may close this page: it goes on.",
                                 *work.wish["left_out"]])), work.id

        return next(guarded(started(), lambda said: (error_line(said), gr.skip())))

    def stop(self, request: gr.Request, shown: str) -> str:
        """Ends the work that is shown or, where that is over, the one that goes on."""
        owner = owner_of(request)
        busy = [work.id for work in self.works.list(owner, self.kind) if work.state in BUSY]
        if not busy:
            return IDLE
        return obeyed(lambda: self.works.stop(shown if shown in busy else busy[-1], owner),
                            told("It stops at its next step; what is found is kept."))

    def obey(self, request: gr.Request, does: str, name: str) -> Any:
        """What a button beside a work's state asks for: go_on or delete."""
        act = {"go_on": self.works.go_on, "delete": self.works.delete}.get(does)
        return gr.skip() if act is None else obeyed(lambda: act(name, owner_of(request)))


def kinds(library: Library, settings: Settings) -> dict[str, Runner]:
    """What each kind of work does."""
    data = settings.data or None
    return {
        "failures": lambda work: hunt(plan_of(work), work.folder, library, data),
        "evaluate": lambda work: carry_out(work, library, data),
        learning.KIND: lambda work: learning.carry_out(work, library, data),
    }


@contextmanager
def turn(gate: Gate, name: str) -> Iterator[None]:
    """Holds the device for one step of a work, in line with the visitors."""
    mine = _enter(gate, f"work-{name}")
    try:
        while gate.turns.wait(mine, TICK):
            pass
        yield
    finally:
        gate.turns.leave(mine)


def _enter(gate: Gate, visitor: str) -> Turn:
    while True:
        with suppress(InputError):  # so many visitors wait that the queue is full
            return gate.turns.enter(visitor)
        time.sleep(FULL)


def open_works(library: Library, gate: Gate, settings: Settings | None = None) -> ThreadJobs:
    """The works of the runs folder, watched. Without settings, or where nothing can be written
    there, they are kept for as long as this server runs."""
    runners = kinds(library, settings or Settings())

    def at(folder: Path) -> ThreadJobs:
        return ThreadJobs(folder, runners, lambda name: turn(gate, name), EXAMPLES)

    works = None
    if settings is not None:
        try:
            works = at(Path(settings.runs) / "works")
        except InputError as error:
            say("works are lost when the server ends", 30, why=str(error))
    works = works or at(Path(tempfile.mkdtemp(prefix=f"clip-explorer-{os.getpid()}-works-")))
    works.watch()
    return works
