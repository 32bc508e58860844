"""Frost, drawn: needles of ice that grow from random places and branch at sixty degrees."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from explorer.attacks.corruptions.base import gaussian

CRYSTALS = 10  # on a square picture
ICE = torch.tensor([0.86, 0.93, 1.0]).view(3, 1, 1)
Needle = tuple[float, float, float, float]  # row, column, angle, length


def needles(height: int, width: int, draw: Generator) -> list[Needle]:
    """Stars of six needles, each with side needles that get shorter towards its end, as hexagonal
    ice grows; lengths in pixels."""
    side = min(height, width)
    many = min(200, max(1, round(CRYSTALS * max(height, width) / side)))
    found = []
    for row, column, turn, size in torch.rand(many, 4, generator=draw).tolist():
        long = side * (0.15 + 0.3 * size)
        for arm in range(6):
            angle = turn * math.tau + arm * math.pi / 3
            found.append((row * height, column * width, angle, long))
            for part in torch.linspace(0.15, 0.9, 8).tolist():
                start = (row * height + part * long * math.sin(angle),
                         column * width + part * long * math.cos(angle))
                found += [(*start, angle + side_turn, (1 - part) * long * 0.45)
                          for side_turn in (-math.pi / 3, math.pi / 3)]
    return found


def frost(height: int, width: int, cloud: Tensor, draw: Generator) -> Tensor:
    """(3, H, W) in [0, 1]: bright needles in a veil of ice as thick as `cloud` (1, H, W)."""
    rows, columns, angles, lengths = torch.tensor(needles(height, width, draw)).T[..., None]
    steps = torch.linspace(0, 1, max(2, min(height, width) // 2))
    down = (rows + steps * lengths * angles.sin()).round().long()
    across = (columns + steps * lengths * angles.cos()).round().long()
    inside = (down >= 0) & (down < height) & (across >= 0) & (across < width)
    lines = torch.zeros(height * width)
    lines[(down * width + across)[inside]] = 1
    sharp = lines.view(1, height, width)
    glow = gaussian(sharp, min(height, width) / 60)
    return ICE * (0.1 + 0.3 * cloud + 0.5 * glow + 0.3 * sharp).clamp(0, 1)
