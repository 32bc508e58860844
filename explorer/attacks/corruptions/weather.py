"""Weather: snow, frost, fog, and light."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from explorer.attacks.corruptions.base import SIDE, Corruption, between, dragged, scale, zoomed
from explorer.attacks.corruptions.frost import frost

GREY = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
MAP = 256  # side of a fog, of which SIDE pixels are over a picture


def plasma(decay: float, draw: Generator) -> Tensor:
    """(MAP, MAP) in [0, 1]: a random landscape that closes on itself, made by halving (diamond and
    square); each halving adds less, by the factor decay squared."""
    found, rough, step = torch.zeros(MAP, MAP), 100.0, MAP

    def between_four(*corners: Tensor) -> Tensor:
        mean = torch.stack(corners).mean(0)
        return mean + rough**2 * (2 * torch.rand(mean.shape, generator=draw) - 1)

    while step >= 2:
        half = step // 2
        corner = found[::step, ::step]
        right, low = corner.roll(-1, 1), corner.roll(-1, 0)
        middle = between_four(corner, right, low, low.roll(-1, 1))
        found[half::step, half::step] = middle
        found[::step, half::step] = between_four(middle, middle.roll(1, 0), corner, right)
        found[half::step, ::step] = between_four(middle, middle.roll(1, 1), corner, low)
        step, rough = half, rough / decay
    found -= found.min()
    return found / found.max()


def over(field: Tensor, x: Tensor) -> Tensor:
    """(1, H, W): a square field laid over a picture; its longer side takes SIDE pixels of it."""
    longer = max(x.shape[-2:])
    part = [max(1, round(SIDE * n / longer)) for n in x.shape[-2:]]
    return F.interpolate(field[None, None, :part[0], :part[1]], x.shape[-2:], mode="bilinear",
                         align_corners=False, antialias=True)[0]


@dataclass(frozen=True)
class Fog(Corruption):
    """A random landscape of light over the picture; the strength is how much of it, and how smooth.
    """

    title = "Fog"
    strengths = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        much, decay = self.strength
        top = x.max()
        y: Tensor = (x + much * over(plasma(decay, draw), x)) * top / (top + much)
        return y


@dataclass(frozen=True)
class Frost(Corruption):
    """Ice crystals over the picture; the strength is the share of the picture, and of the ice.
    Deviation: the ice is drawn (`explorer.attacks.corruptions.frost`); the authors' is cut out of
    five photos, which do not come with the app."""

    title = "Frost (drawn)"
    strengths = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        picture, ice = self.strength
        drawn = frost(x.shape[1], x.shape[2], over(plasma(2, draw), x), draw)
        y: Tensor = x * picture + drawn * ice
        return y


@dataclass(frozen=True)
class Snow(Corruption):
    """Flakes in two directions over a whitened picture. The strength is mean and deviation of the
    noise that flakes are made of, their size, the least level that is one, how far they fall
    (radius and sigma), and the share of the picture that is not whitened."""

    title = "Snow"
    strengths = ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                 (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                 (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55))

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        mean, spread, size, least, radius, sigma, kept = self.strength
        own = scale(x)
        noise = torch.randn(1, *x.shape[1:], generator=draw) * spread + mean
        flakes = zoomed(noise, max(1.0, size * own))
        flakes = torch.where(flakes < least, 0, flakes).clamp(0, 1)
        flakes = dragged(flakes, radius * own, sigma * own, between(45, 135, draw))
        grey = (GREY * x).sum(0, keepdim=True)
        white = x * kept + torch.maximum(x, 1.5 * grey + 0.5) * (1 - kept)
        y: Tensor = white + flakes + flakes.flip(1, 2)
        return y


@dataclass(frozen=True)
class Brightness(Corruption):
    """More light: the strength is added to the value of hue, saturation, value."""

    title = "Brightness"
    strengths = (0.1, 0.2, 0.3, 0.4, 0.5)

    def one(self, x: Tensor, draw: Generator) -> Tensor:
        value = x.amax(0, keepdim=True)
        now = (value + self.strength).clamp(max=1)
        return torch.where(value > 0, x * now / value.clamp_min(1e-9), now)
