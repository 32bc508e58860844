"""What a candidate caption must satisfy, whatever attack proposed it. Checked on whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from explorer.attacks.edits import Edits
from explorer.base.words import spans


def lower_words(text: str) -> list[str]:
    return [text[s.start : s.end].lower() for s in spans(text)]


@dataclass(frozen=True)
class WithinEdits:
    """No more words or characters changed than the budget has."""

    edits: Edits

    def allows(self, candidates: Sequence[str], clean: Sequence[str]) -> list[bool]:
        return [self.edits.fits(c, k) for c, k in zip(candidates, clean, strict=True)]


@dataclass(frozen=True)
class SimilarSentence:
    """The sentence embedding (MiniLM) keeps at least this cosine to the clean caption's; stands
    for the Universal Sentence Encoder of TextFooler (Jin et al. 2020, arXiv 1907.11932)."""

    floor: float
    costly: ClassVar[bool] = True  # a model reads each candidate

    def allows(self, candidates: Sequence[str], clean: Sequence[str]) -> list[bool]:
        from explorer.attacks.language.encoder import sentence_encoder

        near = sentence_encoder().similarity(candidates, clean)
        return [bool(c >= self.floor) for c in near]


@dataclass(frozen=True)
class KeepWords:
    """Certain words stay: those that name the class. words: lower-case, by clean caption."""

    words: dict[str, frozenset[str]]

    def allows(self, candidates: Sequence[str], clean: Sequence[str]) -> list[bool]:
        return [self.words.get(k, frozenset()) <= set(lower_words(c))
                for c, k in zip(candidates, clean, strict=True)]


@dataclass(frozen=True)
class NoNewWord:
    """No English word appears that was not there: typos, not other meanings (LEAF, Rocamora et
    al. 2025, section 3; their code also asks for fewer dictionary words than before)."""

    def allows(self, candidates: Sequence[str], clean: Sequence[str]) -> list[bool]:
        from explorer.attacks.language.thesaurus import is_word

        def fine(candidate: str, kept: str) -> bool:
            old = set(lower_words(kept))
            return not any(is_word(w) for w in lower_words(candidate) if w not in old)

        return [fine(c, k) for c, k in zip(candidates, clean, strict=True)]
