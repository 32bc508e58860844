"""Image attacks: frozen settings and a generator that yields the picture after each step.

An attack sees loss(x) -> (N,) to be maximised, never the model. What it returns at the end is its
best picture; `explorer.attacks.run` rounds it to 8 bits, checks and measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from explorer.budgets import NORMS, Ball
from explorer.errors import InputError
from explorer.randomness import PerImage

Loss = Callable[[Tensor], Tensor]
Steps = Generator[Tensor, None, Tensor]
MAX_STEPS = 1000


def setting(default: Any, label: str, help: str, **form: Any) -> Any:
    """A dataclass field that also describes its form control: low, high, step, unit, choices."""
    return field(default=default, metadata={"label": label, "help": help, **form})


def gradient(loss: Loss, x: Tensor) -> tuple[Tensor, Tensor]:
    """Loss (N,) and its gradient with respect to x only; nothing is left on x or the weights."""
    x = x.detach().requires_grad_(True)
    value = loss(x)
    (grad,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), grad


def _keep(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old)


def _whole_steps(steps: object) -> None:
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MAX_STEPS:
        raise InputError(f"steps must be a whole number from 1 to {MAX_STEPS}, not {steps}")


def default_step(eps: float, norm: str, steps: int) -> float:
    """A step size for PGD when none is given, above 0, in the unit of eps.

    L-inf up to 4/255: one grey level, as in MMCoA (Zhou et al. 2024, arXiv 2404.19287).
    Otherwise 2.5 eps / steps (Madry et al. 2018), enough to cross the whole ball.
    """
    if norm == "linf" and eps <= 4 / 255:
        return 1 / 255
    return 2.5 * eps / max(steps, 1) or 1 / 255


@dataclass(frozen=True)
class ImageAttack:
    """What all image attacks share: the budget."""

    title: ClassVar[str]
    source: ClassVar[str]

    eps: float = setting(1 / 255, "Budget ε", "largest change a pixel may have, in grey levels",
                         low=0, high=16 / 255, step=1 / 255, unit="/255")
    norm: str = setting("linf", "Norm", "linf: every pixel by at most ε; l2: the whole change",
                        choices=NORMS)

    def __post_init__(self) -> None:
        self.ball  # noqa: B018 - checks eps and norm
        if hasattr(self, "steps"):
            _whole_steps(self.steps)
        step = getattr(self, "step", None)
        if step is not None and not 0 < step < float("inf"):
            raise InputError("the step size must be a finite number above 0")
        if not 0 <= getattr(self, "momentum", 0) < float("inf"):
            raise InputError("the momentum must be a finite number of at least 0")

    @property
    def ball(self) -> Ball:
        return Ball(self.norm, self.eps)

    @property
    def total(self) -> int:
        """How many pictures `iterate` yields."""
        return int(getattr(self, "steps", 1))

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        """x: (N, 3, H, W) clean pixels. Yields after each step, returns the best picture."""
        raise NotImplementedError


@dataclass(frozen=True)
class Noise(ImageAttack):
    """Random noise of full size: the control that every attack has to beat.

    L-inf: each value moves by +eps or -eps; L2: a Gaussian direction scaled to eps.
    """

    title = "Random noise (control)"
    source = "no method: a fair coin for each pixel value"

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

    Deviation: the best step is returned, not the last one.
    """

    title = "PGD: many small steps"
    source = "Madry et al. 2018, arXiv 1706.06083, section 2.1"

    step: float = setting(1 / 255, "Step size",
                          "how far one step goes, in grey levels; with L2 a fitting step is chosen",
                          low=0.25 / 255, high=8 / 255, step=0.25 / 255, unit="/255")
    steps: int = setting(10, "Steps", "how many steps", low=1, high=200, step=1)
    random_start: bool = setting(True, "Random start", "start from a random point in the budget")

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        clean, ball = x, self.ball
        x = ball.start(clean, random) if self.random_start else clean
        best, best_value = x, torch.full((len(x),), -torch.inf, device=x.device)
        for _ in range(self.steps):
            value, grad = gradient(loss, x)
            better = value > best_value
            best, best_value = _keep(better, x, best), torch.maximum(value, best_value)
            x = ball.project(x + self.step * ball.direction(grad), clean)
            yield x
        with torch.no_grad():
            return _keep(loss(x) >= best_value, x, best)


