"""Second edition of `pocket-robust`'s image tower: hardened on what the second `pocket` was shown.

Every picture of a batch, of Flickr8k, of the sharp photographs and of Tiny-ImageNet, is attacked by
random-start FGSM (Wong et al. 2020, arXiv 2001.03994) on the very loss that is then minimised:
TeCoA's cross-entropy (Mao et al. 2023, arXiv 2212.07016) over the 1,000 class captions, the image
half of MMCoA's (Zhou et al. 2024, arXiv 2404.19287, L_{I'-T}) over captions of people, and FARE's
anchor (Schlarmann et al. 2024, arXiv 2402.12336) to `pocket`'s clean feature. Targets are in part
what `pocket` answers to the clean picture. The text side is `pocket`'s and stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.models.fast.convolution import speed_up
from tools.pocket.base import ImageTower
from tools.pocket.terms import Batch, Corpus, Quick
from tools.pocket.tune import class_texts, write_checkpoint


@dataclass(frozen=True)
class Guard:
    """Settings. flickr, photos, tiny: pictures of each a step; eps in [0, 1] pixel units; moves:
    signed steps of the attack; own: part of the target that is the label or the picture's own
    captions, the rest being `pocket`'s answer; others: captions of other photos a step; classes,
    captions, anchor: weights of the terms."""

    name: str = "guard"
    steps: int = 400
    flickr: int = 24
    photos: int = 16
    tiny: int = 24
    lr: float = 2.5e-4
    eps: float = 1.5 / 255
    moves: int = 1
    own: float = 0.5
    others: int = 300
    classes: float = 1.0
    captions: float = 0.7
    anchor: float = 2.0
    decay: float = 0.02
    ema: float = 0.995
    save: int = 50
    seed: int = 0


def attack(look: Callable[[Tensor], Tensor], pixels: Tensor, loss: Callable[[Tensor], Tensor],
           eps: float, moves: int, rng: torch.Generator) -> Tensor:
    """Signed steps up the loss of features from a random start, within eps and [0, 1].

    One step goes eps far (Wong et al. 2020), each of several 0.75 eps. pixels: (N, 3, S, S).
    """
    now = (pixels + eps * (2 * torch.rand(pixels.shape, generator=rng) - 1)).clamp(0, 1)
    far = eps if moves == 1 else 0.75 * eps
    for _ in range(moves):
        now.requires_grad_(True)
        (grad,) = torch.autograd.grad(loss(look(now)), now)
        moved = now.detach() + far * grad.sign()
        now = torch.minimum(torch.maximum(moved, pixels - eps), pixels + eps).clamp(0, 1)
    return now


@dataclass(frozen=True)
class Aim:
    """What a batch's features are to say: class logits over texts (1000, D) with target (B, 1000);
    the first rows' caption logits over said (C, D) with own (F, C); clean: (B, D) of `pocket`."""

    texts: Tensor
    target: Tensor
    said: Tensor
    own: Tensor
    clean: Tensor

    def terms(self, image: Tensor, scale: Tensor, r: Guard) -> dict[str, Tensor]:
        """image: (B, D) unit."""
        first = len(self.own)
        return {
            "class": r.classes * F.cross_entropy(scale * image @ self.texts.T, self.target),
            "captions": r.captions * F.cross_entropy(scale * image[:first] @ self.said.T, self.own),
            "anchor": r.anchor * (1 - (image * self.clean).sum(1)).mean(),
        }


