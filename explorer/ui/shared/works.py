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

import gradio as gr

from explorer.analysis.evaluation.work import carry_out
from explorer.analysis.failures.hunt import HuntPlan, hunt
from explorer.base.errors import InputError
from explorer.base.paths import EXAMPLES
from explorer.base.settings import Settings
from explorer.jobs.threads import Runner, ThreadJobs
from explorer.models.library import Library
from explorer.server.gate import TICK, Gate, visitor_of
from explorer.server.logs import say
from explorer.server.scheduler import Turn

FULL = 2.0  # seconds until the next try for a place in a full queue


def owner_of(request: gr.Request) -> str:
    """Whose works they are, without the visitor's cookie on disk."""
    return hashlib.sha256(visitor_of(request).encode()).hexdigest()[:32]


def kinds(library: Library, settings: Settings) -> dict[str, Runner]:
    """What each kind of work does."""
    data = settings.data or None
    return {
        "failures": lambda work: hunt(HuntPlan.read(work.wish["study"]), work.folder, library,
                                      data),
        "evaluate": lambda work: carry_out(work, library, data),
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
