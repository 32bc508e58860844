"""What a text attacker may change: at most so many words, or so many characters, of a caption.

The peer of `explorer.attacks.budgets.Ball` for strings; distances are counted on the caption as
shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from explorer.base.errors import InputError
from explorer.base.words import characters_changed, words_changed

MOST_WORDS = 20
MOST_CHARACTERS = 40


@dataclass(frozen=True)
class Edits:
    """words: most words substituted, inserted or deleted; characters: largest Levenshtein
    distance, or None for no limit of its own. 0 of either leaves the caption alone."""

    words: int
    characters: int | None = None

    def __post_init__(self) -> None:
        _whole(self.words, "words", MOST_WORDS)
        if self.characters is not None:
            _whole(self.characters, "characters", MOST_CHARACTERS)

    def fits(self, caption: str, clean: str) -> bool:
        """Whether `caption` is within the budget around `clean`."""
        if caption == clean:
            return True
        if not self.words or words_changed(clean, caption) > self.words:
            return False
        return self.characters is None or characters_changed(clean, caption) <= self.characters


def _whole(value: object, name: str, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InputError(f"{name} must be a whole number from 0 to {most}, not {value}")
