"""One piece of long work on disk: FOLDER/ID/job.json, and the lock that whoever does it holds.

The lock FOLDER/ID/lock is held for as long as the work is being done, by a thread of this app or by
a process of its own: the kernel keeps it, so that neither a killed app nor a process number in use
again can deceive us. FOLDER/ID/control holds what was last asked of it: pause, resume or stop.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from explorer.base.errors import InputError

WAITING, RUNNING, PAUSED, STOPPING = "waiting", "running", "paused", "stopping"
FINISHED, STOPPED, FAILED, INTERRUPTED = "finished", "stopped", "failed", "interrupted"
LIVE = (RUNNING, PAUSED, STOPPING)
BUSY = (WAITING, *LIVE)
EXAMPLE = "example"  # the owner of what comes with the app; a visitor's is 32 hexadecimal digits


@dataclass(frozen=True)
class Job:
    """kind: what is to be done; owner: whose it is, "" where it is everybody's; wish: what was
    asked for, as plain data; place: in the queue while it waits; state: of those above, on disk
    WAITING, RUNNING, FINISHED, STOPPED or FAILED; done of total, text: how far it is, or why it
    failed; note: what its owner wrote about it; starts, pid, output_from: of a process, how often
    it was started, its newest number, and where the newest output begins."""

    id: str
    kind: str
    owner: str
    title: str
    created: float
    folder: Path
    wish: dict[str, Any] = field(default_factory=dict)
    place: float = 0.0
    state: str = WAITING
    done: int = 0
    total: int = 0
    text: str = ""
    note: str = ""
    starts: int = 0
    pid: int = 0
    output_from: int = 0

    @property
    def is_example(self) -> bool:
        """Whether it came with the app, finished: it is everybody's, and is not changed."""
        return self.owner == EXAMPLE

    @property
    def can_go_on(self) -> bool:
        return self.state in (STOPPED, FAILED, INTERRUPTED)


def read_job(folder: Path) -> Job:
    """Raises InputError when there is no job in the folder, or not one of ours."""
    for name, form in (("job.json", _job), ("work.json", _work)):
        try:
            return form(json.loads((folder / name).read_text("utf-8")), folder)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            break
    raise InputError(f"there is no job '{folder.name[:60]}'")


def _job(raw: dict[str, Any], folder: Path) -> Job:
    return Job(**raw, folder=folder) if "kind" in raw else _first_run(raw, folder)


def _work(raw: dict[str, Any], folder: Path) -> Job:
    """Hunts and evaluations of the first edition."""
    state = FINISHED if raw["state"] == "done" else raw["state"]
    return Job(**{**raw, "state": state, "place": raw["created"], "folder": folder})


def _first_run(raw: dict[str, Any], folder: Path) -> Job:
    """A training run of the first edition."""
    state = WAITING if raw["waiting"] else STOPPED if raw["cancelled"] else RUNNING
    same = {name: raw[name] for name in ("id", "created", "place", "starts", "pid", "output_from")}
    return Job(**same, kind="train", owner="", folder=folder, state=state,
               title=str(raw["about"].get("model") or raw["id"]),
               wish={name: raw[name] for name in ("arguments", "data", "about")})


def write_job(job: Job) -> None:
    raw = {f.name: getattr(job, f.name) for f in fields(Job) if f.name != "folder"}
    write_text(job.folder / "job.json", json.dumps(raw, indent=1) + "\n")


def order_of(folder: Path) -> str:
    """What control says, "" where there is nothing."""
    try:
        return (folder / "control").read_text("utf-8").strip()
    except OSError:
        return ""


def write_text(path: Path, text: str) -> None:
    """Writes a file so that a reader, or a restart, finds the old or the new text whole."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def lock(handle: IO[Any], wait: bool = True, shared: bool = False) -> bool:
    """Whether the file is locked now, until it is closed by all who inherited it. Without file
    locks (Windows), always."""
    try:
        import fcntl
    except ImportError:
        return True
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_alive(folder: Path) -> bool:
    """Whether somebody does the work: holds its lock."""
    try:
        with open(folder / "lock", "rb") as handle:
            return not lock(handle, wait=False, shared=True)  # others only peep at it
    except OSError:
        return False
