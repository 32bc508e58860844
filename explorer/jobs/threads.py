"""Long work in a thread of this app, such as hunts and evaluations.

Each step takes its turn on the device. What a job finds lies in its folder, so that neither a
closed tab nor a killed server loses anything: the next server goes on with it.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from explorer.base.errors import OURS, InputError, sentence
from explorer.base.progress import Progress
from explorer.jobs.job import (
    BUSY,
    FAILED,
    FINISHED,
    RUNNING,
    STOPPED,
    WAITING,
    Job,
    order_of,
    write_job,
)
from explorer.jobs.job import lock as lock_file
from explorer.jobs.queue import LOOK, Fill, Queue

LOG = logging.getLogger(__name__)
EACH, MOST = 8, 200  # jobs kept for one owner, and for all
Runner = Callable[[Job], Iterator[Progress]]
Turn = Callable[[str], AbstractContextManager[Any]]


class ThreadJobs(Queue[Job]):
    """runners: what does each kind, an iterator that can be left at any step and, started again,
    goes on from what is on disk. turn: held while a step is computed."""

    def __init__(self, folder: Path, runners: Mapping[str, Runner],
                 turn: Turn = lambda _: nullcontext(), examples: Path | None = None) -> None:
        super().__init__(folder, examples)
        self.runners, self.turn = dict(runners), turn
        self._doing: dict[str, Progress | None] = {}  # here; None before the first step
        self._asked: float | None = None  # since when the running job waits for its turn

    def admit(self, owner: str) -> None:
        if sum(job.state in BUSY for job in self.list(owner)) >= EACH:
            raise InputError(f"you have {EACH} of these waiting already: let one finish, or stop "
                             "one")

    def submit(self, kind: str, owner: str, fill: Fill) -> Job:
        """An owner's oldest finished jobs, and the oldest of all, make room for it."""
        job = super().submit(kind, owner, fill)
        everybody = self.list()
        mine = [other for other in everybody if other.owner == owner]
        for old in [*mine[EACH:], *everybody[MOST:]]:
            if old.state not in BUSY:
                shutil.rmtree(old.folder, ignore_errors=True)
        return job

    def now(self, job: Job) -> Job:
        if job.id not in self._doing and not self.alive(job):
            # Of a server that was killed: the next one to look goes on with it.
            return replace(job, state=WAITING) if job.state == RUNNING else job
        now, asked = self._doing.get(job.id), self._asked
        if job.state != RUNNING:
            return job
        job = replace(job, state=self.live_state(job.folder))
        if now is not None:
            job = replace(job, done=now.done, total=now.total, text=now.text)
        if asked is not None and time.monotonic() - asked > LOOK:
            return replace(job, text="Waiting for the device: another run goes first.")
        return job

    def waiting(self) -> Sequence[Job]:
        return [job for job in super().waiting() if job.kind in self.runners]

    def settle(self) -> str | None:
        """Does the next job, to its end."""
        with ExitStack() as stack:
            with self.locked():
                job = self.next()
                if job is None:
                    return None
                lock_file(stack.enter_context(open(job.folder / "lock", "wb")))
                (job.folder / "control").unlink(missing_ok=True)
                job = replace(job, state=RUNNING, text="Starting …", starts=job.starts + 1)
                write_job(job)
                self._doing[job.id] = None
            try:
                end = self._done(job)
                if end is not None and job.folder.is_dir():
                    write_job(end)
            finally:
                self._doing.pop(job.id, None)
            return job.id

    def _done(self, job: Job) -> Job | None:
        """The job at its end; None when this server ends first, and the next one goes on."""
        try:
            for progress in self._steps(job):
                self._doing[job.id] = progress
                if progress.kept and progress.done != job.done:
                    job = replace(job, done=progress.done, total=progress.total)
                    write_job(job)
                if self._closed.is_set():
                    return None
                if order_of(job.folder) == "stop":
                    return replace(job, state=STOPPED, text="")
            return replace(job, state=FINISHED, text="")
        except InputError as error:
            return replace(job, state=FAILED, text=sentence(error))
        except Exception:
            LOG.exception("background work failed")
            return replace(job, state=FAILED, text=OURS)

    def _steps(self, job: Job) -> Iterator[Progress]:
        steps = self.runners[job.kind](job)
        try:
            while True:
                self._asked = time.monotonic()
                with self.turn(job.id):
                    self._asked = None
                    progress = next(steps, None)
                if progress is None:
                    return
                yield progress
        finally:
            self._asked = None
            close = getattr(steps, "close", None)
            if close is not None:
                close()
