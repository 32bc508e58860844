"""Fine-tunes the image tower and the text projection together, clean or against FGSM.

The clean stage makes `pocket`, the adversarial one `pocket-robust` (TeCoA, Mao et al. 2023,
arXiv 2212.07016, with FARE's anchor to the clean base, Schlarmann et al. 2024, arXiv 2402.12336).
Checkpoints are written aside and renamed, so that a killed run resumes at the last one.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from explorer.models.fast.convolution import speed_up
from tools.pocket.base import FIRST, ImageTower, TextHead
from tools.pocket.data import augment, mosaic
from tools.pocket.words import Vocabulary

EMA = 0.998


@dataclass(frozen=True)
class StageRecipe:
    """Settings of one stage. eps in [0, 1] pixel units; weights are factors of loss terms."""

    name: str
    steps: int
    batch: int = 64
    lr: float = 3e-4
    text_lr: float = 3e-4
    eps: float = 0.0
    teacher: float = 0.3  # part of the classification target that is the classifier's posterior
    hypernyms: float = 0.5
    virtual: float = 0.5
    anchor: float = 0.0
    keep: float = 0.0  # part of the final weights that is the start's (WiSE-FT)
    frozen: float = 0.0  # part of the classification target that is the clean model's answer
    mosaics: float = 0.0  # part of the batch that is unlabelled mosaics, whose target is all that
    seed: int = 0


@dataclass(frozen=True)
class Teacher:
    """What the frozen classifier says of the training images.

    posterior: (N, 1000) float16 probabilities; directions: (1000, D) class directions in the
    embedding; residuals: (M, D) what images of a class differ by from its mean.
    """

    posterior: Tensor
    directions: Tensor
    residuals: Tensor


def class_texts(text: nn.Module, words: Vocabulary, rng: torch.Generator) -> Tensor:
    """(1000, D) unit features, one random caption a class, a synonym now and then."""
    rows = words.first.clone()
    leaves = words.leaves
    pick = leaves[torch.rand(len(leaves), generator=rng) < 0.15]
    rows[words.members[pick].int().argmax(1)] = pick
    template = torch.randint(words.features.shape[1], (len(rows),), generator=rng)
    template[torch.rand(len(rows), generator=rng) < 0.4] = 0
    return F.normalize(text(words.features[rows, template]), dim=1)


def hypernym_loss(
    image: Tensor, labels: Tensor, text: nn.Module, words: Vocabulary, scale: Tensor,
    rng: torch.Generator,
) -> Tensor:
    """Images against 256 hypernym captions; every caption that holds the class is a positive."""
    ancestors = words.ancestors
    rows = ancestors[torch.randperm(len(ancestors), generator=rng)[:256]]
    template = torch.randint(words.features.shape[1], (len(rows),), generator=rng)
    features = F.normalize(text(words.features[rows, template]), dim=1)
    positive = words.members[rows][:, labels].T  # (N, 256)
    logits = scale * image @ features.T
    inside = logits.masked_fill(~positive, -torch.inf).logsumexp(1)
    keep = positive.any(1)
    return (logits.logsumexp(1) - inside)[keep].sum() / max(1, len(labels))


def virtual_images(teacher: Teacher, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(n, D) unit features of made-up images of any class, and their labels.

    A class direction plus what real images differ by from their mean: stands for the 800
    classes of which the training set has no image.
    """
    labels = torch.randint(len(teacher.directions), (n,), generator=rng)
    rows = torch.randint(len(teacher.residuals), (n,), generator=rng)
    gain = 1 + torch.rand(n, 1, generator=rng)
    return F.normalize(gain * teacher.directions[labels] + teacher.residuals[rows], dim=1), labels


def fgsm(image: Callable[[Tensor], Tensor], pixels: Tensor, texts: Tensor, target: Tensor,
         eps: float, scale: Tensor, rng: torch.Generator) -> Tensor:
    """One signed step of size eps from a random start (Wong et al. 2020, arXiv 2001.03994).

    target: (N,) labels or (N, K) probabilities, whose cross-entropy is maximised.
    """
    noise = eps * (2 * torch.rand(pixels.shape, generator=rng) - 1)
    start = (pixels + noise).clamp(0, 1).requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        features = F.normalize(image(start).float(), dim=1)
    loss = F.cross_entropy(scale * features @ texts.T, target, reduction="sum")
    (grad,) = torch.autograd.grad(loss, start)
    moved = start.detach() + eps * grad.sign()
    return torch.minimum(torch.maximum(moved, pixels - eps), pixels + eps).clamp(0, 1)


