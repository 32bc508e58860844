"""The pictures of a hunt in slices, filtered, sorted and counted: pure functions of its lines."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError

LEFT, BOTH, RIGHT, WRONG, HELD, ALL = "left", "both", "right", "wrong", "held", "all"
SLICES = {ALL: "all pictures", LEFT: "{left} broke, {right} held", BOTH: "both broke",
          RIGHT: "{right} broke alone", WRONG: "wrong before the attack", HELD: "both held"}
SORTS = {"place": "order in the set", "label": "true answer", "margin": "margin after the attack",
         "flip": "smallest ε that flips, n/255", "shift": "shift of the embedding",
         "words": "words changed"}
AXES = {"models": "{left} against {right}, both attacked",
        "left": "{left}, clean against attacked",
        "right": "{right}, clean against attacked"}
MOST_CLASSES = 10  # rows of a confusion matrix; the rest is one more
OTHERS = -1
SHOWN_FLIP = 16


@dataclass(frozen=True)
class Side:
    """What one model said; see hunt.side. flip: smallest level that flips, and the largest that
    was tried, once it was searched."""

    was: int
    now: int
    p_was: float
    p_now: float
    margin_clean: float
    margin: float
    shift: float
    l2: float
    linf: int
    words: int
    characters: int
    seconds: float
    queries: int = 0
    captions: dict[str, str] = field(default_factory=dict)
    flip: tuple[int | None, int] | None = None


@dataclass(frozen=True)
class Example:
    """One picture. label: number of its true caption."""

    place: int
    name: str
    label: int
    sides: tuple[Side, Side]

    def broke(self, side: int) -> bool:
        """Right before the attack and wrong after it."""
        one = self.sides[side]
        return one.was == self.label != one.now

    @property
    def slice(self) -> str:
        """The one slice that the picture is in, besides "all"."""
        if any(one.was != self.label for one in self.sides):
            return WRONG
        return {(True, False): LEFT, (True, True): BOTH, (False, True): RIGHT,
                (False, False): HELD}[self.broke(0), self.broke(1)]


@dataclass(frozen=True)
class Found:
    """All of a hunt so far. bad: how many pictures cannot be read; left_out: sentences; names:
    of all that was left out, by reason."""

    name: str
    captions: tuple[str, ...]
    cases: tuple[Example, ...]
    bad: int = 0
    left_out: tuple[str, ...] = ()
    names: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Filter:
    """What a person looks at. label: a true answer, or OTHERS for any; cell: (row, column) of the
    confusion matrix `axes`, captions by number; descending: of the sort; low, high: between which
    what is sorted by has to lie."""

    slice: str = ALL
    label: int = OTHERS
    cell: tuple[int, int] | None = None
    axes: str = "models"
    sort: str = "place"
    descending: bool = False
    low: float | None = None
    high: float | None = None
    page: int = 0
    table: bool = False


def read_hunt(folder: Path) -> Found:
    """What a hunt has found so far; nothing before its first picture."""
    try:
        told = json.loads((folder / "set.json").read_text("utf-8"))
    except FileNotFoundError:
        return Found("", (), ())
    except (OSError, ValueError):
        raise InputError("the hunt's files are damaged: start it again") from None
    flips = {(line["i"], line["side"]): (line["level"], line["tried"])
             for line in _lines(folder / "flips.jsonl")}
    cases, bad = [], 0
    for line in _lines(folder / "rows.jsonl"):
        place = line["i"]
        if line.get("bad"):
            bad += 1
            continue
        if line.get("unjudged"):
            continue
        sides = [Side(**raw, flip=flips.get((place, k))) for k, raw in enumerate(line["sides"])]
        cases.append(Example(place, told["names"][place], told["labels"][place],
                          (sides[0], sides[1])))
    return Found(told["name"], tuple(told["captions"]), tuple(cases), bad,
                 tuple(told["left_out"]), told.get("names_left_out", {}))


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines; one that is being written does not count yet."""
    try:
        raw = path.read_bytes()
    except OSError:
        return []
    return [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]


def counts(cases: Sequence[Example]) -> dict[str, int]:
    """How many pictures each slice has."""
    found = Counter(case.slice for case in cases)
    return {name: len(cases) if name == ALL else found[name] for name in SLICES}


