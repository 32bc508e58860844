"""The strong preset: several attacks in a row, each on the images that still stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.attacks.image.apgd import APGD, APGDT, judged, shown
from explorer.attacks.image.base import Climb, ImageAttack, Loss, Steps, setting, steps_setting
from explorer.attacks.image.square import MOST_QUERIES, Square
from explorer.attacks.objective import ask, part_of
from explorer.base.randomness import PerImage


def alone(attack: ImageAttack, loss: Loss, x: Tensor, random: PerImage) -> Climb:
    """An attack as a climb without a value: who calls judges the picture itself."""
    best = yield from attack.iterate(loss, x, random)
    return best, torch.zeros(len(x), device=x.device)


@dataclass(frozen=True)
class Strong(ImageAttack):
    """APGD on cross-entropy, then APGD towards each near wrong caption, then Square, each only on
    the images that the ones before left standing: unlike any of them alone, it is hardly fooled by
    a model that only hides its gradients.

    Deviations from AutoAttack: no FAB, fewer steps and queries, one run of each. For goals that
    tell no captions apart all three climb the goal's own score.
    """

    title = "Strong: APGD, APGD-T, then Square"
    source = "AutoAttack, Croce and Hein 2020, arXiv 2003.01690, section 6"

    steps: int = steps_setting(50)
    targeted_steps: int = setting(20, "Steps towards each wrong caption", "of APGD-T", low=1,
                                  high=200, step=1)
    targets: int = setting(3, "Wrong captions", "how many of the nearest ones APGD-T tries",
                           low=1, high=9, step=1)
    queries: int = setting(500, "Queries", "of Square, the black-box attack at the end", low=20,
                           high=MOST_QUERIES, step=20)

    @property
    def stages(self) -> tuple[ImageAttack, ...]:
        return (APGD(self.eps, self.norm, self.steps),
                APGDT(self.eps, self.norm, self.targeted_steps, self.targets),
                Square(self.eps, self.norm, self.queries))

    @property
    def total(self) -> int:
        return sum(stage.total for stage in self.stages)

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        clean, asked = x, ask(loss)
        left = torch.arange(len(x), device=x.device)
        best, best_value = clean, torch.full((len(x),), -torch.inf, device=x.device)
        for stage in self.stages:
            part = asked.subset(left)
            found, _ = yield from shown(best, left, alone(
                stage, part, clean[left], part_of(random, left)))
            best, best_value, left = judged(part, found, clean, best, best_value, left, self.ball)
            if not len(left):
                break
        return best