def write_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Written aside, flushed to the disk, renamed: a kill leaves the old one or the new one."""
    aside = file.with_suffix(".part")
    with open(aside, "wb") as handle:
        torch.save(state, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(aside, file)


class Stage:
    """One fine-tuning stage over (image tower, text projection, logit scale)."""

    def __init__(self, recipe: StageRecipe, image: ImageTower, text: TextHead, log_scale: Tensor,
                 words: Vocabulary, teacher: Teacher, work: Path,
                 anchor: ImageTower | None = None) -> None:
        """anchor: the clean model that the loss holds on to (default: the start)."""
        self.recipe, self.words, self.teacher = recipe, words, teacher
        self.frozen = copy.deepcopy(anchor or image).eval().requires_grad_(False)
        self.image, self.text = image.eval().requires_grad_(True), text.requires_grad_(True)
        speed_up(self.image, weight_share=0.125)
        self.log_scale = nn.Parameter(log_scale.clone())
        self.file = work / f"{recipe.name}.pt"
        self.rng = torch.Generator().manual_seed(recipe.seed)
        groups = [
            {"params": list(self.image.parameters()), "lr": recipe.lr, "peak": recipe.lr},
            {"params": [*self.text.parameters(), self.log_scale], "lr": recipe.text_lr,
             "peak": recipe.text_lr},
        ]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=0.02, betas=(0.9, 0.98))
        self.start = {k: v.clone() for k, v in self._weights().items()}
        self.ema = {k: v.clone() for k, v in self.start.items()}
        self.step = 0

    def _weights(self) -> dict[str, Tensor]:
        parts = {"image": self.image, "text": self.text}
        out = {f"{p}.{k}": v for p, m in parts.items() for k, v in m.state_dict().items()}
        return {**out, "log_scale": self.log_scale.data}

    def _load(self, weights: dict[str, Tensor]) -> None:
        for part, module in (("image", self.image), ("text", self.text)):
            own = {k.removeprefix(part + "."): v for k, v in weights.items()
                   if k.startswith(part + ".")}
            module.load_state_dict(own)
        self.log_scale.data.copy_(weights["log_scale"])

    def save(self) -> None:
        write_checkpoint(self.file, {
            "recipe": asdict(self.recipe), "step": self.step, "weights": self._weights(),
            "ema": self.ema, "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.get_state(),
        })

    def finish(self) -> None:
        """Takes the averaged weights, mixed with the start's, and writes NAME.final.pt.

        Averaging with the start keeps what the training set lacks (WiSE-FT, Wortsman et al.
        2022, arXiv 2109.01903).
        """
        keep = self.recipe.keep
        mixed = {k: torch.lerp(v, self.start[k], keep) if v.is_floating_point() else v
                 for k, v in self.ema.items()}
        self._load(mixed)
        write_checkpoint(self.file.with_suffix(".final.pt"), {
            "recipe": asdict(self.recipe), "step": self.step, "weights": mixed})

    def resume(self) -> None:
        if not self.file.exists():
            return
        state = torch.load(self.file, map_location="cpu", weights_only=True)
        self._load(state["weights"])
        self.ema, self.step = state["ema"], state["step"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.set_state(state["rng"])

    def loss(self, pixels: Tensor, labels: Tensor, rows: Tensor) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        scale = self.log_scale.exp().clamp(max=100)
        texts = class_texts(self.text, self.words, self.rng)
        seen, known = pixels, len(rows)
        clean = self._clean_features(pixels) if r.anchor or r.frozen else None
        target = r.teacher * self.teacher.posterior[rows].float()
        target[torch.arange(known), labels] += 1 - r.teacher
        if clean is not None and r.frozen:
            says = torch.softmax(scale.detach() * clean @ texts.detach().T, dim=1)
            target = torch.cat([torch.lerp(target, says[:known], r.frozen), says[known:]])
        if r.eps > 0:
            self.image.requires_grad_(False)
            aim = target if r.frozen else labels
            seen = fgsm(self.image, pixels, texts.detach(), aim, r.eps, scale.detach(), self.rng)
            self.image.requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            raw = self.image(seen)
        image = F.normalize(raw.float(), dim=1)
        logits = scale * image @ texts.T
        terms = {"class": F.cross_entropy(logits, target)}
        if r.hypernyms:
            terms["hypernym"] = r.hypernyms * hypernym_loss(
                image[:known], labels, self.text, self.words, scale, self.rng)
        if r.virtual:
            made, made_labels = virtual_images(self.teacher, 256, self.rng)
            terms["virtual"] = r.virtual * F.cross_entropy(scale * made @ texts.T, made_labels)
        if clean is not None and r.anchor:
            terms["anchor"] = r.anchor * (1 - F.cosine_similarity(image, clean)).mean()
        total = torch.stack(list(terms.values())).sum()
        shown = {k: round(float(v.detach()), 3) for k, v in terms.items()}
        top1 = (logits[:known].argmax(1) == labels).float().mean()
        return total, {**shown, "top1": round(float(top1), 3)}

    def _clean_features(self, pixels: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            features: Tensor = self.frozen(pixels)
        return F.normalize(features.float(), dim=1)

    def run(self, images: np.ndarray, labels: Tensor, save_every: int = 100) -> None:
        """Trains to the end of the recipe; `image`, `text` and `log_scale` then are final."""
        self.resume()
        r, n = self.recipe, len(labels)
        bar = tqdm(total=r.steps, initial=self.step, desc=r.name, mininterval=20)
        while self.step < r.steps:
            free = round(r.mosaics * r.batch)
            rows = torch.randint(n, (r.batch - free,), generator=self.rng).sort().values
            pixels = augment(images[rows.numpy()], FIRST.side, self.rng)
            if free:
                pixels = torch.cat([pixels, mosaic(images, free, FIRST.side, self.rng)])
            warm = min(1.0, (self.step + 1) / 100)
            decay = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.step / r.steps)))
            for group in self.optimiser.param_groups:
                group["lr"] = group["peak"] * decay
            loss, shown = self.loss(pixels, labels[rows], rows)
            if not torch.isfinite(loss):
                raise ValueError(f"the loss is not finite at step {self.step}: lower lr")
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.image.parameters(), 5.0)
            self.optimiser.step()
            keep = min(EMA, (self.step + 1) / (self.step + 10))
            for k, v in self._weights().items():
                if v.is_floating_point():
                    self.ema[k].lerp_(v, 1 - keep)
            self.step += 1
            bar.update()
            bar.set_postfix(shown, refresh=False)
            if self.step % save_every == 0 or self.step == r.steps:
                self.save()
        bar.close()
        self.finish()
