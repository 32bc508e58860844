"""One batch of pictures under many attacks and behind many defences: what they share is done once.

Who does not know of a defence attacks the bare model, so one attack serves all defences.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor

from explorer.analysis import metrics
from explorer.analysis.evaluation.plan import Asked
from explorer.attacks.defences.guard import guarded
from explorer.attacks.defences.model import Defended
from explorer.attacks.engine import Step
from explorer.attacks.result import Result
from explorer.attacks.run import stream
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder


class Batch:
    """The pictures of a batch on one model. asked: all that will be asked of it."""

    def __init__(self, model: DualEncoder, pairs: Pairs, seed: int, asked: Sequence[Asked]) -> None:
        self.model, self.pairs, self.seed, self.asked = model, pairs, seed, asked
        self._right: dict[str, Tensor] = {}
        self._blind: dict[str, tuple[Tensor, Result]] = {}

    def guard(self, asked: Asked) -> DualEncoder:
        """The model as it is read for a column."""
        if asked.defence is None:
            return self.model
        return Defended(self.model, asked.defence, self.seed)

    def right(self, asked: Asked) -> Tensor:
        """(N,) bool: which clean pictures are read rightly behind the column's defence."""
        if asked.behind not in self._right:
            self._right[asked.behind] = metrics.right(self.guard(asked), self.pairs)
        return self._right[asked.behind]

    def still_right(self, asked: Asked) -> Iterator[Step | Tensor]:
        """Yields Steps, then (N,) bool: which pictures are right after the column's attack."""
        if asked.corruption is not None:
            yield metrics.right(self.guard(asked), asked.shown(self.pairs, self.seed))
            return
        correct = self.right(asked)
        if asked.attack is None:
            yield correct
        elif asked.defence is None or asked.aware:
            yield from metrics.still_right(self.guard(asked), asked.attack, self.pairs, correct,
                                           self.seed, asked.aware)
        else:
            yield (yield from self._unaware(asked, correct))

    def _unaware(self, asked: Asked, correct: Tensor) -> Generator[Step, None, Tensor]:
        after = correct.clone()
        if bool(correct.any()):
            places, result = yield from self._attacked(asked)
            where = torch.isin(places, correct.nonzero()[:, 0]).nonzero()[:, 0]
            defended = self.guard(asked)
            assert isinstance(defended, Defended)
            after[correct] = guarded(result.some(where), defended).correct_after
        return after

    def _attacked(self, asked: Asked) -> Generator[Step, None, tuple[Tensor, Result]]:
        """(places, result) of the attack on the bare model, on all pictures that any of its
        defences reads rightly."""
        key = json.dumps([asked.kind, asked.settings], sort_keys=True)
        if key not in self._blind:
            wanted = torch.zeros(len(self.pairs), dtype=torch.bool)
            for one in self.asked:
                if one.defence is not None and not one.aware and one.settings == asked.settings:
                    wanted |= self.right(one)
            part = Pairs(self.pairs.images[wanted], self.pairs.captions, self.pairs.labels[wanted])
            assert asked.attack is not None
            for event in stream(asked.attack, self.model, part, seed=self.seed):
                if isinstance(event, Step):
                    yield event
                else:
                    self._blind[key] = wanted.nonzero()[:, 0], event
        return self._blind[key]
