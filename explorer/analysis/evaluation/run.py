"""Runs a plan: an iterator of rows and progress that can be left at any step and taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from explorer.analysis.evaluation.cells import Cell, Cells, Refused, share_of
from explorer.analysis.evaluation.detection import Detection
from explorer.analysis.evaluation.keep import Parts, Store
from explorer.analysis.evaluation.plan import EvaluationPlan
from explorer.analysis.evaluation.rows import Row, Table
from explorer.analysis.evaluation.sets import Opened, open_all
from explorer.analysis.evaluation.watching import Watching
from explorer.base.errors import InputError
from explorer.base.processes import ALONE, Processes
from explorer.base.progress import Progress
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library


class Evaluation:
    """A plan being carried out. table: what is found so far.

    store: where results are kept; root: of the catalogue's sets; work: a folder that may hold an
    upload; device: as DualEncoder takes it; crew: the processes that share the work; titles: of
    sets, in the place of their own; given: sets that are at hand already, in the place of all.
    """

    def __init__(self, plan: EvaluationPlan, library: Library, store: Store | None = None,
                 root: str | Path | None = None, work: Path | None = None,
                 device: str | None = None, crew: Processes = ALONE, title: str = "",
                 titles: Mapping[str, str] | None = None,
                 given: tuple[Opened, ...] = ()) -> None:
        self.plan, self.library, self.crew = plan, library, crew
        self.store, self.device = store or Store(), device
        self.root, self.work, self.titles, self.given = root, work, titles, given
        self.table = Table.of(plan, title)
        self.done = self.total = 0
        self.noticed: dict[str, list[str]] = {}  # of each set, how its captions are read

    def steps(self) -> Iterator[Progress | Row | Detection]:
        """Yields Rows, unfinished ones too (`whole`), Detections, and Progress in images times
        attacks.

        What cannot be read or run is told in table.left_out, and the rest goes on. Raises
        InputError when nothing can be measured.
        """
        yield self._now("Opening the image sets …", kept=False)
        sets, refusals = (list(self.given), list[str]()) if self.given else open_all(
            self.plan, self.root, self.work, self.titles)
        self.table.left_out += refusals
        for one in sets:
            self.table.note_set(one.title, len(one.data), len(one.data.captions),
                                one.data.understood.sentences())
        self.total = len(self.plan.models) * self._images(sets)
        lines = self.crew.from_first(self.store.parts())
        for name in self.plan.models:
            yield self._now(f"Opening {name} …", kept=False)
            try:
                model = self.library.load(name, self.device)
            except InputError as error:
                self._leave_out(f"{name}: {error}")
                self.done += self._images(sets)
                continue
            yield from self._model(model, sets, lines)
        if not self.table.rows:
            raise InputError("; ".join(self.table.left_out))
        if self.crew.first:
            self.store.finish()
        self.done = self.total
        yield self._now("")

    def _model(self, model: DualEncoder, sets: list[Opened], lines: dict[str, Parts],
               ) -> Iterator[Progress | Row | Detection]:
        """One model on all sets; a set that turns out to be unreadable leaves the list."""
        for one in list(sets):
            try:
                yield from self._cells(model, one, lines)
                yield from self._watched(model, one)
            except InputError as error:
                self._leave_out(str(error))
                sets.remove(one)
            self.table.rows = [row for row in self.table.rows if row.whole]
            noticed = self.noticed.setdefault(one.title, [])
            noticed += [note for note in Cells.notes_of(model, one) if note not in noticed]
            self.table.read(one.title, one.data.report.sentences(), noticed)
            self.table.sort(self.plan)

    def _cells(self, model: DualEncoder, one: Opened, lines: dict[str, Parts],
               ) -> Iterator[Progress | Row]:
        """All attacks on one model and set: kept ones first."""
        pending = []
        for asked in self.plan.asked:
            cell = Cell(self.plan.key(asked, model.fingerprint, one.digest), asked)
            found = self.crew.from_first(self.store.get(cell.key))
            if found is None:
                pending.append(cell)
                continue
            row = replace(found, data=one.title, model=model.card.id, attack=asked.name,
                          eps=asked.eps, defence=asked.behind, aware=asked.aware,
                          severity=asked.severity)
            self.table.put(row)
            self.done += share_of(len(one.data), self.plan, self.crew)
            yield row
        if not pending:
            return
        job = Cells(self.plan, model, one, pending, lines, self.store, self.crew)
        yield self._now(job.title, kept=False)
        for event in job.steps():
            if isinstance(event, Row):
                self.table.put(event)
                yield event
            elif isinstance(event, Refused):
                self._leave_out(event.sentence)
            else:
                self.done += event.images
                yield self._now(event.text, event.kept)

    def _watched(self, model: DualEncoder, one: Opened) -> Iterator[Progress | Detection]:
        """All detectors on one model and set: what is kept first."""
        pending = {}
        for asked in self.plan.watched:
            key = self.plan.watch_key(asked, model.fingerprint, one.digest)
            found = self.crew.from_first(self.store.detection(key))
            if found is None:
                pending[key] = asked
                continue
            self.table.detections.append(replace(found, data=one.title, model=model.card.id))
            self.done += share_of(len(one.data), self.plan, self.crew)
            yield self.table.detections[-1]
        for event in Watching(self.plan, model, one, pending, self.crew).steps() if pending else ():
            if isinstance(event, Refused):
                self._leave_out(event.sentence)
            elif isinstance(event, tuple):
                key, found = event
                if self.crew.first:
                    self.store.put_detection(key, found, {
                        "weights": model.fingerprint, "set": one.digest, "seed": self.plan.seed,
                        "limit": self.plan.limit})
                self.table.detections.append(found)
                yield found
            else:
                self.done += event.images
                yield self._now(event.text, event.kept)

    def _leave_out(self, sentence: str) -> None:
        if sentence not in self.table.left_out:
            self.table.left_out.append(sentence)

    def _images(self, sets: list[Opened]) -> int:
        """Images times attacks of one model, as far as they are this process's."""
        columns = len(self.plan.asked) + len(self.plan.watched)
        return columns * sum(share_of(len(one.data), self.plan, self.crew) for one in sets)

    def _now(self, text: str, kept: bool = True) -> Progress:
        return Progress(text, self.done, self.total, kept)