@dataclass(frozen=True)
class MIFGSM(ImageAttack):
    """Steps along an accumulated gradient; transfers better to other models.

    Deviation: the gradient is divided by its mean absolute value, a constant times its L1 norm.
    """

    title = "MI-FGSM: steps with momentum"
    source = "Dong et al. 2018, arXiv 1710.06081, algorithm 1"

    steps: int = setting(10, "Steps", "each of size ε / steps", low=1, high=200, step=1)
    momentum: float = setting(1.0, "Momentum μ", "how much earlier gradients count",
                              low=0.0, high=2.0, step=0.1)

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        clean, memory = x, torch.zeros_like(x)
        for _ in range(self.steps):
            _, grad = gradient(loss, x)
            size = grad.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
            memory = self.momentum * memory + grad / size
            moved = x + self.eps / self.steps * self.ball.direction(memory)
            x = self.ball.project(moved, clean)
            yield x
        return x


def apgd_checkpoints(steps: int) -> list[int]:
    """Steps at which APGD decides on its step size: p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03,
    0.06), p_0 = 0, p_1 = 0.22, each times the number of steps, rounded up (section 3.2)."""
    parts = [0, 22]  # in percent: whole numbers, so that rounding up is exact
    while parts[-1] < 100:
        parts.append(parts[-1] + max(parts[-1] - parts[-2] - 3, 6))
    return sorted({-(-p * steps // 100) for p in parts if 0 < p <= 100})


@dataclass(frozen=True)
class APGD(ImageAttack):
    """PGD that sets its own step size: starts at 2 eps, halves when progress stalls, and goes on
    from the best point so far. On cross-entropy this is APGD-CE.

    Deviation: after a return to the best point the momentum term starts again from zero.
    """

    title = "APGD: sets its own step size"
    source = "Croce and Hein 2020, arXiv 2003.01690, algorithm 1"

    steps: int = setting(20, "Steps", "how many steps", low=1, high=200, step=1)

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        clean, ball, n = x, self.ball, len(x)
        size = torch.full((n, 1, 1, 1), 2 * self.eps, device=x.device)
        x = before = ball.start(clean, random)
        value, grad = gradient(loss, x)
        best, best_grad, best_value = x, grad, value
        checks = apgd_checkpoints(self.steps)
        last, rises = 0, torch.zeros(n, device=x.device)
        value_then, size_then = best_value, size
        for k in range(1, self.steps + 1):
            ahead = ball.project(x + size * ball.direction(grad), clean)
            pull = 0.75 if k > 1 else 1.0
            moved = ball.project(x + pull * (ahead - x) + (1 - pull) * (x - before), clean)
            before, x = x, moved
            yield x
            old, (value, grad) = value, gradient(loss, x)
            rises = rises + (value > old)
            better = value > best_value
            best, best_grad = _keep(better, x, best), _keep(better, grad, best_grad)
            best_value = torch.maximum(value, best_value)
            if k in checks:
                stalled = rises < 0.75 * (k - last)
                stuck = (size == size_then).flatten() & (best_value <= value_then)
                halve = stalled | stuck
                value_then, size_then = best_value, size
                size = _keep(halve, size / 2, size)
                x, grad = _keep(halve, best, x), _keep(halve, best_grad, grad)
                value = torch.where(halve, best_value, value)
                before = _keep(halve, x, before)
                last, rises = k, torch.zeros_like(rises)
        return best


IMAGE_ATTACKS: dict[str, type[ImageAttack]] = {
    "pgd": PGD, "fgsm": FGSM, "mi-fgsm": MIFGSM, "apgd": APGD, "noise": Noise,
}
