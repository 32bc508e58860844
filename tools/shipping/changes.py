"""One change for all photos, learnt on each embedded model from two hundred photographs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from explorer.attacks.image.perturbation import bytes_of, shipped_name
from explorer.attacks.image.universal import Fit, Photos, fit
from explorer.data.sets import read_examples
from explorer.models.library import Library
from tools.shipping import MODELS, Shipped

LEARNT, MANY = Fit(), 200


def things(library: Library, photos: Path) -> list[Shipped]:
    return [Shipped(f"one change for all photos, learnt on {name}",
                    shipped_name(name, library.load(name).fingerprint, (LEARNT, MANY)),
                    partial(_learn, library, name, photos)) for name in MODELS]


def _learn(library: Library, name: str, photos: Path, path: Path) -> None:
    """Minutes."""
    model, data = library.load(name), read_examples(photos, MANY, LEARNT.seed)
    images = torch.cat([images for _, images in data.pixels(model.frame, 50)])
    *_, state = fit([model], Photos([images]), LEARNT)
    path.write_bytes(bytes_of(state.change, ".png"))
