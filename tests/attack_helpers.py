"""What the tests of attacks share: small attacks, their steps by hand, and scores beside a run."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from explorer.attacks.budgets import Ball
from explorer.attacks.goals import make_goal
from explorer.attacks.image.classic import IMAGE_ATTACKS, ImageAttack
from explorer.attacks.objective import Objective
from explorer.attacks.result import Result
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs, to_image
from explorer.models.encoder import DualEncoder

BUDGETS = {"linf": 4 / 255, "l2": 1.0}
TARGETS = torch.tensor([1, 2, 3, 0])
CASES = [  # norm, goal, targeted: a lean cover
    ("linf", "classification", False), ("l2", "classification", True),
    ("linf", "similarity", True), ("l2", "similarity", False),
    ("linf", "embedding", False), ("l2", "embedding", False),
]
RANDOM = ("pgd", "apgd", "apgd-dlr", "apgd-t", "square", "transfer", "eot", "strong", "noise")
STOPS = ("apgd-t", "square", "strong")  # leave off when every image is broken


def build(name: str, norm: str, eps: float | None = None, **fields: Any) -> ImageAttack:
    """An attack of the registry with few steps, of a quarter of the budget each."""
    kind = IMAGE_ATTACKS[name]
    size = BUDGETS[norm] if eps is None else eps
    known = {f.name for f in dataclasses.fields(kind)}
    few = {"steps": 4, "step": max(size, 1 / 255) / 4, "queries": 20, "targets": 2,
           "targeted_steps": 4, **fields}
    return kind(eps=size, norm=norm, **{k: v for k, v in few.items() if k in known})


def aim_and_features(model: DualEncoder, pairs: Pairs, images: Tensor, goal: str,
                     targets: Tensor | None) -> tuple[Any, Tensor, Tensor]:
    """The goal, and the features of pictures and captions, computed apart from `run`."""
    with torch.no_grad():
        clean, text = model.encode_image(pairs.images), model.encode_text(pairs.captions)
        aim = make_goal(goal, clean, text, pairs.labels, model.scale, targets)
        return aim, model.encode_image(images), text


def scores(model: DualEncoder, pairs: Pairs, images: Tensor, goal: str,
           targets: Tensor | None) -> Tensor:
    """(N,) score of pictures, computed apart from `run`."""
    aim, features, text = aim_and_features(model, pairs, images, goal, targets)
    score: Tensor = aim.score(features, text)
    return score


def objective(model: DualEncoder, pairs: Pairs, goal: str = "classification",
              targets: Tensor | None = None) -> Objective:
    with torch.no_grad():
        clean, text = model.encode_image(pairs.images), model.encode_text(pairs.captions)
    aim = make_goal(goal, clean, text, pairs.labels, model.scale, targets)
    return Objective.of(model, aim, text, pairs.images)


def reopened(images: Tensor) -> Tensor:
    """Pictures saved as PNG and read back."""
    back = []
    for picture in images:
        file = io.BytesIO()
        to_image(picture).save(file, "PNG")
        back.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255)
    return torch.stack(back)


def check(result: Result, ball: Ball) -> None:
    """What holds for every result: shape, box, grid, budget, and readings of what is saved."""
    clean, moved = result.images, result.adversarial_images
    assert moved.shape == clean.shape and moved.dtype == clean.dtype
    saved = reopened(moved)
    assert torch.equal(saved, moved), "not on the 8-bit grid, or outside [0, 1]"
    assert bool((ball.distance(saved.double(), clean.double()) <= ball.eps + 1e-6).all())
    linf = (saved - clean).abs().flatten(1).amax(1) * 255
    assert torch.equal(result.linf_255, linf.round())
    torch.testing.assert_close(result.l2, (saved - clean).flatten(1).norm(dim=1))


def finish(steps: Any) -> Tensor:
    """What an attack returns in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            picture: Tensor = stop.value
            return picture


def steps_of(attack: ImageAttack, loss: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    return list(attack.iterate(loss, x, PerImage(0, x)))


def parabola(x: Tensor) -> Tensor:
    """(N,) a curved score whose gradient is (2 x - 1) w: it points away from 1/2."""
    weight = torch.linspace(0.5, 2, x[0].numel()).view(x.shape[1:])
    return (weight * (x - 0.5) ** 2).flatten(1).sum(1)


def parabola_slope(x: Tensor) -> Tensor:
    weight = torch.linspace(0.5, 2, x[0].numel()).view(x.shape[1:])
    return 2 * weight * (x - 0.5)
