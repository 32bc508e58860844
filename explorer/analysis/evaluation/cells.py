"""One model on one set under several attacks: the cells of a table that are not there yet.

Each batch is decoded once and read clean once for all attacks. With several processes each takes
every n-th batch, and all end with the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from explorer.analysis import metrics, retrieval
from explorer.analysis.evaluation.behind import Batch
from explorer.analysis.evaluation.keep import Parts, Store
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan
from explorer.analysis.evaluation.rows import ACCURACY, Row, Score, retrieval_row
from explorer.analysis.evaluation.sets import Opened
from explorer.attacks.engine import Step
from explorer.base.errors import InputError
from explorer.base.processes import Processes
from explorer.data.pairs import Pairs
from explorer.data.sets import Examples, RetrievalSet
from explorer.data.tasks import RETRIEVAL
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import caption_notes, twins, unjudged


@dataclass(frozen=True)
class Cell:
    """key: the name under which it is kept."""

    key: str
    asked: Asked


@dataclass(frozen=True)
class Tick:
    """images: so many more are done for one attack; kept: safe on disk."""

    images: int
    text: str
    kept: bool = True


@dataclass(frozen=True)
class Refused:
    """An attack that cannot be run here, and why."""

    sentence: str


Event = Tick | Row | Refused


def share_of(images: int, plan: EvaluationPlan, crew: Processes) -> int:
    """How many of so many images are this process's."""
    return sum(min(plan.batch, images - k * plan.batch)
               for k in crew.part(-(-images // plan.batch)))


@dataclass
class Cells:
    """pending: cells to measure; lines: what is known of them from an earlier start."""

    plan: EvaluationPlan
    model: DualEncoder
    one: Opened
    pending: Sequence[Cell]
    lines: dict[str, Parts]
    store: Store
    crew: Processes
    refused: dict[str, str] = field(default_factory=dict)

    @cached_property
    def same(self) -> dict[int, int]:
        """Captions that the model cannot tell from another one: their images are not judged."""
        return twins(self.model.tokenize, self.one.data.captions)

    @staticmethod
    def notes_of(model: DualEncoder, one: Opened) -> list[str]:
        """What a person should know of how the model reads the captions."""
        name, data = model.card.id, one.data
        found = caption_notes(name, model.tokenize, data.captions)
        if isinstance(data, RetrievalSet):
            try:
                said = retrieval.told_apart(model, data)[1]
            except InputError:  # said where it was to be measured
                said = ""
            return [*found, said] if said else found
        same = twins(model.tokenize, data.captions)
        own = sum(label in same for label in data.labels)
        return [*found, unjudged(name, own)] if own else found

    def steps(self) -> Iterator[Event]:
        """Raises InputError when the set cannot be read."""
        return self._retrieve() if self.plan.task == RETRIEVAL else self._classify()

    @property
    def title(self) -> str:
        return f"{self.model.card.id} on {self.one.title}"

    def _finish(self, cell: Cell, row: Row) -> Row:
        if self.crew.first:
            self.store.put(cell.key, row, {
                "task": self.plan.task, "weights": self.model.fingerprint, "set": self.one.digest,
                "settings": cell.asked.settings, "seed": self.plan.seed, "limit": self.plan.limit})
        return row

    # -- classification --------------------------------------------------------------------------

    def _part(self, cell: Cell) -> str:
        """Under which name its batches are noted: of another size, they are others."""
        return f"{cell.key}-{self.plan.batch}"

    def _classify(self) -> Iterator[Event]:
        parts = {c.key: dict(self.lines.get(self._part(c), {})) for c in self.pending}
        batch, n = self.plan.batch, len(self.one.data)
        own = self.crew.part(-(-n // batch))
        for cell in self.pending:
            yield Tick(sum(self._size(k) for k in own if k in parts[cell.key]), self.title)
        todo = [k for k in own if any(k not in found for found in parts.values())]
        if todo:
            self.model.encode_text(self.one.data.captions)  # no attack's time
        fault = ""
        try:
            for chunk in self.one.data.chunks(self.model.frame, batch, todo):
                yield from self._batch(parts, *chunk)
        except InputError as error:
            fault = str(error)
        self._gather(parts, fault)
        for cell in self.pending:
            if cell.key in self.refused:
                yield Refused(self.refused[cell.key])
            else:
                yield self._finish(cell, self._row(cell.asked, parts[cell.key], True))

    def _gather(self, parts: dict[str, Parts], fault: str) -> None:
        """Adds what the other processes found. Raises the InputError of any of them."""
        told = self.crew.gather((parts, self.refused, fault))
        for found, refused, _ in told:
            self.refused |= refused
            for key, own in found.items():
                parts[key].update(own)
        for _, _, sentence in told:
            if sentence:
                raise InputError(sentence)
        whole = [parts[c.key] for c in self.pending if c.key not in self.refused]
        if whole and not any(hits for hits, _ in whole[0].values()):
            if self.same:
                raise InputError(f"{self.title}: nothing can be judged, as to this model captions "
                                 "are the same as others")
            raise InputError(self.one.data.unreadable)

    def _size(self, number: int) -> int:
        return min(self.plan.batch, len(self.one.data) - number * self.plan.batch)

    def _batch(self, parts: dict[str, Parts], number: int, places: list[int], images: Tensor,
               ) -> Iterator[Event]:
        """Every attack on one batch of pictures."""
        assert isinstance(self.one.data, Examples)
        began = time.perf_counter()
        labels = torch.tensor([self.one.data.labels[place] for place in places], dtype=torch.long)
        pairs = metrics.judged(Pairs(images, self.one.data.captions, labels), self.same)
        read = Batch(self.model, pairs, self.plan.seed, [cell.asked for cell in self.pending])
        for cell in self.pending:
            if number in parts[cell.key] or cell.key in self.refused:
                continue
            hits = torch.empty(0).bool()
            try:
                for event in read.still_right(cell.asked) if len(pairs) else ():
                    if isinstance(event, Step):
                        yield Tick(0, self._doing(cell, number, event), kept=False)
                    else:
                        hits = event
            except InputError as error:
                self.refused[cell.key] = f"the attack {cell.asked.name}: {error}"
                continue
            said = "".join("1" if hit else "0" for hit in hits.tolist())
            parts[cell.key][number] = (said, time.perf_counter() - began)
            self.store.add([(self._part(cell), number, *parts[cell.key][number])])
            yield self._row(cell.asked, parts[cell.key], False)
            yield Tick(self._size(number), self.title)
            began = time.perf_counter()

    def _doing(self, cell: Cell, number: int, step: Step) -> str:
        first = number * self.plan.batch
        return (f"{self.title}, attack “{cell.asked.name}”: images {first + 1} to "
                f"{first + self._size(number)} of {len(self.one.data)}, step {step.index} of "
                f"{step.total}")

    def _row(self, asked: Asked, found: Parts, whole: bool) -> Row:
        hits = "".join(found[k][0] for k in sorted(found))
        return Row(**self._named(asked), n=len(hits),
                   scores={ACCURACY: Score(hits.count("1"), len(hits))},
                   seconds=sum(seconds for _, seconds in found.values()), whole=whole)

    def _named(self, asked: Asked) -> dict[str, Any]:
        return {"data": self.one.title, "model": self.model.card.id, "attack": asked.name,
                "kind": asked.kind, "eps": asked.eps, "norm": asked.norm,
                "drawn": len(self.one.data), "defence": asked.behind, "aware": asked.aware,
                "severity": asked.severity}

    # -- retrieval -------------------------------------------------------------------------------

    def _retrieve(self) -> Iterator[Event]:
        for cell in self.pending:
            try:
                yield from self._searched(cell)
            except InputError as error:
                if str(error) == self.one.data.unreadable:
                    raise
                yield Refused(f"the attack {cell.asked.name} on {self.one.title}: {error}")

    def _searched(self, cell: Cell) -> Iterator[Event]:
        """Recall under one attack. Only whole cells are kept: all images meet all captions."""
        assert isinstance(self.one.data, RetrievalSet)
        noted, share = 0, share_of(len(self.one.data), self.plan, self.crew)
        for event in retrieval.stream_retrieval(
                self.model, cell.asked.attack, self.one.data, seed=self.plan.seed,
                batch=self.plan.batch, crew=self.crew):
            if isinstance(event, Step):
                yield Tick(0, f"{self.title}, attack “{cell.asked.name}”: step {event.index} of "
                           f"{event.total}", kept=False)
            elif isinstance(event, retrieval.Retrieval):
                yield self._finish(cell, retrieval_row(event, **self._named(cell.asked)))
                yield Tick(share - noted, self.title)
            else:
                now = min(share, event.done // self.crew.count)
                yield Tick(now - noted, self.title, kept=False)
                noted = now
