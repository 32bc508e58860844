"""Captions for ImageNet classes: names, synonyms and hypernyms in a few templates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

TEMPLATES = (
    "a photo of a {}",
    "{}",
    "a blurry photo of the {}",
    "a close-up picture of a {}",
    "this is a photo of a {}",
    "a small photo of a {}",
    "a picture of one {}",
    "a good photo of the {}",
)
WIDEST_HYPERNYM = 250  # classes; wider ones ("entity") say nothing about a picture


@dataclass(frozen=True)
class Vocabulary:
    """Words and which of the 1000 classes each names.

    names: W words; members: (W, 1000) bool; first: (1000,) index of each class's first name;
    features: (W, T, 384) pooled MiniLM features of the word in each template.
    """

    names: list[str]
    members: Tensor
    first: Tensor
    features: Tensor

    @property
    def leaves(self) -> Tensor:
        return (self.members.sum(1) == 1).nonzero().flatten()

    @property
    def ancestors(self) -> Tensor:
        return (self.members.sum(1) > 1).nonzero().flatten()


def load_classes(data: Path) -> dict[str, dict[str, list[str]]]:
    with open(data / "wordnet_classes.json", encoding="utf-8") as file:
        classes: dict[str, dict[str, list[str]]] = json.load(file)
    return classes


def names_of(data: Path) -> list[str]:
    """Every name and narrow hypernym of the classes, each once."""
    owners: dict[str, set[int]] = {}
    for index, entry in enumerate(load_classes(data).values()):
        for word in entry["names"] + entry["hypernyms"]:
            owners.setdefault(word, set()).add(index)
    return [word for word, own in owners.items() if len(own) <= WIDEST_HYPERNYM]


def class_names(data: Path) -> list[str]:
    """First names of the classes that the training set has, in the order of their numbers."""
    import pyarrow.parquet as pq

    present = pq.read_table(data / "tiny_imagenet_train.parquet", columns=["wnid"])["wnid"]
    have = set(present.unique().to_pylist())
    return [entry["names"][0] for wnid, entry in load_classes(data).items() if wnid in have]


def vocabulary(data: Path, minilm: Path) -> Vocabulary:
    """Reads wordnet_classes.json and embeds every word in every template."""
    classes = load_classes(data)
    owners: dict[str, set[int]] = {}
    for index, entry in enumerate(classes.values()):
        for word in entry["names"] + entry["hypernyms"]:
            owners.setdefault(word, set()).add(index)
    names = [w for w, o in owners.items() if len(o) <= WIDEST_HYPERNYM]
    place = {w: i for i, w in enumerate(names)}
    members = torch.zeros(len(names), len(classes), dtype=torch.bool)
    for word, i in place.items():
        members[i, sorted(owners[word])] = True
    first = torch.tensor([place[entry["names"][0]] for entry in classes.values()])
    captions = [t.format(w) for w in names for t in TEMPLATES]
    features = embed(captions, minilm).view(len(names), len(TEMPLATES), -1)
    return Vocabulary(names, members, first, features)


@torch.no_grad()
def embed(captions: list[str], minilm: Path, batch: int = 128) -> Tensor:
    """Mean-pooled MiniLM features of captions, (N, 384) float32."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    bert = AutoModel.from_pretrained(minilm).eval()
    order = sorted(range(len(captions)), key=lambda i: len(captions[i]))
    out = torch.zeros(len(captions), bert.config.hidden_size)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        tokens = tokenizer([captions[i] for i in rows], padding=True, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16):
            hidden = bert(**tokens).last_hidden_state.float()
        mask = tokens["attention_mask"][..., None]
        out[rows] = (hidden * mask).sum(1) / mask.sum(1)
    return out
