"""Which picture a table means: by its path, and where that is of another machine, by its name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from explorer.data.splits import kind_of

ENDING = re.compile(r"\.[A-Za-z0-9]{1,5}$")
Names = Callable[[], Sequence[str]]


def tidy(name: str) -> str:
    """A path as this library has it: "/" between folders, no drive, no "./", no "#0" behind it."""
    text = unicodedata.normalize("NFC", name.strip().strip("\"'")).replace("\\", "/")
    text = re.sub(r"^file:/*(?=/)", "", text)
    text = re.sub(r"^[A-Za-z]:(?=/)", "", text)
    text = re.sub(r"(\.\w{2,5})#\d+$", r"\1", text)
    parts: list[str] = []
    for part in text.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return ("/" if text.startswith("/") else "") + "/".join(parts)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def stem(name: str) -> str:
    """Without its ending: "a.b" of "a.b.jpg"; "img.1" stays."""
    return ENDING.sub("", name)


class Finder:
    """Finds pictures among names with "/" between folders.

    names: all there are, asked for when they are first needed; base: the folder of the table
    among them; root: the table's folder on disk, where paths are tried first, or None; split:
    of the table, which decides between pictures of one name in the folders of splits.
    """

    def __init__(self, names: Names, base: str = "", root: Path | None = None,
                 split: str = "") -> None:
        self._names, self.base, self.root, self.split = names, base, root, split
        self._exact: dict[str, str] | None = None
        self._ends: dict[str, list[str]] = {}
        self.by_name = 0  # how many were found by their name alone

    def find(self, name: str) -> str | Path | None:
        """The name among those there are, or its path on disk; None where none is meant, or
        several may be."""
        wanted = tidy(name)
        if not wanted:
            return None
        if self.root is not None and (path := self._on_disk(name, wanted)) is not None:
            return path
        exact, loose = self._index(), wanted.lstrip("/")
        for tried in (f"{self.base}/{loose}" if self.base else loose, loose,
                      tidy(f"{self.base}/{loose}")):
            if (found := exact.get(_key(tried))) is not None:
                return self._full(found)
        found = self._by_end(loose)
        self.by_name += found is not None and "/" in loose
        return None if found is None else self._full(found)

    def tried(self, name: str) -> str:
        """Where a picture that was not found was looked for first."""
        if self.root is None:
            return "/".join(part for part in (self.base, tidy(name)) if part)
        return str(self.root / tidy(name))

    def _full(self, name: str) -> str | Path:
        return name if self.root is None else self.root / name

    def _on_disk(self, name: str, wanted: str) -> Path | None:
        assert self.root is not None
        raw = name.strip()
        for tried in dict.fromkeys([raw, wanted]):
            try:
                path = self.root / (Path(tried).expanduser() if tried[:1] == "~" else tried)
                if path.is_file():
                    return path
            except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
                continue
        return None

    def _index(self) -> dict[str, str]:
        """Names by themselves, and by their last part with and without its ending."""
        if self._exact is None:
            self._exact = {}
            for name in self._names():
                self._exact.setdefault(_key(name), name)
                last = _key(name.rsplit("/", 1)[-1])
                for end in {last, stem(last)}:
                    self._ends.setdefault(end, []).append(name)
        return self._exact

    def _by_end(self, wanted: str) -> str | None:
        """The one that shares most of the path's end; None where several do."""
        parts = _key(wanted).split("/")
        found = self._ends.get(parts[-1]) or self._ends.get(stem(parts[-1]), [])
        if len(found) < 2:
            return found[0] if found else None
        shared = [_shared(parts[:-1], _key(name).split("/")[:-1]) for name in found]
        best = max(shared)
        fit = [name for name, many in zip(found, shared, strict=True) if many == best]
        if len(fit) > 1 and self.split:
            fit = [n for n in fit if self.split in map(kind_of, n.split("/")[:-1])]
        if len(fit) > 1 and self.base:
            fit = [n for n in fit if _key(n).startswith(f"{_key(self.base)}/")]
        return fit[0] if len(fit) == 1 else None


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many folders at the end are the same."""
    many = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        many += 1
    return many


def listing(names: Iterable[str]) -> Names:
    held = list(names)
    return lambda: held
