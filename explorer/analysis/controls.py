"""Harmless changes that everybody knows, beside an attack: does the model break by itself?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from explorer.attacks.defences.base import Transform
from explorer.attacks.defences.jpeg import JPEG
from explorer.attacks.defences.pixels import Blur
from explorer.attacks.result import Reading, Result
from explorer.base.randomness import PerImage
from explorer.models.encoder import DualEncoder
from explorer.results.outcome import Control

QUALITIES = (95, 90, 85, 75, 60, 45, 30, 15, 5)
SIGMAS = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)


def on_grid(x: Tensor) -> Tensor:
    """In [0, 1], on the 8-bit grid, as it would be saved."""
    return (x.clamp(0, 1) * 255).round() / 255


def brighter(x: Tensor, levels: int) -> Tensor:
    """So many grey levels more in each value, as far as white."""
    return on_grid(x + levels / 255)


def shifted(x: Tensor) -> Tensor:
    """(N, 3, H, W) one pixel to the right; the first column stays as well."""
    return torch.cat([x[..., :1], x[..., :-1]], 3)


def changes(clean: Tensor, spent: float) -> Iterator[tuple[str, Tensor]]:
    """Of one photo (1, 3, H, W): what it is, and the photo on the 8-bit grid, of each kind in the
    strength whose L2 distance is nearest to `spent`; a shift has one strength."""
    def nearest(kind: str, made: list[tuple[str, Tensor]]) -> tuple[str, Tensor]:
        name, picture = min(made, key=lambda one: abs(float((one[1] - clean).norm()) - spent))
        return f"{kind}, {name}", picture

    def through(defence: Transform) -> Tensor:
        return on_grid(defence.change(clean, PerImage(0, clean)))

    yield nearest("JPEG", [(f"quality {q}", through(JPEG(q))) for q in QUALITIES])
    yield nearest("blur", [(f"σ {s:g}", through(Blur(s))) for s in SIGMAS])
    levels = max(1, min(64, round(spent * 255 / math.sqrt(clean.numel()))))
    yield f"brighter by {levels} of 255", brighter(clean, levels)
    yield "moved by a pixel", shifted(clean)


@torch.no_grad()
def harmless(model: DualEncoder, result: Result) -> tuple[Control, ...]:
    """What harmless changes of photo 0, about as far from it as the attack went, do to a model's
    answer."""
    clean = result.images[:1]
    made = list(changes(clean, float(result.l2[0])))
    pictures = torch.cat([picture for _, picture in made])
    text = result.text_features.to(model.device)
    read = Reading.of(model.encode_image(pictures), text, model.scale)
    was = int(result.clean.prediction[0])
    found = []
    for k, (name, picture) in enumerate(made):
        now = int(read.prediction[k])
        found.append(Control(name, float((picture - clean).norm()), result.captions[now],
                             float(read.probabilities[k, now]), now != was))
    return tuple(found)
