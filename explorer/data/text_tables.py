"""Tables as people save them: CSV of any common encoding and separator."""

from __future__ import annotations

import codecs
import csv
import io
import json
from pathlib import Path

from explorer.base.errors import InputError
from explorer.data.containers import printable, read_file

SEPARATORS = (",", ";", "\t")
Rows = list[tuple[int, dict[str, str]]]


def decode(raw: bytes) -> str:
    """UTF-8 with or without its mark, UTF-16, and, where bytes are neither, Latin-1."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace")
    if b"\0" in raw[:4]:  # UTF-16 without its mark: a header starts with an ASCII letter
        return raw.decode("utf-16-be" if raw[0] == 0 else "utf-16-le", "replace")
    for encoding in ("utf-8-sig", "cp1252"):  # cp1252 is what spreadsheets mean by Latin-1
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def read_table(path: Path) -> tuple[list[str], Rows]:
    """`parse_table` of a file."""
    return parse_table(read_file(path), path.name)


def parse_table(raw: bytes, name: str) -> tuple[list[str], Rows]:
    """The column names, in lower case, and the rows with the line each ends on.

    Commas, semicolons or tabs separate. Missing cells are ""; empty lines are left out. Raises
    InputError when the table is empty, or its quotes do not match.
    """
    text, name = decode(raw).lstrip("\ufeff"), printable(name)
    if not text.strip():
        raise InputError(f"{name} is empty")
    lines, skipped = text, 0
    separator = max(SEPARATORS, key=lambda s: _fit(text, s))
    first, _, rest = text.partition("\n")
    if first.strip().strip('"').lower() in {f"sep={s}".strip() for s in SEPARATORS}:
        separator = first.strip("\r").strip('"')[4:] or "\t"  # what Excel writes above its header
        lines, skipped = rest, 1
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=separator, strict=True)
    columns: list[str] = []
    rows: Rows = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = [column.strip().lower() for column in cells]
                continue
            padded = cells + [""] * (len(columns) - len(cells))
            rows.append((reader.line_num + skipped, dict(zip(columns, padded, strict=False))))
    except csv.Error as error:
        raise InputError(f"line {reader.line_num + skipped} of {name} is not valid CSV: "
                         f"{error}") from None
    return columns, rows


def _fit(text: str, separator: str) -> tuple[bool, int]:
    """How well a header reads with a separator: whether one column is image, and their number.

    A header such as "image;label, in words" holds more than one kind of separator.
    """
    header = text.lstrip("\r\n ").splitlines()[0]
    try:
        cells = next(csv.reader([header], delimiter=separator), [])
    except csv.Error:
        return False, 0
    return "image" in {cell.strip().lower() for cell in cells}, len(cells)


def captions_of(cell: str, where: str) -> list[str]:
    """The captions in one cell: a JSON list of them, or the one that it is."""
    if not cell.startswith("["):
        return [cell]
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise InputError(f'{where} must hold its captions as a JSON list, such as ["a cat", '
                         '"a cat asleep"]')
    return [text for text in found if text.strip()]
