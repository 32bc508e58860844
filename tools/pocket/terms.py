"""What the second edition is trained on, and the losses of `pocket`'s stages."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.pocket.data import augment
from tools.pocket.tune import class_texts, hypernym_loss
from tools.pocket.words import Vocabulary

NEAR = 0.1  # temperature of MiniLM's similarity of captions
NEIGHBOURS = 30  # photos with captions alike, whose captions are hard negatives


@dataclass(frozen=True)
class Speech:
    """Settings. flickr, tiny, photos: pictures of each a step; shared: part of the contrastive
    target that is MiniLM's similarity of the captions; teacher: part of the class target that is
    the classifier's posterior; others: captions of other photos a step; hard: part of them from
    photos whose captions are alike; queue: features of earlier photos that texts choose among;
    still: leading stages of the trunk that stay as they are, for speed; the rest: weights of loss
    terms."""

    name: str
    steps: int
    flickr: int = 64
    tiny: int = 32
    photos: int = 16
    lr: float = 1.5e-4
    head_lr: float = 3e-4
    decay: float = 0.05
    shared: float = 0.3
    others: int = 1000
    hard: float = 0.0
    queue: int = 2048
    teacher: float = 0.5
    classes: float = 1.0
    posterior: float = 0.3
    hypernyms: float = 0.3
    names: float = 0.3
    places: float = 1.0
    virtual: float = 1.0
    still: int = 3
    dropout: float = 0.2
    text_dropout: float = 0.1
    ema: float = 0.995
    save: int = 100
    seed: int = 0


class Pictures(Protocol):
    """Pictures (N, S, S, 3) uint8, of which only the rows that are asked for are read."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Corpus:
    """All that is trained on. Texts are frozen MiniLM features, (..., 384); posteriors: the
    classifier's, (N, 1000) float16.

    flickr: (N, 176, 176, 3), captions: (N, 5, 384); photos: (M, 176, 176, 3), photo_names:
    (M,) rows of names (W, T, 384); tiny: (K, 64, 64, 3), labels: (K,) of 1000.
    """

    flickr: np.ndarray
    captions: Tensor
    flickr_posterior: Tensor
    photos: Pictures
    photo_names: Tensor
    names: Tensor
    photos_posterior: Tensor
    tiny: np.ndarray
    labels: Tensor
    tiny_posterior: Tensor
    words: Vocabulary

    def centred(self) -> tuple[Tensor, Tensor]:
        """Unit MiniLM features of the captions without the mean that all share, (N, 5, 384), and
        of the photos: (N, 384), the mean of their captions."""
        each = F.normalize(self.captions - self.captions.mean((0, 1)), dim=2)
        return each, F.normalize(each.mean(1), dim=1)

    def draw(self, flickr: int, photos: int, tiny: int, rng: torch.Generator) -> Batch:
        """So many rows of each source, rising."""
        sizes = ((len(self.captions), flickr), (len(self.photo_names), photos),
                 (len(self.labels), tiny))
        return Batch(*(torch.randperm(n, generator=rng)[:k].sort().values for n, k in sizes))

    def pixels(self, batch: Batch, side: int, rng: torch.Generator) -> Tensor:
        """(B, 3, side, side) a batch's pictures, augmented: flickr, photos, tiny."""
        return torch.cat([augment(self.flickr[batch.flickr.numpy()], side, rng, 96),
                          augment(self.photos[batch.photos.numpy()], side, rng, 48),
                          augment(self.tiny[batch.tiny.numpy()], side, rng)])


def soft(hard: Tensor, near: Tensor, share: float) -> Tensor:
    """Targets: hard (rows sum to 1) mixed with softmax(near / NEAR), cosines of MiniLM."""
    return torch.lerp(hard, torch.softmax(near / NEAR, dim=1), share)


def mixed(captions: Tensor, rng: torch.Generator) -> Tensor:
    """(N, C, 384) features, each moved up to halfway to another caption of its photo."""
    other = captions[:, torch.randperm(captions.shape[1], generator=rng)]
    return torch.lerp(captions, other, 0.5 * torch.rand(*captions.shape[:2], 1, generator=rng))


@dataclass
class Queue:
    """Features of earlier photos: (Q, D) unit, the photos' numbers (Q,)."""

    features: Tensor
    rows: Tensor
    limit: int

    def push(self, features: Tensor, rows: Tensor) -> None:
        """The photo's older feature makes room for its newer one."""
        stay = ~torch.isin(self.rows, rows)
        self.features = torch.cat([features.detach(), self.features[stay]])[: self.limit]
        self.rows = torch.cat([rows, self.rows[stay]])[: self.limit]