class GuardStage:
    """Hardens `tower`; `clean` (the second `pocket`'s tower) and its text projection are frozen."""

    def __init__(self, r: Guard, tower: ImageTower, clean: ImageTower, text: nn.Module,
                 log_scale: Tensor, corpus: Corpus, work: Path) -> None:
        self.r, self.corpus = r, corpus
        self.tower = tower.eval().requires_grad_(True)
        self.clean = clean.eval().requires_grad_(False)
        self.text = Quick(text.requires_grad_(False))
        speed_up(self.tower, weight_share=0.125)
        self.scale = log_scale.exp()
        self.file = work / f"{r.name}.pt"
        self.rng = torch.Generator().manual_seed(r.seed)
        self.optimiser = torch.optim.AdamW(self.tower.parameters(), lr=r.lr,
                                           weight_decay=r.decay, betas=(0.9, 0.98))
        self.ema = {k: v.clone() for k, v in self.tower.state_dict().items()}
        self.step = 0

    def save(self) -> None:
        write_checkpoint(self.file, {
            "recipe": asdict(self.r), "step": self.step, "weights": self.tower.state_dict(),
            "ema": self.ema, "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.get_state()})

    def resume(self) -> None:
        if not self.file.exists():
            return
        state = torch.load(self.file, map_location="cpu", weights_only=True)
        self.tower.load_state_dict(state["weights"])
        self.ema, self.step = state["ema"], state["step"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.set_state(state["rng"])

    def look(self, tower: ImageTower, pixels: Tensor) -> Tensor:
        """(B, D) unit features."""
        with torch.autocast("cpu", torch.bfloat16):
            y = tower(pixels)
        return F.normalize(y.float(), dim=1)

    @torch.no_grad()
    def aim(self, batch: Batch, pixels: Tensor) -> Aim:
        c, r, n = self.corpus, self.r, len(batch.flickr)
        clean = self.look(self.clean, pixels)
        texts = class_texts(self.text, c.words, self.rng)
        target = torch.softmax(self.scale * clean @ texts.T, dim=1)
        labels = c.labels[batch.tiny]
        known = F.one_hot(labels, target.shape[1]).float()
        target[-len(labels):] = torch.lerp(target[-len(labels):], known, r.own)
        per = c.captions.shape[1]
        other = torch.randint(len(c.captions), (r.others,), generator=self.rng)
        other = other[~torch.isin(other, batch.flickr)]
        which = torch.randint(per, (len(other),), generator=self.rng)
        said = F.normalize(self.text(torch.cat([c.captions[batch.flickr].flatten(0, 1),
                                                c.captions[other, which]])), dim=1)
        hard = F.one_hot(torch.arange(n).repeat_interleave(per), n).float().T / per
        says = torch.softmax(self.scale * clean[:n] @ said.T, dim=1)
        return Aim(texts, target, said, torch.lerp(says, F.pad(hard, (0, len(other))), r.own),
                   clean)

    def run(self) -> Iterator[dict[str, float]]:
        """Yields the terms after each step; the averaged weights are in place at the end."""
        self.resume()
        r = self.r

        def loss(image: Tensor, aim: Aim) -> tuple[Tensor, dict[str, Tensor]]:
            terms = aim.terms(image, self.scale, r)
            return torch.stack(list(terms.values())).sum(), terms

        while self.step < r.steps:
            warm = min(1.0, (self.step + 1) / 50)
            decay = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.step / r.steps)))
            for group in self.optimiser.param_groups:
                group["lr"] = r.lr * decay
            batch = self.corpus.draw(r.flickr, r.photos, r.tiny, self.rng)
            pixels = self.corpus.pixels(batch, self.tower.edition.side, self.rng)
            aim = self.aim(batch, pixels)
            self.tower.requires_grad_(False)
            moved = attack(lambda x: self.look(self.tower, x), pixels,
                           lambda image, aim=aim: 1000 * loss(image, aim)[0],  # type: ignore[misc]
                           r.eps, r.moves, self.rng)
            self.tower.requires_grad_(True)
            total, terms = loss(self.look(self.tower, moved), aim)
            if not torch.isfinite(total):
                raise ValueError(f"the loss is not finite at step {self.step}: lower lr")
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_(self.tower.parameters(), 5.0)
            self.optimiser.step()
            keep = min(r.ema, (self.step + 1) / (self.step + 10))
            for k, v in self.tower.state_dict().items():
                if v.is_floating_point():
                    self.ema[k].lerp_(v, 1 - keep)
            self.step += 1
            if self.step % r.save == 0 or self.step == r.steps:
                self.save()
            yield {k: float(v.detach()) for k, v in terms.items()}
        self.tower.load_state_dict(self.ema)
