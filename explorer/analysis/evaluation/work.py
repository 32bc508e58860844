"""An evaluation as background work: its plan, its table on disk, and how long it has left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from explorer.analysis.evaluation.cost import duration
from explorer.analysis.evaluation.detection import Detection
from explorer.analysis.evaluation.exports import as_json
from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import EvaluationPlan
from explorer.analysis.evaluation.rows import Row, Table, load_table
from explorer.analysis.evaluation.run import Evaluation
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.registry import UPLOAD
from explorer.jobs.job import Job, write_text
from explorer.models.library import Library

TABLE = "table.json"
OFTEN = 1.0  # seconds between two tables of unfinished numbers
SURE = 3.0  # seconds of measuring before a guess of the rest is told


def wish_of(plan: EvaluationPlan, upload: str = "") -> dict[str, Any]:
    """What is kept of a plan; upload: what an uploaded set is called."""
    return {"plan": plan.as_dict(), "upload": upload}


def carry_out(work: Job, library: Library, root: str | None = None) -> Iterator[Progress]:
    """Measures what work.json asks for, into the work's folder; finished numbers are shared with
    all works beside it."""
    plan = EvaluationPlan.read(work.wish["plan"])
    store = Store(work.folder, work.folder.parent)
    titles = {UPLOAD: work.wish["upload"]} if work.wish.get("upload") else {}
    running = Evaluation(plan, library, store, root, work.folder, titles=titles)
    written, clock = 0.0, _Clock()
    try:
        for event in running.steps():
            if isinstance(event, Row | Detection):
                whole = not isinstance(event, Row) or event.whole
                if whole or time.monotonic() - written > OFTEN:
                    _write(work.folder, running.table)
                    written = time.monotonic()
            else:
                yield replace(event, text=f"{event.text}{clock.left(event)}")
    finally:
        _write(work.folder, running.table)


class _Clock:
    """Guesses how long the rest will take from how long this start's part took."""

    def __init__(self) -> None:
        self.start: tuple[float, int] | None = None

    def left(self, now: Progress) -> str:
        if not now.total or now.done >= now.total:
            return ""
        if self.start is None:
            self.start = time.monotonic(), now.done
        began, first = self.start
        passed, done = time.monotonic() - began, now.done - first
        if done <= 0 or passed < SURE:
            return ""
        return f" — about {duration(passed / done * (now.total - now.done))} left"


def _write(folder: Path, table: Table) -> None:
    if not table.rows:
        return
    try:
        write_text(folder / TABLE, as_json([table]).decode("utf-8"))
    except OSError as error:
        raise InputError(f"cannot keep the table on disk: {error.strerror}") from None


def table_of(work: Job) -> Table:
    """What a work has found so far, under its title; empty before its first number."""
    try:
        table = load_table(work.folder / TABLE)
    except InputError:
        table = Table(str(work.wish["plan"]["task"]))
    table.title = work.title
    return table
