"""What a person hands in -> one file that `datasets` reads: an archive as it is, or pictures and
the list of what they show put together."""

from __future__ import annotations

import csv
import io
import os
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.archives import open_archive
from explorer.data.containers import Box, Report
from explorer.data.listings import is_picture
from explorer.data.sources import UPLOAD, UPLOADS
from explorer.data.wording import words_of

MOST_FILES = 2_000
TABLES = (".csv", ".tsv")
NOT_A_PICTURE, WORDLESS = "not pictures", "nothing says what they show"
UNUSED = "not used, since what the pictures show was typed"


@dataclass(frozen=True)
class Collected:
    """path: what `read_examples` reads; name: for a person; report: what was left out."""

    path: Path
    name: str
    report: Report = field(default_factory=Report)


def collect(files: Sequence[Path], listed: Sequence[str], out: Path) -> Collected:
    """Puts an upload into the folder `out`.

    files: one .zip, .tar or .parquet file, or pictures; beside an archive or pictures there may be
    a CSV of the columns image and caption (or label). listed: what the pictures show, one line a
    picture in the order of their names, or "name: caption"; it goes before a CSV, and without
    either an archive or the names say it. Raises InputError where there is nothing to read.
    """
    lines = [line.strip() for line in listed if line.strip()]
    tables = [path for path in files if path.name.lower().endswith(TABLES)]
    sets = [path for path in files if path.name.lower().endswith(UPLOADS)]
    if len(files) == len(tables):
        raise InputError("choose pictures first: a zip, a parquet file, or several photos")
    if len(files) > MOST_FILES:
        raise InputError(f"at most {MOST_FILES:,} files are taken one by one: put them in a zip")
    if not sets:
        return _loose([path for path in files if path not in tables], tables, lines, out)
    (first, *more), name = sets, printable(sets[0].name)
    if more or len(files) > len(tables) + 1:
        raise InputError("give one archive or parquet file alone, or pictures one by one")
    if not lines and not tables:
        target = out / f"data{_ending(first)}"
        shutil.copyfile(first, target)
        return Collected(target, name)
    if first.suffix.lower() == ".parquet":
        raise InputError("a parquet file says itself what its pictures show: leave the "
                         f"{'lines' if lines else 'CSV'} out")
    return _told_of(open_archive(first, UPLOAD), name, tables, lines, out)


def packed(path: Path) -> bool:
    """Whether a file is a set or a table, by its ending, and no single picture."""
    return path.name.lower().endswith((*UPLOADS, *TABLES))


def _ending(path: Path) -> str:
    return next(end for end in sorted(UPLOADS, key=len, reverse=True)
                if path.name.lower().endswith(end))


def _loose(paths: Sequence[Path], tables: Sequence[Path], lines: Sequence[str], out: Path,
           ) -> Collected:
    """Photos one by one."""
    report, kept = Report(), []
    for path in sorted(paths, key=lambda path: path.name):
        if _looks_like_one(path):
            kept.append(path)
        else:
            report.add(NOT_A_PICTURE, path.name)
    if not kept:
        raise InputError(f"none of the {len(paths):,} files is a picture that can be read: "
                         "give PNG or JPEG photos, a zip or a parquet file")
    target, pictures = out / "data.zip", dict(zip(_names(kept), kept, strict=True))
    said = {} if tables and not lines else _said(list(pictures), lines, report)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        _list(archive, tables, said, report)
        for name, path in pictures.items():
            if not said or name in said:
                archive.write(path, name)
    return Collected(target, f"{len(kept):,} photo{'s' * (len(kept) > 1)}", report)


def _told_of(box: Box, name: str, tables: Sequence[Path], lines: Sequence[str], out: Path,
             ) -> Collected:
    """An archive of pictures, and what they show beside it."""
    for full in box.files:
        if not is_picture(full):
            box.report.add(NOT_A_PICTURE, full)
    found = [full for full in box.files if is_picture(full)]
    if not found:
        raise InputError(f"there are no images in {name}")
    top = len(os.path.commonpath([str(PurePosixPath("/", full).parent) for full in found]))
    pictures = {f"/{full}"[top:].lstrip("/"): full for full in found}
    said = _said(sorted(pictures), lines, box.report) if lines else {}
    wanted = {full: inside for inside, full in pictures.items() if not said or inside in said}
    names = [full for full in box.files if full in wanted]
    target = out / "data.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        _list(archive, tables, said, box.report)
        for full, raw in zip(names, box.contents(names), strict=True):
            if raw:  # else it is damaged, and the box has noted it
                archive.writestr(wanted[full], raw if isinstance(raw, bytes) else raw.read_bytes())
    return Collected(target, name, box.report)


def _list(archive: zipfile.ZipFile, tables: Iterable[Path], said: dict[str, str], report: Report,
          ) -> None:
    """The table of a new archive: the one that was given, or what was typed."""
    for number, table in enumerate(tables):
        if said:
            report.add(UNUSED, table.name)
        else:
            archive.writestr(f"table-{number}{table.suffix}", table.read_bytes())
    if said:
        archive.writestr("table.csv", _table(said))


def _looks_like_one(path: Path) -> bool:
    """Whether the first bytes are those of a picture; a damaged one is found when it is read."""
    try:
        with Image.open(path):
            return True
    except Image.DecompressionBombError:
        return True
    except (OSError, ValueError, SyntaxError):
        return False


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


def _said(names: Sequence[str], lines: Sequence[str], report: Report) -> dict[str, str]:
    """Name -> what the picture shows. Raises InputError where the list does not fit."""
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
