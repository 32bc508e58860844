"""Second edition of `pocket`: photographs with captions of people, beside class names.

Both heads, the logit scale and (after a first stage with the heads alone) the image tower are
tuned on batches that mix Flickr8k with Tiny-ImageNet and sharp photographs. MiniLM stays frozen:
its features of every caption are read once, and a text costs only the projection.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.models.fast.convolution import speed_up
from tools.pocket.base import ImageTower, TextHead
from tools.pocket.terms import Batch, Corpus, Queue, Quick, Speech, Virtual, losses
from tools.pocket.tune import class_texts, write_checkpoint

Pooled = Tensor | Sequence[Tensor]


class SpeechStage:
    """One stage over (image tower, text projection, logit scale). pooled: the frozen trunk's
    features of (flickr, photos, tiny), one tensor or several views of it each, with which the
    heads alone are trained; otherwise all."""

    def __init__(self, r: Speech, tower: ImageTower, text: TextHead, log_scale: Tensor,
                 corpus: Corpus, work: Path,
                 pooled: Sequence[Pooled] | None = None, virtual: Virtual | None = None) -> None:
        self.r, self.corpus, self.pooled, self.virtual = r, corpus, pooled, virtual
        self.tower, self.text = tower.eval().requires_grad_(True), text.requires_grad_(True)
        self.frozen = copy.deepcopy(text).requires_grad_(False)
        speed_up(self.tower, weight_share=0.125)
        self.hold()
        self.log_scale = nn.Parameter(log_scale.clone())
        self.file = work / f"{r.name}.pt"
        self.rng = torch.Generator().manual_seed(r.seed)
        self.near = corpus.centred()
        self.queue = Queue(torch.zeros(0, tower.head.out_features),
                           torch.zeros(0, dtype=torch.long), r.queue)
        heads = [*self.tower.head.parameters(), *self.text.parameters(), self.log_scale]
        groups = [{"params": heads, "lr": r.head_lr, "peak": r.head_lr}]
        if pooled is None:
            trunk = [p for p in self.tower.trunk.parameters() if p.requires_grad]
            groups.append({"params": trunk, "lr": r.lr, "peak": r.lr})
        self.optimiser = torch.optim.AdamW(groups, weight_decay=r.decay, betas=(0.9, 0.98))
        self.ema = {k: v.clone() for k, v in self.weights().items()}
        self.step = 0

    def hold(self) -> None:
        """Freezes the leading stages of the trunk."""
        trunk: Any = self.tower.trunk
        if self.r.still:
            for part in (trunk.conv_stem, trunk.bn1, *list(trunk.blocks)[: self.r.still]):
                part.requires_grad_(False)

    def weights(self) -> dict[str, Tensor]:
        parts = {"image": self.tower, "text": self.text}
        out = {f"{p}.{k}": v for p, m in parts.items() for k, v in m.state_dict().items()}
        return {**out, "log_scale": self.log_scale.data}

    def load(self, weights: dict[str, Tensor]) -> None:
        for part, module in (("image", self.tower), ("text", self.text)):
            module.load_state_dict({k.removeprefix(part + "."): v for k, v in weights.items()
                                    if k.startswith(part + ".")})
        self.log_scale.data.copy_(weights["log_scale"])

    def save(self) -> None:
        write_checkpoint(self.file, {
            "recipe": asdict(self.r), "step": self.step, "weights": self.weights(),
            "ema": self.ema, "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.get_state()})

    def resume(self) -> None:
        """From the last checkpoint; the queue of features begins empty."""
        if not self.file.exists():
            return
        state = torch.load(self.file, map_location="cpu", weights_only=True)
        self.load(state["weights"])
        self.ema, self.step = state["ema"], state["step"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.set_state(state["rng"])

    def look(self, batch: Batch) -> Tensor:
        """(B, D) unit features of the batch, augmented."""
        if self.pooled is not None:
            parts = zip(self.pooled, (batch.flickr, batch.photos, batch.tiny), strict=True)
            pooled = torch.cat([self.view(views)[rows].float() for views, rows in parts])
        else:
            pixels = self.corpus.pixels(batch, self.tower.edition.side, self.rng)
            with torch.autocast("cpu", torch.bfloat16):
                pooled = self.tower.pooled(pixels)
        y: Tensor = self.tower.head(F.dropout(pooled.float(), self.r.dropout))
        return F.normalize(y, dim=1)

    def view(self, pooled: Pooled) -> Tensor:
        """One of several views of the same pictures."""
        if isinstance(pooled, Tensor):
            return pooled
        return pooled[int(torch.randint(len(pooled), (), generator=self.rng))]

    def decay(self) -> float:
        warm = min(1.0, (self.step + 1) / 50)
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.step / self.r.steps)))

    def run(self) -> Iterator[dict[str, float]]:
        """Yields the terms after each step; the averaged weights are in place at the end."""
        self.resume()
        r = self.r
        while self.step < r.steps:
            torch.manual_seed(r.seed * 1_000_003 + self.step)  # for dropout
            for group in self.optimiser.param_groups:
                group["lr"] = group["peak"] * self.decay()
            batch = self.corpus.draw(r.flickr, r.photos, r.tiny, self.rng)
            scale = self.log_scale.exp().clamp(max=100)
            terms = losses(self.r, self.corpus, self.near, batch, self.look(batch),
                           Quick(self.text), Quick(self.frozen), scale, self.queue, self.rng)
            if self.virtual is not None:
                made, classes = self.virtual.draw(192, self.rng)
                seen = F.normalize(self.tower.head(made), dim=1)
                texts = class_texts(Quick(self.text), self.corpus.words, self.rng)
                terms["virtual"] = self.r.virtual * F.cross_entropy(scale * seen @ texts.T, classes)
            loss = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(loss):
                raise ValueError(f"the loss is not finite at step {self.step}: lower lr")
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.tower.parameters(), 5.0)
            self.optimiser.step()
            keep = min(self.r.ema, (self.step + 1) / (self.step + 10))
            for k, v in self.weights().items():
                if v.is_floating_point() and not (self.pooled and k.startswith("image.trunk.")):
                    self.ema[k].lerp_(v, 1 - keep)
            self.step += 1
            if self.r.save and (self.step % self.r.save == 0 or self.step == self.r.steps):
                self.save()
            yield {k: float(v.detach()) for k, v in terms.items()}
        self.load(self.ema)
