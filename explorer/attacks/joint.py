"""Joint attacks: orders in which an image attack and a text attack take turns.

Each is a few sentences over `Turns`; budgets are those of its two halves.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from explorer.attacks.engine import Engine, Pictures, Step, Wording
from explorer.attacks.goals import Goal, Match, Unmatch, cosines
from explorer.attacks.image.classic import PGD, ImageAttack, setting
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import BertAttack
from explorer.base.errors import InputError

Play = Generator[Step, None, tuple[Pictures, Wording]]
SCALES = (0.5, 0.75, 1.25, 1.5)


@dataclass(frozen=True)
class JointAttack:
    """An image attack and a text attack, and who moves when."""

    title: ClassVar[str]
    source: ClassVar[str]
    targeted: ClassVar[bool] = True  # whether it can aim at a chosen caption

    image: ImageAttack = field(default_factory=PGD)
    text: TextAttack = field(default_factory=BertAttack)

    def play(self, turns: Engine) -> Play:
        """Yields Steps; returns the attacked images and captions."""
        raise NotImplementedError


def against_goal(attack: TextAttack) -> TextAttack:
    """The attack on each image's own captions with the objective "goal"."""
    return replace(attack, objective="goal", captions="true")


def label_free(attack: TextAttack) -> TextAttack:
    """The attack with an objective that sees no image: its own, or KL."""
    return replace(attack, objective="kl") if attack.objective == "goal" else attack


@dataclass(frozen=True)
class Separate(JointAttack):
    """Image against the clean captions, captions against their clean embedding; then combined.

    The paper's multimodal attack: neither half sees the other.
    """

    title = "Separate: each on its own (MMCoA)"
    source = "Zhou et al. 2024 (MMCoA), arXiv 2404.19287, multimodal attack"

    def play(self, turns: Engine) -> Play:
        pictures = yield from turns.image(self.image)
        wording = yield from turns.text(label_free(self.text))
        return pictures, wording


@dataclass(frozen=True, eq=False)
class CoImage:
    """KL(clean image || image) + alpha KL(own caption || image), softmaxes over the embedding's
    dimensions, as the image half of Co-Attack has it. labels: (N,), clean: (N, D)."""

    clean: Tensor
    labels: Tensor
    alpha: float

    def score(self, image: Tensor, text: Tensor) -> Tensor:
        rows = torch.arange(len(self.labels), device=self.labels.device)
        own = text[self.labels] if text.dim() == 2 else text[rows, self.labels]
        now = torch.log_softmax(image, 1)

        def divergence(start: Tensor) -> Tensor:
            log = torch.log_softmax(start, 1)
            return (log.exp() * (log - now)).sum(1)

        return divergence(self.clean) + self.alpha * divergence(own)

    def reached(self, image: Tensor, text: Tensor) -> Tensor:
        return torch.zeros(len(image), dtype=torch.bool, device=image.device)

    def subset(self, rows: Tensor) -> CoImage:
        return CoImage(self.clean[rows], self.labels[rows], self.alpha)


@dataclass(frozen=True, eq=False)
class Apart:
    """Minus the mean cosine of an image to its set of captions. members: (N, K), rows sum to 1."""

    members: Tensor

    def score(self, image: Tensor, text: Tensor) -> Tensor:
        return -(cosines(image, text) * self.members).sum(1)

    def reached(self, image: Tensor, text: Tensor) -> Tensor:
        return torch.zeros(len(image), dtype=torch.bool, device=image.device)

    def subset(self, rows: Tensor) -> Apart:
        return Apart(self.members[rows])


@dataclass(frozen=True)
class CoAttack(JointAttack):
    """Text first; then the image moves away from its clean self and from the attacked caption."""

    title = "Co-Attack: text, then image"
    source = "Zhang et al. 2022, arXiv 2206.09391, section 4"
    targeted = False

    alpha: float = setting(3.0, "Weight α", "how much the attacked caption counts against the "
                           "clean image", low=0.0, high=10.0, step=0.5)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < float("inf"):
            raise InputError("alpha must be a finite number of at least 0")

    def play(self, turns: Engine) -> Play:
        on = turns.scene
        wording = yield from turns.text(label_free(self.text))
        aim = CoImage(on.clean_features, on.pairs.labels.to(on.clean.device), self.alpha)
        pictures = yield from turns.image(self.image, wording, aim)
        return pictures, wording


