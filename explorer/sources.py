"""Where labelled pictures come from: parquet files, folders, CSV files.

A source knows the true answer of each example and hands out the encoded pictures of chosen ones.
One more format is one more class of this kind and a line in `open_source`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from explorer.csvfile import read_table
from explorer.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif")
KINDS = "a .parquet file, a .csv file, or a folder with one sub-folder a class"
READ_AHEAD = 64  # encoded pictures of a parquet file in memory at a time


@dataclass(frozen=True)
class Source:
    """answers: the class name or caption of each example; are_captions: which of the two."""

    answers: Sequence[str]
    are_captions: bool

    def pictures(self, chosen: Sequence[int]) -> Iterator[Path | bytes]:
        """The encoded pictures of these examples, given and yielded in rising order."""
        raise NotImplementedError


@dataclass(frozen=True)
class Files(Source):
    """Pictures in files of their own."""

    paths: Sequence[Path]

    def pictures(self, chosen: Sequence[int]) -> Iterator[Path | bytes]:
        return (self.paths[i] for i in chosen)


@dataclass(frozen=True)
class Parquet(Source):
    """Pictures in the column image of a parquet file: bytes, or {bytes, path} as Hugging Face
    data sets have it. Read in pieces, so a file larger than memory is fine."""

    path: Path

    def pictures(self, chosen: Sequence[int]) -> Iterator[Path | bytes]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
                edges = pairwise(accumulate(sizes, initial=0))
                for group, (start, stop) in enumerate(edges):
                    wanted = [i - start for i in chosen if start <= i < stop]
                    if wanted:
                        yield from _cells(file, group, wanted)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.path.name} is damaged: {_first_line(error)}") from None


def _cells(file: Any, group: int, wanted: Sequence[int]) -> Iterator[bytes]:
    """The pictures of some rows of one row group; no bytes at all where a cell is empty."""
    ahead, done = set(wanted), 0
    for batch in file.iter_batches(READ_AHEAD, row_groups=[group], columns=["image"]):
        for row in range(batch.num_rows):
            if done + row in ahead:
                cell = batch.column(0)[row].as_py()
                cell = cell.get("bytes") if isinstance(cell, dict) else cell
                yield cell if isinstance(cell, bytes) else b""
        done += batch.num_rows
        if done > wanted[-1]:
            return


def open_source(path: Path) -> Source:
    """The reader of a path. Raises InputError when there is none for it or it is damaged."""
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise InputError(f"there is no file or folder {path}")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _open_parquet(path)
    if suffix == ".csv":
        return _open_csv(path)
    raise InputError(f"cannot read {path.name}: give {KINDS}")


def _open_folder(path: Path) -> Files:
    paths, answers = [], []
    try:
        classes = sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
        for folder in classes:
            inside = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
            paths += inside
            answers += [folder.name] * len(inside)
    except OSError as error:
        raise InputError(f"cannot read the folder {path.name}: {error.strerror}") from None
    if not classes:
        raise InputError(f"the folder {path.name} has no sub-folders: make one for each class")
    return Files(answers, False, paths)


def _column(columns: Sequence[str], name: str) -> str:
    """"caption" or "label", whichever there is (a label where both are)."""
    if "image" in columns:
        for answer in ("label", "caption"):
            if answer in columns:
                return answer
    raise InputError(f"{name} needs the columns image and label (or caption); it has "
                     f"{', '.join(columns) or 'none'}")


def _open_parquet(path: Path) -> Parquet:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            answer = _column(schema.names, path.name)
            values = file.read(columns=[answer])[answer].to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path.name} as parquet: {_first_line(error)}") from None
    kind = schema.field("image").type
    held = kind.field("bytes").type if pa.types.is_struct(kind) and "bytes" in {
        kind.field(i).name for i in range(kind.num_fields)} else kind
    if not (pa.types.is_binary(held) or pa.types.is_large_binary(held)):
        raise InputError(f"the column image of {path.name} must hold encoded pictures "
                         f"(binary, or a struct with bytes), not {kind}")
    names = _class_names(schema.metadata) if answer == "label" else []
    for row, value in enumerate(values, 1):
        if not isinstance(value, str | int):
            raise InputError(f"row {row} of {path.name} has no {answer} in words or whole numbers")
        if names and isinstance(value, int) and not 0 <= value < len(names):
            raise InputError(f"row {row} of {path.name} has the label {value}, which has no name")
    answers = [names[v] if names and isinstance(v, int) else str(v) for v in values]
    return Parquet(answers, answer == "caption", path)


def _class_names(metadata: dict[bytes, bytes] | None) -> list[str]:
    """What Hugging Face data sets call their whole-number labels, or nothing."""
    try:
        held = json.loads((metadata or {})[b"huggingface"])["info"]["features"]["label"]["names"]
        return [str(name) for name in held]
    except (KeyError, TypeError, ValueError):
        return []


def _open_csv(path: Path) -> Files:
    columns, rows = read_table(path)
    answer = _column(columns, path.name)
    root = path.resolve().parent
    paths, answers = [], []
    for line, row in rows:
        image, text = row["image"].strip(), row[answer].strip()
        if not image or not text:
            raise InputError(f"line {line} of {path.name} has no {answer if image else 'image'}")
        paths.append(_inside(root, image, f"line {line} of {path.name}"))
        answers.append(text)
    return Files(answers, answer == "caption", paths)


def _inside(root: Path, name: str, where: str) -> Path:
    """A path beside the CSV. Raises InputError when a relative one leads out of its folder."""
    if Path(name).is_absolute():
        return Path(name)
    try:
        full = (root / name).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
        raise InputError(f"{where} has an image path that cannot be used") from None
    if not full.is_relative_to(root):
        raise InputError(f"{where} leads out of the folder of the CSV: give an absolute path")
    return full


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
