"""From a batch to the terms of a method's loss: attacks, one forward pass, the losses."""

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
from explorer.training.attention import attention_map, require_attention
from explorer.training.gather import gather, world
from explorer.training.inner import TextInner
from explorer.training.recipe import Recipe
from explorer.training.student import Student, Tokenize, encode_captions, unit

Terms = dict[str, Tensor]
Captions = tuple[Tensor, Tensor]  # unit features (K, D), place of each picture's own (n,)
CLEAN_TOO = ("clip", "pmg-aft", "tga", "mmcoa+")  # methods that also read the clean pictures


@dataclass(frozen=True, eq=False)
class Seen:
    """What one forward pass gave: raw features by name (image, adv_image, text, adv_text; (n, D)
    each), of the patches (n, P, D) where asked for, and the scale ()."""

    raw: dict[str, Tensor]
    patches: dict[str, Tensor]
    scale: Tensor

    def unit(self, name: str) -> Tensor:
        return unit(self.raw[name])


class Objective:
    """The loss of a recipe on a student. Raises InputError where the method does not fit the
    model."""

    def __init__(self, recipe: Recipe, student: Student, tokenize: Tokenize,
                 caption_of: Callable[[int], str], classes: Sequence[str] | None,
                 text_inner: TextInner | None = None, autocast: Autocast = nullcontext) -> None:
        """caption_of: group -> caption. classes: the captions of all groups, or None for a set of
        free captions. text_inner: for methods that attack captions."""
        if recipe.method == "tga":
            require_attention(student.clip.visual)
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
        frozen = self._frozen_images(batch.pixels)
        captions: Captions | None = None
        if kind.image_attack == "label" and (r.attacks_images or kind.trains == ("image",)):
            captions = self.attacker.candidates(batch.groups, step)
        pictures: dict[str, Tensor] = {}
        if r.attacks_images:
            pictures["adv_image"] = self.attacker.pixels(batch, step, captions, frozen.get("image"))
        if r.method in CLEAN_TOO or (r.method == "mmcoa" and r.attacks_text):
            pictures["image"] = batch.pixels
        texts: dict[str, tuple[str, ...]] = {}
        if r.attacks_text:
            still = (lambda c: unit(self._still(c))) if kind.leads_from_frozen else None
            texts["adv_text"] = self.attacker.captions(batch, step, still)
        if "scale" in kind.trains:
            texts["text"] = batch.captions
        seen = self._forward(model or self.student, pictures, texts)
        if r.method == "clip":
            return {"clean": 0.5 * self._pairs(batch, seen, "image", "text")}
        if r.method in ("mmcoa", "mmcoa+"):
            return self._multimodal(batch, seen, frozen)
        if kind.image_attack == "label":
            assert captions is not None
            return self._labelled(pictures, seen, frozen, captions)
        return self._stay(batch, seen, frozen)

    # -- the frozen model ----------------------------------------------------------------------

    def _frozen_images(self, pixels: Tensor) -> Terms:
        """What the frozen model says of clean pictures, where the loss asks."""
        kind, method = self.recipe.kind, self.recipe.method
        if self.frozen is None or "image" not in kind.trains or method == "pmg-aft":
            return {}
        with torch.no_grad(), self.autocast():
            return dict(self.frozen(pixels=pixels, patches=method == "tga"))

    def _still(self, captions: Sequence[str]) -> Tensor:
        """(n, D) raw features of the frozen model."""
        assert self.frozen is not None
        different = list(dict.fromkeys(captions))
        with self.autocast():
            rows = encode_captions(self.frozen, self.tokenize, different)
        place = {caption: k for k, caption in enumerate(different)}
        return rows[[place[c] for c in captions]]

    # -- the pass ------------------------------------------------------------------------------

    def _forward(self, model: Any, pictures: Terms, texts: dict[str, tuple[str, ...]]) -> Seen:
        """All pictures and all different captions in one pass, handed back by name."""
        tokens = place = None
        if texts:
            every = [c for captions in texts.values() for c in captions]
            different = {c: k for k, c in enumerate(dict.fromkeys(every))}
            device = self.student.mean.device
            tokens = self.tokenize(list(different)).to(device)
            place = torch.tensor([different[c] for c in every], device=device)
        with self.autocast():
            out = model(pixels=torch.cat(list(pictures.values())) if pictures else None,
                        tokens=tokens, patches=self.recipe.method == "tga")
        raw: Terms = {}
        patches: Terms = {}
        if pictures:
            raw.update(zip(pictures, out["image"].chunk(len(pictures)), strict=True))
        if "patches" in out:
            patches.update(zip(pictures, out["patches"].chunk(len(pictures)), strict=True))
        if place is not None:
            raw.update(zip(texts, out["text"][place].chunk(len(texts)), strict=True))
        return Seen(raw, patches, out["scale"])

    # -- the losses ----------------------------------------------------------------------------

    def _pairs(self, batch: Batch, seen: Seen, image: str, text: str) -> Tensor:
        """The contrastive loss of two named sides over all processes."""
        images, texts = seen.unit(image), seen.unit(text)
        groups = gather(batch.groups)
        n = len(batch.groups)
        own = world()[0] * n + torch.arange(n, device=groups.device)
        return losses.contrastive(
            images, texts, gather(images), gather(texts), seen.scale, own,
            batch.groups[:, None] == groups[None], self.recipe.targets)

    def _multimodal(self, batch: Batch, seen: Seen, frozen: Terms) -> Terms:
        """MMCoA's two terms; in mmcoa+ also the joint one and the anchors."""
        r, terms = self.recipe, {}
        if r.attacks_images:
            terms["image"] = r.lambda_img * self._pairs(batch, seen, "adv_image", "text")
        if r.attacks_text:
            terms["text"] = r.lambda_txt * self._pairs(batch, seen, "image", "adv_text")
        if r.method == "mmcoa":
            return terms
        if r.joint and r.attack_sides == "both":
            terms["joint"] = r.joint * self._pairs(batch, seen, "adv_image", "adv_text")
        if r.anchor and "image" in r.trained:
            still = unit(frozen["image"])
            moved = [losses.turn(seen.unit(name), still) for name in ("adv_image", "image")
                     if name in seen.raw]
            terms["anchor_image"] = r.anchor * torch.stack(moved).mean()
        if r.text_anchor and "text" in r.trained:
            name = "adv_text" if r.attacks_text else "text"
            terms["anchor_text"] = r.text_anchor * losses.turn(
                seen.unit(name), unit(self._still(batch.captions)))
        return terms

    def _labelled(self, pictures: Terms, seen: Seen, frozen: Terms, captions: Captions) -> Terms:
        """TeCoA, and the methods that add to it."""
        table, labels = captions
        adversarial = seen.unit("adv_image")
        terms = {"image": losses.classify(adversarial, table, labels, seen.scale)}
        if self.recipe.method == "pmg-aft":
            assert self.frozen is not None
            with torch.no_grad(), self.autocast():
                guide = unit(self.frozen(pixels=pictures["adv_image"])["image"])
            logits = seen.scale * adversarial @ table.T
            terms["kl_frozen"] = losses.divergence(logits, self.frozen_scale * guide @ table.T)
            terms["kl_clean"] = losses.divergence(
                logits, seen.scale * seen.unit("image") @ table.T)
        elif self.recipe.method == "tga":
            maps = {name: self._map(patches, table[labels])
                    for name, patches in (*seen.patches.items(), ("frozen", frozen["patches"]))}
            weights = {"adv_image": self.recipe.attention_adv, "image": self.recipe.attention_clean}
            for name, weight in weights.items():
                terms[f"attention_{name}"] = weight * losses.attention(maps[name], maps["frozen"])
        return terms

    def _map(self, patches: Tensor, text: Tensor) -> Tensor:
        visual = self.student.clip.visual
        return attention_map(patches, text, visual.grid_size, visual.image_size)

    def _stay(self, batch: Batch, seen: Seen, frozen: Terms) -> Terms:
        """FARE, LEAF, or both."""
        terms = {}
        if "adv_image" in seen.raw:
            terms["image"] = losses.stay(seen.raw["adv_image"], frozen["image"])
        if "adv_text" in seen.raw:
            terms["text"] = losses.stay(seen.raw["adv_text"], self._still(batch.captions))
        return terms
