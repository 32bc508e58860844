"""Tables as people save them: text of any common encoding and separator, with a header or none."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.columns import CAPTIONS, IMAGES, LABELS, PICTURE_NAME, URLS, plain
from explorer.data.encodings import read_text

SEPARATORS = (",", ";", "\t", "|")
HEADS = {*IMAGES, *LABELS, *CAPTIONS, *URLS}
SAMPLED = 200  # rows that a guess about a table looks at
CUT, SURPLUS, QUOTES = "too few cells", "more cells than columns", "quotes that do not match"


@dataclass(frozen=True)
class Table:
    """rows: where each is, such as "line 3 of set.csv", and its cells, one a column.

    bad: rows that cannot be read, with why; notes: what was guessed; headed: whether the columns
    have names, or "1", "2" and so on.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Any, ...]], ...]
    bad: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    headed: bool = True
    surplus: tuple[str, ...] = field(default=())

    def values(self, column: str) -> list[Any]:
        """The first cells of a column."""
        place = self.columns.index(column)
        return [cells[place] for _, cells in self.rows[:SAMPLED]]


def parse_table(raw: bytes, name: str) -> Table:
    """A table of text. Commas, semicolons, tabs or bars separate.

    Surplus cells are put together where the last column is a caption; rows that remain too long
    or too short are `bad`. Raises InputError for an empty table and where the quotes of all rows
    do not match.
    """
    (text, guessed), name = read_text(raw), printable(name)
    text = text.lstrip("\ufeff")
    notes = [f"the text of {name} does not say its encoding: it was read as {guessed}"
             for _ in range(bool(guessed))]
    if not text.strip():
        raise InputError(f"{name} is empty")
    lines, skipped = text, 0
    separator = _separator(text)
    first, _, rest = text.partition("\n")
    if first.strip().strip('"').lower() in {f"sep={s}".strip() for s in SEPARATORS}:
        separator = first.strip("\r").strip('"')[4:] or "\t"  # what Excel writes above its header
        lines, skipped = rest, 1
    bad: list[tuple[str, str]] = []
    found = _cells(lines, separator, skipped, name, bad)
    if not found:
        raise InputError(bad[0][0] + " is not valid CSV: " + bad[0][1] if bad else
                         f"{name} is empty")
    headed = _is_header(found[0][1])
    width = len(found[0][1]) if headed else max(
        {len(c) for _, c in found}, key=[len(c) for _, c in found].count)
    columns = _unique([c.strip() for c in found[0][1]]) if headed else tuple(
        str(k + 1) for k in range(width))
    return _table(name, columns, found[1:] if headed else found, separator, headed, bad, notes)


def _table(name: str, columns: tuple[str, ...], found: Sequence[tuple[int, list[str]]],
           separator: str, headed: bool, bad: list[tuple[str, str]], notes: list[str]) -> Table:
    """The rows at the width of the table."""
    rows: list[tuple[str, tuple[str, ...]]] = []
    surplus: list[str] = []
    width = len(columns)
    free = plain(columns[-1]) in CAPTIONS or (not headed and width > 1)
    for number, cells in found:
        where = f"line {number} of {name}"
        while len(cells) > width and not cells[-1].strip():
            cells = cells[:-1]
        if len(cells) > width and free:
            cells = [*cells[:width - 1], separator.join(cells[width - 1:])]
        if len(cells) > width:
            surplus.append(f"{where} has {len(cells)} cells and there are {width} columns: put "
                           "double quotes around a text that holds the separator")
            continue
        rows.append((where, tuple(cell.strip() for cell in cells) + ("",) * (width - len(cells))))
    return Table(name, columns, tuple(rows), tuple(bad), tuple(notes), headed, tuple(surplus))


def _cells(text: str, separator: str, skipped: int, name: str, bad: list[tuple[str, str]],
           ) -> list[tuple[int, list[str]]]:
    """(line it ends on, cells) of each row. Where a quote in the middle of a text breaks the
    table, its lines are read one by one."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        return [(reader.line_num + skipped, cells) for cells in reader
                if any(cell.strip() for cell in cells)]
    except csv.Error:
        pass
    found: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.splitlines(), 1 + skipped):
        if not line.strip():
            continue
        try:
            found += [(number, cells) for cells in csv.reader([line], delimiter=separator,
                                                              strict=True)]
        except csv.Error as error:
            if line.count('"') % 2:
                bad.append((f"line {number} of {name}", str(error)))
            else:  # "a dog" running
                found.append((number, line.split(separator)))
    return found


def _separator(text: str) -> str:
    """The one by which the header reads best; without a header, that which all lines have."""
    lines = text.lstrip("\r\n ").splitlines()[:50]
    return max(SEPARATORS, key=lambda s: _fit(lines, s))


def _fit(lines: Sequence[str], separator: str) -> tuple[int, int, int]:
    """How well a header reads with a separator: how many columns have known names; whether the
    lines below have it too; and how many columns there are.

    A header such as "image;label, in words" holds more than one kind of separator.
    """
    try:
        cells = next(csv.reader([lines[0]], delimiter=separator), [])
    except csv.Error:
        return 0, 0, 0
    known = sum(plain(cell) in HEADS for cell in cells)
    shared = sum(separator in line for line in lines) if len(cells) > 1 else 0
    steady = len({line.count(separator) for line in lines if line.strip()}) == 1
    return known, shared if known or shared == len(lines) else 0, len(cells) if (
        known) else int(steady and len(cells) > 1)


def _is_header(cells: Sequence[str]) -> bool:
    """Whether the first row has names of columns: none of it is the name of a picture."""
    if any(plain(cell) in HEADS for cell in cells):
        return True
    return not any(PICTURE_NAME.search(cell.strip()) for cell in cells)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(made)


QUOTED = re.compile(r"""\s*,?\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""", re.DOTALL)


def texts_of(cell: Any) -> list[str]:
    """The texts in one cell: a text; a list of texts, however deep, also as JSON or as Python
    and NumPy print it; sentences as dictionaries with raw, caption or text.

    Numbers are texts of digits. What is None or empty is left out.
    """
    if isinstance(cell, str):
        return _listed(cell.strip())
    if isinstance(cell, bool):
        return [str(cell)]
    if cell is None:
        return []
    if isinstance(cell, int | float):
        return [] if cell != cell else [f"{cell:g}" if isinstance(cell, float) else str(cell)]
    if isinstance(cell, dict):
        found = next((v for name in (*CAPTIONS, *LABELS) for k, v in cell.items()
                      if plain(str(k)) == name), None)
        return texts_of(found)
    if isinstance(cell, list | tuple):
        return [text for part in cell for text in ([part.strip()] if isinstance(part, str)
                and part.strip() else [] if isinstance(part, str) else texts_of(part))]
    return []


def _listed(text: str) -> list[str]:
    """The texts of a list that is printed as one text, or the text itself."""
    if not (text.startswith(("[", "(")) and text.endswith(("]", ")"))):
        return [text] if text else []
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, list):
        try:
            return texts_of(parsed)
        except RecursionError:
            return []
    inner, place, found = text[1:-1], 0, []
    while match := QUOTED.match(inner, place):
        found.append((match[1] if match[1] is not None else match[2]).replace("\\'", "'")
                     .replace('\\"', '"').strip())
        place = match.end()
    if found and not inner[place:].strip(" ,\n\r\t"):
        return [one for one in found if one]
    return [] if text.strip("[]() ") == "" else [text]
