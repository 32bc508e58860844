"""Auto-PGD and its losses: cross-entropy, DLR, and DLR towards each near wrong caption in turn."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from explorer.attacks.budgets import Ball
from explorer.attacks.goals import Goal, Misclassify
from explorer.attacks.image.base import (
    Climb,
    ImageAttack,
    Loss,
    Steps,
    best_of,
    gradient,
    keep,
    restarts_setting,
    setting,
    steps_setting,
)
from explorer.attacks.objective import Objective, Plain, ask, dlr, part_of
from explorer.base.randomness import PerImage


def apgd_checkpoints(steps: int) -> list[int]:
    """Steps at which APGD decides on its step size: p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03,
    0.06), p_0 = 0, p_1 = 0.22, each times the number of steps, rounded up (section 3.2)."""
    parts = [0, 22]  # in percent: whole numbers, so that rounding up is exact
    while parts[-1] < 100:
        parts.append(parts[-1] + max(parts[-1] - parts[-2] - 3, 6))
    return sorted({-(-p * steps // 100) for p in parts if 0 < p <= 100})


def climb(loss: Loss, clean: Tensor, ball: Ball, steps: int, random: PerImage) -> Climb:
    """One run of algorithm 1 from a random point: yields each step, returns the best and its
    loss (N,)."""
    n, size = len(clean), torch.full((len(clean), 1, 1, 1), 2 * ball.eps, device=clean.device)
    x = before = ball.start(clean, random)
    value, grad = gradient(loss, x)
    best, best_grad, best_value = x, grad, value
    checks = apgd_checkpoints(steps)
    last, rises = 0, torch.zeros(n, device=x.device)
    value_then, size_then = best_value, size
    for k in range(1, steps + 1):
        ahead = ball.project(x + size * ball.direction(grad), clean)
        pull = 0.75 if k > 1 else 1.0
        moved = ball.project(x + pull * (ahead - x) + (1 - pull) * (x - before), clean)
        before, x = x, moved
        yield x
        old, (value, grad) = value, gradient(loss, x)
        rises = rises + (value > old)
        better = value > best_value
        best, best_grad = keep(better, x, best), keep(better, grad, best_grad)
        best_value = torch.maximum(value, best_value)
        if k in checks:
            stalled = rises < 0.75 * (k - last)
            stuck = (size == size_then).flatten() & (best_value <= value_then)
            halve = stalled | stuck
            value_then, size_then = best_value, size
            size = keep(halve, size / 2, size)
            x, grad = keep(halve, best, x), keep(halve, best_grad, grad)
            value = torch.where(halve, best_value, value)
            before = keep(halve, x, before)
            last, rises = k, torch.zeros_like(rises)
    return best, best_value


@dataclass(frozen=True)
class APGD(ImageAttack):
    """PGD that sets its own step size: starts at 2 eps, halves when progress stalls, and goes on
    from the best point so far. On cross-entropy this is APGD-CE.

    Deviation: after a return to the best point the momentum term starts again from zero.
    """

    title = "APGD: sets its own step size"
    source = "Croce and Hein 2020, arXiv 2003.01690, algorithm 1"

    steps: int = steps_setting(20)
    restarts: int = restarts_setting()

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        one = partial(climb, loss, x, self.ball, self.steps, random)
        best, _ = yield from best_of([one] * self.restarts)
        return best


@dataclass(frozen=True)
class APGDDLR(APGD):
    """APGD on the difference of logits ratio, which no rescaling of the logits can flatten.

    Deviations: with two captions, where the ratio is constant, the plain difference; for goals
    that tell no captions apart (similarity, embedding), the goal's own score.
    """

    title = "APGD-DLR: on the difference of answers"
    source = "Croce and Hein 2020, arXiv 2003.01690, section 4, equation 6"

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        best = yield from super().iterate(ask(loss).using(dlr), x, random)
        return best


def wrong_captions(loss: Objective | Plain, x: Tensor, most: int) -> Tensor | None:
    """(N, T) the T <= most wrong captions that the model finds likeliest, likeliest first; None
    where the goal is not to be wrong in any way."""
    if not isinstance(loss, Objective) or not isinstance(loss.aim, Misclassify):
        return None
    logits = loss.logits(x)
    assert logits is not None
    others = logits.scatter(1, loss.aim.labels[:, None], -torch.inf)
    return others.topk(min(most, others.shape[1] - 1), dim=1).indices


def towards(targets: Tensor, aim: Goal, image: Tensor, text: Tensor) -> Tensor:
    """The DLR loss towards targets (N,), a Measure once the targets are given."""
    assert isinstance(aim, Misclassify)
    return aim.dlr_towards(image, text, targets)


@dataclass(frozen=True)
class APGDT(ImageAttack):
    """APGD towards each of the nearest wrong captions in turn, on the targeted DLR loss; an image
    that is broken is left alone after that.

    Deviations: with fewer than four captions the ratio divides by what there is. With a caption
    chosen as target, or a goal that tells no captions apart, it is APGD-DLR.
    """

    title = "APGD-T: towards each wrong caption"
    source = "Croce and Hein 2020, arXiv 2003.01690, section 4, equation 7"

    steps: int = steps_setting(20)
    targets: int = setting(9, "Wrong captions", "how many of the nearest ones to try, each with "
                           "all steps", low=1, high=9, step=1)

    @property
    def total(self) -> int:
        return self.steps * self.targets

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        clean, asked = x, ask(loss)
        places = wrong_captions(asked, clean, self.targets)
        if places is None:
            best, _ = yield from climb(asked.using(dlr), clean, self.ball, self.steps, random)
            return best
        best, best_value = clean, torch.full((len(x),), -torch.inf, device=x.device)
        left = torch.arange(len(x), device=x.device)
        for turn in range(places.shape[1]):
            part = asked.subset(left)
            aimed = part.using(partial(towards, places[left, turn]))
            found, _ = yield from shown(best, left, climb(
                aimed, clean[left], self.ball, self.steps, part_of(random, left)))
            best, best_value, left = judged(part.using(dlr), found, clean, best, best_value, left,
                                            self.ball)
            if not len(left):
                break
        return best


def shown(whole: Tensor, rows: Tensor, steps: Generator[Tensor, None, tuple[Tensor, Tensor]],
          ) -> Climb:
    """The steps of some images inside the whole batch."""
    while True:
        try:
            picture = next(steps)
        except StopIteration as stop:
            found: tuple[Tensor, Tensor] = stop.value
            return found
        yield whole.index_copy(0, rows, picture)


def judged(part: Objective | Plain, found: Tensor, clean: Tensor, best: Tensor,
           best_value: Tensor, left: Tensor, ball: Ball) -> tuple[Tensor, Tensor, Tensor]:
    """The best pictures and values after `found` was tried on the images `left`, and the images
    that are still not broken: judged as they would be saved, on the 8-bit grid."""
    value, hit = part.look(ball.quantise(found, clean[left]))
    better = hit | (value > best_value[left])
    best = best.index_copy(0, left, keep(better, found, best[left]))
    best_value = best_value.index_copy(0, left, torch.where(better, value, best_value[left]))
    return best, best_value, left[~hit]
