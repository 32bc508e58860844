"""python -m tools.lessons build [--only 1,2]: runs every demonstration and keeps its results.

To be run again when the embedded models change; a test compares what is kept with a live run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

TRAINED = 7


def build(numbers: list[int], folder: Path, trains: bool) -> None:
    """Writes the records of the lessons; those of a short training in train-METHOD."""
    from explorer.lessons.bench import Asked, Bench
    from explorer.lessons.demos import PLANS, demo
    from explorer.lessons.record import Record, save
    from explorer.models.library import Library

    bench = Bench(Library(), ("pocket", "pocket-robust"))
    for number in numbers:
        plan = PLANS[number]
        began = time.time()
        for event in demo(number, bench, Asked(plan.photo, plan.options[0])):
            if isinstance(event, Record):
                save(event, folder)
        print(f"lesson {number}: {time.time() - began:.0f} s", flush=True)
    if trains:
        _train(bench, folder)


def _train(bench: object, folder: Path) -> None:
    from explorer.jobs.processes import ProcessJobs
    from explorer.lessons.bench import Asked, Bench
    from explorer.lessons.learning import train
    from explorer.lessons.record import Record, save

    assert isinstance(bench, Bench)
    with tempfile.TemporaryDirectory() as cache:
        jobs = ProcessJobs(Path(cache) / "runs")
        for method in ("tecoa", "clip"):
            for event in train(bench, jobs, method, Path(cache), Asked("cat", f"train-{method}")):
                if isinstance(event, Record):
                    save(event, folder / f"train-{method}")
                    print(f"trained with {method}: {dict(event.facts)}", flush=True)


def main() -> int:
    from explorer.lessons.record import FOLDER
    from explorer.lessons.texts import COUNT

    parser = argparse.ArgumentParser(prog="tools.lessons", description=__doc__)
    parser.add_argument("command", choices=["build"])
    parser.add_argument("--only", default=",".join(map(str, range(1, COUNT + 1))),
                        help="numbers of lessons, by comma")
    parser.add_argument("--no-training", action="store_true", help="leave the short runs as kept")
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    numbers = [int(n) for n in args.only.split(",") if n]
    build(numbers, args.out, TRAINED in numbers and not args.no_training)
    return 0


if __name__ == "__main__":
    sys.exit(main())
