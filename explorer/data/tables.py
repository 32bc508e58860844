"""From a table of any kind to what it says of each picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.base.settings import current
from explorer.data.columns import PICTURE_NAME, WEB, Chosen, Given, choose, is_number, web_sentence
from explorer.data.containers import Report
from explorer.data.encodings import decode
from explorer.data.finding import Finder
from explorer.data.json_lists import json_table, lines_table, parse_json
from explorer.data.splits import choice, kind_of, preferred
from explorer.data.text_tables import Table, parse_table, texts_of

TEXTS, JSONS = (".csv", ".tsv", ".psv"), (".jsonl", ".ndjson", ".json")
LOOSE = (".txt", ".token")  # may be a table
ENDINGS = (*TEXTS, *JSONS, *LOOSE)
ABSENT, UNTOLD = "listed, but not there", "no image or nothing about it in the table"
BAD = "a row that cannot be read"


@dataclass(frozen=True)
class Reading:
    """How sets are read. captions_first: where there are labels and captions, the captions are
    wanted; training: the split for training is wanted; given: the columns a person named;
    stranger: the file is an upload, which may name no other file of this machine."""

    captions_first: bool = False
    training: bool = False
    given: Given = field(default_factory=Given)
    stranger: bool = False


BASE64 = re.compile(r"(data:image/[\w+.-]+;base64,)?[A-Za-z0-9+/\s]{200,}={0,2}")


@dataclass(frozen=True)
class Entry:
    """A picture, as a table names it, and its label or its captions. where: for sentences."""

    where: str
    image: Any
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """What a table says: entries, one a picture; how: of which columns; split: that was read."""

    entries: tuple[Entry, ...]
    chosen: Chosen
    how: str
    split: str = ""

    @property
    def are_captions(self) -> bool:
        return not self.chosen.is_label


def parse(raw: bytes, name: str) -> Table | None:
    """The table in a file; None where it is JSON of another kind. Raises InputError for one that
    cannot be read."""
    low = name.lower()
    if low.endswith(".json"):
        parsed = parse_json(raw)
        if parsed is None and decode(raw[:80]).lstrip()[:1] == "{":
            return lines_table(raw, name)
        return json_table(parsed, name)
    if low.endswith(JSONS):
        return lines_table(raw, name)
    table = parse_table(raw, name)
    return (_spaced(raw, name) or table) if len(table.columns) == 1 else table


def _spaced(raw: bytes, name: str) -> Table | None:
    """Lines of a picture's name, a blank, and what it shows; None for other texts."""
    lines = [(k, line.strip()) for k, line in enumerate(decode(raw).splitlines(), 1)
             if line.strip()]
    found = [(k, re.fullmatch(r"(\S+)\s+(\S.*)", line)) for k, line in lines]
    fit = [(k, m) for k, m in found if m and PICTURE_NAME.search(m[1])]
    if not fit or 10 * len(fit) < 9 * len(lines):
        return None
    bad = tuple((f"line {k} of {printable(name)}", "no picture") for k, m in found
                if not (m and PICTURE_NAME.search(m[1])))
    return Table(printable(name), ("1", "2"), tuple(
        (f"line {k} of {printable(name)}", (m[1], m[2])) for k, m in fit), bad, headed=False)


def tell(table: Table, reading: Reading, report: Report) -> Told:
    """What the table says of its pictures; rows that say nothing are noted in the report.

    Raises InputError where its columns are not understood, or a row has more cells than columns.
    """
    chosen = _columns(table, reading)
    if table.surplus:
        raise InputError(table.surplus[0])
    for where, why in table.bad:
        report.add(f"{BAD}: {why}", where)
    for sentence in table.notes:
        report.note(sentence)
    place = {column: k for k, column in enumerate(table.columns)}
    rows, split = _of_split(table, chosen, place, reading.training)
    entries: list[Entry] = []
    known: dict[Any, int] = {}
    for where, cells in rows:
        image = cells[place[chosen.image]]
        texts = [text for c in chosen.answers for text in texts_of(cells[place[c]])]
        if chosen.one_hot:
            texts = [c for c in chosen.answers if float(cells[place[c]]) == 1]
        texts = [_class(texts[0])] if chosen.is_label and texts else short(texts, report, where)
        if not image or not texts:
            report.add(UNTOLD, str(image) if image else where)
        elif not chosen.is_label and isinstance(image, str) and image in known:
            old = entries[known[image]]
            more = tuple(t for t in texts if t not in old.answers)
            entries[known[image]] = Entry(old.where, image, old.answers + more)
        else:
            if isinstance(image, str):
                known[image] = len(entries)
            entries.append(Entry(where, image, tuple(dict.fromkeys(texts))))
    return Told(tuple(entries), chosen, f"{table.name}, columns {chosen}", split)


