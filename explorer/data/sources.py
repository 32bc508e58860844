"""Where labelled pictures come from: parquet files, folders, archives, tables, JSON, and many files
of these as one set.

A source knows the true answer of each example and hands out the encoded pictures of chosen ones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from pathlib import Path

from PIL import Image

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.archives import open_archive
from explorer.data.class_names import named
from explorer.data.containers import LIMITS, Box, Limits, Report, open_folder, read_file
from explorer.data.finding import Finder
from explorer.data.layouts import read_layout
from explorer.data.listings import is_picture
from explorer.data.name_files import beside
from explorer.data.pairs import open_image
from explorer.data.shards import Shard
from explorer.data.tables import ENDINGS, Reading, locate, parse, tell
from explorer.data.wording import no_words

Picture = Path | bytes | Image.Image
TARS = (".zip", ".tar", ".tar.gz", ".tgz")
KINDS = ("a .parquet, .arrow, .csv, .tsv, .json or .jsonl file, a .zip, .tar or .tar.gz archive, a "
         "folder, or a pattern such as shards/{0000..0009}.tar")
HINTS = {(".xlsx", ".xls", ".ods"): "save the sheet as CSV, or ",
         (".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"): "unpack it, or ",
         (".tfrecord", ".tfrec", ".npz", ".npy", ".h5", ".hdf5", ".pt", ".mat", ".db"):
             "write its pictures into files, or "}
UPLOADS = (".parquet", *TARS)
UPLOAD = Limits(members=20_000, unpacked=2_000_000_000)
APART = ("annotations", "annotation", "labels", "captions", "meta", "metadata", "splits", "csv",
         "lists", "json", "annots", "text")  # folders of tables beside the pictures' folder


@dataclass(frozen=True)
class Source:
    """answers: the class name of each example, or its captions; are_captions: which of the two.

    report: what was understood and left out, which grows while pictures are read.
    """

    answers: Sequence[tuple[str, ...]]
    are_captions: bool
    report: Report = field(default_factory=Report, kw_only=True)

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        """The pictures of these examples, given and yielded in rising order."""
        raise NotImplementedError

    def name(self, row: int) -> str:
        """What an example's picture is called: its file's name, or its number."""
        return f"picture {row + 1}"

    def fault(self, example: int) -> str:
        """Why a picture cannot be read; "" for one that can."""
        try:
            for raw in self.pictures([example]):
                open_image(raw)
        except InputError as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class Files(Source):
    """Pictures in files of their own."""

    paths: Sequence[Path]

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        return (self.paths[i] for i in chosen)

    def name(self, row: int) -> str:
        return printable(self.paths[row].name)


@dataclass(frozen=True)
class Boxed(Source):
    """Pictures in a folder or an archive, under names in it."""

    box: Box
    names: Sequence[str]

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        yield from self.box.contents(self.names[i] for i in chosen)

    def name(self, row: int) -> str:
        return printable(self.names[row])


@dataclass(frozen=True)
class Parquet(Source):
    """Pictures in a parquet file, read in pieces: shard says which column and rows."""

    shard: Shard

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        return self.shard.cells(chosen)


@dataclass(frozen=True)
class Chained(Source):
    """Several sources, one after the other."""

    parts: Sequence[Source]

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        """In the order that is asked for, which is read fastest where it rises."""
        starts = list(accumulate((len(part.answers) for part in self.parts), initial=0))
        for number, own in groupby(chosen, key=lambda i: bisect_right(starts, i) - 1):
            part = self.parts[number]
            yield from part.pictures([i - starts[number] for i in own])
            if part.report is not self.report:
                self.report.take(part.report)


def open_source(path: Path, reading: Reading | None = None, limits: Limits = LIMITS) -> Source:
    """The reader of a path or a pattern of paths. Raises InputError when there is none for it, it
    is damaged, or nothing of it can be used."""
    from explorer.data import file_sets as bundles

    reading = reading or Reading()
    try:
        if "\0" in str(path):
            raise OSError("a null byte")
        there = path.exists()
    except OSError:  # or a name too long
        raise InputError("that is not a usable path of a file or folder") from None
    if not there and not reading.stranger and bundles.is_pattern(str(path)):
        return bundles.open_pattern(str(path), reading)
    if not there:
        raise InputError(f"there is no file or folder {path}")
    name = path.name.lower()
    if path.is_dir():
        return bundles.open_directory(path, reading)
    if name.endswith(".parquet"):
        return bundles.open_parquet(path, reading)
    if name.endswith(".arrow"):
        return bundles.open_saved(path, reading)
    if name.endswith(TARS):
        return open_box(open_archive(path, limits), reading)
    if name.endswith(ENDINGS):
        return open_table(path, reading)
    hint = next((hint for ends, hint in HINTS.items() if name.endswith(ends)), "")
    raise InputError(f"cannot read {path.name}: {hint}give {KINDS}")


def open_upload(path: Path, reading: Reading | None = None) -> Source:
    """`open_source` of a file from a stranger, which may point at no other file: a table, a JSON
    or a folder could name any picture on this machine."""
    if path.is_dir() or not path.name.lower().endswith(UPLOADS):
        raise InputError(f"{path.name[:80]} cannot be taken as an upload: give a .parquet file, "
                         "or a .zip, .tar or .tar.gz archive")
    given = reading or Reading()
    return open_source(path, Reading(given.captions_first, given.training, given.given, True),
                       UPLOAD)


def open_box(box: Box, reading: Reading) -> Boxed:
    try:
        found = read_layout(box, reading)
    except InputError as error:
        raise InputError(" ".join([str(error).rstrip(".") + ".", *(
            s for s in box.report.sentences() if s not in str(error))])
            if box.report else str(error)) from None
    return Boxed(found.answers, found.are_captions, box, found.names, report=box.report)


def open_table(path: Path, reading: Reading) -> Files:
    """A table or JSON whose pictures lie in its folder, below it, or, where its folder is one of
    lists alone such as annotations/, beside that."""
    table = parse(read_file(path), path.name)
    if table is None:
        raise InputError(f"{path.name} is not the JSON of a set of pictures: it needs records with "
                         "an image and a caption or label each, or images and annotations as COCO "
                         "has them, or each image with a filename and sentences")
    report = Report()
    told = tell(table, reading, report)
    if not told.entries:
        raise InputError(" ".join([f"there are no images in {path.name}.", *report.sentences()])
                         if report else f"there are no images in {path.name}")
    root = path.absolute().parent
    where = root.parent if root.name.lower() in APART else root

    def names() -> list[str]:
        up = "../" if where != root else ""
        return [f"{up}{name}" for name in open_folder(where).files if is_picture(name)]

    found = locate(told, Finder(names, "", root), report, path.name)
    answers = list(found.values())
    if not told.are_captions:
        words = named([own[0] for own in answers], printable(path.name), report,
                      lambda: beside(root), f"labels (column {told.chosen.answers[0]})")
        answers = [(word,) for word in words]
    elif bad := no_words([text for own in answers for text in own]):
        raise InputError(f"the captions in {path.name}, column {told.chosen.answers[0]}, are no "
                         f"words, as “{printable(bad)}”: name another with --columns")
    report.how, report.split = f"the table {told.how}", told.split
    return Files(answers, told.are_captions, [Path(at) for at in found], report=report)
