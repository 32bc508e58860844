"""What every corruption is built from: its strength, its pictures one by one, and its lengths.

The fifteen of ImageNet-C (Hendrycks and Dietterich 2019, arXiv 1903.12261, section 3.2); how strong
each is at severities 1 to 5 are facts of the authors' code, github.com/hendrycks/robustness,
ImageNet-C/create_c/make_imagenet_c.py. Deviations for all: lengths there are pixels of a picture of
224 x 224, and here the same share of the shorter side; the border pixel goes on outside; what comes
out is on the 8-bit grid and not compressed (theirs are JPEG files of quality 85).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from explorer.base.errors import InputError
from explorer.base.randomness import PerImage

SIDE = 224  # of the pictures that the authors' lengths are for
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """What all corruptions share. strengths: the authors' settings at each severity."""

    title: ClassVar[str]
    strengths: ClassVar[tuple[Any, ...]]

    severity: int = 3

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES or isinstance(self.severity, bool):
            raise InputError(f"a severity must be a whole number from 1 to {SEVERITIES[-1]}, not "
                             f"{str(self.severity)[:40]}")

    @property
    def strength(self) -> Any:
        return self.strengths[self.severity - 1]

    def change(self, x: Tensor, seed: int = 0) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> the same shape, on the 8-bit grid. Random numbers depend on the
        seed and the picture alone."""
        draws = PerImage(seed, x).generators
        found = [self.one(picture.cpu(), draw) for picture, draw in zip(x, draws, strict=True)]
        return (torch.stack(found).clamp(0, 1) * 255).round().div(255).to(x) if found else x

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        """(3, H, W) in [0, 1] -> the same shape; values outside are cut off later."""
        raise NotImplementedError


def scale(x: Tensor) -> float:
    """Pixels here for a pixel of the authors' pictures."""
    return float(min(x.shape[-2:])) / SIDE


def between(low: float, high: float, draw: Generator) -> float:
    """A random number, uniform from low to high."""
    return low + (high - low) * float(torch.rand((), generator=draw))


def at(x: Tensor, down: Tensor, across: Tensor, outside: str = "border") -> Tensor:
    """(C, H, W) read, linearly between pixels, at the places (H', W') in pixels from the middle of
    the first. outside: as in grid_sample."""
    height, width = x.shape[-2:]
    places = torch.stack([(2 * across + 1) / width - 1, (2 * down + 1) / height - 1], -1)
    return F.grid_sample(x[None], places[None].to(x), padding_mode=outside,
                         align_corners=False)[0]


def grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """(H, W) row and column of each pixel."""
    down, across = torch.meshgrid(*(torch.arange(float(n)) for n in x.shape[-2:]), indexing="ij")
    return down, across


def zoomed(x: Tensor, factor: float) -> Tensor:
    """(C, H, W): the middle of the picture, larger by a factor of at least 1."""
    middle = [(n - 1) / 2 for n in x.shape[-2:]]
    down, across = grid(x)
    return at(x, middle[0] + (down - middle[0]) / factor, middle[1] + (across - middle[1]) / factor)


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """(C, H, W) with each plane convolved by an odd (K, K') kernel."""
    high, wide = (n // 2 for n in kernel.shape)
    padded = F.pad(x[None], (wide, wide, high, high), mode="replicate")[0]
    found: Tensor = F.conv2d(padded[:, None], kernel[None, None].to(x))
    return found[:, 0]


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """(C, H, W) under a Gaussian of sigma pixels; outside, the picture is mirrored at its
    edge, over and over where it is small."""
    reach = max(1, int(3 * sigma + 0.5))
    line = torch.exp(-(torch.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2 / 2)
    for axis in (1, 2):
        n = x.shape[axis]
        place = torch.arange(-reach, n + reach) % (2 * n)
        mirrored = x.index_select(axis, torch.minimum(place, 2 * n - 1 - place))
        shape = [1, 1, 1, 1]
        shape[axis + 1] = -1
        x = F.conv2d(mirrored[:, None], (line / line.sum()).view(shape).to(x))[:, 0]
    return x


def dragged(x: Tensor, radius: float, sigma: float, degrees: float) -> Tensor:
    """(C, H, W) as seen while it moves: the mean of copies along a line of 2 radius pixels, their
    weights half a Gaussian, as ImageMagick's motion blur has it."""
    steps = torch.arange(round(2 * radius) + 1.0)
    weights = torch.exp(-(steps / max(sigma, 1e-3)) ** 2 / 2)
    turn = torch.deg2rad(torch.tensor(degrees))
    down, across = steps * turn.sin(), steps * turn.cos()
    rows, columns = grid(x)
    copies = [w * at(x, rows + d, columns + a)
              for w, d, a in zip(weights, down, across, strict=True)]
    return torch.stack(copies).sum(0) / weights.sum()
