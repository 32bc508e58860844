"""The text attacks, each with its source: words by a language model, a thesaurus or the gradient;
characters; typos. What they share is in `explorer.attacks.text.base`.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import torch
from torch import Tensor

from explorer.attacks.edits import MOST_CHARACTERS, MOST_WORDS, Edits
from explorer.attacks.image.base import setting
from explorer.attacks.text.base import (
    Proposals,
    TextAttack,
    WordAttack,
    alike,
    replace,
    stays,
    words_of,
)
from explorer.attacks.text.constraints import NoNewWord
from explorer.attacks.text.search import Constraint, Gains, Probe, Search, Try, best_of
from explorer.base.words import is_stop

LETTERS = string.ascii_lowercase
SIGNS = LETTERS + string.digits + " -'.,!?"
T = TypeVar("T")


@dataclass(frozen=True)
class BertAttack(WordAttack):
    """Words that a masked language model finds likely in the same place.

    Deviations: candidates come from the word's own position (the code released with MMCoA reads
    the one before) and are probabilities; a word of several pieces is replaced by whole words, as
    explorer.attacks.language.filling reads them.
    """

    title = "BERT-Attack: words a language model would put there"
    source = ("Li et al. 2020, arXiv 2004.09984, section 3; on embeddings as in Zhou et al. 2024, "
              "arXiv 2404.19287")

    candidates: int = setting(10, "Candidates a word", "the k likeliest words of the masked "
                              "language model", low=1, high=50, step=1)
    model: str = setting("", "Masked language model", "name or folder of a BERT-like model; "
                         "empty: the embedded one", text=True)

    @property
    def english_only(self) -> bool:
        return not self.model  # another one may know more languages

    def proposals(self, captions: Sequence[str], random: Sequence[Random]) -> list[Proposals]:
        from explorer.attacks.language.masked import masked_lm

        keep = stays if self.english_only else is_stop
        filled = masked_lm(self.model or None).fill(captions, self.candidates)
        return [[[] if keep(word) else [alike(word, c.word) for c in row if not is_stop(c.word)]
                 for word, row in zip(words_of(text), rows, strict=True)]
                for text, rows in zip(captions, filled, strict=True)]


@dataclass(frozen=True)
class Synonym(WordAttack):
    """Synonyms and co-hyponyms of WordNet, under a sentence-similarity constraint.

    Deviation: PWWS orders words by saliency times gain; here by what deleting one does.
    """

    title = "Synonyms: words of like meaning from a thesaurus"
    source = ("Ren et al. 2019 (PWWS), aclanthology P19-1103, section 3.1; similarity constraint "
              "after Jin et al. 2020, arXiv 1907.11932")

    similarity: float = setting(
        0.7, "Similarity floor", "least cosine between the sentence embeddings (MiniLM) of the "
        "caption before and after; 0: no limit", low=0.0, high=1.0, step=0.05)
    candidates: int = setting(20, "Candidates a word", "how many of the thesaurus, synonyms first",
                              low=1, high=50, step=1)

    def proposals(self, captions: Sequence[str], random: Sequence[Random]) -> list[Proposals]:
        from explorer.attacks.language.thesaurus import swaps

        return [[[] if stays(w) else [alike(w, s.word) for s in swaps(w)[: self.candidates]]
                 for w in words_of(text)] for text in captions]


@dataclass(frozen=True)
class HotFlip(WordAttack):
    """Whole words of the victim's own vocabulary, ranked by the gradient of its token table.

    Deviation: the `candidates` best of each word are scored by the model, not trusted from the
    gradient alone; a word of several tokens is judged by its first.
    """

    title = "HotFlip: words the gradient points to"
    source = "Ebrahimi et al. 2018, arXiv 1712.06751, section 3; words instead of characters"
    needs_slopes = True

    candidates: int = setting(20, "Candidates a word", "the k best by gradient, then scored",
                              low=1, high=50, step=1)

    def search(self, caption: str, options: Proposals, random: Random) -> Search:
        value, free = -float("inf"), set(range(len(words_of(caption))))
        for _ in range(self.words):
            ranked = yield Gains(caption, self.candidates)
            assert isinstance(ranked, list)
            old = words_of(caption)
            new = [(i, replace(caption, i, alike(old[i], w))) for i in sorted(free)
                   if not stays(old[i]) for w in ranked[i] if w != old[i].lower()]
            if not new:
                break
            best, reached = yield from best_of([text for _, text in new])
            if reached <= value:
                break
            place, caption = new[best]
            value, free = reached, free - {place}
        return caption


@dataclass(frozen=True)
class Character(TextAttack):
    """Single characters inserted, replaced or deleted: first the place, then the character.

    A space is tried at rho places and the most harmful place kept, then rho characters there.
    """

    title = "Characters: a few keystrokes (LEAF)"
    source = "Rocamora et al. 2025 (LEAF), arXiv 2506.03355, section 4"

    characters: int = setting(1, "Characters", "largest edit distance k", low=1, high=5, step=1)
    rho: int = setting(50, "Places and characters tried", "rho of each; 0: every place and "
                       "character, slow", low=0, high=200, step=10)
    new_words: bool = setting(False, "New English words allowed", "off: an edit may not spell a "
                              "word that was not there")

    @property
    def edits(self) -> Edits:
        return Edits(min(2 * self.characters, MOST_WORDS), self.characters)

    def constraints(self, captions: Sequence[str]) -> list[Constraint]:
        rules = super().constraints(captions)
        return rules if self.new_words else [*rules, NoNewWord()]

    def search(self, caption: str, options: Proposals, random: Random) -> Search:
        for _ in range(self.characters):
            places = _draw(list(range(2 * len(caption) + 1)), self.rho, random)
            if self.rho:
                scores = yield Probe([edit(caption, p, " ") for p in places])
                assert isinstance(scores, Tensor)
                places = [places[int(scores.argmax())]]
            own = sorted({c for c in caption if c.isalpha() and not c.isascii()})
            new = [edit(caption, p, c) for p in places
                   for c in _draw([*SIGNS, *own, *([""] if p % 2 else [])], self.rho, random)]
            new = [text for text in dict.fromkeys(new) if text.strip() and text != caption]
            values = yield Try(new)
            assert isinstance(values, Tensor)
            if not bool(torch.isfinite(values).any()):
                break
            caption = new[int(values.argmax())]
        return caption


def edit(caption: str, place: int, sign: str) -> str:
    """Place 2 i: `sign` inserted before character i; place 2 i + 1: put in its stead."""
    at = place // 2
    return caption[:at] + sign + caption[at + place % 2 :]


def _draw(items: list[T], most: int, random: Random) -> list[T]:
    return random.sample(items, most) if 0 < most < len(items) else items


@dataclass(frozen=True)
class Typo(WordAttack):
    """Slips of the pen in the words that matter: two letters exchanged, one replaced, dropped or
    added. All exchanges and drops are tried, and a random letter at each place."""

    title = "Typos: slips in the words that matter"
    source = "Gao et al. 2018 (DeepWordBug), arXiv 1801.04354, section 3"

    @property
    def edits(self) -> Edits:
        return Edits(self.words, min(2 * self.words, MOST_CHARACTERS))

    @property
    def english_only(self) -> bool:
        return False

    def proposals(self, captions: Sequence[str], random: Sequence[Random]) -> list[Proposals]:
        return [[[] if is_stop(w) else typos(w, rng) for w in words_of(text)]
                for text, rng in zip(captions, random, strict=True)]


def _letters(word: str) -> str:
    """What may stand in a word: English letters in its case, or in another script its own."""
    if any(c.isascii() and c.isalpha() for c in word) or not any(c.isalpha() for c in word):
        return LETTERS.upper() if len(word) > 1 and word.isupper() else LETTERS
    return "".join(sorted({c for c in word if c.isalpha()}))


def typos(word: str, random: Random) -> list[str]:
    """Every neighbour swap and deletion; a random letter for each substitution and insertion."""
    n, letters = len(word), _letters(word)
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(n - 1)]
    dropped = [word[:i] + word[i + 1 :] for i in range(n)] if n > 1 else []
    replaced = [word[:i] + random.choice(letters) + word[i + 1 :] for i in range(n)]
    added = [word[:i] + random.choice(letters) + word[i:] for i in range(n + 1)]
    return [w for w in dict.fromkeys([*swapped, *dropped, *replaced, *added]) if w != word]


TEXT_ATTACKS: dict[str, type[TextAttack]] = {
    "bert": BertAttack, "synonym": Synonym, "hotflip": HotFlip, "character": Character,
    "typo": Typo,
}
