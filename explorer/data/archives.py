"""Zips and tars from anywhere, read in place: nothing is ever unpacked to disk.

An archive is not believed. Its size is checked before it is read and again while it is, names
that lead elsewhere are not used, and what is damaged is left out, counted and named.
"""

from __future__ import annotations

import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from explorer.base.errors import InputError
from explorer.data.containers import LIMITS, TWICE, Box, Limits, Report, first_line, screen
from explorer.data.formats import kind_of
from explorer.data.packing import refusal, unpacked
from explorer.data.zip_names import encoding_of, name_of

DAMAGED, LINK = "damaged", "links and devices"
HUGE = "larger than is read of one file"
CUT = ("it is cut short, without the directory at its end, or one part of several: download it "
       "again, or put its parts together")
HEADER = 4_000_000  # bytes of headers before one member of a tar; tarfile would read any number
BLOCK = 512
# What both readers raise on damaged files.
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
          ValueError, RuntimeError, OverflowError, LookupError, struct.error)


def open_archive(path: Path, limits: Limits = LIMITS) -> Box:
    """The files of a zip, tar or tar.gz, told apart by what is in it and not by its name.

    Raises InputError when it cannot be read at all or is larger than `limits` unpacked.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(f"cannot read {path.name}: {error.strerror}") from None
    if start.startswith(b"PK"):
        return open_zip(path, limits)
    return open_tar(path, start.startswith(b"\x1f\x8b"), limits)


@dataclass(frozen=True, eq=False)
class Zip(Box):
    members: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    limits: Limits = LIMITS

    def contents(self, names: Iterable[str]) -> Iterator[Path | bytes]:
        try:
            archive = zipfile.ZipFile(self.path)
        except BROKEN as error:
            raise InputError(f"cannot read {self.name}: {first_line(error)}") from None
        with archive:
            for name in names:
                try:
                    raw = unpacked(archive, self.members[name], self.limits.member)
                except BROKEN:
                    self.report.add(DAMAGED, name)
                    raw = b""
                if len(raw) > self.limits.member:  # more than its header says
                    self.report.add(HUGE, name)
                    raw = b""
                yield raw


def open_zip(path: Path, limits: Limits = LIMITS) -> Zip:
    """The usable members of a zip, by its directory; their pictures are read later."""
    try:
        limits.count(path.name, _entries(path))
        with zipfile.ZipFile(path) as archive:
            found = archive.infolist()
    except InputError:
        raise
    except BROKEN as error:
        cut = str(error) == "File is not a zip file"  # its directory is at the end
        raise InputError(f"cannot read {path.name} as a zip file: "
                         f"{CUT if cut else first_line(error)}") from None
    limits.check(path.name, sum(info.file_size for info in found), path.stat().st_size)
    report, members = Report(), dict[str, zipfile.ZipInfo]()
    encoding = encoding_of(found, path.name, report)
    for info in found:
        name, reason = screen(name_of(info, encoding), members)
        mode = info.external_attr >> 16
        if info.is_dir() or not name:
            continue
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            reason = LINK
        elif not reason:
            reason = HUGE if info.file_size > limits.member else refusal(info)
        if reason:
            report.add(reason, f"{name} (second)" if reason == TWICE else name)
        else:
            members[name] = info
    return Zip(path.name, path, tuple(members), report, members, limits)


def _kind(path: Path) -> str:
    """What a file that is no archive of ours is, as far as its first bytes tell."""
    with open(path, "rb") as file:
        kind = kind_of(file.read(400))
    return f"it is {kind.rstrip(',')}" if kind else ""


def _entries(path: Path) -> int:
    """How many members a zip's directory has, counted before zipfile reads it into memory.

    The count that the file gives can lie, so the signs that start an entry are counted.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 66_000))  # the end record and the longest comment
        tail = file.read()
        end = tail.rfind(b"PK\5\6")
        if end < 0 or end + 22 > len(tail):
            return 0
        length = int.from_bytes(tail[end + 12:end + 16], "little")
        wide = tail.rfind(b"PK\6\6", 0, end)
        if length == 0xFFFFFFFF and wide >= 0:
            length = int.from_bytes(tail[wide + 40:wide + 48], "little")
        start = max(0, size - len(tail) + end - length - 200)
        file.seek(start)
        left, count = size - start, 0
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            count += piece.count(b"PK\1\2")
            left -= len(piece)
    return count


