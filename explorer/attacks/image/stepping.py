"""A turn at the pixels: the steps of an image attack, recorded, and in parts where memory is
short."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from explorer.attacks.image.classic import ImageAttack
from explorer.attacks.objective import Objective
from explorer.base.randomness import PerImage

MOST_FRAMES = 40


@dataclass(frozen=True)
class Step:
    """Progress: step `index` of `total` of one half is done. what: "image" or "text"."""

    index: int
    total: int
    what: str = "image"


@dataclass
class Moment:
    """One recorded step of image 0: its picture, its own caption, and after which step."""

    pixels: Tensor
    caption: str
    step: int


@dataclass
class Log:
    """What a run counts and records on the way. queries: model passes for one image."""

    record: bool = False
    queries: int = 0
    step: int = 0
    moments: list[Moment] = field(default_factory=list)
    tried: int = 0
    refused: int = 0

    def add(self, pixels: Tensor, caption: str) -> None:
        if self.record:
            self.moments.append(Moment(pixels.cpu(), caption, self.step))


class Climb:
    """The steps of one attack on all images of a loss. caption: image 0's own, for the log."""

    def __init__(self, attack: ImageAttack, loss: Objective, seed: int, log: Log,
                 caption: str) -> None:
        self.attack, self.loss, self.seed = attack, loss, seed
        self.log, self.caption = log, caption
        self._before, self._known = log.step, len(log.moments)
        self._stride = max(1, -(-attack.total // MOST_FRAMES))

    def part(self, rows: slice) -> Generator[Step, None, Tensor]:
        """Yields the steps of some of the images; returns their best pictures, not yet rounded.

        May be called again for the same images, as if they had never been tried. An image's
        random numbers are its own, so parts find what the whole would have found.
        """
        n, total, first = len(self.loss.clean), self.attack.total, rows.start == 0
        loss = self.loss
        if rows != slice(0, n):
            loss = loss.subset(torch.arange(rows.start, rows.stop, device=loss.clean.device))
        loss.counts[loss.rows] = 0
        if first:
            del self.log.moments[self._known :]
        index, steps = 0, self.attack.iterate(loss, loss.clean, PerImage(self.seed, loss.clean))
        while True:
            try:
                picture = next(steps)
            except StopIteration as stop:
                raw: Tensor = stop.value
                break
            index += 1
            if first:
                self.log.step = self._before + index
                if index % self._stride == 0 or index == total:
                    self._record(picture)
            done = (rows.start * total + (rows.stop - rows.start) * index) // n if n else index
            yield Step(done, total)
        if first and index % self._stride and index != total:  # it ended early
            self._record(raw)
        return raw

    def _record(self, picture: Tensor) -> None:
        if self.log.record:
            clean = self.loss.clean[:1]
            self.log.add(self.attack.ball.quantise(picture[:1], clean)[0], self.caption)
