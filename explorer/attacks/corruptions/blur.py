"""Blur: out of focus, behind glass, in motion, zooming."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from explorer.attacks.corruptions.base import (
    Corruption,
    between,
    dragged,
    filtered,
    gaussian,
    scale,
    zoomed,
)


def disc(radius: float) -> Tensor:
    """(K, K) weights that sum to 1: a disc in pixels; those on its rim count in part."""
    reach = int(radius + 1)
    line = torch.arange(-reach, reach + 1.0)
    found = (radius + 1 - (line[:, None] ** 2 + line**2).sqrt()).clamp(0, 1)
    return found / found.sum()


@dataclass(frozen=True)
class DefocusBlur(Corruption):
    """The mean over a disc; the strength is its radius. Deviation: the rim is softened by how much
    of a pixel is inside, not by a blur of the disc."""

    title = "Defocus blur"
    strengths = (3, 4, 6, 8, 10)

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        return filtered(x, disc(self.strength * scale(x)))


def shuffled(height: int, width: int, reach: int, rounds: int, draw: Generator) -> Tensor:
    """(H * W,) which pixel comes to each place: from the last row on, each is exchanged with one
    that is at most `reach` rows and columns away."""
    order = list(range(height * width))
    rows, columns = (range(n - 1 - reach, reach - 1, -1) for n in (height, width))
    for _ in range(rounds):
        jumps = torch.randint(-reach, reach, (len(rows), len(columns), 2), generator=draw).tolist()
        for row, line in zip(rows, jumps, strict=True):
            for column, (down, across) in zip(columns, line, strict=True):
                here, there = row * width + column, (row + down) * width + column + across
                order[here], order[there] = order[there], order[here]
    return torch.tensor(order)


@dataclass(frozen=True)
class GlassBlur(Corruption):
    """Blurred, pixels exchanged with neighbours, blurred again. The strength is sigma, how far they
    go (rounded up), and how often. Deviation: pixels change places; in the authors' code one of the
    two is lost."""

    title = "Glass blur"
    strengths = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        sigma, reach, rounds = self.strength
        own = scale(x)
        soft = gaussian(x, sigma * own)
        order = shuffled(x.shape[1], x.shape[2], math.ceil(reach * own), rounds, draw)
        return gaussian(soft.flatten(1)[:, order].view_as(x), sigma * own)


@dataclass(frozen=True)
class MotionBlur(Corruption):
    """Seen in motion, in a direction of up to 45 degrees; the strength is radius and sigma."""

    title = "Motion blur"
    strengths = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        radius, sigma = (n * scale(x) for n in self.strength)
        return dragged(x, radius, sigma, between(-45, 45, draw))


@dataclass(frozen=True)
class ZoomBlur(Corruption):
    """The mean of the picture and of larger and larger ones; the strength is the largest, and by
    how much each is larger than the one before."""

    title = "Zoom blur"
    strengths = ((1.10, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03))

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        last, step = self.strength
        sizes = [1 + step * k for k in range(round((last - 1) / step) + 1)]
        return torch.stack([x, *(zoomed(x, size) for size in sizes)]).mean(0)
