"""Where a visitor is in the lessons, as the browser remembers it, and the kept results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from explorer.base.errors import InputError
from explorer.lessons.record import FOLDER, Record, load
from explorer.lessons.texts import COUNT, LANGUAGES

STEPS = 5
TRAINED = ("train-tecoa", "train-clip")  # short runs kept beside the lessons
Answers = tuple[int | None, int | None]  # to the prediction, and to the last question


@dataclass(frozen=True)
class Standing:
    """lesson: 1 to COUNT; step: 1 to STEPS; answers: number of a lesson, as text -> the option
    chosen in its two questions."""

    lang: str = "en"
    lesson: int = 1
    step: int = 1
    answers: Mapping[str, Answers] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "answers": {k: list(v) for k, v in self.answers.items()}}

    def of(self, lesson: int) -> Answers:
        return self.answers.get(str(lesson), (None, None))

    def done(self, lesson: int) -> bool:
        return None not in self.of(lesson)


def read(raw: Any) -> Standing:
    """What the browser sent, which may be anything: what is wrong is left out."""
    if not isinstance(raw, dict):
        return Standing()
    answers = raw.get("answers")
    kept_answers = {str(n): _answers(answers.get(str(n))) for n in range(1, COUNT + 1)
                    } if isinstance(answers, dict) else {}
    language = raw.get("lang")
    return Standing(
        language if isinstance(language, str) and language in LANGUAGES else "en",
        _whole(raw.get("lesson"), COUNT) or 1, _whole(raw.get("step"), STEPS) or 1,
        {k: v for k, v in kept_answers.items() if v != (None, None)})


def _whole(raw: Any, most: int) -> int | None:
    good = isinstance(raw, int) and not isinstance(raw, bool) and 1 <= raw <= most
    return raw if good else None


def _answers(raw: Any) -> Answers:
    if not isinstance(raw, list | tuple) or len(raw) != 2:
        return None, None
    first, second = (v if isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 2 else None
                     for v in raw)
    return first, second


def answered(state: Standing, question: int, chosen: int, step: int) -> Standing:
    """With an answer to question 0 (the prediction) or 1 (the last one), at a step."""
    both = list(state.of(state.lesson))
    both[question] = chosen
    own = {str(state.lesson): (both[0], both[1])}
    return replace(state, step=step, answers={**state.answers, **own})


def finished(state: Standing) -> int:
    return sum(state.done(n) for n in range(1, COUNT + 1))


@lru_cache
def kept(lesson: int) -> Record:
    return load(lesson)


@lru_cache
def short_runs() -> tuple[Record, ...]:
    """The short trainings that were kept."""
    found = []
    for name in TRAINED:
        try:
            found.append(load(7, FOLDER / name))
        except InputError:
            continue
    return tuple(found)
