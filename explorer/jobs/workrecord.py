"""Pieces of long work on disk: WORKS/ID/work.json says what is wanted and how far it has come."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.jobs.runrecord import write_text

NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"
BUSY = (WAITING, RUNNING)
EACH, MOST = 8, 200  # pieces of work kept for one owner, and for all


@dataclass(frozen=True)
class Work:
    """One piece of work. owner: whose it is; wish: what was asked for, as plain data; text: what
    it is doing, or why it failed."""

    id: str
    kind: str
    owner: str
    title: str
    created: float
    folder: Path
    wish: dict[str, Any] = field(default_factory=dict)
    state: str = WAITING
    done: int = 0
    total: int = 0
    text: str = ""


class Clock:
    """How long the rest will take, as it went so far."""

    def __init__(self, done: int) -> None:
        self.first, self.began = done, time.monotonic()

    def left(self, done: int, total: int) -> str:
        """" About 3 minutes left.", "" before the first picture is done."""
        if done == self.first:
            return ""
        seconds = (time.monotonic() - self.began) / (done - self.first) * (total - done)
        minutes = round(seconds / 60)
        return (f" About {minutes} minute{'s' * (minutes > 1)} left." if minutes
                else " Less than a minute left.")


class Shelf:
    """The works of a folder. Raises InputError when the folder cannot be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {folder}: {error.strerror}") from None
        self._write = threading.Lock()

    def list(self, owner: str | None = None, kind: str | None = None) -> list[Work]:
        """The works of an owner (None: of everybody), newest first; damaged ones left out."""
        found = []
        for path in self.folder.glob("*/work.json"):
            with suppress(InputError):
                work = self.read(path.parent.name)
                if (owner is None or work.owner == owner) and kind in (None, work.kind):
                    found.append(work)
        return sorted(found, key=lambda work: (work.created, work.id), reverse=True)

    def read(self, name: str) -> Work:
        """One work as it is on disk. Raises InputError when it is not there."""
        if not NAME.fullmatch(name):
            raise InputError("there is no such work")
        folder = self.folder / name
        try:
            raw = json.loads((folder / "work.json").read_text("utf-8"))
            return Work(**{**raw, "folder": folder})
        except (OSError, ValueError, TypeError):
            raise InputError("there is no such work") from None

    def save(self, work: Work) -> None:
        """Writes it down, unless it was deleted."""
        raw = asdict(work)
        del raw["folder"]
        with self._write:
            if work.folder.is_dir():
                write_text(work.folder / "work.json", json.dumps(raw, indent=1) + "\n")

    def make_room(self, owner: str) -> None:
        """Removes the oldest finished works of an owner, and of all, beyond what is kept."""
        everybody = self.list()
        mine = [work for work in everybody if work.owner == owner]
        for old in [*mine[EACH:], *everybody[MOST:]]:
            if old.state not in BUSY:
                shutil.rmtree(old.folder, ignore_errors=True)
