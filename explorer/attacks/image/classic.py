"""The classic image attacks, and the registry of them all: frozen settings and a generator that
yields the picture after each step (see `explorer.attacks.image.base`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from explorer.attacks.image.apgd import APGD, APGDDLR, APGDT, apgd_checkpoints
from explorer.attacks.image.base import (
    MAX_STEPS,
    Climb,
    ImageAttack,
    Loss,
    Steps,
    best_of,
    default_step,
    gradient,
    keep,
    restarts_setting,
    setting,
    step_setting,
    steps_setting,
)
from explorer.attacks.image.square import Square
from explorer.attacks.image.strong import Strong
from explorer.attacks.image.transfer import EOT, MIFGSM, Transfer
from explorer.attacks.image.universal import Universal
from explorer.base.randomness import PerImage

__all__ = [
    "APGD", "APGDDLR", "APGDT", "EOT", "FGSM", "IMAGE_ATTACKS", "MAX_STEPS", "MIFGSM", "PGD",
    "ImageAttack", "Loss", "Noise", "Square", "Steps", "Strong", "Transfer", "Universal",
    "apgd_checkpoints", "default_step", "gradient", "setting",
]


@dataclass(frozen=True)
class Noise(ImageAttack):
    """Random noise of full size: the control that every attack has to beat.

    L-inf: each value moves by +eps or -eps; L2: a Gaussian direction scaled to eps.
    """

    title = "Random noise (control)"
    source = "no method: a fair coin for each pixel value"
    blind = True

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        noise = random.uniform() - 0.5 if self.norm == "linf" else random.normal()
        moved = self.ball.project(x + self.eps * self.ball.direction(noise), x)
        yield moved
        return moved


@dataclass(frozen=True)
class FGSM(ImageAttack):
    """One step of full size along the gradient's sign (L-inf) or direction (L2)."""

    title = "FGSM: one step"
    source = "Goodfellow, Shlens, Szegedy 2015, arXiv 1412.6572, section 4"

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        _, grad = gradient(loss, x)
        moved = self.ball.project(x + self.eps * self.ball.direction(grad), x)
        yield moved
        return moved


@dataclass(frozen=True)
class PGD(ImageAttack):
    """Many small steps along the gradient, each projected back into the budget.

    Deviation: the best step is returned, not the last one. Restarts after the first begin at
    random points even where the first begins at the clean picture.
    """

    title = "PGD: many small steps"
    source = "Madry et al. 2018, arXiv 1706.06083, section 2.1"

    step: float | None = step_setting()
    steps: int = steps_setting(10)
    random_start: bool = setting(True, "Random start", "start from a random point in the budget")
    restarts: int = restarts_setting()

    def _climb(self, loss: Loss, clean: Tensor, random: PerImage, from_clean: bool) -> Climb:
        ball = self.ball
        x = clean if from_clean else ball.start(clean, random)
        best, best_value = x, torch.full((len(x),), -torch.inf, device=x.device)
        for _ in range(self.steps):
            value, grad = gradient(loss, x)
            better = value > best_value
            best, best_value = keep(better, x, best), torch.maximum(value, best_value)
            x = ball.project(x + self.step_size * ball.direction(grad), clean)
            yield x
        with torch.no_grad():
            value = loss(x)
        return keep(value >= best_value, x, best), torch.maximum(value, best_value)

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        again = partial(self._climb, loss, x, random, False)
        once = partial(self._climb, loss, x, random, not self.random_start)
        best, _ = yield from best_of([once, *[again] * (self.restarts - 1)])
        return best


IMAGE_ATTACKS: dict[str, type[ImageAttack]] = {
    "pgd": PGD, "fgsm": FGSM, "mi-fgsm": MIFGSM, "apgd": APGD, "apgd-dlr": APGDDLR,
    "apgd-t": APGDT, "square": Square, "transfer": Transfer, "eot": EOT, "strong": Strong,
    "universal": Universal, "noise": Noise,
}
