"""Long work as a process of its own, which outlives the app: training runs.

Each run's folder also holds log.jsonl, model/ and the rest that the training itself writes.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.base.paths import ROOT
from explorer.jobs.job import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    LIVE,
    RUNNING,
    Job,
    write_job,
    write_text,
)
from explorer.jobs.job import lock as lock_file
from explorer.jobs.queue import Queue
from explorer.jobs.runlog import RunLog, Story, tail

COMMAND = (sys.executable, "-m", "explorer", "train")
MOST_WAITING = 20


@dataclass(frozen=True)
class Run(Job):
    """A job with what its process has told so far."""

    story: Story = field(default_factory=Story)


class ProcessJobs(Queue[Run]):
    """command: what trains; it is given --plan FOLDER/ID/plan.json and --out FOLDER/ID, or --resume
    in the place of a plan. Raises InputError where there are no file locks (Windows)."""

    def __init__(self, folder: Path, command: Sequence[str] = COMMAND, nice: int = 10,
                 examples: Path | None = None) -> None:
        if sys.platform == "win32":
            raise InputError("training from the app needs Linux or macOS")
        super().__init__(folder, examples)
        self.command, self.nice = tuple(command), nice
        self.models = self.folder / "models"
        self.models.mkdir(exist_ok=True)
        self._children: list[subprocess.Popen[bytes]] = []
        self._logs: dict[str, RunLog] = {}

    def admit(self, owner: str) -> None:
        if len(self.waiting()) >= MOST_WAITING:
            raise InputError(f"{MOST_WAITING} runs are waiting already: try again later")

    def train(self, plan: Mapping[str, Any], data: Path, copy: bool = False,
              about: dict[str, Any] | None = None) -> str:
        """Queues a run and returns its id. plan: all that is asked for but the data, as the
        training writes it; copy: `data` is a file that may vanish, an upload, and is copied into
        the run's folder first; about: what the page shows."""

        def fill(folder: Path) -> tuple[str, dict[str, Any]]:
            place = data.resolve()
            if copy:
                place = folder / "data" / data.name
                place.parent.mkdir()
                shutil.copyfile(data, place)
            asked = {**plan, "data": str(place)}
            write_text(folder / "plan.json", json.dumps(asked, indent=1) + "\n")
            return str((about or {}).get("model") or folder.name), {
                "plan": asked, "about": about or {}}

        name = self.submit("train", "", fill).id
        self.settle()
        return name

    def now(self, job: Job) -> Run:
        log = self._logs.setdefault(job.id, RunLog(job.folder / "log.jsonl"))
        alive = self.alive(job)  # before the log: what ends in between has said so
        story = log.read()
        if alive:
            job = replace(job, state=self.live_state(job.folder))
        elif job.state == RUNNING:
            state, text = _end(job, story)
            job = replace(job, state=state, text=text)
        return Run(**job.__dict__, story=story)

    def output(self, name: str, lines: int = 40) -> str:
        """The last lines that a run printed."""
        return tail(self.get(name).folder / "output.log", lines)

    def label(self, name: str, title: str, note: str, owner: str | None = None) -> None:
        """Its model is called so in the list of models, too."""
        super().label(name, title, note, owner)
        file = self.folder / name / "model" / "card.json"
        with suppress(OSError, ValueError):
            card = {**json.loads(file.read_text("utf-8")), "title": self.get(name).title}
            write_text(file, json.dumps(card, indent=2) + "\n")

    def delete(self, name: str, owner: str | None = None) -> None:
        """Its model leaves the list of models, too."""
        super().delete(name, owner)
        with suppress(FileNotFoundError):
            (self.models / name).unlink()

    def pause(self, name: str) -> None:
        with self.locked():
            run = self.get(name)
            if run.state != RUNNING:
                raise InputError(f"it is {run.state}: only a running one can be paused")
            write_text(run.folder / "control", "pause\n")

    def go_on(self, name: str, owner: str | None = None) -> None:
        super().go_on(name, owner)
        self.settle()

    def end(self, name: str) -> None:
        """Ends a run's processes at once, as a crash would; it can go on from its checkpoint."""
        run = self.get(name)
        if run.state not in LIVE or not run.pid:
            raise InputError(f"it is {run.state}: there is no process to end")
        with suppress(ProcessLookupError):  # its lock is held, so the group's number is its own
            os.killpg(run.pid, signal.SIGKILL)

    def settle(self) -> str | None:
        """Lists what is finished, too."""
        self._children = [child for child in self._children if child.poll() is None]
        with self.locked():
            for run in self.list():
                if run.state == FINISHED:
                    self._publish(run)
            found = self.next()
            if found is not None:
                self._start(found)
            return found.id if found else None

    def _start(self, run: Run) -> None:
        """Starts the process of a waiting run. What fails here fails the run, not the queue."""
        folder = run.folder
        command = [*self.command, *_asked(run), "--out", str(folder)]
        (folder / "control").unlink(missing_ok=True)
        with open(folder / "output.log", "ab") as output, open(folder / "lock", "wb") as lock:
            lock_file(lock)  # who inherits it keeps it
            started = replace(run, state=RUNNING, starts=run.starts + 1, output_from=output.tell())
            write_job(started)  # first: a start is never repeated, seen to or not
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
        write_job(replace(started, pid=child.pid))

    def _publish(self, run: Run) -> None:
        """models/ID leads to the finished model, for the list of models."""
        link, model = self.models / run.id, run.folder / "model"
        if link.is_symlink() or not (model / "open_clip_config.json").is_file():
            return
        aside = self.models / f".{run.id}.{secrets.token_hex(2)}"
        aside.symlink_to(os.path.join("..", run.id, "model"), target_is_directory=True)
        os.replace(aside, link)


def _asked(run: Run) -> list[str]:
    if (run.folder / "run.json").exists():  # it began: what is asked for is there, too
        return ["--resume"]
    if "plan" in run.wish:
        return ["--plan", str(run.folder / "plan.json")]
    return [*run.wish["arguments"], "--data", str(run.folder / run.wish["data"])]  # first edition


def _end(job: Job, story: Story) -> tuple[str, str]:
    """How a run ended whose process is gone, and why."""
    said = tail(job.folder / "output.log", 40, job.output_from)
    last = said.splitlines()[-1] if said else ""
    if story.kind == "end":
        return FINISHED, ""
    if story.kind == "error":
        return FAILED, str((story.last or {}).get("text") or last)
    if last.startswith("error: ") or "Traceback (most recent call last)" in said:
        return FAILED, last.removeprefix("error: ")
    return INTERRUPTED, ""
