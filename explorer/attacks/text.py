"""Text attacks: frozen settings and a search over one caption, on TextAttack's four parts.

Goal (Morris et al. 2020, arXiv 2005.05909): a loss of the caption's features, made by
`explorer.attacks.run`. Transformation: `proposals` or what the search tries. Constraints:
`explorer.attacks.constraints`. Search: `search`, answered by `explorer.attacks.search`.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from explorer.attacks.base import setting, whole
from explorer.attacks.constraints import KeepWords, NoNewWord, SimilarSentence, WithinEdits
from explorer.attacks.search import Constraint, Gains, Probe, Search, TextLoss, Try
from explorer.edits import MOST_CHARACTERS, MOST_WORDS, Edits
from explorer.errors import InputError
from explorer.language.text import class_words, is_stop, spans, swap

OBJECTIVES = ("goal", "kl", "cosine")
SCOPES = ("true", "all")
RANKINGS = ("delete", "mask", "all")
LETTERS = string.ascii_lowercase
SIGNS = LETTERS + string.digits + " -'.,!?"
T = TypeVar("T")
Proposals = list[list[str]]  # replacements for each word of a caption; none: it stays


@dataclass(frozen=True)
class TextAttack:
    """What all text attacks share: whose words change, towards what, under which constraints."""

    title: ClassVar[str]
    source: ClassVar[str]
    needs_slopes: ClassVar[bool] = False
    together: ClassVar[int] = 64  # captions searched side by side

    objective: str = setting(
        "goal", "Aim of the words", "goal: the same as the image attack's; kl or cosine: only "
        "away from the caption's own clean embedding, without image or label, as the paper does",
        choices=OBJECTIVES)
    captions: str = setting(
        "true", "Which captions change", "true: the image's own; all: every caption at once, as "
        "the paper attacks all class prompts", choices=SCOPES)
    similarity: float = setting(
        0.0, "Similarity floor", "least cosine between the sentence embeddings (MiniLM) of the "
        "caption before and after; 0: no limit", low=0.0, high=1.0, step=0.05)
    protect: bool = setting(
        False, "Keep the class words", "words that tell one caption from the others stay, since "
        "another class word is another meaning")

    def __post_init__(self) -> None:
        for name, known in (("objective", OBJECTIVES), ("captions", SCOPES),
                            ("importance", RANKINGS)):
            value = getattr(self, name, known[0])
            if value not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, not '{value}'")
        if not 0 <= self.similarity <= 1:
            raise InputError("the similarity floor must be a number from 0 to 1, "
                             f"not {self.similarity}")
        self.edits  # noqa: B018 - checks the budget
        for one in fields(self):
            if isinstance(one.default, int) and one.name not in ("protect", "new_words", "words",
                                                                 "characters"):
                whole(getattr(self, one.name), one.metadata["low"], one.metadata["high"], one.name)

    @property
    def edits(self) -> Edits:
        """The budget."""
        raise NotImplementedError

    def constraints(self, captions: Sequence[str]) -> list[Constraint]:
        """What candidates must satisfy; captions: all that the model compares."""
        rules: list[Constraint] = [WithinEdits(self.edits)]
        if self.protect:
            rules.append(KeepWords(dict(zip(captions, class_words(captions), strict=True))))
        if self.similarity > 0:
            rules.append(SimilarSentence(self.similarity))
        return rules

    def proposals(self, captions: Sequence[str], random: Sequence[Random]) -> list[Proposals]:
        """Replacements for each word of each caption, found for all captions at once."""
        return [[] for _ in captions]

    def search(self, caption: str, options: Proposals, random: Random) -> Search:
        """Asks for scores of candidates; what it returns is only a note, the best one tried
        counts."""
        raise NotImplementedError


def drift_loss(objective: str, clean: Tensor) -> TextLoss:
    """Label-free: how far candidates are from the clean features (D,).

    kl: KL(softmax(clean) || softmax(candidate)) over the embedding's dimensions, as MMCoA (Zhou
    et al. 2024, arXiv 2404.19287) takes it over from Co-Attack; cosine: 1 - cosine.
    """
    if objective == "cosine":
        return lambda features: 1 - features @ clean
    before = torch.log_softmax(clean, dim=0)
    return lambda features: (before.exp() * (before - torch.log_softmax(features, dim=1))).sum(1)


def alike(word: str, new: str) -> str:
    """`new` with the capitals of `word`."""
    if len(word) > 1 and word.isupper():
        return new.upper()
    return new[:1].upper() + new[1:] if word[:1].isupper() else new


def replace(caption: str, index: int, new: str) -> str:
    """The caption with its word number `index` exchanged."""
    return swap(caption, spans(caption)[index], new)


@dataclass(frozen=True)
class WordAttack(TextAttack):
    """Exchanges words: ranks them, then takes for each in turn the best replacement."""

    words: int = setting(1, "Words", "how many words may be exchanged", low=1, high=5, step=1)
    importance: str = setting(
        "delete", "Order of the words", "delete or mask: the word whose loss matters most first; "
        "all: no order, every word is tried and the best exchange taken", choices=RANKINGS)

    @property
    def edits(self) -> Edits:
        return Edits(self.words)

    def search(self, caption: str, options: Proposals, random: Random) -> Search:
        places = [i for i, new in enumerate(options) if new]
        if not places or not self.words:
            return caption
        if self.importance == "all":
            return (yield from self._best_first(caption, places, options))
        blanks = [_blank(caption, i, self.importance) for i in places]
        scores = yield Probe([caption, *blanks])
        assert isinstance(scores, Tensor)
        value, left = float(scores[0]), self.words
        for rank in scores[1:].argsort(descending=True, stable=True).tolist():
            new = [replace(caption, places[rank], w) for w in options[places[rank]]]
            values = yield Try(new)
            assert isinstance(values, Tensor)
            best = int(values.argmax())
            if float(values[best]) > value:
                caption, value, left = new[best], float(values[best]), left - 1
            if not left:
                break
        return caption

    def _best_first(self, caption: str, places: list[int], options: Proposals) -> Search:
        value = -float("inf")
        for _ in range(min(self.words, len(places))):
            new = [(i, replace(caption, i, w)) for i in places for w in options[i]]
            if not new:
                break
            values = yield Try([text for _, text in new])
            assert isinstance(values, Tensor)
            best = int(values.argmax())
            if float(values[best]) <= value:
                break
            value = float(values[best])
            caption = new[best][1]
            places = [i for i in places if i != new[best][0]]
        return caption


def _blank(caption: str, index: int, how: str) -> str:
    """The caption without a word, or with [UNK] in its place; never empty."""
    less = replace(caption, index, "[UNK]" if how == "mask" else "")
    return " ".join(less.split()) or "[UNK]"


@dataclass(frozen=True)
class BertAttack(WordAttack):
    """Words that a masked language model finds likely in the same place.

    Deviations: candidates come from the word's own position (the code released with MMCoA reads
    the one before) and are probabilities; a word of several pieces is replaced by whole words, as
    explorer.language.filling reads them.
    """

    title = "BERT-Attack: words a language model would put there"
    source = ("Li et al. 2020, arXiv 2004.09984, section 3; on embeddings as in Zhou et al. 2024, "
              "arXiv 2404.19287")

    candidates: int = setting(10, "Candidates a word", "the k likeliest words of the masked "
                              "language model", low=1, high=50, step=1)
    model: str = setting("", "Masked language model", "name or folder of a BERT-like model; "
                         "empty: the embedded one", text=True)

    def proposals(self, captions: Sequence[str], random: Sequence[Random]) -> list[Proposals]:
        from explorer.language.masked import masked_lm

        filled = masked_lm(self.model or None).fill(captions, self.candidates)
        return [[[] if is_stop(word) else [alike(word, c.word) for c in row if not is_stop(c.word)]
                 for word, row in zip(words_of(text), rows, strict=True)]
                for text, rows in zip(captions, filled, strict=True)]


def words_of(caption: str) -> list[str]:
    return [caption[s.start : s.end] for s in spans(caption)]


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
        from explorer.language.thesaurus import swaps

        return [[[] if is_stop(w) else [alike(w, s.word) for s in swaps(w)[: self.candidates]]
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
                   if not is_stop(old[i]) for w in ranked[i] if w != old[i].lower()]
            if not new:
                break
            values = yield Try([text for _, text in new])
            assert isinstance(values, Tensor)
            best = int(values.argmax())
            if float(values[best]) <= value:
                break
            value, caption = float(values[best]), new[best][1]
            free.discard(new[best][0])
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
            new = [edit(caption, p, c) for p in places
                   for c in _draw([*SIGNS, *([""] if p % 2 else [])], self.rho, random)]
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

    def proposals(self, captions: Sequence[str], random: Sequence[Random]) -> list[Proposals]:
        return [[[] if is_stop(w) else typos(w, rng) for w in words_of(text)]
                for text, rng in zip(captions, random, strict=True)]


def typos(word: str, random: Random) -> list[str]:
    """Every neighbour swap and deletion; a random letter for each substitution and insertion."""
    n = len(word)
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(n - 1)]
    dropped = [word[:i] + word[i + 1 :] for i in range(n)] if n > 1 else []
    replaced = [word[:i] + random.choice(LETTERS) + word[i + 1 :] for i in range(n)]
    added = [word[:i] + random.choice(LETTERS) + word[i:] for i in range(n + 1)]
    return [w for w in dict.fromkeys([*swapped, *dropped, *replaced, *added]) if w != word]


TEXT_ATTACKS: dict[str, type[TextAttack]] = {
    "bert": BertAttack, "synonym": Synonym, "hotflip": HotFlip, "character": Character,
    "typo": Typo,
}
