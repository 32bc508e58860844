"""Files under names, in a folder or an archive, and a report of those that are left out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from explorer.base.errors import InputError
from explorer.base.files import printable, read_start
from explorer.base.settings import Settings

UNSAFE, TWICE = "names that lead out of the archive", "names given twice"
NESTED = "archives inside the archive"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")
JUNK = {"thumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "ehthumbs.db"}
MAX_LIST = 400_000_000  # bytes of a table or JSON; that of COCO has 144 million
SHOWN = 3  # names in a sentence
ROW = re.compile(r"(line|row|entry) \d+ of ")


@dataclass(frozen=True)
class Limits:
    """What is read of one archive: members; bytes of all of them and of one, unpacked; how many
    times larger than the archive they may be, asked only above `harmless` bytes."""

    members: int = 100_000
    unpacked: int = 20_000_000_000
    member: int = Settings.upload_bytes
    ratio: int = 200
    harmless: int = 200_000_000

    def check(self, name: str, unpacked: int, packed: int) -> None:
        """Raises InputError where an archive would unpack to too much."""
        if unpacked > self.unpacked:
            raise InputError(f"{name} unpacks to more than {self.unpacked / 1e9:g} GB, which is "
                             "the most that is read")
        if unpacked > max(self.harmless, self.ratio * packed):
            raise InputError(f"{name} unpacks to more than {self.ratio} times its size, as "
                             "archives made to do harm do; it is not read")

    def count(self, name: str, members: int) -> None:
        """Raises InputError where an archive has too many members."""
        if members > self.members:
            raise InputError(f"{name} has more than {self.members:,} files: split it into parts")


LIMITS = Limits()


class Report:
    """What was understood of a set: how it says what its pictures show, and the split that was
    read; notes, in sentences; and what was left out, by reason, with a few names."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, None]] = {}
        self.how = self.split = ""
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        """Something that was understood and not said by the set itself; each once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def take(self, other: Report) -> None:
        """Adds what another report has."""
        for reason, names in other._names.items():
            self._names.setdefault(reason, {}).update(names)
        self.how, self.split = other.how or self.how, other.split or self.split
        for sentence in other.notes:
            self.note(sentence)

    def add(self, reason: str, name: str) -> None:
        """The same file left out again, by a second reading, counts once."""
        self._names.setdefault(reason, {})[name] = None

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    @property
    def counts(self) -> dict[str, int]:
        return {reason: len(names) for reason, names in self._names.items()}

    @property
    def names(self) -> dict[str, list[str]]:
        """All that was left out, by reason."""
        return {reason: [printable(name) for name in names]
                for reason, names in self._names.items()}

    def sentences(self) -> list[str]:
        """One for each reason: how many, why, and the first few names."""
        said = []
        for reason, names in self._names.items():
            first = ", ".join(printable(name) for name in list(names)[:SHOWN])
            more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            kind = "row" if all(ROW.match(name) for name in names) else "file"
            said.append(f"Left out {len(names):,} {kind}{'s' * (len(names) > 1)} "
                        f"({reason}): {first}{more}.")
        return said


def read_file(path: Path) -> bytes:
    """A whole file that lists pictures. Raises InputError when it cannot be read or is huge."""
    raw = read_start(path, MAX_LIST)
    if len(raw) > MAX_LIST:
        raise InputError(f"{printable(path.name)} is larger than {MAX_LIST // 1_000_000} MB")
    return raw


@dataclass(frozen=True, eq=False)
class Box:
    """Files under relative names with "/" between folders: a folder or an archive.

    files: their names, in the order in which they are read fastest.
    """

    name: str
    path: Path
    files: tuple[str, ...]
    report: Report = field(default_factory=Report)

    def contents(self, names: Iterable[str]) -> Iterator[Path | bytes]:
        """The files of these names, best in the order of `files`; b"" for a damaged one."""
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """A whole file, such as a table. Raises InputError when it cannot be read."""
        (found,) = self.contents([name])
        return found if isinstance(found, bytes) else read_file(found)


@dataclass(frozen=True, eq=False)
class Folder(Box):
    """A folder on disk."""

    def contents(self, names: Iterable[str]) -> Iterator[Path | bytes]:
        return (self.path / name for name in names)


def open_folder(path: Path) -> Folder:
    """All files of a folder, hidden ones apart, in the order of their names. Links to folders are
    followed, each folder once."""
    files: list[str] = []
    try:
        for child in sorted(path.iterdir()):
            if is_junk([child.name]):
                continue
            if not child.is_dir():
                files.append(child.name)
                continue
            inside = [(*os.path.relpath(folder, path).split(os.sep), name)
                      for folder, names in _walk(child) for name in names]
            files += ["/".join(parts) for parts in sorted(inside) if not is_junk(parts)]
    except OSError as error:
        raise InputError(f"cannot read the folder {path.name}: {error.strerror}") from None
    return Folder(name_of(path), path, tuple(files))


def _walk(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its files) below a path, links followed but not in circles."""
    def fail(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for folder, inside, names in os.walk(str(path), onerror=fail, followlinks=True):
        yield folder, names
        for name in list(inside):
            at = os.stat(os.path.join(folder, name))
            if (at.st_dev, at.st_ino) in seen:
                inside.remove(name)
            seen.add((at.st_dev, at.st_ino))


def name_of(path: Path) -> str:
    """What a path is called: that of its folder where it is "." or "..", for a person."""
    return path.name if path.name not in ("", "..") else path.resolve().name or str(path)


def screen(name: str, taken: Iterable[str]) -> tuple[str, str]:
    """(tidy name, why it is not used); ("", "") for what systems add on their own. Windows'
    "\\" is a "/"; no name may lead out of the archive by either."""
    raw, name = name, name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts:
        return "", ""
    if name.startswith("/") or "\0" in name or ".." in parts or re.match(r"[A-Za-z]:", name):
        return raw, UNSAFE
    if is_junk(parts):
        return "", ""
    tidy = "/".join(parts)
    if tidy in taken:
        return tidy, TWICE
    return tidy, NESTED if tidy.lower().endswith(ARCHIVES) else ""


def is_junk(parts: Iterable[str]) -> bool:
    """Hidden files and folders, and what Windows and macOS leave behind."""
    return any(p[0] == "." or p == "__MACOSX" or p.lower() in JUNK for p in parts)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
