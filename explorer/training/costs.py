"""What a training run costs, from a few steps of it: asked for before, or by the run itself."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from explorer.base.errors import InputError
from explorer.base.paths import ROOT
from explorer.jobs.job import write_text
from explorer.jobs.processes import COMMAND
from explorer.jobs.runlog import RunLog, Story, tail
from explorer.training.plan import TrainingPlan

STEPS = 3  # the first warms up; the others are timed
LEAST = 10  # steps of a run whose length is given in minutes
PROBES = 6  # measurements in a run, with the first and the last
PROBE_SHARE = 0.3  # at most this part of the time goes into measuring
PATIENCE = 600.0  # seconds


@dataclass(frozen=True)
class Cost:
    """Seconds on this machine now: until the first step, of a step, of a measurement; pictures:
    in the training set; batch: pictures a step."""

    start_s: float
    step_s: float
    probe_s: float
    pictures: int
    batch: int

    def steps(self, minutes: float) -> int:
        """How many steps fit, at least LEAST: fewer teach nothing."""
        left = minutes * 60 - self.start_s - self.probes(minutes) * self.probe_s
        return max(LEAST, int(left / self.step_s))

    def warning(self, minutes: float) -> str:
        """That the time is too short here, with what it will be, or ""."""
        took = self.seconds(self.steps(minutes), self.probes(minutes)) / 60
        if took <= minutes * 1.05:
            return ""
        return (f"{minutes:g} minutes are too few here: a step takes {self.step_s:.1f} s and a "
                f"measurement {self.probe_s:.0f} s, so it is {self.steps(minutes)} steps, in about "
                f"{math.ceil(took)} min.")

    def probes(self, minutes: float) -> int:
        """Measurements that a run of so many minutes can afford, at least the first and last."""
        afforded = int(PROBE_SHARE * minutes * 60 / max(self.probe_s, 1e-3))
        return max(2, min(PROBES, afforded))

    def seconds(self, steps: int, probes: int = PROBES) -> float:
        return self.start_s + steps * self.step_s + probes * self.probe_s

    def passes(self, steps: int) -> float:
        """Over the data."""
        return steps * self.batch / self.pictures


def measure(plan: TrainingPlan, command: Sequence[str] = COMMAND) -> Iterator[str | Cost]:
    """Yields what it is doing, in words, and at last the Cost.

    The process that it starts ends with it. Raises InputError when the training refuses or takes
    longer than PATIENCE.
    """
    with tempfile.TemporaryDirectory(prefix="explorer-cost-") as work:
        out = Path(work) / "run"
        out.mkdir()
        short = replace(plan, recipe=replace(plan.recipe, steps=STEPS), probe_every=1000,
                        save_every=1000, minutes=None)
        write_text(Path(work) / "plan.json", json.dumps(short.told()))
        full = [*command, "--plan", str(Path(work) / "plan.json"), "--out", str(out)]
        began = time.time()
        with open(Path(work) / "output", "wb") as output:
            child = subprocess.Popen(full, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                     stderr=subprocess.STDOUT, start_new_session=True)
        try:
            story = yield from _follow(child, RunLog(out / "log.jsonl"), Path(work) / "output")
            yield _cost(began, story, json.loads((out / "run.json").read_text("utf-8")),
                        plan.recipe.batch)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _follow(child: subprocess.Popen[bytes], log: RunLog, output: Path,
            ) -> Generator[str, None, Story]:
    """Waits for the steps and says how far it is; returns the story."""
    began = time.monotonic()
    while True:
        story = log.read()
        done = len(story.steps)
        if done >= STEPS:
            return story
        if child.poll() is not None:
            lines = tail(output, 1).removeprefix("error: ")
            raise InputError(lines or "the training ended before its first step")
        if time.monotonic() - began > PATIENCE:
            raise InputError(f"{STEPS} steps took longer than {PATIENCE / 60:.0f} minutes here")
        seconds = f"{time.monotonic() - began:.0f} s"
        doing = ("opening the model and the data" if not story.probes else
                 f"timing step {done + 1} of {STEPS}")
        yield f"Measuring the cost: {doing} … {seconds}"
        time.sleep(0.5)


def _cost(began: float, story: Story, told: dict[str, object], batch: int) -> Cost:
    started = float(str(told["started"]))
    probed = float(story.probes[0]["time"]) if story.probes else started
    first, last = (float(story.steps[k]["time"]) for k in (0, -1))
    step = (last - first) / (STEPS - 1)
    warm = max(0.0, first - probed - step)
    return Cost(started - began + warm, step, probed - started, int(str(told["pictures"])), batch)