@dataclass(frozen=True, eq=False)
class Tar(Box):
    """members: where each starts in the unpacked tar, and its length, in bytes."""

    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    gzipped: bool = False

    def contents(self, names: Iterable[str]) -> Iterator[Path | bytes]:
        with _opened(self.path, self.gzipped) as file:
            for name in names:
                offset, size = self.members[name]
                try:
                    file.seek(offset)
                    raw = file.read(size)
                except BROKEN:
                    raw = b""
                if len(raw) < size:
                    self.report.add(DAMAGED, name)
                    raw = b""
                yield raw


def _opened(path: Path, gzipped: bool) -> BinaryIO | gzip.GzipFile:
    try:
        return gzip.open(path) if gzipped else open(path, "rb")
    except OSError as error:
        raise InputError(f"cannot read {path.name}: {error.strerror}") from None


class _Metered:
    """Counts what tarfile reads, and remembers the last of it."""

    def __init__(self, file: BinaryIO | gzip.GzipFile, path: Path, limits: Limits) -> None:
        self.file, self.limits, self.path = file, limits, path
        self.packed = path.stat().st_size
        self.total, self.granted, self.tail = 0, HEADER, b""

    def read(self, n: int) -> bytes:
        raw = self.file.read(n)
        self.total += len(raw)
        self.limits.check(self.path.name, self.total, self.packed)
        if self.total > self.granted:
            raise InputError(f"{self.path.name} is damaged: a file's header has no end")
        self.tail = (self.tail + raw)[-8 * tarfile.RECORDSIZE:]
        return raw

    def at(self, place: int) -> bytes:
        """The block at a place that was read lately."""
        start = place - (self.total - len(self.tail))
        return self.tail[start:start + BLOCK] if start >= 0 else b""


def open_tar(path: Path, gzipped: bool, limits: Limits = LIMITS) -> Tar:
    """The usable members of a tar. Reads it once from end to end, with flat memory."""
    report, members = Report(), dict[str, tuple[int, int]]()
    last, count = "", 0
    try:
        with _opened(path, gzipped) as file:
            meter = _Metered(file, path, limits)
            with tarfile.open(fileobj=meter, mode="r|", encoding="utf-8",  # type: ignore[call-overload]
                              errors="surrogateescape") as tar:
                while (info := tar.next()) is not None:
                    tar.members = []  # it would keep them all
                    meter.granted = meter.total + info.size + HEADER
                    count += 1
                    limits.count(path.name, count)
                    last = _take(info, members, report, limits) or last
                if meter.at(tar.offset).strip(b"\0"):
                    raise tarfile.ReadError("not a header")
    except InputError:
        raise
    except BROKEN as error:
        if not count:
            raise InputError(f"cannot read {path.name} as a zip, tar or tar.gz file: "
                             f"{_kind(path) or first_line(error)}") from None
        report.add("damaged: what comes after this file", last or path.name)
    return Tar(path.name, path, tuple(members), report, members, gzipped)


def _take(info: tarfile.TarInfo, members: dict[str, tuple[int, int]], report: Report,
          limits: Limits) -> str:
    """Notes a member, or why it is left out; its name, "" for a folder and the like."""
    name, reason = screen(_tar_name(info), members)
    if info.isdir() or not name:
        return ""
    if not info.isreg() or info.issparse():
        reason = LINK
    elif not reason and info.size > limits.member:
        reason = HUGE
    if reason:
        report.add(reason, f"{name} (second)" if reason == TWICE else name)
    else:
        members[name] = (info.offset_data, info.size)
    return name


def _tar_name(info: tarfile.TarInfo) -> str:
    """A member's name; what is not UTF-8 is taken for Latin-1."""
    raw = info.name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
