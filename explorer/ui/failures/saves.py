"""What is saved of a hunt's pictures, and the search for the smallest ε: handlers of buttons."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.analysis.failures import examples as single
from explorer.analysis.failures.hunt import HuntPlan
from explorer.analysis.failures.slices import (
    SLICES,
    Example,
    Filter,
    Found,
    as_csv,
    chosen,
    named_answers,
)
from explorer.base.errors import InputError, sentence
from explorer.base.progress import Progress
from explorer.jobs.job import Job
from explorer.ui.failures.cards import Sheet
from explorer.ui.failures.hunts import Hunts, shown_by
from explorer.ui.failures.report import report
from explorer.ui.shared.runs import error_line, in_turn, status, told

Said = tuple[Any, Any]


def ready(name: str, raw: bytes) -> Any:
    """A file for the visitor to save, in the folder of uploads."""
    folder = tempfile.mkdtemp(prefix="save-", dir=os.environ.get("GRADIO_TEMP_DIR") or None)
    path = Path(folder) / re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    path.write_bytes(raw)
    return str(path)


@dataclass(frozen=True)
class Picked:
    """The pictures that a button works on. said: how they were chosen."""

    work: Job
    plan: HuntPlan
    found: Found
    cases: list[Example]
    view: Filter
    said: str


class FailureSaves:
    """Every handler takes (mark, ticked, *the view's controls) and the request."""

    def __init__(self, hunts: Hunts) -> None:
        self.hunts, self.library, self.gate = hunts, hunts.library, hunts.gate

    def _picked(self, request: gr.Request, mark: str, ticked: Sequence[int], *controls: Any,
                ) -> Picked:
        """The ticked pictures or, without any, all of the choice. Raises InputError for none."""
        work, plan, found = self.hunts.read(shown_by(mark).get("hunt", ""), request)
        view = self.hunts.view(*controls)
        only = set(ticked)
        if only:
            cases = [case for case in found.cases if case.place in only]
            said = "the ticked pictures"
        else:
            cases = chosen(found.cases, view, named_of(found, view))
            slice = SLICES[view.slice]
            left, right = self.hunts.roles(work)
            said = slice.format(left=left, right=right)
        if not cases:
            raise InputError("there is no picture in this choice")
        return Picked(work, plan, found, cases, view, said)

    def _saved(self, request: gr.Request,
               work: Callable[[], Iterator[Progress | tuple[str, bytes]]]) -> Iterator[Said]:
        def drawn(item: Progress | tuple[str, bytes]) -> Said:
            if isinstance(item, Progress):
                return status(item), gr.skip()
            return told(f"{item[0]} is ready: save it below."), ready(*item)

        return in_turn(self.gate, request, work, drawn, lambda line: (line, gr.skip()))

    def flips(self, request: gr.Request, *values: Any) -> Iterator[str]:
        def work() -> Iterator[Progress]:
            on = self._picked(request, *values)
            yield from single.flips(on.work.folder, on.plan, on.found, on.cases, self.library)
            yield Progress(f"Searched {len(on.cases)} pictures: each now says at which ε it flips.")

        yield from in_turn(self.gate, request, work, status, str)

    def bundles(self, request: gr.Request, *values: Any) -> Iterator[Said]:
        def work() -> Iterator[Progress | tuple[str, bytes]]:
            on = self._picked(request, *values)
            yield from single.bundles(on.work.folder, on.plan, on.found, on.cases, self.library)

        yield from self._saved(request, work)

    def report(self, request: gr.Request, *values: Any) -> Iterator[Said]:
        def work() -> Iterator[Progress | tuple[str, bytes]]:
            on = self._picked(request, *values)
            yield Progress("Making the report …")
            marks = {name: self.library.load(name).fingerprint for name in on.plan.models}
            roles = self.hunts.roles(on.work)
            sheet = Sheet(on.work.folder, on.found, roles, live=False)
            page = report(sheet, on.plan, on.work.title, on.cases, marks, on.said, on.view.axes)
            yield "failures.html", page.encode()

        yield from self._saved(request, work)

    def csv(self, request: gr.Request, *values: Any) -> Said:
        try:
            on = self._picked(request, *values)
        except InputError as error:
            return error_line(sentence(error)), gr.skip()
        text = as_csv(on.found, on.cases, on.plan.models)
        return (told(f"failures.csv has {len(on.cases):,} pictures: save it below."),
                ready("failures.csv", b"\xef\xbb\xbf" + text.encode()))

    def sheet(self, request: gr.Request, *values: Any) -> Said:
        try:
            on = self._picked(request, *values)
            raw = single.contact_sheet(on.work.folder, on.found, on.cases,
                                       self.hunts.roles(on.work))
        except InputError as error:
            return error_line(sentence(error)), gr.skip()
        few = min(len(on.cases), single.MOST_SHEET)
        left = f", the first of {len(on.cases):,}" if few < len(on.cases) else ""
        return (told(f"contact-sheet.png has {few} pictures{left}: save it below."),
                ready("contact-sheet.png", raw))


def named_of(found: Found, view: Filter) -> list[int]:
    """The captions with a line of their own in the matrix of a view's slice."""
    apart = [case for case in found.cases if view.slice in ("all", case.slice)]
    return named_answers(apart, view.axes)
