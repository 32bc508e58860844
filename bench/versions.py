"""This version beside the one before: python -m bench.versions (of make bench).

A process of each version opens the embedded model once, and then both take turns at the same jobs,
so that what else the machine does meets them alike. Replaces its section of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.before import ROOT, default, earlier, name
from bench.report import put

HEAD = "## Before and now"
GOALS = {1: 1.10, 32: 1.05}  # by batch: at most so much of the bare loop
# Runs in either version, so it uses only what both have.
CHILD = """
import json, sys, time
from dataclasses import replace
from bench.peers import ATTACK, bare_job, photos, precision
from explorer.attacks.run import run
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library
keep_memory()
model, told = Library().load("pocket", "cpu"), sys.stdout
sys.stdout = sys.stderr
print(model.fingerprint, file=told, flush=True)
for line in sys.stdin:
    job = json.loads(line)
    pairs = photos(model.size, job["batch"])
    if job["turn"]:  # pictures that were never seen
        pairs = replace(pairs, images=pairs.images.roll(job["turn"], -1))
    with precision(model, model.fast_dtype if job["fast"] else None):
        work = bare_job(model, pairs) if job["bare"] else (lambda: run(ATTACK, model, pairs))
        began, used = time.perf_counter(), time.process_time()
        made = work()
        took = time.perf_counter() - began, time.process_time() - used
    fooled = -1 if job["bare"] else int(made.success.sum())
    print(json.dumps([*took, fooled]), file=told, flush=True)
"""


@dataclass(frozen=True)
class Task:
    """PGD on a batch; fast: in the device's low precision; fresh: on pictures never seen before,
    else on ones that were attacked before; bare: the loop with nothing around it."""

    batch: int
    fast: bool
    fresh: bool = True
    bare: bool = False


Spent = tuple[float, float]  # seconds, and seconds on processors
TASKS = tuple(Task(batch, fast, fresh, bare) for batch in (1, 32) for fast in (False, True)
              for fresh, bare in ((True, False), (False, False), (True, True)))


class Version:
    """A process of one version, doing one job at a time."""

    def __init__(self, root: Path) -> None:
        env = {**os.environ, "PYTHONPATH": str(root)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD], cwd=root, env=env, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        self.fingerprint = self._line().strip()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a version ended: see above")
        return line

    def seconds(self, task: Task, turn: int) -> tuple[Spent, int]:
        """Of one job, and how many pictures it fooled."""
        assert self._process.stdin is not None
        asked = {**asdict(task), "turn": turn if task.fresh else 0}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        took, used, fooled = json.loads(self._line())
        return (float(took), float(used)), int(fooled)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def both(version: str) -> Iterator[tuple[Version, Version]]:
    """The version before, and this one."""
    with earlier(version) as place:
        old = Version(place)
        try:
            new = Version(ROOT)
            try:
                yield old, new
            finally:
                new.end()
        finally:
            old.end()


def section(version: str, repeats: int = 5, tasks: Sequence[Task] = TASKS) -> str:
    """The part of the page, heading first."""
    with both(version) as pair:
        for task in tasks:  # the first one of each is not measured
            for one in pair:
                one.seconds(task, 100)
        taken: dict[Task, tuple[list[Spent], list[Spent]]] = {task: ([], []) for task in tasks}
        alike = True
        for turn in range(1, repeats + 1):
            for task in tasks:
                (old, before), (new, now) = (one.seconds(task, turn) for one in pair)
                taken[task][0].append(old)
                taken[task][1].append(new)
                alike &= before == now
    middle = {task: (_middle(one), _middle(two)) for task, (one, two) in taken.items()}
    goals = ", ".join(f"{goal} of the bare loop at batch {n}" for n, goal in GOALS.items())
    same = "Both fooled the same numbers of pictures. " if alike else ""
    return "\n".join([
        HEAD, "",
        "PGD, 10 steps of 1/255, `pocket`, whole runs as in the table of other libraries; before: "
        f"{name(version)}. Medians of {repeats}, both versions taking turns. \"Again\" is a "
        "picture attacked before, as in the app, where one photo meets noise, several budgets and "
        "several attacks. In brackets the ratio of seconds on processors, which other work on the "
        f"machine changes less. {same}Goals: {goals}.", "",
        "| job | before | now | now / before | before / bare loop | now / bare loop |",
        "|---|---|---|---|---|---|", *(_row(task, middle) for task in tasks if not task.bare), ""])


def _middle(spent: Sequence[Spent]) -> Spent:
    return statistics.median(t for t, _ in spent), statistics.median(u for _, u in spent)


def _row(task: Task, middle: dict[Task, tuple[Spent, Spent]]) -> str:
    old, new = middle[task]
    bare = middle.get(Task(task.batch, task.fast, True, True))
    ratios = [_ratio(took, loop) for took, loop in zip((old, new), bare, strict=True)
              ] if bare else ["", ""]
    return (f"| batch {task.batch}, {'fast' if task.fast else 'float32'}, "
            f"{'new pictures' if task.fresh else 'again'} | {old[0] * 1000:.0f} ms | "
            f"{new[0] * 1000:.0f} ms | {_ratio(new, old)} | {ratios[0]} | {ratios[1]} |")


def _ratio(one: Spent, other: Spent) -> str:
    return f"{one[0] / other[0]:.2f} ({one[1] / other[1]:.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description="Times this version beside the one before.")
    parser.add_argument("--before", default=default(), help="the version to compare with")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    part = section(args.before, args.repeats)
    put(part)
    print(part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
