"""What a person hands in -> one file that `datasets` reads: an archive as it is, or loose pictures
and the list of what they show put together."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from explorer.boxes import Report, printable
from explorer.errors import InputError
from explorer.layouts import words_of
from explorer.pairs import open_image
from explorer.sources import UPLOADS

MOST_FILES = 2_000
TABLES = (".csv", ".tsv")
NOT_A_PICTURE, WORDLESS = "not pictures", "nothing says what they show"


@dataclass(frozen=True)
class Collected:
    """path: what `read_examples` reads; name: for a person; report: what was left out."""

    path: Path
    name: str
    report: Report


def collect(files: Sequence[Path], listed: Sequence[str], out: Path) -> Collected:
    """Puts an upload into the folder `out`.

    files: one .zip, .tar or .parquet file; or pictures, with a CSV of the columns image and
    caption (or label) among them if there is one. listed: what loose pictures show, one line a
    picture in the order of their names, or "name: caption"; without it, their names say it.
    Raises InputError where there is nothing to read.
    """
    if not files:
        raise InputError("choose pictures first: a zip, a parquet file, or several photos")
    if len(files) > MOST_FILES:
        raise InputError(f"at most {MOST_FILES:,} files are taken one by one: put them in a zip")
    packed = [path for path in files if path.name.lower().endswith(UPLOADS)]
    if packed:
        if len(files) > 1:
            raise InputError("give one archive or parquet file alone, or pictures one by one")
        target = out / f"data{''.join(packed[0].suffixes[-2:]).lower()}"
        target = target if target.name.endswith(UPLOADS) else out / f"data{packed[0].suffix}"
        shutil.copyfile(packed[0], target)
        return Collected(target, printable(packed[0].name), Report())
    return _loose(files, listed, out / "data.zip")


def _loose(files: Sequence[Path], listed: Sequence[str], target: Path) -> Collected:
    report = Report()
    tables = [path for path in files if path.name.lower().endswith(TABLES)]
    pictures = sorted((path for path in files if path not in tables), key=lambda p: p.name)
    kept = []
    for path in pictures:
        try:
            open_image(path)
        except InputError:
            report.add(NOT_A_PICTURE, path.name)
        else:
            kept.append(path)
    if not kept:
        raise InputError(f"none of the {len(pictures):,} files is a picture that can be read: "
                         "give PNG or JPEG photos, a zip or a parquet file")
    names = _names(kept)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        if tables and not listed:
            for table in tables:
                archive.writestr(table.name, table.read_bytes())
        else:
            said = _said(names, listed, report)
            archive.writestr("table.csv", _table(said))
            names = [name if name in said else "" for name in names]
        for path, name in zip(kept, names, strict=True):
            if name:
                archive.write(path, name)
    return Collected(target, f"{len(kept):,} photo{'s' * (len(kept) > 1)}", report)


def _names(paths: Sequence[Path]) -> list[str]:
    """Their names; files of the same name, from different folders, get a number."""
    taken: set[str] = set()
    names = []
    for path in paths:
        name, number = path.name, 2
        while name in taken:
            name, number = f"{path.stem} ({number}){path.suffix}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _said(names: Sequence[str], listed: Sequence[str], report: Report) -> dict[str, str]:
    """Name -> what the picture shows. Raises InputError where the list does not fit."""
    lines = [line.strip() for line in listed if line.strip()]
    if lines:
        named = dict(_named(line, names) for line in lines if _named(line, names)[0])
        if len(named) == len(lines):
            said = named
        elif len(lines) == len(names):
            said = dict(zip(names, lines, strict=True))
        else:
            raise InputError(f"there are {len(names):,} pictures and {len(lines):,} lines about "
                             "them: give one line a picture, in the order of their names, or "
                             "“name: caption”")
    else:
        said = {name: words for name in names if (words := words_of(name))}
    for name in names:
        if name not in said:
            report.add(WORDLESS, name)
    if not said:
        raise InputError("nothing says what the pictures show: type one line a picture, give a "
                         "CSV with the columns image and caption, or name the files after what "
                         "they show")
    return said


def _named(line: str, names: Sequence[str]) -> tuple[str, str]:
    """("cat1.jpg", "a cat") from "cat1.jpg: a cat"; ("", "") where no such file is named."""
    name, mark, text = line.partition(":")
    return (name.strip(), text.strip()) if mark and name.strip() in names and text.strip() else (
        "", "")


def _table(said: dict[str, str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["image", "caption"])
    writer.writerows(said.items())
    return out.getvalue()
