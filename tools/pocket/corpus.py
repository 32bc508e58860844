"""Reads once all that the second edition is trained on, with what the frozen towers say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from tools.pocket.base import SECOND, ImageTower, TextHead, classifier, minilm_folder
from tools.pocket.data import augment, load_training, upscale
from tools.pocket.pictures import kept, load_flickr, load_photos
from tools.pocket.terms import Corpus
from tools.pocket.words import TEMPLATES, Vocabulary, embed, load_classes

HELD = 6  # every sixth sharp photograph is kept back, to choose on
TINY = 8000  # pictures of Tiny-ImageNet, which come shuffled
VIEWS = {"flickr8k_train": (4, 96), "photos_train": (3, 48), "tiny": (2, 24)}
"""Of the pictures, how many views the heads see, the first as it is; and their least pixels."""
SHARP = 224  # pixels at which the classifier reads the sharp photographs


@dataclass(frozen=True)
class Known:
    """The first edition: its towers, logit scale, and the words as its projection takes them
    (`mean` and `spread` are taken off MiniLM's features)."""

    tower: ImageTower
    text: TextHead
    log_scale: Tensor
    words: Vocabulary
    mean: Tensor
    spread: Tensor


@dataclass(frozen=True)
class Some:
    """A view of an array that has these rows alone."""

    array: np.ndarray
    rows: np.ndarray

    def __getitem__(self, which: np.ndarray) -> np.ndarray:
        some: np.ndarray = self.array[self.rows[which]]
        return some

    def __len__(self) -> int:
        return len(self.rows)


@torch.no_grad()
def over(images: np.ndarray, size: int, look: Callable[[Tensor], Tensor], title: str,
         turn: Callable[[np.ndarray, int], Tensor] = upscale) -> Tensor:
    """`look` at all images, in batches, float16. turn: makes pixels of a batch and a size."""
    out = []
    for start in tqdm(range(0, len(images), 100), desc=title, mininterval=20):
        with torch.autocast("cpu", torch.bfloat16):
            out.append(look(turn(images[start : start + 100], size)).half())
    return torch.cat(out)


def seen(name: str, images: np.ndarray, known: Known, work: Path) -> list[Tensor]:
    """The first edition's pooled features of several views of the pictures, each kept on disk."""
    many, lowest = VIEWS[name]
    rng = torch.Generator().manual_seed(7)

    def view(number: int) -> Tensor:
        def turn(part: np.ndarray, side: int) -> Tensor:
            return augment(part, side, rng, lowest) if number else upscale(part, side)

        return over(images, SECOND.side, known.tower.pooled, f"{name}, view {number + 1}", turn)

    return [kept(work / f"pooled-{name}-{k}.pt", lambda k=k: view(k))  # type: ignore[misc]
            for k in range(many)]


def read_corpus(data: Path, work: Path, known: Known,
                ) -> tuple[Corpus, tuple[list[Tensor], ...]]:
    """The corpus, and the first edition's pooled features of views of (flickr, photos, tiny)."""
    flickr = load_flickr(data, work)
    photos, names = load_photos(data, work)
    tiny, labels = load_training(data, work, list(load_classes(data)))
    shown = np.array([i for i in range(len(names)) if i % HELD])
    different = sorted(set(names))

    def read(captions: list[str]) -> Tensor:
        return ((embed(captions, minilm_folder()) - known.mean) / known.spread).half()

    said = kept(work / "text-flickr8k_train.pt", lambda: read(flickr.every())).float()
    named = kept(work / "text-photos.pt", lambda: read(
        [t.format(n) for n in different for t in TEMPLATES]).view(
            len(different), len(TEMPLATES), -1)).float()
    network = classifier()
    teacher = ImageTower(network).eval()
    rows = network.classifier
    assert isinstance(rows, nn.Linear)

    def answer(pixels: Tensor) -> Tensor:
        logits: Tensor = rows(teacher.pooled(pixels))
        return logits.float().softmax(1)

    says = [kept(work / f"posterior-{name}.pt",
                 lambda images=images, name=name: over(  # type: ignore[misc]
                     images, SHARP, answer, name))
            for name, images in (("flickr8k_train", flickr.images), ("photos_train", photos))]
    pooled = [seen(name, images, known, work) for name, images in (
        ("flickr8k_train", flickr.images), ("photos_train", photos), ("tiny", tiny[:TINY]))]
    words = known.words
    with torch.no_grad():
        texts = F.normalize(known.text(words.features[words.first, 0]), dim=1)
        places = F.normalize(known.tower.head(pooled[2][0].float()), dim=1)
        guess = (known.log_scale.exp() * places @ texts.T).softmax(1).half()
    corpus = Corpus(
        flickr.images, said.view(len(flickr.images), -1, said.shape[-1]), says[0],
        Some(photos, shown), torch.tensor([different.index(names[i]) for i in shown]), named,
        says[1][shown], tiny, labels[:TINY], guess, words)
    return corpus, (pooled[0], [view[shown] for view in pooled[1]], pooled[2])
