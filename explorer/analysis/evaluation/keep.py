"""What an evaluation has found, on disk: a JSON file a finished cell, and lines for the rest.

FOLDER/cells/KEY.json holds a finished cell under the name of all that it depends on, so that it is
never computed twice; FOLDER/parts-R.jsonl what process R has found of cells that are not finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from explorer.analysis.evaluation.detection import Detection
from explorer.analysis.evaluation.rows import Row, read_row
from explorer.base.errors import InputError
from explorer.jobs.job import write_text

MOST = 5_000  # cells kept in a folder; the oldest go first
T = TypeVar("T")
Parts = dict[int, tuple[str, float]]  # number of a batch -> "0" or "1" an image, and seconds


class Store:
    """folder: None keeps nothing on disk. shared: a second folder of finished cells, of other
    evaluations too. rank: of this process, whose lines are its own."""

    def __init__(self, folder: Path | None = None, shared: Path | None = None, rank: int = 0,
                 ) -> None:
        self.folder, self.shared, self.rank = folder, shared, rank
        self.homes = [path / "cells" for path in (folder, shared) if path is not None]
        try:
            for home in self.homes:
                home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot keep results in {error.filename}: {error.strerror}"
                             ) from None

    def get(self, key: str) -> Row | None:
        """A finished cell; None where there is none, or a damaged one."""
        return self._read(key, lambda told: read_row(told["row"]))

    def put(self, key: str, row: Row, about: dict[str, Any]) -> None:
        """Keeps a finished cell; about: what it was measured on, for people."""
        self._write(key, {"row": row.as_dict(), **about})

    def detection(self, key: str) -> Detection | None:
        """What a detector did; None where that is not known."""
        return self._read(key, lambda told: Detection.read(told["detection"]))

    def put_detection(self, key: str, found: Detection, about: dict[str, Any]) -> None:
        """Keeps what a detector did."""
        self._write(key, {"detection": found.as_dict(), **about})

    def _read(self, key: str, make: Callable[[Any], T]) -> T | None:
        for home in self.homes:
            try:
                return make(json.loads((home / f"{key}.json").read_text("utf-8")))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def _write(self, key: str, about: dict[str, Any]) -> None:
        text = json.dumps(about, ensure_ascii=False, indent=1) + "\n"
        try:
            for home in self.homes:
                write_text(home / f"{key}.json", text)
                if home.parent == self.shared:
                    _tidy(home)
        except OSError as error:
            raise InputError(f"cannot keep results on disk: {error.strerror}") from None

    def parts(self) -> dict[str, Parts]:
        """What any process has found of each cell that is not finished."""
        found: dict[str, Parts] = {}
        for path in self.folder.glob("parts-*.jsonl") if self.folder is not None else ():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    told = json.loads(line) if line.endswith(b"\n") else None
                    if told is not None:
                        found.setdefault(str(told["cell"]), {})[int(told["batch"])] = (
                            str(told["hits"]), float(told["seconds"]))
                except (ValueError, KeyError, TypeError):
                    continue  # cut off when the process was killed
        return found

    def add(self, lines: Iterable[tuple[str, int, str, float]]) -> None:
        """Notes (cell, batch, hits, seconds) of cells that are not finished."""
        if self.folder is None:
            return
        text = "".join(json.dumps({"cell": cell, "batch": batch, "hits": hits,
                                   "seconds": round(seconds, 4)}) + "\n"
                       for cell, batch, hits, seconds in lines)
        try:
            with open(self.folder / f"parts-{self.rank}.jsonl", "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise InputError(f"cannot keep results on disk: {error.strerror}") from None

    def finish(self) -> None:
        """Lines about cells that are finished by now are of no more use."""
        for path in self.folder.glob("parts-*.jsonl") if self.folder is not None else ():
            kept = [line for line in path.read_text("utf-8", "replace").splitlines()
                    if not self._over(line)]
            if kept:
                write_text(path, "\n".join(kept) + "\n")
            else:
                path.unlink(missing_ok=True)

    def _over(self, line: str) -> bool:
        try:
            key = str(json.loads(line)["cell"]).partition("-")[0]
        except (ValueError, KeyError, TypeError):
            return True
        return any((home / f"{key}.json").exists() for home in self.homes)


def _tidy(home: Path) -> None:
    kept = sorted(home.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for old in kept[:-MOST]:
        old.unlink(missing_ok=True)
