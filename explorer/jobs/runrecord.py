"""One training run on disk: what we wrote of it, and what its files and its lock say of it now.

A process holds the file lock RUNS/ID/lock, passed on to it, for as long as it lives: the kernel
keeps it, so that neither a killed app nor a process number in use again can deceive us.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from explorer.base.errors import InputError
from explorer.jobs.runlog import Story, tail

LIVE = ("running", "paused", "stopping")


@dataclass(frozen=True)
class Record:
    """job.json. arguments: flags of the training command besides --data, --out and --resume;
    data: a path, relative to the run's folder where it was copied there; place: in the queue
    while waiting; about: what the page shows; output_from: where the output of its newest start
    begins."""

    id: str
    arguments: tuple[str, ...]
    data: str
    created: float
    place: float
    waiting: bool = True
    cancelled: bool = False
    starts: int = 0
    pid: int = 0
    output_from: int = 0
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A run as it is now. state: waiting, running, paused, stopping, finished, failed,
    interrupted (ended without saying so; can go on) or cancelled; reason: of a failure."""

    record: Record
    state: str
    story: Story
    folder: Path
    reason: str = ""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def can_go_on(self) -> bool:
        return self.state in ("interrupted", "failed", "cancelled")


def read_record(folder: Path) -> Record:
    """Raises InputError when there is no run in the folder, or not one of ours."""
    try:
        raw = json.loads((folder / "job.json").read_text("utf-8"))
        return Record(**{**raw, "arguments": tuple(raw["arguments"])})
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"there is no run '{folder.name}'") from None


def state_of(folder: Path, record: Record, alive: bool, story: Story) -> tuple[str, str]:
    if alive:
        return _live_state(folder, story), ""
    if record.waiting:
        return "waiting", ""
    if record.cancelled:
        return "cancelled", ""
    said = tail(folder / "output.log", 40, record.output_from)
    last = said.splitlines()[-1] if said else ""
    if story.kind == "end":
        return "finished", ""
    if story.kind == "error":
        return "failed", str((story.last or {}).get("text") or last)
    if last.startswith("error: ") or "Traceback (most recent call last)" in said:
        return "failed", last.removeprefix("error: ")
    return "interrupted", ""


def _live_state(folder: Path, story: Story) -> str:
    try:
        word = (folder / "control").read_text("utf-8").strip()
    except OSError:
        word = ""
    return {"pause": "paused", "stop": "stopping"}.get(word, "running")


def is_alive(folder: Path) -> bool:
    """Whether a process holds the run's lock."""
    import fcntl

    try:
        with open(folder / "lock", "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def held(folder: Path) -> Iterator[IO[bytes]]:
    """The run's lock, closed at the end; who inherited it keeps it. Others only peep at it."""
    import fcntl

    with open(folder / "lock", "wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle


def write_record(folder: Path, record: Record) -> None:
    write_text(folder / "job.json", json.dumps(asdict(record), indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file so that a reader, or a restart, finds the old or the new text whole."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
