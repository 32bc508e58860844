"""What text attacks share: settings and a search over one caption, on TextAttack's four parts.

Goal (Morris et al. 2020, arXiv 2005.05909): a loss of the caption's features, made by
`explorer.attacks.run`. Transformation: `proposals` or what the search tries. Constraints:
`explorer.attacks.text.constraints`. Search: `search`, answered by `explorer.attacks.text.search`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import ClassVar

import torch
from torch import Tensor

from explorer.attacks.edits import Edits
from explorer.attacks.image.base import setting, whole
from explorer.attacks.text.constraints import KeepWords, SimilarSentence, WithinEdits
from explorer.attacks.text.search import Constraint, Probe, Search, TextLoss, best_of
from explorer.base.errors import InputError
from explorer.base.words import class_words, english, is_stop, spans, swap

OBJECTIVES = ("goal", "kl", "cosine")
SCOPES = ("true", "all")
RANKINGS = ("delete", "mask", "all")
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

    @property
    def english_only(self) -> bool:
        """Whether it knows the words of no other language."""
        return False

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


def stays(word: str) -> bool:
    """Whether a word is left alone by what knows English: a stop word, or one of another script."""
    return is_stop(word) or not english(word)


def words_of(caption: str) -> list[str]:
    return [caption[s.start : s.end] for s in spans(caption)]


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

    @property
    def english_only(self) -> bool:
        return True

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
        start = value
        same = 1e-7 + 5e-6 * abs(value)  # a word that the tower does not see, behind its limit
        for rank in scores[1:].argsort(descending=True, stable=True).tolist():
            if abs(float(scores[1 + rank]) - start) <= same:
                continue
            new = [replace(caption, places[rank], w) for w in options[places[rank]]]
            best, reached = yield from best_of(new)
            if reached > value:
                caption, value, left = new[best], reached, left - 1
            if not left:
                break
        return caption

    def _best_first(self, caption: str, places: list[int], options: Proposals) -> Search:
        value = -float("inf")
        for _ in range(min(self.words, len(places))):
            new = [(i, replace(caption, i, w)) for i in places for w in options[i]]
            if not new:
                break
            best, reached = yield from best_of([text for _, text in new])
            if reached <= value:
                break
            place, caption = new[best]
            value, places = reached, [i for i in places if i != place]
        return caption


def _blank(caption: str, index: int, how: str) -> str:
    """The caption without a word, or with [UNK] in its place; never empty."""
    less = replace(caption, index, "[UNK]" if how == "mask" else "")
    return " ".join(less.split()) or "[UNK]"
