"""One change for all photos: the attack that adds it, and how it is learnt from a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attacks.amounts import NORMS
from explorer.attacks.budgets import Ball
from explorer.attacks.image.base import ImageAttack, Loss, Steps, setting
from explorer.attacks.image.perturbation import OPENED, SHIPPED, open_perturbation
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.models.encoder import DualEncoder


@dataclass(frozen=True)
class Universal(ImageAttack):
    """Adds one and the same change to any photo, learnt beforehand from other photos: no question
    is asked of the model. Its own size is the usual budget: of a larger one it makes no use; for a
    smaller one it is cut. Deviation: learnt by gradients over the set, not photo by photo.
    """

    title = "Universal: one change for all photos"
    source = ("Moosavi-Dezfooli et al. 2017, arXiv 1610.08401; by gradients as in Shafahi et al. "
              "2020, arXiv 1811.11304, algorithm 2")

    blind = True

    perturbation: str = setting("pocket", "Learnt on", "the model that it was learnt on; on the "
                                "command line also a file, and in the app one that you open",
                                choices=SHIPPED, also=OPENED)

    def __post_init__(self) -> None:
        if not isinstance(self.perturbation, str) or not self.perturbation:
            raise InputError(f"the perturbation must be {' or '.join(SHIPPED)}, or a file")
        asked: Any = self.eps
        if asked is None and self.norm in NORMS:
            own = open_perturbation(self.perturbation).size(self.norm)
            object.__setattr__(self, "eps", own)
        super().__post_init__()

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        change = open_perturbation(self.perturbation).fitted(*x.shape[-2:]).to(x)
        moved = self.ball.project(x + cut(change, self.ball), x)
        yield moved
        return moved


FIRST = 0.25  # the first step, as a share of the budget
GOALS = ("feature", "label")


@dataclass(frozen=True)
class Fit:
    """How one is learnt. passes: over the photos; batch: photos a step; goal: "feature" takes no
    labels and moves each photo's feature away from its clean place; "label" leads each photo away
    from its own caption."""

    eps: float = 8 / 255
    norm: str = "linf"
    passes: int = 40
    batch: int = 8
    goal: str = "feature"
    seed: int = 0

    def __post_init__(self) -> None:
        self.ball  # noqa: B018 - checks eps and norm
        for name, low, high in (("passes", 1, 1000), ("batch", 1, 1024)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise InputError(f"{name} must be a whole number from {low} to {high}, not {value}")
        if self.goal not in GOALS:
            raise InputError(f"the goal must be one of {', '.join(GOALS)}, not '{self.goal[:40]}'")
        if self.eps == 0:
            raise InputError("with a budget of 0 there is nothing to learn")

    @property
    def ball(self) -> Ball:
        return Ball(self.norm, self.eps)


@dataclass(frozen=True, eq=False)
class Photos:
    """What is learnt from. images: (N, 3, S, S) of each model, at its own size; labels: (N,) and
    captions, where the goal needs them."""

    images: Sequence[Tensor]
    captions: tuple[str, ...] = ()
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.images or not len(self.images[0]):
            raise InputError("there is no photo to learn from")


@dataclass(frozen=True, eq=False)
class State:
    """Where learning stands: change (3, S, S), its accumulated gradient, passes done, and the mean
    loss of the last pass."""

    change: Tensor
    memory: Tensor
    passes: int = 0
    loss: float = 0.0


def fit(models: Sequence[DualEncoder], photos: Photos, how: Fit, state: State | None = None,
        ) -> Iterator[State]:
    """Yields the State after each pass over the photos, the last one rounded to grey levels.

    One model, or several at once (surrogates), over whose losses is summed; the change is kept at
    the first one's size. Steps go along the sign (L2: the direction) of the accumulated gradient
    and shrink linearly. state: go on from there; it comes to the same as without a stop.
    """
    if how.goal != "feature" and len(photos.captions) < 2:
        raise InputError(f"for the goal {how.goal} there must be two captions at least")
    if how.goal == "label" and photos.labels is None:
        raise InputError("to learn from labels the photos must have some")
    device, blank = models[0].device, torch.zeros(photos.images[0].shape[1:])
    state = state or State(blank, blank.clone())
    change, memory = state.change.to(device), state.memory.to(device)
    aims = [_Aim(model, images, photos, how) for model, images in
            zip(models, photos.images, strict=True)]
    for number in range(state.passes, how.passes):
        if how.goal == "feature" and number >= how.passes // 2:
            for aim in aims:
                aim.gather(change)
        step = how.eps * FIRST * (1 - number / how.passes)
        order = torch.randperm(len(photos.images[0]), generator=torch.Generator().manual_seed(
            how.seed * 1_000_003 + number))
        total = 0.0
        for rows in order.split(how.batch):
            slope = torch.zeros_like(change)
            for aim in aims:
                value, grad = aim.slope(change, rows)
                slope += grad / grad.abs().mean().clamp_min(1e-12)
                total += value
            memory = 0.9 * memory + slope
            change = cut(change + step * how.ball.direction(memory[None])[0], how.ball)
        last = number + 1 == how.passes
        kept = _rounded(change, how.ball) if last else change
        yield State(kept.cpu(), memory.cpu(), number + 1, total / len(order))


def cut(change: Tensor, ball: Ball) -> Tensor:
    """Into the budget; a change has no pixels to stay inside of."""
    if ball.norm == "linf":
        return change.clamp(-ball.eps, ball.eps)
    found: Tensor = change * (ball.eps / change.norm().clamp_min(1e-12)).clamp(max=1)
    return found


def _rounded(change: Tensor, ball: Ball) -> Tensor:
    """On whole grey levels, in the budget: on a grey picture a PNG of it is exact."""
    grey = torch.full_like(change, 128 / 255)[None]
    moved: Tensor = ball.quantise(grey + change[None], grey) - grey
    return (moved[0] * 255).round() / 255


def fit_to(change: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    """(3, H, W) resized for a model of another size; differentiable."""
    if change.shape[-2:] == size:
        return change
    return F.interpolate(change[None], tuple(size), mode="bilinear", antialias=True)[0]


class _Aim:
    """The loss of one model over its photos."""

    def __init__(self, model: DualEncoder, images: Tensor, photos: Photos, how: Fit) -> None:
        self.model, self.images, self.labels = model, images, photos.labels
        self.meeting: Tensor | None = None
        self.text = model.encode_text(photos.captions) if how.goal != "feature" else None
        with torch.no_grad():
            self.clean = model.encode_image(images)

    @torch.no_grad()
    def gather(self, change: Tensor) -> None:
        """From now on all photos are led to where most of them went: one wrong answer for all."""
        fitted = fit_to(change, self.images.shape[-2:])
        moved = [self.model.encode_image((part.to(change.device) + fitted).clamp(0, 1), fast=True)
                 for part in self.images.split(32)]
        self.meeting = F.normalize(torch.cat(moved).mean(0), dim=0)

    def slope(self, change: Tensor, rows: Tensor) -> tuple[float, Tensor]:
        """The loss, summed over photos `rows`, and its gradient with respect to the change."""
        change = change.detach().requires_grad_(True)
        clean = self.images[rows].to(change.device)
        fitted = fit_to(change, clean.shape[-2:])
        features = self.model.encode_image((clean + fitted).clamp(0, 1), fast=True)
        if self.text is None:
            loss = (1 - (features * self.clean[rows]).sum(1)).sum()
            if self.meeting is not None:
                loss = loss + (features @ self.meeting).sum()
        else:
            assert self.labels is not None
            loss = F.cross_entropy(self.model.scale * features @ self.text.T,
                                   self.labels[rows].to(change.device), reduction="sum")
        (grad,) = torch.autograd.grad(loss, change)
        return float(loss.detach()), grad


@dataclass(frozen=True)
class Fooling:
    """How often a change alters the answer: changed of n photos."""

    model: str
    changed: int
    n: int
    right_before: int = 0
    right_after: int = 0


def fooling(model: DualEncoder, images: Tensor, change: Tensor, captions: Sequence[str],
            labels: Tensor | None = None) -> Fooling:
    """The fooling rate on photos (N, 3, S, S) against captions, on the 8-bit picture; a photo is
    fooled when the caption closest to it is another one (Moosavi-Dezfooli et al. 2017, section 2).
    """
    text, fitted = model.encode_text(captions), fit_to(change, images.shape[-2:])
    moved = ((images + fitted.to(images)).clamp(0, 1) * 255).round() / 255
    with torch.no_grad():
        was, now = ((model.encode_image(x) @ text.T).argmax(1).cpu() for x in (images, moved))
    right = (0, 0) if labels is None else (int((was == labels).sum()), int((now == labels).sum()))
    return Fooling(model.card.id, int((was != now).sum()), len(images), *right)
