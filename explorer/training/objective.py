"""From a batch to the terms of a method's loss: attacks, one forward pass, the method."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explorer.training import losses
from explorer.training.attacker import Attacker, Autocast, Batch
from explorer.training.gather import gather, world
from explorer.training.inner import TextInner
from explorer.training.recipe import Recipe
from explorer.training.student import Student, Tokenize, encode_captions, unit

Terms = dict[str, Tensor]
Captions = tuple[Tensor, Tensor]  # unit features (K, D), place of each picture's own (n,)


@dataclass(frozen=True, eq=False)
class Moment:
    """What a method computes its loss from: one step's batch, read. raw: features of one forward
    pass by name (image, adv_image, text, adv_text; (n, D) each, those that the method asked for);
    patches: of the pictures, (n, P, D) each, where asked for; scale: (); found: the captions that
    pictures are told apart by, where they were attacked so; still: what the frozen model says of
    the clean pictures, image (n, D) and patches, where asked for."""

    objective: Objective
    batch: Batch
    raw: Terms
    patches: Terms
    scale: Tensor
    found: Captions | None
    still: Terms
    pixels: Terms

    @property
    def recipe(self) -> Recipe:
        return self.objective.recipe

    @property
    def student(self) -> Student:
        return self.objective.student

    @property
    def candidates(self) -> Captions:
        """Unit features (K, D) of the captions, and the place of each picture's own (n,)."""
        assert self.found is not None
        return self.found

    def unit(self, name: str) -> Tensor:
        """(n, D) features of length 1."""
        return unit(self.raw[name])

    def contrastive(self, image: str, text: str) -> Tensor:
        """The contrastive loss of two named sides over all processes, ()."""
        images, texts = self.unit(image), self.unit(text)
        groups = gather(self.batch.groups)
        n = len(self.batch.groups)
        own = world()[0] * n + torch.arange(n, device=groups.device)
        return losses.contrastive(
            images, texts, gather(images), gather(texts), self.scale, own,
            self.batch.groups[:, None] == groups[None], self.recipe.targets)

    def logits(self, name: str) -> Tensor:
        """(n, K) of named pictures against all candidates."""
        return self.scale * self.unit(name) @ self.candidates[0].T

    def classify(self, name: str) -> Tensor:
        """TeCoA's loss of named pictures, ()."""
        return losses.classify(self.unit(name), *self.candidates, self.scale)

    def stay(self, name: str) -> Tensor:
        """Squared distance of adv_image or adv_text from the frozen model's clean features, ()."""
        return losses.stay(self.raw[name], self._still(name.removeprefix("adv_")))

    def still_unit(self, name: str) -> Tensor:
        """(n, D) the frozen model's features of clean pictures, image, or captions, text."""
        return unit(self._still(name))

    def _still(self, name: str) -> Tensor:
        return self.still["image"] if name == "image" else (
            self.objective._still(self.batch.captions))

    def frozen_logits(self, name: str) -> Tensor:
        """(n, K) what the frozen model says of named pictures."""
        frozen = self.objective.frozen
        assert frozen is not None
        with torch.no_grad(), self.objective.autocast():
            guide = unit(frozen(pixels=self.pixels[name])["image"])
        return self.objective.frozen_scale * guide @ self.candidates[0].T


class Objective:
    """The loss of a recipe on a student. Raises InputError where the method does not fit the
    model."""

    def __init__(self, recipe: Recipe, student: Student, tokenize: Tokenize,
                 caption_of: Callable[[int], str], classes: Sequence[str] | None,
                 text_inner: TextInner | None = None, autocast: Autocast = nullcontext) -> None:
        """caption_of: group -> caption. classes: the captions of all groups, or None for a set of
        free captions. text_inner: for methods that attack captions."""
        recipe.kind.check(student)
        self.recipe, self.student = recipe, student
        self.tokenize, self.autocast = tokenize, autocast
        self.attacker = Attacker(recipe, student, tokenize, caption_of, classes, text_inner,
                                 autocast)
        self.frozen: Student | None = None
        if recipe.kind.anchored:
            self.frozen = copy.deepcopy(student).eval().requires_grad_(False)
        self.frozen_scale = float(student.clip.logit_scale.detach().exp())

    def terms(self, batch: Batch, step: int, model: Any = None) -> Terms:
        """Weighted terms, () each, whose sum is the loss. step: of the run; seeds the attacks.
        model: the student as wrapped for several processes."""
        r, kind = self.recipe, self.recipe.kind
        still = self._frozen_images(batch.pixels) if kind.reads_still else {}
        captions: Captions | None = None
        pictures: Terms = {}
        if r.attacks_images:
            if kind.image_attack == "label":
                captions = self.attacker.candidates(batch.groups, step)
            pictures["adv_image"] = self.attacker.pixels(batch, step, captions, still.get("image"))
        if kind.reads_clean(r):
            pictures["image"] = batch.pixels
        texts: dict[str, tuple[str, ...]] = {}
        if r.attacks_text:
            away = (lambda c: unit(self._still(c))) if kind.leads_from_frozen else None
            texts["adv_text"] = self.attacker.captions(batch, step, away)
        if "scale" in kind.trains:
            texts["text"] = batch.captions
        raw, patches, scale = self._forward(model or self.student, pictures, texts)
        return kind.terms(Moment(self, batch, raw, patches, scale, captions, still, pictures))

    def _frozen_images(self, pixels: Tensor) -> Terms:
        """What the frozen model says of clean pictures."""
        assert self.frozen is not None
        with torch.no_grad(), self.autocast():
            return dict(self.frozen(pixels=pixels, patches=self.recipe.kind.patches))

    def _still(self, captions: Sequence[str]) -> Tensor:
        """(n, D) raw features of the frozen model."""
        assert self.frozen is not None
        different = list(dict.fromkeys(captions))
        with self.autocast():
            rows = encode_captions(self.frozen, self.tokenize, different)
        place = {caption: k for k, caption in enumerate(different)}
        return rows[[place[c] for c in captions]]

    def _forward(self, model: Any, pictures: Terms, texts: dict[str, tuple[str, ...]],
                 ) -> tuple[Terms, Terms, Tensor]:
        """All pictures and all different captions in one pass: features and patches by name, and
        the scale."""
        tokens = place = None
        if texts:
            every = [c for captions in texts.values() for c in captions]
            different = {c: k for k, c in enumerate(dict.fromkeys(every))}
            device = self.student.mean.device
            tokens = self.tokenize(list(different)).to(device)
            place = torch.tensor([different[c] for c in every], device=device)
        with self.autocast():
            out = model(pixels=torch.cat(list(pictures.values())) if pictures else None,
                        tokens=tokens, patches=self.recipe.kind.patches)
        raw: Terms = {}
        patches: Terms = {}
        if pictures:
            raw.update(zip(pictures, out["image"].chunk(len(pictures)), strict=True))
        if "patches" in out:
            patches.update(zip(pictures, out["patches"].chunk(len(pictures)), strict=True))
        if place is not None:
            raw.update(zip(texts, out["text"][place].chunk(len(texts)), strict=True))
        return raw, patches, out["scale"]
