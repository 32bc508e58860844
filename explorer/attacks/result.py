"""What an attack did, measured: the hinge between attacks and everything that shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from explorer.attacks.goals import cosines, probabilities
from explorer.base.versions import versions
from explorer.base.words import characters_changed, words_changed


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model says of N images against K captions.

    features: (N, D); cosines, probabilities: (N, K); prediction: (N,). All float32 on the CPU.
    """

    features: Tensor
    cosines: Tensor
    probabilities: Tensor

    @classmethod
    def of(cls, features: Tensor, text: Tensor, scale: float) -> Reading:
        """text: (K, D), or (N, K, D) where each image meets captions of its own."""
        cosine = cosines(features, text).cpu()
        return cls(features.cpu(), cosine, probabilities(cosine, scale))

    @property
    def prediction(self) -> Tensor:
        return self.cosines.argmax(1)

    def some(self, rows: Tensor) -> Reading:
        """Of some of the images: rows (n,) are their places."""
        return Reading(self.features[rows], self.cosines[rows], self.probabilities[rows])


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model was shown, and its features of it. images: (N, 3, H, W), features: (N, D);
    captions: N rows of K, text: (K, D) where all rows are alike, else (N, K, D). On any device."""

    images: Tensor
    features: Tensor
    captions: tuple[tuple[str, ...], ...]
    text: Tensor


@dataclass(frozen=True, eq=False)
class Result:
    """One attack on N images and their captions by one model. Pictures are (N, 3, S, S) in
    [0, 1], exactly the 8-bit values that are shown and saved; every number is measured on them.

    kind: "image", "text" or "joint"; clean, adversarial: readings before and after; image_only,
    text_only: of the attacked images with clean captions, and the other way round.
    adversarial_captions: N rows of K captions; adversarial_text: their features, (K, D) where
    all rows are alike, else (N, K, D).
    linf_255: (N,) L-inf distance in grey levels; l2: (N,) in [0, 1] pixel units; success: (N,)
    the saved pair meets the goal, even if the clean one did already (`correct_before`);
    raw_success: (N,) the same before rounding to 8 bits; queries: forward passes an image and
    captions scored for it; refused, tried: candidate captions that a constraint ruled out, of
    how many. frames: (F, 3, S, S) of image 0, clean first, attacked last, with frame_captions,
    its true caption at the time, and their readings in trail; frame_steps: the step each was
    taken after. notes: what a person should know of the captions, in sentences; suggestions:
    captions that would fit image 0 better, where its own do not. defence: name and
    settings of the defence behind which all was read, if any; aware: whether the attacker knew of
    it.
    """

    model: str
    kind: str
    attack: str
    settings: dict[str, Any]
    goal: str
    seed: int
    captions: tuple[str, ...]
    labels: Tensor
    targets: Tensor | None
    scale: float
    text_features: Tensor
    images: Tensor
    adversarial_images: Tensor
    adversarial_captions: tuple[tuple[str, ...], ...]
    adversarial_text: Tensor
    clean: Reading
    adversarial: Reading
    image_only: Reading
    text_only: Reading
    success: Tensor
    raw_success: Tensor
    linf_255: Tensor
    l2: Tensor
    queries: int
    seconds: float
    tried: int = 0
    refused: int = 0
    frames: Tensor | None = None
    frame_captions: tuple[str, ...] = ()
    frame_steps: tuple[int, ...] = ()
    trail: Reading | None = None
    versions: dict[str, str] = field(default_factory=versions)
    notes: tuple[str, ...] = ()
    defence: dict[str, Any] | None = None
    aware: bool = False
    suggestions: tuple[str, ...] = ()

    @classmethod
    def measured(cls, before: Seen, after: Seen, scale: float, **about: Any) -> Result:
        """Reads all four pairings and the distance of what was shown before and after an attack;
        about: every other field. The rows of captions before are alike."""
        moved = (after.images - before.images).flatten(1).cpu()

        def read(pictures: Seen, words: Seen) -> Reading:
            return Reading.of(pictures.features, words.text, scale)

        return cls(
            scale=scale, captions=before.captions[0], text_features=before.text.cpu(),
            images=before.images.cpu(), adversarial_images=after.images.cpu(),
            adversarial_captions=after.captions, adversarial_text=after.text.cpu(),
            clean=read(before, before), adversarial=read(after, after),
            image_only=read(after, before), text_only=read(before, after),
            linf_255=(moved * 255).abs().amax(1).round(), l2=moved.norm(dim=1), **about)

    @property
    def image_cosine(self) -> Tensor:
        """(N,) cosine between clean and adversarial image features."""
        return (self.clean.features * self.adversarial.features).sum(1).clamp(-1, 1)

    @property
    def correct_before(self) -> Tensor:
        return self.clean.prediction == self.labels

    @property
    def correct_after(self) -> Tensor:
        return self.adversarial.prediction == self.labels

    @property
    def covered(self) -> Tensor:
        """(N,) share of the pixels that are not as they were."""
        return (self.images != self.adversarial_images).any(1).float().mean((1, 2))

    @property
    def changed(self) -> Tensor:
        """(N,) whether any pixel value or any caption moved."""
        return (self.linf_255 > 0) | (self.characters_changed > 0)

    def some(self, rows: Tensor) -> Result:
        """Of some of the images: rows (n,) are their places. Nothing recorded is kept."""
        text, where = self.adversarial_text, rows.tolist()
        return replace(
            self, labels=self.labels[rows], images=self.images[rows],
            targets=None if self.targets is None else self.targets[rows],
            adversarial_images=self.adversarial_images[rows],
            adversarial_captions=tuple(self.adversarial_captions[n] for n in where),
            adversarial_text=text if text.dim() == 2 else text[rows],
            clean=self.clean.some(rows), adversarial=self.adversarial.some(rows),
            image_only=self.image_only.some(rows), text_only=self.text_only.some(rows),
            success=self.success[rows], raw_success=self.raw_success[rows],
            linf_255=self.linf_255[rows], l2=self.l2[rows], frames=None, frame_captions=(),
            frame_steps=(), trail=None)

    def own_captions(self, row: int = 0) -> tuple[str, str]:
        """The true caption of an image, clean and attacked."""
        label = int(self.labels[row])
        return self.captions[label], self.adversarial_captions[row][label]

    def own_text_features(self, row: int = 0) -> tuple[Tensor, Tensor]:
        """(D,) features of the true caption, clean and attacked."""
        label, text = int(self.labels[row]), self.adversarial_text
        after = text[label] if text.dim() == 2 else text[row, label]
        return self.text_features[label], after

    @cached_property
    def text_cosine(self) -> Tensor:
        """(N,) cosine between clean and attacked features of each image's true caption."""
        pairs = [self.own_text_features(n) for n in range(len(self.labels))]
        return torch.tensor([float(a @ b) for a, b in pairs]).clamp(-1, 1)

    @cached_property
    def words_changed(self) -> Tensor:
        """(N,) words edited in the caption that changed most."""
        return self._most(words_changed)

    @cached_property
    def characters_changed(self) -> Tensor:
        """(N,) Levenshtein distance of the caption that changed most."""
        return self._most(characters_changed)

    def _most(self, count: Callable[[str, str], int]) -> Tensor:
        known: dict[tuple[str, str], int] = {}
        most = []
        for row in self.adversarial_captions:
            moved = [(a, b) for a, b in zip(self.captions, row, strict=True) if a != b]
            for a, b in moved:
                if (a, b) not in known:
                    known[a, b] = count(a, b)
            most.append(max((known[pair] for pair in moved), default=0))
        return torch.tensor(most, dtype=torch.long)