def answers(case: Example, axes: str) -> tuple[int, int]:
    """Row and column of a picture in a confusion matrix: captions by number."""
    left, right = case.sides
    if axes == "models":
        return left.now, right.now
    one = left if axes == "left" else right
    return one.was, one.now


def chosen(cases: Sequence[Example], view: Filter, named: Sequence[int] = ()) -> list[Example]:
    """The pictures of a view, sorted. named: the captions with a line of their own in the matrix,
    where a cell of it was chosen."""
    def line(answer: int) -> int:
        return answer if answer in named else OTHERS

    kept = [case for case in cases if view.slice in (ALL, case.slice)
            and view.label in (OTHERS, case.label)
            and (view.cell is None or tuple(map(line, answers(case, view.axes))) == view.cell)]
    known = [(value, case) for case in kept if (value := quantity(case, view.sort)) is not None
             and _within(value, view)]
    known.sort(key=lambda one: (one[0], one[1].place), reverse=view.descending)
    bounded = view.low is not None or view.high is not None
    left = [] if bounded else [case for case in kept if quantity(case, view.sort) is None]
    return [case for _, case in known] + left


def quantity(case: Example, sort: str) -> float | None:
    """What is sorted by: of both models, that of the one that the attack moved more. None where
    it was not searched; infinity where nothing that was tried flips either model."""
    left, right = case.sides
    if sort == "flip":
        found = [_flip(side) for side in case.sides if side.flip is not None]
        return min(found) if found else None
    return {"place": float(case.place + 1), "label": float(case.label),
            "margin": min(left.margin, right.margin), "shift": max(left.shift, right.shift),
            "words": float(max(left.words, right.words))}[sort]


def _flip(side: Side) -> float:
    level = side.flip[0] if side.flip else None
    return math.inf if level is None else float(level)


def _within(value: float, view: Filter) -> bool:
    return ((view.low is None or value >= view.low)
            and (view.high is None or value <= view.high))


def named_answers(cases: Sequence[Example], axes: str, most: int = MOST_CLASSES) -> list[int]:
    """The captions that a matrix has a line for: the most frequent answers, in their order."""
    found = Counter(answer for case in cases for answer in answers(case, axes))
    top = [answer for answer, _ in found.most_common(most)]
    return sorted(top)


def confusion(cases: Sequence[Example], axes: str, named: Sequence[int]) -> list[list[int]]:
    """Counts, (len(named) + 1) squared; the last row and column are all other answers."""
    place = {answer: k for k, answer in enumerate(named)}
    last = len(named)
    matrix = [[0] * (last + 1) for _ in range(last + 1)]
    for case in cases:
        row, column = (place.get(answer, last) for answer in answers(case, axes))
        matrix[row][column] += 1
    return matrix


def reworded(found: Found, side: Side, answer: int) -> str:
    """A caption as the attacked model met it."""
    return side.captions.get(str(answer), found.captions[answer])


def as_csv(found: Found, cases: Sequence[Example], models: Sequence[str]) -> str:
    """One line a picture; the columns of each model are named after it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    own = ("clean answer", "clean probability", "attacked answer", "attacked probability",
           "clean margin", "attacked margin", "shift", "L-inf (n/255)", "L2", "words changed",
           "characters changed", "smallest eps that flips (n/255)")
    writer.writerow(["picture", "true answer", "slice", *(
        f"{name}: {column}" for name in models for column in own)])
    words = {name: text.format(left=models[0], right=models[1]) for name, text in SLICES.items()}
    for case in cases:
        cells: list[Any] = [safe(case.name), safe(found.captions[case.label]), words[case.slice]]
        for one in case.sides:
            cells += [safe(found.captions[one.was]), one.p_was,
                      safe(reworded(found, one, one.now)), one.p_now, one.margin_clean,
                      one.margin, one.shift, one.linf, one.l2, one.words, one.characters,
                      flip_words(one)]
        writer.writerow(cells)
    return out.getvalue()


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def flip_words(side: Side) -> str:
    """"" where it was not searched."""
    if side.flip is None:
        return ""
    level, tried = side.flip
    return f"more than {tried}" if level is None else str(level)
