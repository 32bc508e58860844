"""A folder of jobs: one at a time is done, the others wait in order, and all outlive the app.

Any number of queues may work on one folder, in any number of processes: one of them starts the
next job when none is going.
"""

from __future__ import annotations

import logging
import math
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from explorer.base.errors import InputError
from explorer.jobs.job import (
    LIVE,
    PAUSED,
    RUNNING,
    STOPPED,
    STOPPING,
    WAITING,
    Job,
    is_alive,
    lock,
    order_of,
    read_job,
    write_job,
    write_text,
)

LOG = logging.getLogger(__name__)
NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}(?:[0-9a-f]{4})?")
LOOK = 2.0  # seconds between two looks for new work
Fill = Callable[[Path], tuple[str, dict[str, Any]]]
J = TypeVar("J", bound=Job)


class Queue(Generic[J]):
    """What is the same for both ways to run, threads and processes. J: a job as `get` tells of it.
    examples: a folder of finished jobs that come with the app: everybody sees them, after their
    own, and nobody changes them. Raises InputError when the folder cannot be made."""

    def __init__(self, folder: Path, examples: Path | None = None) -> None:
        self.folder, self.examples = folder.resolve(), examples
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {folder}: {error.strerror}") from None
        self._write = threading.Lock()
        self._wake, self._closed = threading.Event(), threading.Event()

    # -- what each way to run says for itself -----------------------------------------------------

    def now(self, job: Job) -> J:
        """A job from disk, as it is now."""
        raise NotImplementedError

    def admit(self, owner: str) -> None:
        """Raises InputError when there are too many."""
        raise NotImplementedError

    def settle(self) -> str | None:
        """Starts the next job when none is going, and returns its id."""
        raise NotImplementedError

    # -- what anybody may ask ---------------------------------------------------------------------

    def submit(self, kind: str, owner: str, fill: Fill) -> Job:
        """Puts a job at the end of the queue. fill: puts its files into its folder and returns the
        title and the wish; what it raises undoes the folder."""
        self.admit(owner)
        now = time.time()
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{secrets.token_hex(4)}"
        folder = self.folder / name
        try:
            folder.mkdir()
            title, wish = fill(folder)
            with self.locked():
                job = Job(name, kind, owner, title, now, folder, wish, self._end())
                write_job(job)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(f"cannot keep it on disk: {error.strerror}") from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._wake.set()
        return job

    def _end(self) -> float:
        last = max((job.place for job in self.waiting()), default=0.0)
        return max(time.time(), math.nextafter(last, math.inf))  # the clock may have gone back

    def get(self, name: str, owner: str | None = None) -> J:
        """One job. Raises InputError when it is not there or another's."""
        if not NAME.fullmatch(name):
            raise InputError(f"there is no job '{name[:60]}'")
        if self.examples is not None and (self.examples / name).is_dir():
            return self.now(read_job(self.examples / name))
        job = read_job(self.folder / name)
        if owner is not None and job.owner != owner:
            raise InputError(f"there is no job '{name}'")
        return self.now(job)

    def _own(self, name: str, owner: str | None) -> J:
        """A job that may be changed. Raises InputError for one that came with the app."""
        job = self.get(name, owner)
        if job.is_example:
            raise InputError("it came with the app and stays as it is: start one of your own")
        return job

    def list(self, owner: str | None = None, kind: str | None = None) -> list[J]:
        """The jobs of an owner (None: of everybody), newest first; damaged ones left out."""
        found = []
        for name in {path.parent.name for form in ("job", "work")
                     for path in self.folder.glob(f"*/{form}.json")}:
            with suppress(InputError):
                job = self.get(name, owner)
                found += [job] if kind in (None, job.kind) else []
        return sorted(found, key=lambda job: (job.created, job.id), reverse=True)

    def shown(self, owner: str | None, kind: str) -> Sequence[J]:
        """What a tab lists: the owner's jobs, newest first, then those that came with the app."""
        found = self.list(owner, kind)
        for path in sorted(self.examples.glob("*/job.json")) if self.examples else ():
            with suppress(InputError):
                job = self.get(path.parent.name)
                found += [job] if job.kind == kind else []
        return found

    def waiting(self) -> Sequence[J]:
        """The jobs that wait, the next one first."""
        waiting = [job for job in self.list() if job.state == WAITING]
        return sorted(waiting, key=lambda job: (job.place, job.id))

    def ahead(self, job: Job) -> int:
        """How many jobs go before a waiting one."""
        return sum(other.state in LIVE or (other.state == WAITING and (
            other.place, other.id) < (job.place, job.id)) for other in self.list())

    def stop(self, name: str, owner: str | None = None) -> None:
        """Takes a waiting job out of the queue; asks one that runs to end at its next step. What it
        found stays, and it can go on later."""
        with self.locked():
            job = self._own(name, owner)
            if job.state == WAITING:
                write_job(replace(job, state=STOPPED, text=""))
            elif job.state in (RUNNING, PAUSED):
                write_text(job.folder / "control", "stop\n")
            else:
                raise InputError(f"it is {job.state} already")

    def go_on(self, name: str, owner: str | None = None) -> None:
        """Resumes a paused job at once; puts one that ended early back into the queue."""
        with self.locked():
            job = self._own(name, owner)
            if job.state == PAUSED:
                write_text(job.folder / "control", "resume\n")
            elif job.can_go_on:
                write_job(replace(job, state=WAITING, text="", place=self._end()))
            else:
                raise InputError(f"it is {job.state}: there is nothing to go on with")
        self._wake.set()

    def label(self, name: str, title: str, note: str, owner: str | None = None) -> None:
        """Gives a job another title, and a note. Raises InputError without a title."""
        title = " ".join(title.split())
        if not title:
            raise InputError("give it a name")
        with self.locked():
            self._own(name, owner)
            job = read_job(self.folder / name)  # as it is on disk, not as it is told of
            write_job(replace(job, title=title, note=note.strip()))

    def delete(self, name: str, owner: str | None = None) -> None:
        """Removes a job and all it found."""
        with self.locked():
            job = self._own(name, owner)
            if job.state in LIVE:
                raise InputError(f"it is {job.state}: stop it first")
            shutil.rmtree(job.folder, ignore_errors=True)

    # -- moving on --------------------------------------------------------------------------------

    def next(self) -> J | None:
        """The job to start now, None while one is going."""
        if any(job.state in LIVE for job in self.list()):
            return None
        return next(iter(self.waiting()), None)

    def watch(self, every: float = LOOK) -> threading.Thread:
        """Starts a thread that settles over and over, so that the queue moves with nobody
        looking."""

        def work() -> None:
            told = ""
            while not self._closed.is_set():
                found = None
                try:
                    found = self.settle()
                except (OSError, InputError) as error:  # a full disk now may have room later
                    if told != str(error):
                        told = str(error)
                        LOG.warning("the queue of jobs cannot go on for now: %s", told)
                if found is None:
                    self._wake.wait(every)
                    self._wake.clear()

        thread = threading.Thread(target=work, name=f"jobs-{self.folder.name}", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        self._closed.set()
        self._wake.set()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time, over all threads and processes that share the folder."""
        with self._write, open(self.folder / "queue.lock", "w") as handle:
            lock(handle)
            yield

    @staticmethod
    def live_state(folder: Path) -> str:
        """Of a job that somebody does."""
        return {"pause": PAUSED, "stop": STOPPING}.get(order_of(folder), RUNNING)

    @staticmethod
    def alive(job: Job) -> bool:
        return job.state == RUNNING and is_alive(job.folder)
