"""Sets that are many files: folders of shards, patterns of paths, and data sets saved to disk."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.containers import LIMITS, Folder, Report, open_folder
from explorer.data.listings import is_picture, pictures_of
from explorer.data.shards import Rows, Shard, answers_of, find_paths, read_rows
from explorer.data.sources import TARS, Chained, Files, Parquet, Source, open_box, open_source
from explorer.data.splits import choice, kind_of, parts_of, preferred
from explorer.data.tables import JSONS, TEXTS, Reading

PATTERN = re.compile(r"[*?\[]|\{[^{}]*(\.\.|,)[^{}]*\}")
MOST_EXPANDED = 100_000
SHARD, ABSENT = "a file of the set that cannot be used", "named by the pattern, but not there"


def open_directory(path: Path, reading: Reading) -> Source:
    """A folder: pictures; a data set that the library `datasets` saved; shards in parquet, tar or
    zip; or tables that name pictures elsewhere."""
    if (path / "dataset_dict.json").is_file() or (
            (path / "state.json").is_file() and (path / "dataset_info.json").is_file()):
        return open_saved(path, reading)
    box = open_folder(path)
    if pictures_of(box):
        return _listed(box, reading) or open_box(box, reading)
    for endings in (TARS, (".parquet",), (".arrow",), (*TEXTS, *JSONS)):
        shards = [name for name in box.files if name.lower().endswith(endings)
                  and not name.lower().endswith(("_stats.json", "config.json", "_infos.json"))]
        if shards:
            kept, split = _of_split(shards, reading.training)
            found = chain([path / name for name in kept], box.name, reading)
            for name in shards:
                if name not in kept:
                    found.report.add("in another split", name)
            found.report.split = found.report.split or split
            return found
    return open_box(box, reading)


def _listed(box: Folder, reading: Reading) -> Source | None:
    """Parquet files at the top of a folder of pictures, where they hold or list these."""
    files = [name for name in box.files if name.lower().endswith(".parquet") and "/" not in name]
    if not files:
        return None
    kept, split = _of_split(files, reading.training)
    try:
        found = chain([box.path / name for name in kept], box.name, reading)
    except InputError:  # such as the addresses that img2dataset leaves beside its pictures
        return None
    found.report.split = split
    return found


def _of_split(names: Sequence[str], training: bool) -> tuple[list[str], str]:
    """The shards of the split that is read, by the names of files or folders, and what is said."""
    kinds = []
    for name in names:
        *folders, file = name.split("/")
        stem = re.split(r"\.(parquet|tar|zip|tgz|arrow|csv|tsv|jsonl?)", file)[0]
        kinds.append(parts_of(stem)[0] or next((k for f in reversed(folders) if (k := kind_of(f))),
                                               ""))
    there = list(dict.fromkeys(kind for kind in kinds if kind))
    if not there:
        return list(names), ""
    kept = preferred(there, training)
    own = [name for name, kind in zip(names, kinds, strict=True) if kind == kept]
    return own, choice(there, training)


def is_pattern(text: str) -> bool:
    return bool(PATTERN.search(text))


def open_pattern(text: str, reading: Reading) -> Source:
    """All files of a pattern with *, ?, [0-9], {a,b} or {0000..0009}, in the order of their
    names. Raises InputError where it fits none."""
    paths: list[Path] = []
    absent: list[str] = []
    for one in expand(text):
        found = sorted(glob.glob(one, recursive=True)) if re.search(r"[*?\[]", one) else (
            [one] if Path(one).exists() else [])
        paths += [Path(p) for p in found]
        if not found:
            absent.append(one)
    if not paths:
        raise InputError(f"no file fits the pattern {text[:200]}")
    paths = list(dict.fromkeys(paths))
    if all(is_picture(path.name) for path in paths):
        root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
        names = tuple(path.absolute().relative_to(root).as_posix() for path in paths)
        return open_box(Folder(Path(text).name, root, names), reading)
    source = chain(paths, Path(text).name, reading)
    for one in absent:
        source.report.add(ABSENT, one)
    return source


def expand(text: str) -> list[str]:
    """Braces as a shell expands them: "{01..03}" and "{a,b}", several of them and nested too."""
    match = re.search(r"\{([^{}]*)\}", text)
    if match is None or not PATTERN.search(match[0]):
        return [text]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if span:
        low, high = int(span[1]), int(span[2])
        if high - low > MOST_EXPANDED:
            raise InputError(f"the pattern {text[:80]} has more than {MOST_EXPANDED:,} files")
        width = max(len(span[1]), len(span[2])) if span[1].startswith("0") or span[2].startswith(
            "0") else 1
        parts = [f"{k:0{width}d}" for k in range(low, high + 1)]
    else:
        parts = [part.strip() for part in match[1].split(",")]
    made = [text[:match.start()] + part + text[match.end():] for part in parts]
    return list(itertools.chain.from_iterable(map(expand, made)))


def chain(paths: Sequence[Path], name: str, reading: Reading) -> Source:
    """Several files as one set; one that cannot be used is left out and said. Raises InputError
    where none can be, or they hold labels here and captions there."""
    if len(paths) == 1:
        return open_source(paths[0], reading, LIMITS)
    if all(path.name.lower().endswith(".parquet") for path in paths):
        return open_parquets(paths, name, reading)
    parts: list[Source] = []
    refused: list[tuple[str, InputError]] = []
    for path in paths:
        try:
            parts.append(open_source(path, reading, LIMITS))
        except InputError as error:
            refused.append((path.name, error))
    if not parts:
        raise InputError(f"none of the {len(paths)} files of {name} can be used: {refused[0][1]}")
    if len({part.are_captions for part in parts}) > 1:
        raise InputError(f"the files of {name} do not go together: some hold labels and some "
                         "captions; give one of them, such as "
                         f"{paths[0].name}, or a pattern that fits those of a kind")
    report = Report()
    for part in parts:
        report.take(part.report)
    for file, why in refused:
        report.add(f"{SHARD}: {why}"[:200], file)
    hows = list(dict.fromkeys(part.report.how for part in parts))
    report.how = f"{len(parts)} files: {', '.join(hows[:2])}" + (" ..." if len(hows) > 2 else "")
    answers = [own for part in parts for own in part.answers]
    return Chained(answers, parts[0].are_captions, tuple(parts), report=report)


def open_parquet(path: Path, reading: Reading) -> Source:
    return open_parquets([path], path.name, reading)


def open_parquets(paths: Sequence[Path], name: str, reading: Reading) -> Source:
    """Parquet files of the same columns as one set. Raises InputError where one cannot be read or
    has other columns, and for numbers that nothing gives names to."""
    read = [read_rows(path, reading) for path in paths]
    first, where, report = read[0], printable(name), Report()
    for path, rows in zip(paths, read, strict=True):
        if rows.chosen != first.chosen or (rows.paths is None) != (first.paths is None):
            raise InputError(f"the files of {where} do not go together: {paths[0].name} has the "
                             f"columns {first.chosen}, and {path.name} {rows.chosen}; give one of "
                             "them, or a pattern that fits those of a kind")
    folder = None if reading.stranger else paths[0].absolute().parent
    values = [value for rows in read for value in rows.values]
    names = max((rows.names for rows in read), key=len)
    held = answers_of(values, first.chosen, names, where, report, folder)
    many = f"{len(paths)} parquet files" if len(paths) > 1 else where
    report.how = f"{many}, columns {first.chosen}"
    parts: list[Source] = []
    start = 0
    for path, rows in zip(paths, read, strict=True):
        own = {k - start: held[k] for k in range(start, start + len(rows.values)) if k in held}
        start += len(rows.values)
        parts.append(_part(path, rows, own, reading, report))
    if len(parts) == 1:
        return parts[0]
    return Chained([a for part in parts for a in part.answers], not first.chosen.is_label,
                   tuple(parts), report=report)


def _part(path: Path, rows: Rows, own: dict[int, tuple[str, ...]], reading: Reading,
          report: Report) -> Source:
    """One file's pictures, in it or where it says."""
    captions = not rows.chosen.is_label
    if rows.paths is None:
        return Parquet(list(own.values()), captions, Shard(path, rows.chosen.image, tuple(own)),
                       report=report)
    found = find_paths(rows.paths, own, path.absolute().parent, printable(path.name), report,
                       reading)
    return Files([own[row] for row in found], captions, list(found.values()), report=report)


def open_saved(path: Path, reading: Reading) -> Source:
    """A data set, or one for each split, that `datasets` wrote with save_to_disk; or one .arrow
    file. Only tables are read: no code runs."""
    from datasets import Dataset, load_from_disk  # type: ignore[import-untyped]

    from explorer.data.hub import from_dataset

    load: Callable[[str], Any] = Dataset.from_file if path.is_file() else load_from_disk
    try:
        found = load(str(path))
    except Exception as error:  # noqa: BLE001 - a dozen kinds, of three libraries
        raise InputError(f"cannot read {path.name} as a saved data set: "
                         f"{str(error).splitlines()[0][:160] if str(error) else type(error)}"
                         ) from None
    split = ""
    if isinstance(found, dict):
        kinds = {kind_of(name) or name: name for name in found}
        kept = preferred(kinds, reading.training)
        split, found = choice(list(kinds), reading.training), found[kinds[kept]]
    source = from_dataset(found, path.name, reading)
    source.report.split = split
    return source
