"""What files and screens do: contrast, bending, large pixels, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from explorer.attacks.corruptions.base import Corruption, at, gaussian, grid, scale
from explorer.attacks.defences.jpeg import compressed
from explorer.data.pairs import to_image

BASE = 244  # the authors' side here, "should have been 224, but ultimately nothing is incorrect"


@dataclass(frozen=True)
class Contrast(Corruption):
    """Each colour is drawn to its mean; the strength is how much of the difference is left."""

    title = "Contrast"
    strengths = (0.4, 0.3, 0.2, 0.1, 0.05)

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        mean = x.mean((1, 2), keepdim=True)
        y: Tensor = (x - mean) * self.strength + mean
        return y


def tilted(x: Tensor, most: float, draw: Generator) -> Tensor:
    """(3, H, W) moved so that three points around its middle go up to `most` pixels each way."""
    height, width = x.shape[-2:]
    third, (row, column) = min(height, width) / 3, ((height - 1) / 2, (width - 1) / 2)
    points = torch.tensor([[third, third], [-third, third], [-third, -third]])
    away = most * (2 * torch.rand(3, 2, generator=draw) - 1)
    ends = torch.cat([points + away, torch.ones(3, 1)], 1)
    back = torch.linalg.lstsq(ends, points).solution  # (3, 2): from where a pixel is read
    rows, columns = grid(x)
    ours = torch.stack([rows - row, columns - column, torch.ones_like(rows)], -1) @ back
    return at(x, ours[..., 0] + row, ours[..., 1] + column, "reflection")


@dataclass(frozen=True)
class ElasticTransform(Corruption):
    """Tilted, then stretched and squeezed by a smooth random field. The strength is the field's
    height, its smoothness, and how far corners are moved, in shares of the side."""

    title = "Elastic"
    strengths = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                 (0.12, 0.01, 0.02))

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        high, smooth, most = (BASE * n * scale(x) for n in self.strength)
        moved = tilted(x, most, draw)
        field = 2 * torch.rand(2, *x.shape[1:], generator=draw) - 1
        down, across = gaussian(field, smooth) * high
        rows, columns = grid(x)
        return at(moved, rows + down, columns + across, "reflection")


@dataclass(frozen=True)
class Pixelate(Corruption):
    """Made smaller and large again in squares; the strength is the small side as a share."""

    title = "Pixelate"
    strengths = (0.6, 0.5, 0.4, 0.3, 0.25)

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        image = to_image(x)
        small = [max(1, int(n * self.strength)) for n in image.size]
        back = image.resize((small[0], small[1]), Image.Resampling.BOX).resize(
            image.size, Image.Resampling.BOX)
        return torch.from_numpy(np.array(back)).permute(2, 0, 1).float() / 255


@dataclass(frozen=True)
class JPEGCompression(Corruption):
    """Saved as a JPEG file and opened again; the strength is its quality."""

    title = "JPEG"
    strengths = (25, 18, 15, 10, 7)

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        return compressed(x, self.strength)