@dataclass(frozen=True)
class SetGuided(JointAttack):
    """Text against the image, image against all its attacked captions at several scales, text
    once more against the attacked image; all by cosine.

    Deviation: the copies at other scales carry no extra noise.
    """

    title = "Set-guided (SGA): text, image, text"
    source = "Lu et al. 2023 (SGA), arXiv 2307.14061, section 4.3"
    targeted = False

    several_scales: bool = setting(True, "Several scales", "the image is also attacked at 0.5, "
                                   "0.75, 1.25 and 1.5 times its size")

    def play(self, turns: Engine) -> Play:
        aim, text = apart(turns), against_goal(self.text)
        first = yield from turns.text(text, aim=aim)
        scales = SCALES if self.several_scales else ()
        pictures = yield from turns.image(self.image, first, aim, scales)
        wording = yield from turns.text(text, pictures, aim)
        return pictures, wording


def apart(turns: Engine) -> Apart:
    pairs, device = turns.scene.pairs, turns.scene.clean.device
    members = torch.zeros(len(pairs), len(pairs.captions), device=device)
    for n in range(len(pairs)):
        own = list(pairs.truths(n))
        members[n, own] = 1 / len(own)
    return Apart(members)


@dataclass(frozen=True)
class Alternating(JointAttack):
    """Image and text take turns for some rounds, each against what the other left, all against
    the same goal; the best pair of each image is kept.

    Never weaker than either half alone: both are among the pairs it chooses from. Ours.
    """

    title = "Alternating: turns against one goal"
    source = "this project; a block-coordinate ascent over the two inputs"

    rounds: int = setting(2, "Rounds", "how often both take a turn", low=1, high=5, step=1)

    def __post_init__(self) -> None:
        if not isinstance(self.rounds, int) or not 1 <= self.rounds <= 20:
            raise InputError(f"rounds must be a whole number from 1 to 20, not {self.rounds}")

    def play(self, turns: Engine) -> Play:
        aim, text = turns.scene.aim, against_goal(self.text)
        pictures = yield from turns.image(self.image)
        wording = yield from turns.text(self.text)
        best = _Best(turns, aim, turns.unchanged, turns.as_given)
        for pair in ((pictures, turns.as_given), (turns.unchanged, wording), (pictures, wording)):
            best.offer(*pair)
        for number in range(1, self.rounds + 1):
            wording = yield from turns.text(text, best.pictures, among=best.wording)
            best.offer(best.pictures, wording)
            pictures = yield from turns.image(self.image, best.wording, seed=number)
            best.offer(pictures, best.wording)
        return best.pictures, best.wording


class _Best:
    """The pair with the highest score for each image, one that reaches the goal first."""

    def __init__(self, turns: Engine, aim: Goal, pictures: Pictures, wording: Wording) -> None:
        self.aim, self.pictures, self.wording = aim, pictures, wording
        self.value = self._value(pictures, wording)

    def _value(self, pictures: Pictures, wording: Wording) -> Tensor:
        scores = self.aim.score(pictures.features, wording.features)
        reached = self.aim.reached(pictures.features, wording.features)
        value = torch.where(reached, 1e4, 0.0).double() + scores.double()
        if isinstance(self.aim, Match):  # blind to the true caption: that decides between equals
            own = Unmatch(self.aim.labels, torch.zeros_like(scores))
            value += 1e-6 * own.score(pictures.features, wording.features).double()
        return value

    def offer(self, pictures: Pictures, wording: Wording) -> None:
        value = self._value(pictures, wording)
        better = value > self.value
        self.pictures = self.pictures.take(better, pictures)
        self.wording = self.wording.take(better.cpu(), wording)
        self.value = torch.maximum(self.value, value)


JOINT_ATTACKS: dict[str, type[JointAttack]] = {
    "separate": Separate, "co-attack": CoAttack, "set-guided": SetGuided,
    "alternating": Alternating,
}
