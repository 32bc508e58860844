"""Defences that turn pixels into pixels: the picture is compressed, smoothed or moved, and then
read once. JPEG is in `explorer.attacks.defences.jpeg`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attacks.defences.base import Transform, setting
from explorer.attacks.image.transfer import placed
from explorer.base.randomness import PerImage


def gaussian_line(sigma: float) -> Tensor:
    """(2r + 1,) weights of a Gaussian, in pixels, that sum to 1; r is 3 sigma, rounded up."""
    reach = max(1, int(np.ceil(3 * sigma)))
    line = torch.exp(-(torch.arange(-reach, reach + 1) / sigma) ** 2 / 2)
    return line / line.sum()


def blurred(x: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of sigma pixels; the border pixel goes on outside."""
    line = gaussian_line(sigma).to(x)
    reach, channels = len(line) // 2, x.shape[1]
    x = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    rows = line.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = line.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    found: Tensor = F.conv2d(F.conv2d(x, rows, groups=channels), columns, groups=channels)
    return torch.clamp(found, 0, 1)


@dataclass(frozen=True)
class BitDepth(Transform):
    """Each pixel value is rounded to the nearest of few levels. Its slope is taken to be that of
    the identity."""

    title = "Bit depth"
    source = "Xu, Evans, Qi 2018 (feature squeezing), arXiv 1704.01155, section II.B"
    smooth = False

    bits: int = setting(4, "Bits", "of each pixel value: 4 are 16 levels of each colour", low=1,
                        high=8, step=1)

    def change(self, x: Tensor, random: PerImage) -> Tensor:
        top = 2**self.bits - 1
        found: Tensor = (x * top).round() / top
        return found


@dataclass(frozen=True)
class Blur(Transform):
    """A Gaussian blur: each pixel becomes a mean of its neighbourhood."""

    title = "Blur"
    source = "Xu, Evans, Qi 2018 (feature squeezing), arXiv 1704.01155, section II.C; Gaussian here"

    sigma: float = setting(1.0, "Width σ", "of the Gaussian, in pixels", low=0.1, high=10.0,
                           step=0.1)

    def change(self, x: Tensor, random: PerImage) -> Tensor:
        return blurred(x, self.sigma)


@dataclass(frozen=True)
class Median(Transform):
    """Each value becomes the median of a square around it; the border pixel goes on outside."""

    title = "Median"
    source = "Xu, Evans, Qi 2018 (feature squeezing), arXiv 1704.01155, section II.C"

    reach: int = setting(1, "Reach", "how far the square goes on each side, in pixels: 1 is 3 × 3",
                         low=1, high=5, step=1)

    def change(self, x: Tensor, random: PerImage) -> Tensor:
        side, r = 2 * self.reach + 1, self.reach
        padded = F.pad(x, (r, r, r, r), mode="replicate")
        one = [p.unfold(1, side, 1).unfold(2, side, 1).flatten(3).median(-1).values
               for p in padded]  # one by one: the squares take much memory
        return torch.stack(one) if one else x


@dataclass(frozen=True)
class Resize(Transform):
    """The picture is made smaller, averaging, and large again."""

    title = "Resize and back"
    source = "Guo et al. 2018 (input transformations), arXiv 1711.00117, section 3, as rescaling"

    share: float = setting(0.5, "Size", "of the small picture's side, as a share of the side",
                           low=0.05, high=1.0, step=0.05)

    def change(self, x: Tensor, random: PerImage) -> Tensor:
        height, width = x.shape[-2:]
        side = [max(1, round(n * self.share)) for n in (height, width)]
        small = F.interpolate(x, side, mode="bilinear", antialias=True, align_corners=False)
        back = F.interpolate(small, (height, width), mode="bicubic", align_corners=False)
        return back.clamp(0, 1)


@dataclass(frozen=True)
class RandomPad(Transform):
    """The picture is shrunk by a random amount and put at a random place on black.

    Deviation: it ends at the model's own input size, where the paper goes from 299 to 331 pixels;
    shrinking and placing are one interpolation.
    """

    title = "Random resize and pad"
    source = "Xie et al. 2018, arXiv 1711.01991, section 3.3"
    random = True
    draws = 8

    least: float = setting(0.9, "Least size", "of the shrunken picture, as a share of the side",
                           low=0.5, high=1.0, step=0.05)

    def change(self, x: Tensor, random: PerImage) -> Tensor:
        size, down, across = (random.scalar() for _ in range(3))
        zoom = self.least + (1 - self.least) * size
        room = 1 - zoom
        return placed(x, zoom, room * (2 * down - 1), room * (2 * across - 1)).clamp(0, 1)
