"""What every defence is built from: its settings, what it may ask of a model, and what it costs.

A defence stands between a picture and the model's image side. It changes the pixels, or looks at
several views of the picture, and answers with one feature; it never sees the label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attacks.image.base import setting
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage

__all__ = ["Defence", "Eye", "Look", "Passes", "Transform", "check_field", "same", "setting",
           "straight_through", "unit_mean"]

Look = Callable[[Tensor], Tensor]
"""(N, 3, H, W) pixels -> (N, D) unit features, differentiable."""


@dataclass(frozen=True, eq=False)
class Eye:
    """What a defence may ask. look: the undefended model; text: (K, D) features of the captions to
    choose from, None where there are none; smooth: answer with a slope wherever there can be one,
    since an attacker follows it."""

    look: Look
    text: Tensor | None = None
    smooth: bool = False


@dataclass(frozen=True)
class Passes:
    """Passes through the image tower for one picture; a plain reading is one forward pass."""

    forward: int = 1
    backward: int = 0

    def __str__(self) -> str:
        said = f"{self.forward} forward"
        return f"{said}, {self.backward} backward" if self.backward else said


@dataclass(frozen=True)
class Defence:
    """What all defences share. random: whether it draws numbers; draws: how many times an attacker
    who knows of it reads a picture in each step, to average over them."""

    title: ClassVar[str]
    source: ClassVar[str]
    random: ClassVar[bool] = False
    draws: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for one in fields(self):
            check_field(one.metadata, one.default, getattr(self, one.name))

    @property
    def passes(self) -> Passes:
        return Passes()

    def read(self, eye: Eye, x: Tensor, random: PerImage) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, D) unit features."""
        raise NotImplementedError

    def cheaper(self) -> Self:
        """The defence as an attacker climbs it: the same in the mean, with fewer passes."""
        return self


def check_field(form: Any, default: Any, value: Any) -> None:
    """Raises InputError for a value of the wrong kind or outside the field's range."""
    low, high, name = form["low"], form["high"], form["label"].lower()
    whole = isinstance(default, int)
    good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise InputError(f"the {name} must be {kind} from {_said(low)} to {_said(high)}, not "
                         f"{_said(value)}")


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{str(value)[:40]}"


def straight_through(changed: Tensor, x: Tensor) -> Tensor:
    """`changed` going forward, the identity going back: the backward pass differentiable
    approximation (BPDA) of Athalye et al. 2018, arXiv 1802.00420, section 4.1."""
    return x + (changed - x).detach() if x.requires_grad else changed


def same(n: int, one: Callable[[int], Tensor]) -> Tensor:
    """(N, n, ...) of n views, each (N, ...)."""
    return torch.stack([one(k) for k in range(n)], 1)


def unit_mean(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """(N, D) unit length: the mean of (N, V, D), weighted by (N, V) where given. Of unit features
    it wins the caption that the mean of their logits wins."""
    mean = features.mean(1) if weights is None else (features * weights[..., None]).sum(1)
    return F.normalize(mean, dim=1)


@dataclass(frozen=True)
class Transform(Defence):
    """A defence that only changes the pixels. smooth: whether `change` has a slope of its own."""

    smooth: ClassVar[bool] = True

    def change(self, x: Tensor, random: PerImage) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> the same shape, in [0, 1]."""
        raise NotImplementedError

    def read(self, eye: Eye, x: Tensor, random: PerImage) -> Tensor:
        changed = self.change(x if self.smooth else x.detach(), random)
        return eye.look(changed if self.smooth else straight_through(changed, x))
