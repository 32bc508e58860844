"""Detectors: a score for each photo, larger when it looks attacked; and an attacker who knows.

A detector changes nothing about how a photo is read. How well it tells attacked photos from clean
ones is an area under a curve, see `explorer.analysis.evaluation.detection`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor

from explorer.attacks.defences.base import Look, Passes, check_field, setting
from explorer.attacks.defences.counter import shift, uniform_noise
from explorer.attacks.goals import Misclassify
from explorer.attacks.image.classic import ImageAttack
from explorer.attacks.image.transfer import placed
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder

WEIGHTS = (0.0, 10.0, 100.0, 1000.0)  # of the detector beside the goal, tried in turn


@dataclass(frozen=True)
class Detector:
    """What all detectors share."""

    title: ClassVar[str]
    source: ClassVar[str]
    passes: ClassVar[Passes] = Passes(2)

    def __post_init__(self) -> None:
        for one in fields(self):
            check_field(one.metadata, one.default, getattr(self, one.name))

    def score(self, look: Look, x: Tensor, random: PerImage) -> Tensor:
        """(N, 3, H, W) -> (N,) larger when the photo looks attacked; differentiable."""
        raise NotImplementedError


@dataclass(frozen=True)
class Stability(Detector):
    """Minus how far the feature moves under random noise: an attacked photo sits more firmly in its
    place than a clean one ("false stability"). Deviation: distances are between unit features."""

    title = "False stability (TTC)"
    source = "Xing, Zhao, Sebe 2025 (TTC), CVPR, arXiv 2503.03613, section 3.3"

    eps: float = setting(4 / 255, "Noise ε", "largest change of a pixel, in grey levels", low=0.0,
                         high=64 / 255, step=1 / 255, unit="/255")

    def score(self, look: Look, x: Tensor, random: PerImage) -> Tensor:
        noise = uniform_noise(x.detach(), self.eps, random)
        return -shift(look(x), look((x + noise).clamp(0, 1)))


@dataclass(frozen=True)
class Padding(Detector):
    """How far the feature turns when the photo gets a black border: one minus the cosine.

    Deviations: the border's width is ours; padding and fitting to the model's size are one
    interpolation.
    """

    title = "Padding shift (TTP)"
    source = "Li et al. 2025 (TTP: Test-Time Padding), arXiv 2512.16523, detection by padding"

    border: float = setting(0.125, "Border", "its width on each side, as a share of the photo's "
                            "side", low=0.01, high=1.0, step=0.01)

    def score(self, look: Look, x: Tensor, random: PerImage) -> Tensor:
        zoom = torch.full((len(x),), 1 / (1 + 2 * self.border), device=x.device)
        still = torch.zeros_like(zoom)
        return 1 - (look(x) * look(placed(x, zoom, still, still))).sum(1)


DETECTORS: dict[str, type[Detector]] = {"stability": Stability, "padding": Padding}


def detector_named(name: str) -> Detector:
    """With its usual settings. Raises InputError for one that there is not."""
    if name not in DETECTORS:
        raise InputError(f"there is no detector '{name[:40]}'; known are {', '.join(DETECTORS)}")
    return DETECTORS[name]()


def scores(detector: Detector, model: DualEncoder, x: Tensor, seed: int = 0) -> Tensor:
    """(N,) on the CPU, in full precision; the same for a photo in any batch."""
    with torch.no_grad():
        return detector.score(model.encode_image, x.to(model.device), PerImage(seed, x)).cpu()


def evade(detector: Detector, attack: ImageAttack, model: DualEncoder, pairs: Pairs, seed: int = 0,
          ) -> Iterator[int | Tensor]:
    """An attacker who knows the detector: climbs the goal less a penalty wherever the score is
    above that of the clean photo, at several weights; of those that fool the model he keeps the one
    with the lowest score. Yields the number of steps done, then (N, 3, S, S) on the 8-bit grid, in
    the budget. On detectors and adaptive attacks: Carlini and Wagner 2017, arXiv 1705.07263.
    """
    clean = pairs.images.to(model.device)
    text, labels = model.encode_text(pairs.captions), pairs.labels.to(model.device)
    aim = Misclassify(labels, model.scale)
    limit = scores(detector, model, clean, seed + 1).to(model.device)
    best, best_score = clean, torch.full((len(clean),), torch.inf)
    done = 0
    for weight in WEIGHTS:
        def loss(x: Tensor, weight: float = weight) -> Tensor:
            def look(p: Tensor) -> Tensor:
                return model.encode_image(p, fast=True)

            seen = detector.score(look, x, PerImage(seed + 1, x))
            return aim.score(look(x), text) - weight * (seen - limit).clamp_min(0)

        steps = attack.iterate(loss, clean, PerImage(seed, clean))
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                found = attack.ball.quantise(stop.value, clean)
                break
            done += 1
            yield done
        with torch.no_grad():
            fooled = aim.reached(model.encode_image(found), text).cpu()
        score = torch.where(fooled, scores(detector, model, found, seed + 1), torch.inf)
        better = (score < best_score) | (~best_score.isfinite() & (weight == 0))
        best = torch.where(better.to(clean.device).view(-1, 1, 1, 1), found, best)
        best_score = torch.minimum(score, best_score)
    yield best
