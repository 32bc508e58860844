"""Pictures in parquet files, of one or of many shards with the same columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.class_names import named
from explorer.data.columns import WEB, Chosen, choose, is_number, web_sentence
from explorer.data.containers import Report, first_line
from explorer.data.finding import Finder, listing
from explorer.data.listings import is_picture
from explorer.data.name_files import beside
from explorer.data.tables import ABSENT, UNTOLD, Reading, short
from explorer.data.text_tables import SAMPLED, texts_of
from explorer.data.wording import no_words

Picture = Path | bytes | Image.Image
READ_AHEAD = 64  # encoded pictures of a parquet file in memory at a time


@dataclass(frozen=True)
class Shard:
    """One parquet file: its pictures are in `column`, as bytes, {bytes, path} or lists of them;
    rows: which of its rows are examples, rising."""

    path: Path
    column: str
    rows: Sequence[int]

    def cells(self, chosen: Sequence[int]) -> Iterator[bytes]:
        """The pictures of some examples, in rising order. Read in pieces, so a file larger than
        memory is fine."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
                edges = pairwise(accumulate(sizes, initial=0))
                for group, (start, stop) in enumerate(edges):
                    wanted = [self.rows[i] - start for i in chosen
                              if start <= self.rows[i] < stop]
                    if wanted:
                        yield from self._group(file, group, wanted)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self.path.name} is damaged: {first_line(error)}") from None

    def _group(self, file: Any, group: int, wanted: Sequence[int]) -> Iterator[bytes]:
        """The pictures of some rows of one row group; no bytes at all where a cell is empty."""
        ahead, done = set(wanted), 0
        for batch in file.iter_batches(READ_AHEAD, row_groups=[group], columns=[self.column]):
            for row in range(batch.num_rows):
                if done + row in ahead:
                    cell = batch.column(0)[row].as_py()
                    cell = cell[0] if isinstance(cell, list) and cell else cell
                    cell = cell.get("bytes") if isinstance(cell, dict) else cell
                    yield cell if isinstance(cell, bytes) else b""
            done += batch.num_rows
            if done > wanted[-1]:
                return


@dataclass(frozen=True)
class Rows:
    """What the columns of a shard say: the chosen columns, the answers of each row, the paths of
    its pictures where it holds no bytes, and what its labels are called."""

    chosen: Chosen
    values: list[Any]
    paths: list[Any] | None
    names: list[str]


def read_rows(path: Path, reading: Reading) -> Rows:
    """Raises InputError for a file that cannot be read, or whose columns are not understood."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            head = next(file.iter_batches(SAMPLED, columns=[
                n for n in schema.names if not _holds_bytes(schema.field(n).type)]), None)
            sample = {n: head.column(n).to_pylist() for n in head.schema.names} if head else {}

            def values(column: str) -> list[Any]:
                held = _holds_bytes(schema.field(column).type)
                return [b"x"] if held else sample.get(column, [])

            chosen = choose(schema.names, printable(path.name), values, reading.captions_first,
                            reading.given, lambda c: bool(_class_names(schema.metadata, c)))
            answers = [file.read(columns=[c])[c].to_pylist() for c in chosen.answers]
            kind = schema.field(chosen.image).type
            paths = None if _filled(file, chosen.image, kind) else _paths(file, chosen.image)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path.name} as parquet: {first_line(error)}") from None
    if paths is not None and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)
                                  or pa.types.is_struct(kind)):
        raise InputError(f"the column {chosen.image} of {path.name} must hold encoded pictures "
                         f"(binary, or a struct with bytes) or paths, not {kind}")
    values_of = [list(v) if len(v) > 1 else v[0] for v in zip(*answers, strict=True)]
    return Rows(chosen, values_of, paths, _class_names(schema.metadata, chosen.answers[0]))


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        return "bytes" in {kind.field(i).name for i in range(kind.num_fields)}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _filled(file: Any, column: str, kind: Any) -> bool:
    """Whether the pictures are in the file: not so where a struct has paths alone."""
    if not _holds_bytes(kind):
        return False
    batch = next(file.iter_batches(8, columns=[column]), None)
    cells = batch.column(0).to_pylist() if batch is not None else []
    cells = [c[0] if isinstance(c, list) and c else c for c in cells]
    return not cells or any(not isinstance(c, dict) or c.get("bytes") for c in cells) or not any(
        isinstance(c, dict) and c.get("path") for c in cells)


def _paths(file: Any, column: str) -> list[Any]:
    cells = file.read(columns=[column])[column].to_pylist()
    return [c.get("path") if isinstance(c, dict) else c for c in cells]


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str]:
    """What Hugging Face data sets call their whole-number labels, or nothing."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def answers_of(values: Sequence[Any], chosen: Chosen, names: Sequence[str], where: str,
               report: Report, folder: Path | None) -> dict[int, tuple[str, ...]]:
    """Row -> its label in words, or its captions; rows without are noted. names: what whole-number
    labels are called; folder: where files of names may lie, or None.

    Raises InputError for numbers without names, and captions that are no words.
    """
    held: dict[int, tuple[str, ...]] = {}
    for row, value in enumerate(values):
        texts = tuple(dict.fromkeys(texts_of(value)))
        if not chosen.is_label:
            texts = tuple(short(texts, report, f"row {row + 1} of {where}"))
        if texts:
            held[row] = texts[:1] if chosen.is_label else texts
        else:
            report.add(UNTOLD, f"row {row + 1} of {where}")
    if not chosen.is_label:
        if bad := no_words([text for own in held.values() for text in own]):
            raise InputError(f"the column {chosen.answers[0]} of {where} holds no captions in "
                             f"words, but “{printable(bad)}”: name another with --columns")
        return held
    labels = [own[0] for own in held.values()]
    if names and all(map(is_number, labels)):
        numbers = [int(float(label)) for label in labels]
        bad_row = next((r for r, n in zip(held, numbers, strict=True)
                        if not 0 <= n < len(names)), None)
        if bad_row is not None:
            raise InputError(f"row {bad_row + 1} of {where} has the label {held[bad_row][0]}, "
                             "which has no name")
        labels = [names[n] for n in numbers]

    def files() -> Iterable[tuple[str, bytes]]:
        return () if folder is None else beside(folder)

    words = named(labels, where, report, files, f"labels (column {chosen.answers[0]})")
    return {row: (word,) for row, word in zip(held, words, strict=True)}


def find_paths(paths: Sequence[Any], rows: Iterable[int], folder: Path, where: str, report: Report,
               reading: Reading) -> dict[int, Path]:
    """Row -> the picture on disk that it names. Raises InputError where not one is there."""
    if reading.stranger:
        raise InputError(f"{where} holds paths of pictures and not the pictures: an upload must "
                         "hold them itself")
    from explorer.data.containers import open_folder

    finder = Finder(lambda: [n for n in open_folder(folder).files if is_picture(n)], "", folder)
    found: dict[int, Path] = {}
    missing: list[str] = []
    for row in rows:
        at = finder.find(str(paths[row] or ""))
        if at is None:
            missing.append(str(paths[row]))
        else:
            found[row] = Path(at)
    if missing and not found and WEB.match(missing[0]):
        raise InputError(web_sentence(where, "its pictures' column"))
    if missing and not found:
        raise InputError(f"{where} holds paths of pictures and not the pictures, and none of them "
                         f"is there; the first is {printable(missing[0])}, which was looked for "
                         f"at {finder.tried(missing[0])}")
    for name in missing:
        report.add(ABSENT, name)
    return found


__all__ = ["Picture", "Rows", "Shard", "answers_of", "find_paths", "listing", "read_rows"]
