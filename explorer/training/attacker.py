"""Attacks on one batch in training: which captions stand against a picture, and who climbs what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explorer.attacks.goals import Misclassify
from explorer.attacks.image.classic import Loss
from explorer.training.gather import gather, world
from explorer.training.inner import (
    CaptionAttacks,
    Encode,
    TextInner,
    attack_images,
    drift_of,
    image_attack,
    mix,
)
from explorer.training.recipe import Recipe
from explorer.training.student import Student, Tokenize, encode_captions, unit, untouched

Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of one process. pixels: (n, 3, S, S); groups: (n,) number of each picture's
    caption among the set's; captions: the n captions themselves."""

    pixels: Tensor
    groups: Tensor
    captions: tuple[str, ...]


class Attacker:
    """Attacks the student as it is at a step; its weights need no gradient meanwhile."""

    def __init__(self, recipe: Recipe, student: Student, tokenize: Tokenize,
                 caption_of: Callable[[int], str], classes: Sequence[str] | None,
                 text_inner: TextInner | None, autocast: Autocast) -> None:
        self.recipe, self.student, self.tokenize = recipe, student, tokenize
        self.caption_of, self.autocast = caption_of, autocast
        self.classes = list(classes) if classes is not None else None
        self.image = image_attack(recipe)
        self.words: CaptionAttacks | None = None
        if recipe.attacks_text:
            assert text_inner is not None
            self.words = CaptionAttacks(text_inner, recipe.refresh, recipe.seed)
        self.table: Tensor | None = None  # (K, D) unit features of the classes
        self.table_step = 0

    def encode(self, captions: Sequence[str]) -> Tensor:
        """(K, D) unit features with the weights as they are, without a gradient."""
        with untouched(self.student), self.autocast():
            return unit(encode_captions(self.student, self.tokenize, captions))

    def candidates(self, groups: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Unit features (K, D) of the captions that pictures are told apart by, and the place of
        each picture's own (n,): all classes, or the different captions of the joint batch."""
        fixed = "text" not in self.recipe.trained
        if self.classes is not None and self.recipe.against == "classes":
            old = not fixed and step - self.table_step >= self.recipe.refresh
            if self.table is None or old:
                self.table, self.table_step = self.encode(self.classes), step
            return self.table, groups
        present, place = torch.unique(gather(groups), return_inverse=True)
        first = world()[0] * len(groups)
        captions = [self.caption_of(g) for g in present.tolist()]
        return self.encode(captions), place[first : first + len(groups)]

    def pixels(self, batch: Batch, step: int, captions: tuple[Tensor, Tensor] | None,
               frozen: Tensor | None) -> Tensor:
        """Perturbed pictures (n, 3, S, S). captions: of `candidates`, for attacks on the label;
        frozen: (n, D) raw clean features, for attacks on the features."""
        def features(x: Tensor) -> Tensor:
            with self.autocast():
                out: Tensor = self.student(pixels=x)["image"]
                return out

        if captions is not None:
            table, labels = captions
            aim = Misclassify(labels, float(self.student.clip.logit_scale.detach().exp()))

            def loss(x: Tensor) -> Tensor:
                return aim.score(unit(features(x)), table)

            return self._climb(loss, batch.pixels, step)
        assert frozen is not None
        return self._climb(drift_of(features, frozen), batch.pixels, step)

    def _climb(self, loss: Loss, pixels: Tensor, step: int) -> Tensor:
        with untouched(self.student):
            return attack_images(self.image, loss, pixels, mix(self.recipe.seed, "image", step))

    def captions(self, batch: Batch, step: int, away_from: Encode | None = None,
                 ) -> tuple[str, ...]:
        """The n attacked captions. away_from: captions -> the features (K, D) that the attack
        leads away from (default: their own of the moment)."""
        assert self.words is not None
        needed = [self.caption_of(g) for g in gather(batch.groups).unique().tolist()]
        return tuple(self.words.at(step, self.encode, away_from or self.encode, needed,
                                   batch.captions))

    def state(self) -> dict[str, Any]:
        """What has to be the same after a resumed run's start as it was."""
        return {"table": self.table, "table_step": self.table_step,
                "words": self.words.state() if self.words else {}}

    def restore(self, state: dict[str, Any]) -> None:
        table = state["table"]
        self.table = None if table is None else table.to(self.student.mean.device)
        self.table_step = state["table_step"]
        if self.words:
            self.words.restore(state["words"])
