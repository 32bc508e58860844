"""Attacks for what is not known: for other models, by momentum and by many views of a picture in
each step (transfer), and for pictures that will be moved, lit differently or shown to a model that
draws random numbers (EOT)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attacks.image.base import (
    ImageAttack,
    Loss,
    Steps,
    gradient,
    keep,
    setting,
    step_setting,
    steps_setting,
)
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage


def gaussian_kernel(side: int) -> Tensor:
    """(1, 1, side, side) a Gaussian that sums to 1 and reaches 3 standard deviations at its edge
    (Dong et al. 2019, arXiv 1904.02884, section 3.3)."""
    if side == 1:
        return torch.ones(1, 1, 1, 1)
    line = torch.exp(-torch.linspace(-3, 3, side) ** 2 / 2)
    table = line[:, None] * line[None]
    return (table / table.sum())[None, None]


def placed(x: Tensor, zoom: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """(N, 3, H, W) each picture at zoom (N,) of its size, moved by down and across (N,) in halves
    of its side; black where nothing of it is. Differentiable."""
    height, width = x.shape[-2:]

    def line(n: int) -> Tensor:
        return (torch.arange(n, device=x.device) * 2 + 1) / n - 1

    def spot(at: Tensor, shift: Tensor) -> Tensor:
        return (at[None] - shift[:, None]) / zoom[:, None]

    rows, columns = spot(line(height), down), spot(line(width), across)
    grid = torch.stack([columns[:, None].expand(-1, height, -1),
                        rows[:, :, None].expand(-1, -1, width)], 3)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


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

    def _gradient(self, loss: Loss, x: Tensor, random: PerImage) -> Tensor:
        return gradient(loss, x)[1]

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        clean, memory = x, torch.zeros_like(x)
        for _ in range(self.steps):
            grad = self._gradient(loss, x, random)
            size = grad.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
            memory = self.momentum * memory + grad / size
            moved = x + self.eps / self.steps * self.ball.direction(memory)
            x = self.ball.project(moved, clean)
            yield x
        return x


@dataclass(frozen=True)
class Transfer(MIFGSM):
    """MI-FGSM over varied views, so that other models fall for the picture as well: shrunk and
    moved at random (input diversity), darkened copies (scale invariance), and a blurred gradient
    (translation invariance). Each can be switched off; with all off it is MI-FGSM.

    Deviation: shrinking, padding and fitting to the input size are one interpolation.
    """

    title = "Transfer: momentum over varied views"
    source = ("Xie et al. 2019, arXiv 1803.06978 (DI); Lin et al. 2020, arXiv 1908.06281 (SI); "
              "Dong et al. 2019, arXiv 1904.02884 (TI); on Dong et al. 2018, arXiv 1710.06081")

    steps: int = steps_setting(10)
    diversity: float = setting(0.5, "Input diversity", "how often a step shrinks and moves the "
                               "picture, from 0 (never) to 1 (always)", low=0.0, high=1.0, step=0.1)
    scales: int = setting(3, "Darkened copies", "copies at 1, 1/2, 1/4, ... of the brightness; "
                          "1 is the picture alone", low=1, high=5, step=1)
    blur: int = setting(5, "Blur of the gradient", "side of the kernel in pixels, an odd number; "
                        "1 is no blur", low=1, high=15, step=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.diversity <= 1:
            raise InputError("the input diversity must be a number from 0 to 1")
        if self.blur % 2 == 0:
            raise InputError(f"the blur's kernel must have an odd side, not {self.blur}")

    def _view(self, x: Tensor, random: PerImage) -> Tensor:
        """DI, equation 1: with the probability given, at 1 / 1.1 to 1 of its size, anywhere."""
        chance, size, down, across = (random.scalar() for _ in range(4))
        zoom = (1 + 0.1 * size) / 1.1
        room = 1 - zoom
        moved = placed(x, zoom, room * (2 * down - 1), room * (2 * across - 1))
        return keep(chance < self.diversity, moved, x)

    def _gradient(self, loss: Loss, x: Tensor, random: PerImage) -> Tensor:
        total = torch.zeros_like(x)
        for power in range(self.scales):  # SI, equation 7
            def seen(p: Tensor, factor: float = 0.5**power) -> Tensor:
                return loss((self._view(p, random) if self.diversity else p) * factor)

            total += gradient(seen, x)[1]
        if self.blur == 1:
            return total
        kernel = gaussian_kernel(self.blur).to(x.device).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(total, kernel, padding=self.blur // 2, groups=x.shape[1])


@dataclass(frozen=True)
class EOT(ImageAttack):
    """PGD on the average over random views (zoom, shift, light, grain), for pictures that will not
    be read exactly as they are, and for models that draw random numbers of their own.

    With a strength of 0 the views are all the picture itself: only the model is random.
    Deviations: steps of PGD inside a budget in place of a penalty; views are mild, since CLIP's own
    preprocessing only resizes and crops.
    """

    title = "EOT: for pictures seen in many ways"
    source = "Athalye et al. 2018, arXiv 1707.07397, section 2.1, equation 2"

    step: float | None = step_setting()
    steps: int = steps_setting(10)
    samples: int = setting(4, "Views a step", "how many random views are averaged", low=1, high=32,
                           step=1)
    strength: float = setting(0.5, "Strength of the views", "0: the picture itself; 1: zoom, shift "
                              "and light by up to a tenth", low=0.0, high=1.0, step=0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strength <= 1:
            raise InputError("the strength of the views must be a number from 0 to 1")

    def view(self, x: Tensor, random: PerImage) -> Tensor:
        """(N, 3, H, W) one random view of each picture, in [0, 1]; differentiable inside."""
        if self.strength == 0:
            return x
        zoom, down, across, light = (self.strength * 0.1 * (2 * random.scalar() - 1)
                                     for _ in range(4))
        seen = placed(x, 1 + zoom, down, across) * (1 + light).view(-1, 1, 1, 1)
        return (seen + self.strength * 0.02 * random.normal()).clamp(0, 1)

    def _expected(self, loss: Loss, x: Tensor, random: PerImage) -> tuple[Tensor, Tensor]:
        """Mean loss (N,) and mean gradient over the samples."""
        found = [gradient(lambda p: loss(self.view(p, random)), x) for _ in range(self.samples)]
        value, grad = (torch.stack(part).mean(0) for part in zip(*found, strict=True))
        return value, grad

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        clean, best, best_value = x, x, torch.full((len(x),), -torch.inf, device=x.device)
        x = self.ball.start(clean, random)
        for _ in range(self.steps):
            value, grad = self._expected(loss, x, random)
            better = value > best_value
            best, best_value = keep(better, x, best), torch.maximum(value, best_value)
            x = self.ball.project(x + self.step_size * self.ball.direction(grad), clean)
            yield x
        with torch.no_grad():
            last = torch.stack([loss(self.view(x, random)) for _ in range(self.samples)]).mean(0)
        return keep(last >= best_value, x, best)
