"""Noise: of the sensor, of few photons, of broken pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from explorer.attacks.corruptions.base import Corruption


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """Each value has a normal number added; the strength is its standard deviation."""

    title = "Gaussian noise"
    strengths = (0.08, 0.12, 0.18, 0.26, 0.38)

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        y: Tensor = x + self.strength * torch.randn(x.shape, generator=draw)
        return y


@dataclass(frozen=True)
class ShotNoise(Corruption):
    """Each value is counted in few photons (Poisson); the strength is how many make white."""

    title = "Shot noise"
    strengths = (60, 25, 12, 5, 3)

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        y: Tensor = torch.poisson(x * self.strength, generator=draw) / self.strength
        return y


@dataclass(frozen=True)
class ImpulseNoise(Corruption):
    """A share of all values is 0 or 1, at random; the strength is the share."""

    title = "Impulse noise"
    strengths = (0.03, 0.06, 0.09, 0.17, 0.27)

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        which, level = (torch.rand(x.shape, generator=draw) for _ in range(2))
        return torch.where(which < self.strength, level.round(), x)
