"""JPEG as a file makes it, and a copy of its arithmetic whose rounding has a slope, which an
attacker follows."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from explorer.attacks.defences.base import Transform, setting
from explorer.base.randomness import PerImage
from explorer.data.pairs import to_image

TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5],
                       [0.5, -0.418687589, -0.081312411]])  # ITU-R BT.601, as JFIF has it


def saved(picture: Tensor, quality: int) -> bytes:
    """The JPEG file of (3, H, W) in [0, 1], rounded to 8 bits first, as files are."""
    file = io.BytesIO()
    to_image(picture.clamp(0, 1)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def compressed(picture: Tensor, quality: int) -> Tensor:
    """(3, H, W) after the file was opened again."""
    levels = torch.from_numpy(np.array(Image.open(io.BytesIO(saved(picture, quality)))))
    return (levels.permute(2, 0, 1).float() / 255).to(picture)


@lru_cache
def tables(quality: int) -> Tensor:
    """(3, 8, 8) what each frequency of Y, Cb and Cr is divided by, read from a file."""
    file = Image.open(io.BytesIO(saved(torch.zeros(3, 8, 8), quality)))
    found = file.quantization  # type: ignore[attr-defined]
    luma, chroma = (torch.tensor(found[k], dtype=torch.float).view(8, 8) for k in (0, 1))
    return torch.stack([luma, chroma, chroma])


def dct_matrix() -> Tensor:
    """(8, 8) the orthonormal discrete cosine transform."""
    n = torch.arange(8.0)
    rows = torch.cos((2 * n[None] + 1) * n[:, None] * math.pi / 16) / 2
    rows[0] /= math.sqrt(2)
    return rows


def soft_round(x: Tensor) -> Tensor:
    """Rounds, and bends towards the next whole number, so that there is a slope: round(x) +
    (x - round(x))^3 (Shin and Song 2017, JPEG-resistant adversarial images, section 2.1)."""
    near = x.round().detach()
    return near + (x - near) ** 3


def hard_round(x: Tensor) -> Tensor:
    return x.round()


def _blocks(plane: Tensor, table: Tensor, soft: bool) -> Tensor:
    """One plane (N, H, W), about -128 to 127, after 8 x 8 cosine transform, rounding and back."""
    height, width = plane.shape[-2:]
    down, across = -height % 8, -width % 8
    x = F.pad(plane[:, None], (0, across, 0, down), mode="replicate")[:, 0]
    x = x.unfold(1, 8, 8).unfold(2, 8, 8)
    turn = dct_matrix().to(x)
    levels = turn @ x @ turn.T / table.to(x)
    levels = (soft_round if soft else hard_round)(levels) * table.to(x)
    back = (turn.T @ levels @ turn).permute(0, 1, 3, 2, 4)
    return back.reshape(len(plane), height + down, width + across)[:, :height, :width]


def imitated(x: Tensor, quality: int, soft: bool = True) -> Tensor:
    """(N, 3, H, W) in [0, 1] as JPEG would change it, colour at half the size; differentiable.

    soft: with a slope. With soft=False it differs from a file by a few grey levels, where libjpeg
    rounds between its steps and smooths colour.
    """
    ycc = torch.einsum("ck,nkhw->nchw", TO_YCC.to(x), x * 255)
    ycc = ycc - torch.tensor([128.0, 0, 0]).to(x).view(1, 3, 1, 1)
    table, (height, width) = tables(quality), x.shape[-2:]
    even = F.pad(ycc[:, 1:], (0, width % 2, 0, height % 2), mode="replicate")
    small = F.avg_pool2d(even, 2)
    colour = torch.stack([_blocks(small[:, k], table[k + 1], soft) for k in range(2)], 1)
    colour = F.interpolate(colour, size=even.shape[-2:], mode="bilinear", align_corners=False)
    light = _blocks(ycc[:, 0], table[0], soft) + 128
    both = torch.cat([light[:, None], colour[..., :height, :width]], 1)
    back = torch.linalg.inv(TO_YCC).to(x)
    return (torch.einsum("ck,nkhw->nchw", back, both) / 255).clamp(0, 1)


@dataclass(frozen=True)
class JPEG(Transform):
    """The picture is saved as a JPEG file and opened again: fine detail is lost, and with it, one
    hopes, the perturbation. Going back, an attacker follows the slope of a copy of JPEG's
    arithmetic that rounds softly (Shin and Song 2017)."""

    title = "JPEG"
    source = "Dziugaite, Ghahramani, Roy 2016, arXiv 1608.00853; Guo et al. 2018, arXiv 1711.00117"

    quality: int = setting(75, "Quality", "of the JPEG file: less is smaller and coarser", low=1,
                           high=100, step=1)

    def change(self, x: Tensor, random: PerImage) -> Tensor:
        if not len(x):
            return x
        real = torch.stack([compressed(picture, self.quality) for picture in x.detach()])
        if not x.requires_grad:
            return real
        soft = imitated(x, self.quality)
        return soft + (real - soft).detach()
