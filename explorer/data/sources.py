"""Where labelled pictures come from: parquet files, folders, archives, CSV files, JSON.

A source knows the true answer of each example and hands out the encoded pictures of chosen ones.
One more format is one more class of this kind and a line in `open_source`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from explorer.base.errors import InputError
from explorer.data.archives import open_archive
from explorer.data.containers import LIMITS, Box, Limits, Report, first_line, open_folder, read_file
from explorer.data.layouts import read_layout
from explorer.data.listings import (
    answer_column,
    karpathy_entries,
    parse_json,
    read_karpathy,
    read_rows,
)
from explorer.data.text_tables import captions_of, read_table

Picture = Path | bytes | Image.Image
KINDS = ("a .parquet, .csv or .json file, a .zip, .tar or .tar.gz archive, or a folder with one "
         "sub-folder a class")
UPLOADS = (".parquet", ".zip", ".tar", ".tar.gz", ".tgz")
UPLOAD = Limits(members=20_000, unpacked=2_000_000_000)
READ_AHEAD = 64  # encoded pictures of a parquet file in memory at a time


@dataclass(frozen=True)
class Source:
    """answers: the class name of each example, or its captions; are_captions: which of the two.

    report: what was left out, which grows while pictures are read.
    """

    answers: Sequence[tuple[str, ...]]
    are_captions: bool
    report: Report = field(default_factory=Report, kw_only=True)

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        """The pictures of these examples, given and yielded in rising order."""
        raise NotImplementedError


@dataclass(frozen=True)
class Files(Source):
    """Pictures in files of their own."""

    paths: Sequence[Path]

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        return (self.paths[i] for i in chosen)


@dataclass(frozen=True)
class Boxed(Source):
    """Pictures in a folder or an archive, under names in it."""

    box: Box
    names: Sequence[str]

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        yield from self.box.contents(self.names[i] for i in chosen)


@dataclass(frozen=True)
class Parquet(Source):
    """Pictures in the column image of a parquet file: bytes, or {bytes, path} as Hugging Face
    data sets have it. Read in pieces, so a file larger than memory is fine."""

    path: Path

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
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
            raise InputError(f"{self.path.name} is damaged: {first_line(error)}") from None


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


def open_source(path: Path, captions_first: bool = False, limits: Limits = LIMITS) -> Source:
    """The reader of a path. Raises InputError when there is none for it or it is damaged.

    captions_first: where there are labels and captions, the captions are wanted.
    """
    try:
        if "\0" in str(path):
            raise OSError("a null byte")
        there = path.exists()
    except OSError:  # or a name too long
        raise InputError("that is not a usable path of a file or folder") from None
    if not there:
        raise InputError(f"there is no file or folder {path}")
    if path.is_dir():
        return _open_box(open_folder(path), captions_first)
    name = path.name.lower()
    if name.endswith(".parquet"):
        return _open_parquet(path, captions_first)
    if name.endswith((".csv", ".tsv")):
        return _open_csv(path, captions_first)
    if name.endswith(".json"):
        return _open_json(path)
    if name.endswith((".zip", ".tar", ".tar.gz", ".tgz")):
        return _open_box(open_archive(path, limits), captions_first)
    raise InputError(f"cannot read {path.name}: give {KINDS}")


def open_upload(path: Path, captions_first: bool = False) -> Source:
    """`open_source` of a file from a stranger, which may point at no other file: a table, a JSON
    or a folder could name any picture on this machine."""
    if path.is_dir() or not path.name.lower().endswith(UPLOADS):
        raise InputError(f"{path.name[:80]} cannot be taken as an upload: give a .parquet file, "
                         "or a .zip, .tar or .tar.gz archive")
    return open_source(path, captions_first, UPLOAD)


def _open_box(box: Box, captions_first: bool) -> Boxed:
    found = read_layout(box, captions_first)
    return Boxed(found.answers, found.are_captions, box, found.names, report=box.report)


def _open_json(path: Path) -> Boxed:
    entries = karpathy_entries(parse_json(read_file(path)))
    if not entries:
        raise InputError(f"{path.name} is not the JSON of a retrieval set: it needs images, each "
                         "with a filename and sentences")
    box = open_folder(path.resolve().parent)
    found = read_karpathy(box, entries)
    if not found.names:
        raise InputError(f"none of the images that {path.name} lists is in its folder")
    return Boxed(found.answers, True, box, found.names, report=box.report)


def _open_parquet(path: Path, captions_first: bool) -> Parquet:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            answer = answer_column(schema.names, path.name, captions_first)
            values = file.read(columns=[answer])[answer].to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path.name} as parquet: {first_line(error)}") from None
    kind = schema.field("image").type
    held = kind.field("bytes").type if pa.types.is_struct(kind) and "bytes" in {
        kind.field(i).name for i in range(kind.num_fields)} else kind
    if not (pa.types.is_binary(held) or pa.types.is_large_binary(held)):
        raise InputError(f"the column image of {path.name} must hold encoded pictures "
                         f"(binary, or a struct with bytes), not {kind}")
    names = _class_names(schema.metadata) if answer == "label" else []
    answers = read_answers(values, answer, names, path.name)
    return Parquet(answers, answer != "label", path)


def read_answers(values: Sequence[Any], answer: str, names: Sequence[str], where: str,
                 ) -> list[tuple[str, ...]]:
    """The cells of an answer column as words; names: what whole-number labels are called.

    A cell holds a word, a number, or a list of captions. Raises InputError for anything else.
    """
    answers: list[tuple[str, ...]] = []
    for row, value in enumerate(values, 1):
        texts = value if isinstance(value, list) and answer != "label" else [value]
        if isinstance(value, str) and answer == "captions":
            texts = captions_of(value.strip(), f"row {row} of {where}")
        kept = [text for text in texts if isinstance(text, str | int)]
        if not kept or len(kept) < len(texts):
            raise InputError(f"row {row} of {where} has no {answer} in words or whole numbers")
        if names and isinstance(value, int) and not 0 <= value < len(names):
            raise InputError(f"row {row} of {where} has the label {value}, which has no name")
        answers.append(tuple(names[t] if names and isinstance(t, int) else str(t) for t in kept))
    return answers


def _class_names(metadata: dict[bytes, bytes] | None) -> list[str]:
    """What Hugging Face data sets call their whole-number labels, or nothing."""
    try:
        held = json.loads((metadata or {})[b"huggingface"])["info"]["features"]["label"]["names"]
        return [str(name) for name in held]
    except (KeyError, TypeError, ValueError):
        return []


def _open_csv(path: Path, captions_first: bool) -> Files:
    columns, rows = read_table(path)
    answer = answer_column(columns, path.name, captions_first)
    root = path.resolve().parent
    paths, answers = [], []
    for line, image, texts in read_rows(columns, rows, path.name, captions_first):
        paths.append(_inside(root, image, f"line {line} of {path.name}"))
        answers.append(texts)
    return Files(answers, answer != "label", paths)


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
