"""What every image attack is built from: its budget, its settings, and gradients of the input.

An attack sees loss(x) -> (N,) to be maximised, never the model. What it returns at the end is its
best picture; `explorer.attacks.run` rounds it to 8 bits, checks and measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from explorer.attacks.amounts import NORMS
from explorer.attacks.budgets import Ball
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.base.settings import Settings, current

Loss = Callable[[Tensor], Tensor]
Steps = Generator[Tensor, None, Tensor]
Climb = Generator[Tensor, None, tuple[Tensor, Tensor]]
"""Yields pictures; returns the best of each image and its loss (N,)."""
USUAL_EPS = {"linf": 1 / 255, "l2": 0.5}
MAX_STEPS = Settings.steps  # the default; a server may set another, and that counts


def setting(default: Any, label: str, help: str, **form: Any) -> Any:
    """A dataclass field that also describes its form control: low, high, step, unit, choices."""
    return field(default=default, metadata={"label": label, "help": help, **form})


def gradient(loss: Loss, x: Tensor) -> tuple[Tensor, Tensor]:
    """Loss (N,) and its gradient with respect to x only; nothing is left on x or the weights."""
    x = x.detach().requires_grad_(True)
    value = loss(x)
    (grad,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), grad


def keep(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` in the rows where better (N,) is true, else `old`."""
    return torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old)


def whole(value: object, low: int, high: int, name: str) -> None:
    """Raises InputError unless the value is a whole number in the range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} must be a whole number from {low} to {high}, not {value}")


def default_step(eps: float, norm: str, steps: int) -> float:
    """A step size for PGD when none is given, above 0, in the unit of eps.

    L-inf up to 4/255: one grey level, as in MMCoA (Zhou et al. 2024, arXiv 2404.19287).
    Otherwise 2.5 eps / steps (Madry et al. 2018), enough to cross the whole ball.
    """
    if norm == "linf" and eps <= 4 / 255:
        return 1 / 255
    return 2.5 * eps / max(steps, 1) or 1 / 255


def step_setting() -> Any:
    return setting(None, "Step size", "how far one step goes, in grey levels; 0 is automatic: one "
                   "that fits the budget and the number of steps",
                   low=0.25 / 255, high=8 / 255, step=0.25 / 255, unit="/255")


def steps_setting(default: int) -> Any:
    return setting(default, "Steps", "how many steps", low=1, high=200, step=1)


def restarts_setting() -> Any:
    return setting(1, "Restarts", "runs from different random points; the best one counts",
                   low=1, high=10, step=1)


@dataclass(frozen=True)
class ImageAttack:
    """What all image attacks share: the budget. eps: None is the usual one of the norm; step of
    those that have one: None is `default_step`, which follows eps and steps."""

    title: ClassVar[str]
    source: ClassVar[str]
    blind: ClassVar[bool] = False  # asks the model nothing: what comes out stands, whatever it does

    eps: float = setting(None, "Budget ε", "largest change a pixel may have, in grey levels",
                         low=0, high=16 / 255, step=1 / 255, unit="/255")
    norm: str = setting("linf", "Norm", "linf: every pixel by at most ε; l2: the whole change",
                        choices=NORMS)

    def __post_init__(self) -> None:
        asked: Any = self.eps
        if asked is None and isinstance(self.norm, str) and self.norm in USUAL_EPS:
            object.__setattr__(self, "eps", USUAL_EPS[self.norm])
        self.ball  # noqa: B018 - checks eps and norm
        for one in fields(self):
            if isinstance(one.default, int) and not isinstance(one.default, bool):
                high = current().steps if one.name == "steps" else int(one.metadata["high"])
                whole(getattr(self, one.name), int(one.metadata["low"]), high, one.name)
        step = getattr(self, "step", None)
        if step is not None and not 0 < step < float("inf"):
            raise InputError("the step size must be a finite number above 0, such as 1/255")
        if not 0 <= getattr(self, "momentum", 0) < float("inf"):
            raise InputError("the momentum must be a finite number of at least 0")

    @property
    def ball(self) -> Ball:
        return Ball(self.norm, self.eps)

    @property
    def step_size(self) -> float:
        """How far one step goes, in the unit of eps; of the attacks that have a `step`."""
        step: float | None = getattr(self, "step", None)
        if step is not None:
            return step
        return default_step(self.eps, self.norm, getattr(self, "steps", 1))

    @property
    def total(self) -> int:
        """How many pictures `iterate` yields at most; fewer when every image is broken before."""
        return int(getattr(self, "steps", 1)) * int(getattr(self, "restarts", 1))

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        """x: (N, 3, H, W) clean pixels. Yields after each step, returns the best picture.

        loss: an `Objective` when a run calls it; any function (N, 3, H, W) -> (N,) will do.
        """
        raise NotImplementedError


def best_of(climbs: list[Callable[[], Climb]]) -> Climb:
    """Runs climbs one after the other; each image keeps the best of them."""
    best, best_value = yield from climbs[0]()
    for climb in climbs[1:]:
        found, value = yield from climb()
        best = keep(value > best_value, found, best)
        best_value = torch.maximum(value, best_value)
    return best, best_value
