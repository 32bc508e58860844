"""A third kind of budget: the share of the photo that is covered, not how much a pixel changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.attacks.amounts import AREA
from explorer.attacks.budgets import Ball
from explorer.attacks.image.base import ImageAttack, setting
from explorer.base.errors import InputError


@dataclass(frozen=True)
class Area(Ball):
    """A budget of area: any values, on at most a share eps of the pixels."""

    def __post_init__(self) -> None:
        if self.norm != AREA:
            raise InputError("what covers a part of the photo is measured by area, not "
                             f"'{self.norm}'")
        if not (math.isfinite(self.eps) and 0 <= self.eps <= 1):
            raise InputError("the area must be a share of the photo from 0 to 1: nothing larger "
                             "than the photo fits on it")

    def distance(self, x: Tensor, clean: Tensor) -> Tensor:
        """(N,) share of the pixels that are not as they were."""
        return (x != clean).any(1).float().mean((1, 2))

    def project(self, x: Tensor, clean: Tensor) -> Tensor:
        """In [0, 1]; where too many pixels changed, the clean picture."""
        fits = (self.distance(x, clean) <= self.eps + 1e-6).view(-1, 1, 1, 1)
        return torch.where(fits, x, clean).clamp(0, 1)

    def quantise(self, x: Tensor, clean: Tensor) -> Tensor:
        """x on the 8-bit grid; what was not covered stays as it was."""
        rounded = (x.clamp(0, 1) * 255).round() / 255
        still = (x == clean).all(1, keepdim=True)
        return self.project(torch.where(still, clean, rounded), clean)


@dataclass(frozen=True)
class VisibleAttack(ImageAttack):
    """What attacks with a budget of area share: eps is a share of the photo."""

    eps: float = setting(0.05, "Area", "as a share of the photo", low=0.0, high=0.5, step=0.01)
    norm: str = setting(AREA, "Measure", "how the budget is measured", choices=(AREA,))

    @property
    def ball(self) -> Ball:
        return Area(self.norm, self.eps)