def short(texts: Sequence[str], report: Report, where: str) -> list[str]:
    """The captions that are not longer than is read; longer ones are noted."""
    most = current().caption_characters
    kept = [text for text in texts if len(text) <= most]
    if len(kept) < len(texts):
        report.add(f"a caption of more than {most:,} characters", where)
    return kept


def _class(text: str) -> str:
    """A class as a label has it; ImageNet's solution at Kaggle adds a box, "n02123045 1 2 3 4"."""
    boxed = re.fullmatch(r"(n\d{8})(?: \d+){4}.*", text)
    return boxed[1] if boxed else text


def _of_split(table: Table, chosen: Chosen, place: dict[str, int], training: bool,
              ) -> tuple[Sequence[tuple[str, tuple[Any, ...]]], str]:
    """The rows of the split that is read, and what is said of it."""
    if not chosen.split:
        return table.rows, ""
    kinds = [kind_of(str(cells[place[chosen.split]])) for _, cells in table.rows]
    there = list(dict.fromkeys(kind for kind in kinds if kind))
    kept = preferred(there, training)
    return [row for row, kind in zip(table.rows, kinds, strict=True) if kind == kept], choice(
        there, training)


def _columns(table: Table, reading: Reading) -> Chosen:
    """The columns; of a table without a header by what their cells look like."""
    if table.headed or any(vars(reading.given).values()):
        try:
            return choose(table.columns, table.name, table.values, reading.captions_first,
                          reading.given)
        except InputError:
            if (chosen := _one_hot(table)) is None:
                raise
            return chosen
    names = [c for c in table.columns if _share(table.values(c), lambda v: bool(
        PICTURE_NAME.search(v))) > 0.5]
    texts = [c for c in table.columns if c not in names and _share(
        table.values(c), lambda v: bool(v) and not is_number(v)) > 0.5]
    if len(names) == 1 and len(texts) == 1:
        words = [len(str(v).split()) for v in table.values(texts[0])]
        return Chosen(names[0], (texts[0],), sum(words) < 2.5 * len(words))
    raise InputError(f"{table.name} has no header that says what its {len(table.columns)} columns "
                     "are: write one above it, such as image,caption, or name them by number: "
                     "--columns image=1,caption=2")


def _one_hot(table: Table) -> Chosen | None:
    """A picture and a column for each class, with a 1 in the column of the true one."""
    image, *classes = table.columns
    place = {column: k for k, column in enumerate(table.columns)}
    sums = [0.0] * len(table.rows)
    for column in classes:
        for row, (_, cells) in enumerate(table.rows):
            if not is_number(cells[place[column]]) or float(cells[place[column]]) not in (0, 1):
                return None
            sums[row] += float(cells[place[column]])
    fits = len(classes) > 1 and bool(sums) and all(total == 1 for total in sums)
    return Chosen(image, tuple(classes), True, one_hot=True) if fits else None


def _share(values: Sequence[Any], fits: Any) -> float:
    return sum(bool(fits(str(value))) for value in values) / max(1, len(values))


def locate(told: Told, finder: Finder, report: Report, name: str,
           ) -> dict[str | Path, tuple[str, ...]]:
    """The picture of each entry -> its answers; those that are not there are noted.

    Raises InputError where not one is there, with where the first was looked for.
    """
    found: dict[str | Path, tuple[str, ...]] = {}
    missing: list[Entry] = []
    for entry in told.entries:
        at = finder.find(str(entry.image))
        if at is None:
            missing.append(entry)
        elif at in found and told.are_captions:
            found[at] = tuple(dict.fromkeys((*found[at], *entry.answers)))
        else:
            found[at] = entry.answers
    if missing and not found:
        first = missing[0]
        if WEB.match(str(first.image)):
            raise InputError(web_sentence(name, told.chosen.image))
        if BASE64.fullmatch(str(first.image)):
            raise InputError(f"{name} holds its pictures as base64 text in the column "
                             f"{printable(told.chosen.image)}: write them into files, or into a "
                             "parquet file as bytes")
        raise InputError(
            f"none of the {len(told.entries):,} pictures that {name} lists is there; the first, on "
            f"{first.where.removesuffix(f' of {name}')}, is {printable(str(first.image))}, which "
            f"was looked for at {finder.tried(str(first.image)[:300])} and, by its name, below")
    for entry in missing:
        report.add(ABSENT, str(entry.image))
    if finder.by_name:
        report.note(f"{finder.by_name:,} picture{'s' * (finder.by_name > 1)} of {name} "
                    f"{'were' if finder.by_name > 1 else 'was'} found by name, since the paths "
                    "in the table are others")
    return found
