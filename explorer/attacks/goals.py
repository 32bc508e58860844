"""What the attacker wants, as a function of image and text features.

score(image, text) -> (N,) is differentiable and larger is better for the attacker;
reached(image, text) -> (N,) bool says whether the goal is met. Image features are (N, D) unit
vectors; text features are (K, D), or (N, K, D) where each image has captions of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor


def cosines(image: Tensor, text: Tensor) -> Tensor:
    """(N, K) cosine of each image with each caption."""
    return image @ text.T if text.dim() == 2 else torch.einsum("nd,nkd->nk", image, text)


class Goal(Protocol):
    def score(self, image: Tensor, text: Tensor) -> Tensor: ...

    def reached(self, image: Tensor, text: Tensor) -> Tensor: ...

    def subset(self, rows: Tensor) -> Self:
        """The goal for some of the images: rows (n,)."""
        ...


def spread(logits: Tensor, targeted: bool) -> Tensor:
    """(N,) what DLR divides by (Croce and Hein 2020, arXiv 2003.01690, equations 6 and 7), with
    the K logits in falling order: z1 - z3; targeted: z1 - (z3 + z4) / 2. Deviations: z1 - z3 for
    a target among three captions; 1 for two, where the ratio would be constant."""
    top = logits.topk(min(4, logits.shape[1]), dim=1).values
    if top.shape[1] < 3:
        return torch.ones_like(top[:, 0])
    low = top[:, 2:4].mean(1) if targeted else top[:, 2]
    return (top[:, 0] - low).clamp_min(1e-12)


class Classification:
    """A goal that is about which caption wins: logits, and losses on them."""

    scale: float

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        """(N, K) scale x cosine."""
        return self.scale * cosines(image, text)

    def margin(self, image: Tensor, text: Tensor) -> Tensor:
        """(N,) above 0 when the goal is met: a difference of two logits."""
        raise NotImplementedError

    def dlr(self, image: Tensor, text: Tensor) -> Tensor:
        """(N,) the margin over the spread of the logits, which no rescaling changes."""
        raise NotImplementedError


def _own_and_best_other(logits: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the logit of caption one (N,), and the largest of all others."""
    place = one[:, None]
    others = logits.scatter(1, place, -torch.inf)
    return logits.gather(1, place).squeeze(1), others.amax(1)


@dataclass(frozen=True, eq=False)
class Misclassify(Classification):
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

    def margin(self, image: Tensor, text: Tensor) -> Tensor:
        own, other = _own_and_best_other(self.logits(image, text), self.labels)
        return other - own

    def dlr(self, image: Tensor, text: Tensor) -> Tensor:
        logits = self.logits(image, text)
        return self.margin(image, text) / spread(logits, targeted=False)

    def dlr_towards(self, image: Tensor, text: Tensor, targets: Tensor) -> Tensor:
        """(N,) DLR towards wrong captions targets (N,): (z_t - z_y) over the spread."""
        logits = self.logits(image, text)
        aimed = logits.gather(1, torch.stack([targets, self.labels], 1))
        return (aimed[:, 0] - aimed[:, 1]) / spread(logits, targeted=True)

    def subset(self, rows: Tensor) -> Self:
        return replace(self, labels=self.labels[rows])


@dataclass(frozen=True, eq=False)
class Towards(Classification):
    """One chosen caption wins: minus its cross-entropy. targets: (N,) caption index."""

    targets: Tensor
    scale: float

    def score(self, image: Tensor, text: Tensor) -> Tensor:
        return -F.cross_entropy(self.scale * cosines(image, text), self.targets, reduction="none")

    def reached(self, image: Tensor, text: Tensor) -> Tensor:
        return cosines(image, text).argmax(1) == self.targets

    def margin(self, image: Tensor, text: Tensor) -> Tensor:
        own, other = _own_and_best_other(self.logits(image, text), self.targets)
        return own - other

    def dlr(self, image: Tensor, text: Tensor) -> Tensor:
        return self.margin(image, text) / spread(self.logits(image, text), targeted=True)

    def subset(self, rows: Tensor) -> Self:
        return replace(self, targets=self.targets[rows])


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

    def subset(self, rows: Tensor) -> Self:
        return replace(self, labels=self.labels[rows], clean_cosine=self.clean_cosine[rows])


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

    def subset(self, rows: Tensor) -> Self:
        return replace(self, targets=self.targets[rows], labels=self.labels[rows])


@dataclass(frozen=True, eq=False)
class Drift:
    """The embeddings leave their clean places; needs no other caption. The squared distance of
    unit vectors, 2 - 2 cos, the inner objective of FARE (Schlarmann et al. 2024,
    arXiv 2402.12336) on normalised features, of the image plus that of its caption (LEAF,
    arXiv 2506.03355). Reached when either has turned by more than 60 degrees.

    clean: (N, D) unit features of the clean images; clean_text: (N, D) of their true captions;
    labels: (N,) number of that caption.
    """

    clean: Tensor
    clean_text: Tensor
    labels: Tensor

    def _cosines(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(self.labels), device=self.labels.device)
        own = text[self.labels] if text.dim() == 2 else text[rows, self.labels]
        return (image * self.clean).sum(1), (own * self.clean_text).sum(1)

    def score(self, image: Tensor, text: Tensor) -> Tensor:
        of_image, of_text = self._cosines(image, text)
        return 4 - 2 * of_image - 2 * of_text

    def reached(self, image: Tensor, text: Tensor) -> Tensor:
        of_image, of_text = self._cosines(image, text)
        return (of_image < 0.5) | (of_text < 0.5)

    def subset(self, rows: Tensor) -> Self:
        return replace(self, clean=self.clean[rows], clean_text=self.clean_text[rows],
                       labels=self.labels[rows])


GOALS = ("classification", "similarity", "embedding")


def make_goal(
    kind: str, clean_image: Tensor, text: Tensor, labels: Tensor, scale: float,
    targets: Tensor | None = None,
) -> Goal:
    """The goal of a name in GOALS; with targets, its targeted form."""
    if kind == "embedding":
        return Drift(clean_image, text[labels], labels)
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
