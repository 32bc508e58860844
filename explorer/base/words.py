"""Words of a caption and differences between captions, in any script; standard library and numpy.

A word is a run of letters, digits and the marks on them, with single apostrophes, hyphens, joiners
or "&" allowed inside ("R&D"), and the dots of abbreviations ("U.S.A.", "p.m.") and of numbers
("3.5"); everything else is left as it is. Positions count Unicode code points.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from explorer.base.errors import InputError
from explorer.base.nltk_data import FOLDER

# Apostrophes, hyphens, soft hyphen, zero-width (non-)joiner, &; part of a word between letters.
INNER = frozenset("'\u2019\u02bc-\u2010\u2011\u00ad\u200c\u200d&")
TEMPLATE = """photo photos photograph photographs picture pictures image images pic pics snapshot
    shot drawing painting sketch rendering cartoon art origami sculpture tattoo view scene close-up
    closeup cropped blurry bright dark type kind jpeg"""
TEMPLATE_WORDS = frozenset(TEMPLATE.split())  # they say that there is a picture, not what is on it


@dataclass(frozen=True)
class Span:
    """A word of a text: text[start:end] == word."""

    word: str
    start: int
    end: int


@dataclass(frozen=True)
class Piece:
    """A run of a difference: "same" is in both texts, "deleted" in the first, "inserted" in the
    second; same + deleted pieces spell the first text, same + inserted the second."""

    kind: Literal["same", "deleted", "inserted"]
    text: str


@lru_cache(maxsize=4096)
def _is_letter(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char)[0] == "M"


def _alone(text: str, i: int) -> bool:
    """Whether a letter has no other one right beside it."""
    return text[i].isalpha() and not any(
        0 <= k < len(text) and _is_letter(text[k]) for k in (i - 1, i + 1))


def _joins(text: str, start: int, i: int) -> bool:
    """Whether the sign at i belongs to the word that began at start."""
    char, before = text[i], text[i - 1]
    if i + 1 < len(text) and _is_letter(after := text[i + 1]):
        if char in INNER:
            return _is_letter(before)
        if char in ".," and before.isdigit() and after.isdigit():
            return char == "." or (text[i + 1 : i + 4].isdigit() and len(text[i + 1 : i + 4]) == 3)
        return char == "." and _alone(text, i - 1) and _alone(text, i + 1)
    return char == "." and "." in text[start:i] and _alone(text, i - 1)


def spans(text: str) -> list[Span]:
    """The words of a text from left to right, with their places."""
    found, start, n = [], None, len(text)
    for i, char in enumerate(text):
        inside = _is_letter(char) or (start is not None and _joins(text, start, i))
        if inside and start is None:
            start = i
        elif not inside and start is not None:
            found.append(Span(text[start:i], start, i))
            start = None
    if start is not None:
        found.append(Span(text[start:], start, n))
    return found


def words(text: str) -> list[str]:
    return [span.word for span in spans(text)]


def swap(text: str, span: Span, new: str) -> str:
    """The text with another word at the span; spaces and punctuation stay.

    Raises InputError when the span is not of this text.
    """
    if text[span.start : span.end] != span.word or span.end - span.start != len(span.word):
        raise InputError(f"the word '{span.word}' is not at characters {span.start} to {span.end} "
                         "of the text")
    return text[: span.start] + new + text[span.end :]


def _common(a: Sequence[str], b: Sequence[str]) -> tuple[int, int]:
    """Lengths of the common start and the common end, which do not overlap."""
    most, start, end = min(len(a), len(b)), 0, 0
    while start < most and a[start] == b[start]:
        start += 1
    while end < most - start and a[-1 - end] == b[-1 - end]:
        end += 1
    return start, end


def characters_changed(a: str, b: str) -> int:
    """Levenshtein distance over code points, exact.

    Bit-parallel (Myers 1999, doi 10.1145/316542.316550; Hyyrö 2003), with Python's long integers
    as the bit vectors: about 5 ms for two captions of 2,000 characters.
    """
    start, end = _common(a, b)
    a, b = a[start : len(a) - end], b[start : len(b) - end]
    if not a or not b:
        return len(a) + len(b)
    places: dict[str, int] = {}
    for i, char in enumerate(a):
        places[char] = places.get(char, 0) | 1 << i
    full, top = (1 << len(a)) - 1, 1 << (len(a) - 1)
    up, down, distance = full, 0, len(a)  # where a column's vertical differences are +1 and -1
    for char in b:
        match = places.get(char, 0)
        diagonal = (((match & up) + up) ^ up) | match | down
        right, left = down | (full & ~(diagonal | up)), up & diagonal
        distance += bool(right & top) - bool(left & top)
        right, left = (right << 1 | 1) & full, (left << 1) & full
        up, down = left | (full & ~(diagonal | right)), right & diagonal
    return distance


def _table(a: Sequence[str], b: Sequence[str], cost_a: Sequence[int], cost_b: Sequence[int],
           ) -> NDArray[np.int64]:
    """(len(a) + 1, len(b) + 1) smallest costs of turning the start of a into the start of b.

    Two tokens of the same cost are substituted at that cost; others only by deletion and insertion.
    """
    ids = {token: i for i, token in enumerate(dict.fromkeys([*a, *b]))}
    column = np.array([ids[t] for t in b], dtype=np.int64)
    insert = np.array(cost_b, dtype=np.int64)
    total = np.concatenate([[0], np.cumsum(insert)])
    table = np.empty((len(a) + 1, len(b) + 1), dtype=np.int64)
    table[0] = total
    for i, token in enumerate(a):
        change = np.where(insert == cost_a[i], cost_a[i], insert + cost_a[i])
        change[column == ids[token]] = 0
        row = table[i] + cost_a[i]
        row[1:] = np.minimum(row[1:], table[i, :-1] + change)
        table[i + 1] = np.minimum.accumulate(row - total) + total  # insertions along the row
    return table


def _pieces(a: Sequence[str], b: Sequence[str], cost_a: Sequence[int], cost_b: Sequence[int],
            ) -> list[Piece]:
    """The cheapest alignment of two lists of tokens as merged pieces, deleted before inserted."""
    start, end = _common(a, b)
    mid_a, mid_b = a[start : len(a) - end], b[start : len(b) - end]
    cost_a, cost_b = cost_a[start : len(a) - end], cost_b[start : len(b) - end]
    table = _table(mid_a, mid_b, cost_a, cost_b)
    steps: list[tuple[str, str]] = [("same", t) for t in reversed(a[len(a) - end :])]
    i, j = len(mid_a), len(mid_b)
    while i or j:
        here = table[i, j]
        if i and j and mid_a[i - 1] == mid_b[j - 1] and table[i - 1, j - 1] == here:
            i, j = i - 1, j - 1
            steps.append(("same", mid_a[i]))
        elif i and j and cost_a[i - 1] == cost_b[j - 1] == here - table[i - 1, j - 1]:
            i, j = i - 1, j - 1
            steps += [("inserted", mid_b[j]), ("deleted", mid_a[i])]
        elif j and table[i, j - 1] + cost_b[j - 1] == here:
            j -= 1
            steps.append(("inserted", mid_b[j]))
        else:
            i -= 1
            steps.append(("deleted", mid_a[i]))
    steps += [("same", t) for t in reversed(a[:start])]
    return _merged(steps[::-1])


def _merged(steps: list[tuple[str, str]]) -> list[Piece]:
    pieces: list[Piece] = []
    held = {"same": "", "deleted": "", "inserted": ""}

    def flush() -> None:
        for kind in ("same", "deleted", "inserted"):
            if held[kind]:
                pieces.append(Piece(kind, held[kind]))
                held[kind] = ""

    for kind, text in steps:
        if (kind == "same") != bool(held["same"]):
            flush()
        held[kind] += text
    flush()
    return pieces


def word_diff(a: str, b: str) -> list[Piece]:
    """What changed from a to b, word by word: fewest word edits, then fewest changed gaps."""
    tokens, costs = [], []
    for text in (a, b):
        parts, end = [], 0
        for span in spans(text):
            parts += [(text[end : span.start], 1), (span.word, 0)]
            end = span.end
        parts = [(t, c) for t, c in [*parts, (text[end:], 1)] if t]
        tokens.append([t for t, _ in parts])
        costs.append([c for _, c in parts])
    word = sum(map(len, costs)) + 1  # one word edit outweighs all the gaps
    cost_a, cost_b = ([c or word for c in side] for side in costs)
    return _pieces(tokens[0], tokens[1], cost_a, cost_b)


def char_diff(a: str, b: str) -> list[Piece]:
    """What changed from a to b, character by character: fewest edits."""
    return _pieces(list(a), list(b), [1] * len(a), [1] * len(b))


def words_changed(a: str, b: str) -> int:
    """Fewest words substituted, inserted or deleted that turn the words of a into those of b."""
    left, right = words(a), words(b)
    start, end = _common(left, right)
    left, right = left[start : len(left) - end], right[start : len(right) - end]
    if not left or not right:
        return len(left) + len(right)
    return int(_table(left, right, [1] * len(left), [1] * len(right))[-1, -1])


@lru_cache(maxsize=1)
def stop_words() -> frozenset[str]:
    """English function words, lower case: the project's list that TextAttack reads too."""
    file = FOLDER / "corpora" / "stopwords" / "english"
    return frozenset(file.read_text("utf-8").split())


