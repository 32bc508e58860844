"""What the attacker wants, as a function of image and text features.

score(image, text) -> (N,) is differentiable and larger is better for the attacker;
reached(image, text) -> (N,) bool says whether the goal is met. Image features are (N, D) unit
vectors; text features are (K, D), or (N, K, D) where each image has captions of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


def cosines(image: Tensor, text: Tensor) -> Tensor:
    """(N, K) cosine of each image with each caption."""
    return image @ text.T if text.dim() == 2 else torch.einsum("nd,nkd->nk", image, text)


class Goal(Protocol):
    def score(self, image: Tensor, text: Tensor) -> Tensor: ...

    def reached(self, image: Tensor, text: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Misclassify:
    """Any caption but the true one wins: cross-entropy of softmax(scale x cosine), as in
    TeCoA (Mao et al. 2023, arXiv 2212.07016) and MMCoA (Zhou et al. 2024, arXiv 2404.19287).

    labels: (N,) index of each image's true caption. scale: the model's exp(logit scale).
    """

    labels: Tensor
    scale: float

    def score(self, image: Tensor, text: Tensor) -> Tensor:
        return F.cross_entropy(self.scale * cosines(image, text), self.labels, reduction="none")

    def reached(self, image: Tensor, text: Tensor) -> Tensor:
        return cosines(image, text).argmax(1) != self.labels


@dataclass(frozen=True, eq=False)
class Towards:
    """One chosen caption wins: minus its cross-entropy. targets: (N,) caption index."""

    targets: Tensor
    scale: float

    def score(self, image: Tensor, text: Tensor) -> Tensor:
        return -F.cross_entropy(self.scale * cosines(image, text), self.targets, reduction="none")

    def reached(self, image: Tensor, text: Tensor) -> Tensor:
        return cosines(image, text).argmax(1) == self.targets


@dataclass(frozen=True, eq=False)
class Unmatch:
    """The image and its own caption drift apart: minus their cosine, as in SGA (Lu et al. 2023,
    arXiv 2307.14061). Reached when the cosine falls below half of the clean one, or below zero.

    labels: (N,) caption index; clean_cosine: (N,) cosine before the attack.
    """

    labels: Tensor
    clean_cosine: Tensor

    def _own(self, image: Tensor, text: Tensor) -> Tensor:
        return cosines(image, text).gather(1, self.labels[:, None]).squeeze(1)

    def score(self, image: Tensor, text: Tensor) -> Tensor:
        return -self._own(image, text)

    def reached(self, image: Tensor, text: Tensor) -> Tensor:
        return self._own(image, text) < 0.5 * self.clean_cosine.clamp_min(0)


@dataclass(frozen=True, eq=False)
class Match:
    """The image comes close to a chosen caption: their cosine. Reached when that caption is
    closer than the true one. targets, labels: (N,) caption indices."""

    targets: Tensor
    labels: Tensor

    def score(self, image: Tensor, text: Tensor) -> Tensor:
        return cosines(image, text).gather(1, self.targets[:, None]).squeeze(1)

    def reached(self, image: Tensor, text: Tensor) -> Tensor:
        near = cosines(image, text)
        own = near.gather(1, self.labels[:, None]).squeeze(1)
        return near.gather(1, self.targets[:, None]).squeeze(1) > own


@dataclass(frozen=True, eq=False)
class Drift:
    """The embedding leaves its clean place; needs no label or caption. The squared distance of
    unit vectors, 2 - 2 cos, the inner objective of FARE (Schlarmann et al. 2024,
    arXiv 2402.12336) on normalised features. Reached at an angle of more than 60 degrees.

    clean: (N, D) unit features of the clean images.
    """

    clean: Tensor

    def score(self, image: Tensor, text: Tensor) -> Tensor:
        return 2 - 2 * (image * self.clean).sum(1)

    def reached(self, image: Tensor, text: Tensor) -> Tensor:
        return (image * self.clean).sum(1) < 0.5


GOALS = ("classification", "similarity", "embedding")


def make_goal(
    kind: str, clean_image: Tensor, text: Tensor, labels: Tensor, scale: float,
    targets: Tensor | None = None,
) -> Goal:
    """The goal of a name in GOALS; with targets, its targeted form."""
    if kind == "embedding":
        return Drift(clean_image)
    if kind == "similarity":
        if targets is not None:
            return Match(targets, labels)
        own = cosines(clean_image, text).gather(1, labels[:, None]).squeeze(1)
        return Unmatch(labels, own.detach())
    assert kind == "classification", kind
    if targets is not None:
        return Towards(targets, scale)
    return Misclassify(labels, scale)


def probabilities(cosine: Tensor, scale: float) -> Tensor:
    """Softmax over captions of scale x cosine, (N, K)."""
    return torch.softmax(scale * cosine, dim=1)
