"""One model on one set before its detectors: the scores that are not there yet."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from explorer.analysis import metrics
from explorer.analysis.evaluation.cells import Refused, Tick
from explorer.analysis.evaluation.detection import Detection
from explorer.analysis.evaluation.plan import EvaluationPlan
from explorer.analysis.evaluation.sets import Opened
from explorer.analysis.evaluation.watched import Watched
from explorer.attacks.defences.detect import evade, scores
from explorer.attacks.engine import Step
from explorer.attacks.run import stream
from explorer.base.errors import InputError
from explorer.base.processes import Processes
from explorer.data.pairs import Pairs
from explorer.data.sets import Examples
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import twins

Scores = tuple[list[float], list[float]]  # of clean photos, and of attacked ones that fool


@dataclass
class Watching:
    """pending: what to measure, by the name under which it is kept."""

    plan: EvaluationPlan
    model: DualEncoder
    one: Opened
    pending: dict[str, Watched]
    crew: Processes
    refused: dict[str, str] = field(default_factory=dict)

    def steps(self) -> Iterator[Tick | Refused | tuple[str, Detection]]:
        """Yields Ticks, and (key, Detection) of each at the end; Refused in its place where there
        is nothing to measure. Raises InputError when the set cannot be read."""
        data, batch = self.one.data, self.plan.batch
        assert isinstance(data, Examples)
        same = twins(self.model.tokenize, data.captions)
        found: dict[str, dict[int, Scores]] = {key: {} for key in self.pending}
        own = self.crew.part(-(-len(data) // batch))
        for number, places, images in data.chunks(self.model.frame, batch, own):
            labels = torch.tensor([data.labels[place] for place in places], dtype=torch.long)
            pairs = metrics.judged(Pairs(images, data.captions, labels), same)
            right = metrics.right(self.model, pairs) if len(pairs) else torch.empty(0).bool()
            part = Pairs(pairs.images[right], pairs.captions, pairs.labels[right])
            size = min(batch, len(data) - number * batch)
            yield from self._batch(found, number, part, size)
        whole = {key: _joined(told, key) for told in [self.crew.gather(found)] for key in found}
        for told in self.crew.gather(self.refused):
            self.refused |= told
        yield from self._ended(whole)

    def _batch(self, found: dict[str, dict[int, Scores]], number: int, part: Pairs, size: int,
               ) -> Iterator[Tick]:
        blind: dict[str, Tensor] = {}
        for key, asked in self.pending.items():
            if len(part) and key not in self.refused:
                try:
                    found[key][number] = yield from self._scored(asked, part, blind)
                except InputError as error:
                    self.refused[key] = f"the detector {asked.name}: {error}"
            yield Tick(size, f"{self.model.card.id} on {self.one.title}, detectors", kept=False)

    def _scored(self, asked: Watched, part: Pairs, blind: dict[str, Tensor],
                ) -> Generator[Tick, None, Scores]:
        seed, detector = self.plan.seed, asked.detector
        known = json.dumps(asked.settings, sort_keys=True)
        if asked.aware:
            pictures = yield from self._evading(asked, part)
        else:
            if known not in blind:  # who does not know of a detector attacks alike for all
                blind[known] = yield from self._blind(asked, part)
            pictures = blind[known]
        fooled = ~metrics.right(self.model, Pairs(pictures, part.captions, part.labels))
        clean = scores(detector, self.model, part.images, seed).tolist()
        return clean, scores(detector, self.model, pictures[fooled], seed).tolist() if bool(
            fooled.any()) else []

    def _evading(self, asked: Watched, part: Pairs) -> Generator[Tick, None, Tensor]:
        for event in evade(asked.detector, asked.attack, self.model, part, self.plan.seed):
            if isinstance(event, Tensor):
                return event.cpu()
            yield self._doing(asked, event)
        raise AssertionError("an attack ended without its pictures")

    def _blind(self, asked: Watched, part: Pairs) -> Generator[Tick, None, Tensor]:
        for event in stream(asked.attack, self.model, part, seed=self.plan.seed):
            if not isinstance(event, Step):
                return event.adversarial_images
            yield self._doing(asked, event.index)
        raise AssertionError("an attack ended without its result")

    def _doing(self, asked: Watched, step: int) -> Tick:
        return Tick(0, f"{self.model.card.id} on {self.one.title}, detector {asked.name}: step "
                       f"{step} of an attacker who {'knows' if asked.aware else 'does not know'} "
                       "of it", kept=False)

    def _ended(self, whole: dict[str, Scores]) -> Iterator[Refused | tuple[str, Detection]]:
        for key, asked in self.pending.items():
            clean, attacked = whole[key]
            if key in self.refused:
                yield Refused(self.refused[key])
            elif not clean:
                yield Refused(f"{self.model.card.id} reads none of the photos of {self.one.title} "
                              "rightly, so there is nothing to detect")
            else:
                yield key, Detection(self.one.title, self.model.card.id, asked.name,
                                     asked.settings, asked.aware, tuple(clean), tuple(attacked))


def _joined(told: Sequence[dict[str, dict[int, Scores]]], key: str) -> Scores:
    """What all processes found, in the order of the set."""
    parts = {number: own for one in told for number, own in one[key].items()}
    return ([s for k in sorted(parts) for s in parts[k][0]],
            [s for k in sorted(parts) for s in parts[k][1]])