def is_stop(word: str) -> bool:
    return word.lower() in stop_words()


def english(word: str) -> bool:
    """Whether a word has a letter of English; nothing more is known of it here."""
    return any(c.isascii() and c.isalpha() for c in word)


def foreign(text: str) -> bool:
    """Whether a text has letters, and none of English."""
    return any(c.isalpha() for c in text) and not english(text)


def class_words(captions: Sequence[str]) -> tuple[frozenset[str], ...]:
    """The words of each caption, lower case, that set it apart from the template all share.

    Words that every caption begins or ends with are the template, as long as each caption keeps a
    word; of the rest, stop words and words like "photo" count only if nothing else is there.
    """
    rows = [[w.lower() for w in words(c)] for c in captions]
    kinds = sorted({tuple(r) for r in rows if r})
    start = end = 0
    if len(kinds) > 1:
        room = min(map(len, kinds)) - 1
        while start < room and len({k[start] for k in kinds}) == 1:
            start += 1
        while end < room - start and len({k[-1 - end] for k in kinds}) == 1:
            end += 1
    found = []
    for row in rows:
        core = row[start : len(row) - end]
        content = [w for w in core if not is_stop(w)]
        named = [w for w in content if w not in TEMPLATE_WORDS]
        found.append(frozenset(named or content or core))
    return tuple(found)
