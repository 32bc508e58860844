"""Words that a masked language model would put in a word's place: what BERT-Attack draws from."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

BERT = "bert-base-uncased"
EMBEDDED = "embedded"
_loaded: dict[str, MaskedLM] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Candidate:
    """A whole word that may stand in another's place, and its probability among whole words."""

    word: str
    probability: float


class MaskedLM(Protocol):
    """A source of candidates. name: what `masked_lm` takes; title: what a person reads."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def fill(self, texts: Sequence[str], k: int, masked: bool = False,
             ) -> list[list[list[Candidate]]]:
        """For each text, for each of its words (in the order of text.spans), the k likeliest whole
        words, most probable first, without the word itself.

        masked False: read off the sentence as it is, at the word's own position (Li et al. 2020,
        BERT-Attack, arXiv 2004.09984, section 3.2). True: with that word masked. A word beyond the
        model's limit, and one that the tokenizer drops, gets an empty list.
        """
        ...


def masked_lm(name: str | None = None) -> MaskedLM:
    """The embedded model (None or "embedded"), or a hub name or folder, opened once and kept.

    Raises InputError in one sentence when it cannot be had or is no masked language model.
    """
    key = name or EMBEDDED
    with _lock:
        if key not in _loaded:
            if key == EMBEDDED:
                from explorer.attacks.language.embedded import EmbeddedLM

                _loaded[key] = EmbeddedLM()
            else:
                from explorer.attacks.language.hublm import HubLM

                _loaded[key] = HubLM(key)
        return _loaded[key]
