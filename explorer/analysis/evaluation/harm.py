"""Accuracy under corruptions as a table of its own: a line each, a column a severity.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence

from explorer.analysis.evaluation.rows import ACCURACY, CORRUPTED, Row, Table
from explorer.attacks.amounts import behind_words

LABELS = 3  # columns before the numbers
ABOUT = ("Corruptions: accuracy in % at each severity of ImageNet-C (Hendrycks and Dietterich "
         "2019), made at the model's input size and not compressed; frost is drawn. Means have no "
         "interval, since the same pictures stand in each number.")
Line = tuple[str, str, str]  # data, model, corruption behind a defence


def rows_in(tables: Sequence[Table]) -> list[Row]:
    """Those under corruptions."""
    return [row for table in tables for row in table.rows if row.kind == CORRUPTED]


def mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def average(rows: Sequence[Row]) -> float:
    """The mean accuracy of rows under corruptions, in [0, 1]; each corruption counts once."""
    kinds: dict[str, list[float]] = {}
    for row in rows:
        kinds.setdefault(row.attack, []).append(row.scores[ACCURACY].share)
    return mean([mean(own) for own in kinds.values()])


def table(tables: Sequence[Table]) -> list[list[str]]:
    """The head and the lines, as text; empty where there are none. Each model on each set ends with
    the mean of its corruptions."""
    rows = rows_in(tables)
    if not rows:
        return []
    levels = sorted({row.severity for row in rows})
    found = [["Data", "Model", "Corruption", *(f"Severity {level}" for level in levels), "Mean"]]
    for title, own in _groups(tables).items():
        for name in dict.fromkeys(row.attack for row in own):
            found.append([*title[:2], name + title[2],
                          *_numbers([row for row in own if row.attack == name], levels)])
        many = len({row.attack for row in own})
        found.append([*title[:2], f"mean of {many}{title[2]}", *_numbers(own, levels)])
    return found


def _groups(tables: Sequence[Table]) -> dict[Line, list[Row]]:
    """The rows of each set, model and defence."""
    found: dict[Line, list[Row]] = {}
    for one in tables:
        start = f"{one.title}: " if len(tables) > 1 else ""
        for row in rows_in([one]):
            title = start + row.data, row.model, behind_words(row.defence, row.aware)
            found.setdefault(title, []).append(row)
    return found


def _numbers(rows: Sequence[Row], levels: Sequence[int]) -> list[str]:
    """The mean of all at each severity, and over all."""
    parts = [[row for row in rows if row.severity == level] for level in levels]
    return [f"{100 * average(part):.1f}" if part else "\u2013" for part in [*parts, rows]]
