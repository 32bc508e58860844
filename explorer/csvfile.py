"""Tables as people save them: CSV of any common encoding and separator."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from explorer.errors import InputError

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
    """The column names, in lower case, and the rows with the line each ends on.

    Commas, semicolons or tabs separate. Missing cells are ""; empty lines are left out. Raises
    InputError when the file cannot be read, is empty, or its quotes do not match.
    """
    try:
        text = decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path.name}: {error.strerror}") from None
    if not text.strip():
        raise InputError(f"{path.name} is empty")
    header = text.lstrip().splitlines()[0]
    separator = max(SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    columns: list[str] = []
    rows: Rows = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = [name.strip().lower() for name in cells]
                continue
            padded = cells + [""] * (len(columns) - len(cells))
            rows.append((reader.line_num, dict(zip(columns, padded, strict=False))))
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {path.name} is not valid CSV: "
                         f"{error}") from None
    return columns, rows