def caption_loss(
    image: Tensor, rows: Tensor, text: nn.Module, corpus: Corpus, near: tuple[Tensor, Tensor],
    scale: Tensor, queue: Queue, r: Speech, rng: torch.Generator,
) -> Tensor:
    """CLIP's loss both ways, image (B, D) unit, rows (B,): pictures choose among all captions of
    the batch and `others`, captions among the batch and the queue, with soft targets."""
    n, per = len(rows), corpus.captions.shape[1]
    own = F.dropout(mixed(corpus.captions[rows], rng), r.text_dropout).flatten(0, 1)
    free = torch.ones(len(corpus.captions), dtype=torch.bool)
    free[rows] = False
    pool = free.nonzero().flatten()
    other = pool[torch.randint(len(pool), (r.others,), generator=rng)]
    if r.hard:
        alike = near[1][rows] @ near[1].T
        alike[:, rows] = -1
        closest = alike.topk(min(NEIGHBOURS, len(pool)), dim=1).indices.flatten()
        some = int(r.hard * r.others)
        other[:some] = closest[torch.randint(len(closest), (some,), generator=rng)]
    which = torch.randint(per, (r.others,), generator=rng)
    # Mixed and thinned like the own ones: else pictures learn to prefer what is mixed.
    far = F.dropout(mixed(corpus.captions[other], rng)[torch.arange(r.others), which],
                    r.text_dropout)
    texts = F.normalize(text(torch.cat([own, far])), dim=1)
    owner = torch.arange(n).repeat_interleave(per)
    centred, centre = near
    said = torch.cat([centred[rows].flatten(0, 1), centred[other, which]])
    hard = F.one_hot(owner, n).float()
    to_text = F.pad(hard.T / per, (0, r.others))
    keep = ~torch.isin(queue.rows, rows)
    gallery = torch.cat([image, queue.features[keep]])
    places = torch.cat([rows, queue.rows[keep]])
    to_image = F.pad(hard, (0, len(places) - n))
    return (F.cross_entropy(scale * image @ texts.T,
                            soft(to_text, centre[rows] @ said.T, r.shared))
            + F.cross_entropy(scale * texts[: n * per] @ gallery.T,
                              soft(to_image, said[: n * per] @ centre[places].T, r.shared)))


@dataclass(frozen=True)
class Virtual:
    """Made-up pooled features of all 1,000 classes, since pictures show few of them.

    base: (M, 1280) real ones without what the first edition's head sees of their class; steps:
    (1000, 1280) what it takes for that head to see a class; head, texts (1000, D), scale: the first
    edition's, whose answer to a made-up feature is to stay.
    """

    base: Tensor
    steps: Tensor
    head: nn.Linear
    texts: Tensor
    scale: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, pooled: Tensor, labels: Tensor, head: nn.Linear, texts: Tensor, scale: Tensor,
           ) -> Virtual:
        """pooled: (M, 1280) of pictures with labels (M,) of 1000; texts: unit features of the
        classes' captions."""
        seen, back = head(pooled), torch.linalg.pinv(head.weight)
        away, lengths = seen.clone(), []
        for label in labels.unique():
            mean = seen[labels == label].mean(0)
            away[labels == label] -= mean
            lengths.append(mean @ texts[label])
        step = torch.stack(lengths).mean() * texts @ back.T
        return cls(pooled + (away - seen) @ back.T, step, copy.deepcopy(head), texts, scale)

    @torch.no_grad()
    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """(n, 1280) pooled features of random classes, and the first edition's answers (n, 1000).

        Each goes 0.3 to 1.3 times as far to its class as pictures do.
        """
        labels = torch.randint(len(self.steps), (n,), generator=rng)
        rows = torch.randint(len(self.base), (n,), generator=rng)
        made = self.base[rows] + (0.3 + torch.rand(n, 1, generator=rng)) * self.steps[labels]
        logits = self.scale * F.normalize(self.head(made), dim=1) @ self.texts.T
        return made, logits.softmax(1)


class Quick(nn.Module):
    """A text projection that works in bfloat16 and answers in float32."""

    def __init__(self, text: nn.Module) -> None:
        super().__init__()
        self.text = text

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y: Tensor = self.text(features)
        return y.float()


@dataclass(frozen=True)
class Batch:
    """Rows drawn of the three sources."""

    flickr: Tensor
    photos: Tensor
    tiny: Tensor


def losses(
    r: Speech, corpus: Corpus, near: tuple[Tensor, Tensor], batch: Batch, image: Tensor,
    text: nn.Module, frozen: nn.Module, scale: Tensor, queue: Queue, rng: torch.Generator,
) -> dict[str, Tensor]:
    """The terms; image: (B, D) unit, in the order flickr, photos, tiny. frozen: the text head that
    the words' places are held to."""
    f, p = len(batch.flickr), len(batch.photos)
    seen, sharp, small = image[:f], image[f : f + p], image[f + p :]
    terms = {"captions": caption_loss(seen, batch.flickr, text, corpus, near, scale, queue, r,
                                      rng)}
    texts = class_texts(text, corpus.words, rng)
    labels = corpus.labels[batch.tiny]
    target = r.teacher * corpus.tiny_posterior[batch.tiny].float()
    target[torch.arange(len(labels)), labels] += 1 - r.teacher
    terms["class"] = r.classes * F.cross_entropy(scale * small @ texts.T, target)
    says = torch.cat([corpus.flickr_posterior[batch.flickr], corpus.photos_posterior[batch.photos]])
    terms["posterior"] = r.posterior * F.cross_entropy(scale * image[: f + p] @ texts.T,
                                                       says.float())
    terms["hypernym"] = r.hypernyms * hypernym_loss(small, labels, text, corpus.words, scale, rng)
    template = torch.randint(corpus.names.shape[1], (len(corpus.names),), generator=rng)
    named = corpus.names[torch.arange(len(corpus.names)), template]
    alike = F.normalize(corpus.names[:, 0] - corpus.names[:, 0].mean(0), dim=1)
    mine = corpus.photo_names[batch.photos]
    goal = soft(F.one_hot(mine, len(alike)).float(), alike[mine] @ alike.T, r.shared)
    terms["names"] = r.names * F.cross_entropy(
        scale * sharp @ F.normalize(text(named), dim=1).T, goal)
    some = torch.randint(len(corpus.words.names), (512,), generator=rng)
    words = corpus.words.features[some, int(template[0])]
    with torch.no_grad():
        before = F.normalize(frozen(words), dim=1)
    terms["places"] = r.places * (1 - F.cosine_similarity(text(words), before)).mean()
    queue.push(seen, batch.flickr)
    return terms
