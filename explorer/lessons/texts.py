"""What the lessons say, one JSON file a language beside this module: en.json, zh.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError

HERE = Path(__file__).parent
LANGUAGES = {"en": "English", "zh": "中文"}
COUNT = 10


@dataclass(frozen=True)
class Question:
    """options: what a person may choose; why: what is said after each choice."""

    ask: str
    options: tuple[str, ...]
    why: tuple[str, ...]


@dataclass(frozen=True)
class Lesson:
    """number: 1 to COUNT. idea, keep: paragraphs; formula: one line, or ""; symbols: what each
    letter in it means; reveal: paragraphs with {facts} of the demonstration; options: what can be
    chosen for the live run; sources: (title, arXiv id). check_right: index of the option of
    `check` that is true; the right option of `predict` comes from the numbers, see `quiz`."""

    number: int
    title: str
    idea: tuple[str, ...]
    formula: str
    symbols: tuple[tuple[str, str], ...]
    predict: Question
    reveal: tuple[str, ...]
    live: str
    option: str
    options: Mapping[str, str]
    keep: tuple[str, ...]
    check: Question
    check_right: int
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Texts:
    """All of one language. ui: words of the page; labels: of tables and pictures; photos: what
    each example shows; glossary: (term, meaning)."""

    language: str
    ui: Mapping[str, str]
    labels: Mapping[str, str]
    photos: Mapping[str, str]
    glossary: tuple[tuple[str, str], ...]
    lessons: tuple[Lesson, ...]

    def lesson(self, number: int) -> Lesson:
        return self.lessons[number - 1]


def _question(raw: Any) -> Question:
    return Question(raw["ask"], tuple(raw["options"]), tuple(raw["why"]))


def _pairs(raw: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(a), str(b)) for a, b in raw)


def _lesson(number: int, raw: Any) -> Lesson:
    return Lesson(
        number, raw["title"], tuple(raw["idea"]), raw["formula"], _pairs(raw["symbols"]),
        _question(raw["predict"]), tuple(raw["reveal"]), raw["live"], raw["option"],
        dict(raw["options"]), tuple(raw["keep"]), _question(raw["check"]),
        int(raw["check"]["right"]), _pairs(raw["sources"]))


@lru_cache
def texts(language: str = "en") -> Texts:
    """The texts of a language in LANGUAGES. Raises InputError for any other."""
    if language not in LANGUAGES:
        raise InputError(f"the lessons are written in {', '.join(LANGUAGES)}, not in "
                         f"'{language[:20]}'")
    raw = json.loads((HERE / f"{language}.json").read_text("utf-8"))
    lessons = tuple(_lesson(n, entry) for n, entry in enumerate(raw["lessons"], 1))
    return Texts(language, raw["ui"], raw["labels"], raw["photos"], _pairs(raw["glossary"]),
                 lessons)
