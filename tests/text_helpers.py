"""What the tests of text and joint attacks share: toy language models and towers, and judges that
compute everything again from the saved pictures and strings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from attack_helpers import reopened
from helpers import grid_images
from torch import Tensor

from explorer.attacks.goals import Goal, make_goal
from explorer.attacks.language.masked import Candidate
from explorer.attacks.result import Result
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.framing import Frame
from explorer.base.words import characters_changed, words, words_changed
from explorer.data.pairs import Pairs
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder

SENTENCES = ("a photo of a cat", "a dog on the grass", "a small red car", "the sea at night")
TARGETS = torch.tensor([1, 2, 3, 0])
CASES = [  # objective, captions, goal, targeted: a lean cover
    ("goal", "true", "classification", False), ("goal", "true", "classification", True),
    ("goal", "all", "classification", False), ("goal", "true", "similarity", False),
    ("goal", "all", "similarity", True), ("goal", "true", "similarity", True),
    ("goal", "all", "similarity", False), ("goal", "true", "embedding", False),
    ("kl", "all", "classification", False), ("cosine", "true", "similarity", False),
]


def build(name: str, **fields: Any) -> TextAttack:
    """An attack of the registry that tries few candidates."""
    kind = TEXT_ATTACKS[name]
    known = {f.name for f in dataclasses.fields(kind)}
    few = {"candidates": 4, "rho": 6, "words": 1, "characters": 1, **fields}
    return kind(**{k: v for k, v in few.items() if k in known})


def four_sentences() -> Pairs:
    return Pairs(grid_images(4, 32), SENTENCES, torch.arange(4))


class ToyLM:
    """A masked language model of a few known words: candidates by word, whatever the sentence."""

    name = title = "toy"

    def __init__(self, table: Mapping[str, Sequence[str]]) -> None:
        self.table = table

    def fill(self, texts: Sequence[str], k: int, masked: bool = False,
             ) -> list[list[list[Candidate]]]:
        def row(word: str) -> list[Candidate]:
            listed = self.table.get(word.lower(), ())
            return [Candidate(c, 1 / (i + 2)) for i, c in enumerate(listed)][:k]

        return [[row(w) for w in words(text)] for text in texts]


class OneByOne(DualEncoder):
    """A model that looks at one picture and one caption at a time, so that a batch changes no bit
    (see test_attacks.py)."""

    def __init__(self, model: DualEncoder) -> None:
        self.__dict__.update(model.__dict__)

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        return torch.cat([super(OneByOne, self).encode_image(p[None], fast) for p in pixels])

    def encode_text(self, captions: Sequence[str], batch: int = 64,
                    fast: bool = False) -> Tensor:
        return super().encode_text(captions, batch=1, fast=fast)


class Bag(DualEncoder):
    """A caption is the unit sum of its words' fixed vectors, a picture the unit mean of its
    channels: quick, and every caption's score can be computed by hand. asked: all captions ever
    encoded."""

    def __init__(self, dim: int = 3) -> None:
        self.card = Card("bag", "bag", "standard", "none", "none", "none")
        self.frame, self.scale, self.dim = Frame(4, 4), 5.0, dim
        self.device, self.fast_dtype = torch.device("cpu"), None
        self.asked: list[str] = []

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        return F.normalize(pixels.mean((2, 3)) - 0.4, dim=1)

    def encode_text(self, captions: Sequence[str], batch: int = 64,
                    fast: bool = False) -> Tensor:
        self.asked += captions
        return torch.stack([F.normalize(sum(
            (self._vector(w) for w in words(c)), torch.full((self.dim,), 1e-3)), dim=0)
            for c in captions])

    def _vector(self, word: str) -> Tensor:
        seed = sum((i + 1) * ord(c) for i, c in enumerate(word.lower())) * 7919
        return torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))


def bag_pairs(captions: Sequence[str], n: int = 3) -> Pairs:
    return Pairs(grid_images(n, 4, seed=5), tuple(captions), torch.arange(n) % len(captions))


def goal_of(model: DualEncoder, pairs: Pairs, goal: str, targets: Tensor | None) -> Goal:
    with torch.no_grad():
        clean, text = model.encode_image(pairs.images), model.encode_text(pairs.captions)
    return make_goal(goal, clean, text, pairs.labels, model.scale, targets)


def read_again(model: DualEncoder, result: Result) -> tuple[Tensor, Tensor]:
    """(N, D) features of the pictures saved as PNG and read back, (N, K, D) of the captions."""
    with torch.no_grad():
        features = model.encode_image(reopened(result.adversarial_images))
    return features, torch.stack([model.encode_text(row) for row in result.adversarial_captions])


def check_words(result: Result, attack: TextAttack, pairs: Pairs) -> None:
    """Shapes, budget, and that only captions in the attack's scope changed."""
    n, k = len(pairs), len(pairs.captions)
    assert len(result.adversarial_captions) == n
    assert all(len(row) == k for row in result.adversarial_captions)
    text = result.adversarial_text
    assert text.shape[-2:] == result.text_features.shape and text.dtype == torch.float32
    assert text.dim() == 2 or len(text) == n
    for row, captions in enumerate(result.adversarial_captions):
        counts = [(words_changed(a, b), characters_changed(a, b))
                  for a, b in zip(pairs.captions, captions, strict=True)]
        assert max(w for w, _ in counts) <= attack.edits.words
        if attack.edits.characters is not None:
            assert max(c for _, c in counts) <= attack.edits.characters
        assert int(result.words_changed[row]) == max(w for w, _ in counts)
        assert int(result.characters_changed[row]) == max(c for _, c in counts)
        moved = {j for j, (a, b) in enumerate(zip(pairs.captions, captions, strict=True)) if a != b}
        assert moved <= set(range(k) if attack.captions == "all" else pairs.truths(row))


def check_readings(model: DualEncoder, result: Result, pairs: Pairs, goal: str,
                   targets: Tensor | None) -> None:
    """Every number of a result, computed again from the saved pictures and strings."""
    features, text = read_again(model, result)
    clean = result.text_features
    aim = goal_of(model, pairs, goal, targets)
    assert torch.equal(result.success, aim.reached(features, text))
    with torch.no_grad():
        before = model.encode_image(pairs.images)
    for reading, image, words_ in (
            (result.clean, before, clean.expand_as(text)), (result.adversarial, features, text),
            (result.image_only, features, clean.expand_as(text)),
            (result.text_only, before, text)):
        near = torch.einsum("nd,nkd->nk", image, words_)
        torch.testing.assert_close(reading.features, image, atol=1e-5, rtol=0)
        torch.testing.assert_close(reading.cosines, near, atol=1e-5, rtol=0)
        torch.testing.assert_close(reading.probabilities, torch.softmax(near * model.scale, 1),
                                   atol=1e-3, rtol=0)
    own = torch.stack([t[y] for t, y in zip(text, pairs.labels, strict=True)])
    torch.testing.assert_close(result.text_cosine, (own * clean[pairs.labels]).sum(1), atol=1e-5,
                               rtol=0)


def score(model: DualEncoder, pairs: Pairs, result: Result, goal: str, targets: Tensor | None,
          ) -> tuple[Tensor, Tensor]:
    """(N,) score before and after, computed apart from `run`."""
    aim = goal_of(model, pairs, goal, targets)
    with torch.no_grad():
        before = model.encode_image(pairs.images)
    features, text = read_again(model, result)
    return aim.score(before, model.encode_text(pairs.captions)), aim.score(features, text)
