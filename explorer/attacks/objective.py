"""What an attack may ask of a model: how good a picture is for it, the answer to each caption, and
whether the goal is met. Every question is counted, image by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from explorer.attacks.goals import Classification, Drift, Goal
from explorer.attacks.image.base import Loss
from explorer.base.randomness import PerImage
from explorer.models.encoder import DualEncoder

Measure = Callable[[Goal, Tensor, Tensor], Tensor]
"""(goal, image features, text features) -> (N,), larger is better for the attacker."""


def goal_score(aim: Goal, image: Tensor, text: Tensor) -> Tensor:
    return aim.score(image, text)


def dlr(aim: Goal, image: Tensor, text: Tensor) -> Tensor:
    """The goal's DLR loss; where the goal has no captions to tell apart, its own score."""
    return aim.dlr(image, text) if isinstance(aim, Classification) else aim.score(image, text)


def margin(aim: Goal, image: Tensor, text: Tensor) -> Tensor:
    """The goal's margin, above 0 when it is met; without captions to tell apart, its score."""
    return aim.margin(image, text) if isinstance(aim, Classification) else aim.score(image, text)


@dataclass(frozen=True, eq=False)
class Objective:
    """loss(x) -> (N,) for N pictures, to be maximised; by default the goal's own score.

    clean: (N, 3, H, W) the pictures before the attack; text: (K, D), or (N, K, D) where each image
    has captions of its own. fast: answer in the device's low precision (`reached` and `look`
    never do). counts: (M,) forward passes of each image of the whole run, shared by the parts
    that `subset` makes; rows: (N,) the places of ours in it.
    """

    model: DualEncoder
    aim: Goal
    text: Tensor
    clean: Tensor
    seed: int = 0
    measure: Measure = goal_score
    fast: bool = True
    counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))

    @classmethod
    def of(cls, model: DualEncoder, aim: Goal, text: Tensor, clean: Tensor,
           seed: int = 0) -> Objective:
        """The objective of a run that begins: nothing counted yet."""
        n = len(clean)
        return cls(model, aim, text, clean, seed, counts=torch.zeros(n, dtype=torch.long),
                   rows=torch.arange(n))

    def _features(self, x: Tensor, fast: bool) -> Tensor:
        self.counts[self.rows] += 1
        if isinstance(self.aim, Drift):  # its gradient is zero just at the clean picture
            still = (x == self.clean).flatten(1).all(1)
            if bool(still.any()):
                nudge = (PerImage(self.seed, self.clean).uniform() - 0.5) / 255
                x = x + nudge * still.view(-1, 1, 1, 1)
        return self.model.encode_image(x, fast=fast)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N,), differentiable."""
        return self.measure(self.aim, self._features(x, self.fast), self.text)

    @torch.no_grad()
    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) value and (N,) bool whether the goal is met; full precision, no gradient, one
        forward pass."""
        features = self._features(x, fast=False)
        return (self.measure(self.aim, features, self.text),
                self.aim.reached(features, self.text))

    def reached(self, x: Tensor) -> Tensor:
        return self.look(x)[1]

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor | None:
        """(N, K) scaled cosines in full precision; None where the goal is no classification."""
        if not isinstance(self.aim, Classification):
            return None
        return self.aim.logits(self._features(x, fast=False), self.text)

    def using(self, measure: Measure) -> Objective:
        """The same questions with another loss."""
        return replace(self, measure=measure)

    def subset(self, rows: Tensor) -> Objective:
        """The objective of some of the images: rows (n,) are places among ours."""
        text = self.text if self.text.dim() == 2 else self.text[rows]
        return replace(self, aim=self.aim.subset(rows), text=text, clean=self.clean[rows],
                       rows=self.rows[rows.to(self.rows.device)])

    @property
    def queries(self) -> int:
        """Forward passes of the image that took most."""
        return int(self.counts.max()) if len(self.counts) else 0


@dataclass(frozen=True, eq=False)
class Plain:
    """A bare function (N, 3, H, W) -> (N,) behind the same questions: it has no captions, and no
    goal that could be met, so attacks go on to their end with its values."""

    loss: Loss

    def __call__(self, x: Tensor) -> Tensor:
        return self.loss(x)

    @torch.no_grad()
    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value = self.loss(x)
        return value, torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def reached(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def logits(self, x: Tensor) -> Tensor | None:
        return None

    def using(self, measure: Measure) -> Plain:
        return self

    def subset(self, rows: Tensor) -> Plain:
        """Itself: as no image is ever done, the part is always the whole."""
        return self


def ask(loss: Loss) -> Objective | Plain:
    """The loss as something that answers all questions."""
    return loss if isinstance(loss, Objective | Plain) else Plain(loss)


def part_of(random: PerImage, rows: Tensor) -> PerImage:
    """The random numbers of some images; both go on drawing from the same generators."""
    part = PerImage.__new__(PerImage)
    part.shape, part.device = random.shape, random.device
    part.generators = [random.generators[k] for k in rows.tolist()]
    return part
