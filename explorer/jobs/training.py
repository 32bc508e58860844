"""Training runs as processes of their own: a queue on disk that outlives the app.

Each run has a folder RUNS/ID: job.json is ours (see runrecord), log.jsonl, model/ and the rest
beside it are the training's.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.base.paths import ROOT
from explorer.jobs.runlog import RunLog, tail
from explorer.jobs.runrecord import (
    LIVE,
    Job,
    Record,
    held,
    is_alive,
    read_record,
    state_of,
    write_record,
    write_text,
)

COMMAND = (sys.executable, "-m", "explorer", "train")
MOST_WAITING = 20
NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


class Jobs:
    """The runs of a folder. One at a time runs; the others wait in order.

    command: what trains; it is given the recipe, --data PATH and --out RUNS/ID. Any number of
    these may work on one folder, in any number of processes. Raises InputError where there are
    no file locks (Windows), or the folder cannot be made.
    """

    def __init__(self, folder: Path, command: Sequence[str] = COMMAND, nice: int = 10) -> None:
        if sys.platform == "win32":
            raise InputError("training from the app needs Linux or macOS")
        self.folder, self.command, self.nice = folder.resolve(), tuple(command), nice
        self.models = self.folder / "models"
        try:
            self.models.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the runs folder {folder}: {error.strerror}") from None
        self._children: list[subprocess.Popen[bytes]] = []
        self._logs: dict[str, RunLog] = {}

    def submit(self, arguments: Sequence[str], data: Path, copy: bool = False,
               about: dict[str, Any] | None = None) -> str:
        """Puts a run at the end of the queue and returns its id. copy: `data` is a file that may
        vanish, an upload, and is copied into the run's folder first. Raises InputError when the
        queue or the disk is full."""
        if sum(job.state == "waiting" for job in self.jobs()) >= MOST_WAITING:
            raise InputError(f"{MOST_WAITING} runs are waiting already: try again later")
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
        name = f"{stamp}-{secrets.token_hex(2)}"
        folder = self.folder / name
        try:
            folder.mkdir()
            place = str(data.resolve())
            if copy:
                place = f"data/{data.name}"
                (folder / "data").mkdir()
                shutil.copyfile(data, folder / place)
            last = max((job.record.place for job in self.queue()), default=0.0)
            turn = max(now, math.nextafter(last, math.inf))  # the clock may have gone back
            write_record(folder, Record(name, tuple(arguments), place, now, turn,
                                        about=about or {}))
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(f"cannot keep the run on disk: {error.strerror}") from None
        self.settle()
        return name

    def jobs(self) -> list[Job]:
        """All runs, newest first; damaged folders are left out."""
        found = []
        for path in self.folder.glob("*/job.json"):
            with suppress(InputError):
                found.append(self.job(path.parent.name))
        return sorted(found, key=lambda job: (job.record.created, job.id), reverse=True)

    def queue(self) -> list[Job]:
        """The runs that wait, the next one first."""
        waiting = [job for job in self.jobs() if job.state == "waiting"]
        return sorted(waiting, key=lambda job: (job.record.place, job.id))

    def job(self, name: str) -> Job:
        """One run. Raises InputError when there is none of this id."""
        record = self._record(name)
        folder = self.folder / name
        log = self._logs.setdefault(name, RunLog(folder / "log.jsonl"))
        alive = is_alive(folder)  # before the log: what ends in between has said so
        story = log.read()
        state, reason = state_of(folder, record, alive, story)
        return Job(record, state, story, folder, reason)

    def output(self, name: str, lines: int = 40) -> str:
        """The last lines that a run printed."""
        self._record(name)
        return tail(self.folder / name / "output.log", lines)

    def pause(self, name: str) -> None:
        self._control(name, ("running",), "pause", "only a running one can be paused")

    def go_on(self, name: str) -> None:
        """Resumes a paused run at once; puts one that ended early back into the queue."""
        with self._locked():
            job = self.job(name)
            if job.state == "paused":
                write_text(job.folder / "control", "resume\n")
            elif job.can_go_on:
                write_record(job.folder, replace(job.record, waiting=True, cancelled=False,
                                           place=time.time()))
            else:
                raise InputError(f"the run is {job.state}: there is nothing to go on with")
        self.settle()

    def stop(self, name: str) -> None:
        """Takes a waiting run out of the queue; asks one that runs to keep its model and end."""
        with self._locked():
            job = self.job(name)
            if job.state == "waiting":
                write_record(job.folder, replace(job.record, waiting=False, cancelled=True))
            elif job.state in ("running", "paused"):
                write_text(job.folder / "control", "stop\n")
            else:
                raise InputError(f"the run is {job.state} already")

    def end(self, name: str) -> None:
        """Ends a run's processes at once, as a crash would; it can go on from its checkpoint."""
        job = self.job(name)
        if job.state not in LIVE or not job.record.pid:
            raise InputError(f"the run is {job.state}: there is no process to end")
        with suppress(ProcessLookupError):  # its lock is held, so the group's number is its own
            os.killpg(job.record.pid, signal.SIGKILL)

    def settle(self) -> str | None:
        """Lists what is finished and starts the next run when none is going; returns its id."""
        self._children = [child for child in self._children if child.poll() is None]
        with self._locked():
            jobs = self.jobs()
            for job in jobs:
                if job.state == "finished":
                    self._publish(job)
            waiting = self.queue()
            if not waiting or any(job.state in LIVE for job in jobs):
                return None
            self._start(waiting[0])
            return waiting[0].id

    def watch(self, every: float = 2.0) -> threading.Thread:
        """Settles now and then behind the page, so that the queue moves with nobody looking."""

        def work() -> None:
            while True:
                with suppress(OSError, InputError):  # a full disk now may have room later
                    self.settle()
                time.sleep(every)

        thread = threading.Thread(target=work, name="training-queue", daemon=True)
        thread.start()
        return thread

    def _record(self, name: str) -> Record:
        if not NAME.fullmatch(name):
            raise InputError(f"there is no run '{name[:60]}'")
        return read_record(self.folder / name)

    def _control(self, name: str, states: tuple[str, ...], word: str, refusal: str) -> None:
        with self._locked():
            job = self.job(name)
            if job.state not in states:
                raise InputError(f"the run is {job.state}: {refusal}")
            write_text(job.folder / "control", word + "\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time, over all threads and processes that share the folder."""
        import fcntl

        with open(self.folder / "queue.lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _start(self, job: Job) -> None:
        """Starts the process of a waiting run. What fails here fails the run, not the queue."""
        folder, record = job.folder, job.record
        command = [*self.command, *record.arguments, "--data", str(folder / record.data),
                   "--out", str(folder)]
        if any((folder / "checkpoints").glob("*")):
            command.append("--resume")
        (folder / "control").unlink(missing_ok=True)
        with open(folder / "output.log", "ab") as output, held(folder) as lock:
            record = replace(record, waiting=False, starts=record.starts + 1,
                             output_from=output.tell())
            write_record(folder, record)  # first: a start is never repeated, seen to or not
            try:
                child = subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(lock.fileno(),),
                    env={**os.environ, "PYTHONUNBUFFERED": "1"})
            except OSError as error:
                output.write(f"error: cannot start the training: {error.strerror}\n".encode())
                return
        with suppress(OSError):  # gone already
            os.setpriority(os.PRIO_PROCESS, child.pid, self.nice)
        self._children.append(child)
        write_record(folder, replace(record, pid=child.pid))

    def _publish(self, job: Job) -> None:
        """models/ID leads to the finished model, for the list of models."""
        link, model = self.models / job.id, job.folder / "model"
        if link.is_symlink() or not (model / "open_clip_config.json").is_file():
            return
        aside = self.models / f".{job.id}.{secrets.token_hex(2)}"
        aside.symlink_to(os.path.join("..", job.id, "model"), target_is_directory=True)
        os.replace(aside, link)


