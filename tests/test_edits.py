"""The budget of words and characters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.attacks.edits import MOST_CHARACTERS, MOST_WORDS, Edits
from explorer.base.errors import InputError
from explorer.base.words import characters_changed, words_changed

CLEAN = "a photo of a cat"


@pytest.mark.parametrize(("words", "characters", "caption", "fits"), [
    (1, None, CLEAN, True), (1, None, "a photo of a dog", True),
    (1, None, "a photo of the dog", False), (2, None, "a photo of the dog", True),
    (1, None, "a photo of a", True), (1, None, "a photo of a big cat", True),
    (1, None, "a photo of a ca t", False), (1, 1, "a photo of a cut", True),
    (1, 1, "a photo of a dog", False), (2, 1, "a photo of a ca t", True),
    (1, None, "a photo, of a cat!", True), (1, 1, "a photo, of a cat!", False),
    (0, None, CLEAN, True), (0, None, "a photo of a dog", False),
    (0, None, "a photo of a cat!", False),  # 0 leaves the caption alone, signs too
    (1, 0, CLEAN, True), (1, 0, "a photo of a cat!", False), (5, 40, "", True),
])
def test_what_fits(words: int, characters: int | None, caption: str, fits: bool) -> None:
    assert Edits(words, characters).fits(caption, CLEAN) is fits


@given(st.text("ab c'-", max_size=12), st.text("ab c'-", max_size=12), st.integers(0, 3),
       st.none() | st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_fits_is_what_is_counted(a: str, b: str, words: int, characters: int | None) -> None:
    fits = Edits(words, characters).fits(b, a)
    counted = words_changed(a, b) <= words and (
        characters is None or characters_changed(a, b) <= characters)
    if 0 in (words, characters):
        counted = a == b
    assert fits is (a == b or counted)


@pytest.mark.parametrize(("words", "characters", "say"), [
    (-1, None, "words must be a whole number from 0 to 20, not -1"),
    (MOST_WORDS + 1, None, "words must be"), (1.5, None, "words must be"),
    (True, None, "words must be"), ("2", None, "words must be"),
    (1, -1, "characters must be a whole number from 0 to 40"),
    (1, MOST_CHARACTERS + 1, "characters must be"), (1, 0.5, "characters must be"),
])
def test_wrong_budgets_are_refused(words: Any, characters: Any, say: str) -> None:
    with pytest.raises(InputError, match=say):
        Edits(words, characters)
