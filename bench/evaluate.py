"""What an evaluation costs beside the bare loop: python -m bench.evaluate.

Clean accuracy and PGD-10 on the same pictures, once by `Evaluation` with all it does beside (it
decodes pictures, keeps results on disk, tells its progress) and once by a loop of the library's
encode and run over pictures that are in memory already. Both in one run, taking turns. Writes
into docs/evaluate.md, between its marks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import torch

from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan
from explorer.analysis.evaluation.run import Evaluation
from explorer.analysis.evaluation.sets import open_all
from explorer.attacks.image.classic import PGD
from explorer.attacks.result import Reading
from explorer.attacks.run import run
from explorer.base.device import describe_device
from explorer.data.pairs import Pairs
from explorer.data.sets import Examples
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "evaluate.md"
START, END = "<!-- measured: start -->", "<!-- measured: end -->"
ATTACK = PGD(eps=1 / 255, step=1 / 255, steps=10)
LEAST = 0.85


def bare(model: DualEncoder, batches: list[Pairs]) -> tuple[int, int]:
    """(right clean, right attacked): encode, attack what is right, count."""
    clean = attacked = 0
    for pairs in batches:
        with torch.no_grad():
            features = model.encode_image(pairs.images)
        text = model.encode_text(pairs.captions)
        good = Reading.of(features, text, model.scale).prediction == pairs.labels
        clean += int(good.sum())
        if bool(good.any()):
            part = Pairs(pairs.images[good], pairs.captions, pairs.labels[good])
            attacked += int(run(ATTACK, model, part).correct_after.sum())
    return clean, attacked


def whole(plan: EvaluationPlan, library: Library) -> tuple[int, int]:
    """The same by an evaluation, from the file to the cells on disk."""
    with tempfile.TemporaryDirectory() as folder:
        running = Evaluation(plan, library, Store(Path(folder)))
        for _ in running.steps():
            pass
    clean, attacked = (row.scores["accuracy"].hits for row in running.table.rows)
    return clean, attacked


def decoded(plan: EvaluationPlan, model: DualEncoder) -> list[Pairs]:
    """All pictures of the plan, in memory."""
    (one,), _ = open_all(plan)
    assert isinstance(one.data, Examples)
    count = -(-len(one.data) // plan.batch)
    return [Pairs(images, one.data.captions, torch.tensor([one.data.labels[p] for p in places]))
            for _, places, images in one.data.chunks(model.frame, plan.batch, range(count))]


def measure(plan: EvaluationPlan, library: Library, repeats: int) -> tuple[float, float]:
    """Median seconds of the evaluation and of the loop, which must find the same numbers."""
    model = library.load(plan.models[0])
    batches, clock = decoded(plan, model), time.perf_counter
    if model.device.type == "cpu":  # what others do on the machine counts less
        clock = time.process_time
    bare(model, batches[:1])
    assert model.fingerprint  # read once a process
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(repeats):
        began = clock()
        found = whole(plan, library)
        ours.append(clock() - began)
        began = clock()
        expected = bare(model, batches)
        theirs.append(clock() - began)
        print(f"{found}: {ours[-1]:.2f} s, bare {theirs[-1]:.2f} s", flush=True)
        assert found == expected
    return statistics.median(ours), statistics.median(theirs)


def main() -> int:
    flags = argparse.ArgumentParser(prog="python -m bench.evaluate")
    flags.add_argument("--data", default="sample:emoji-kinds", help="as evaluate takes it")
    flags.add_argument("--model", default="pocket")
    flags.add_argument("--limit", type=int, default=96)
    flags.add_argument("--batch", type=int, default=32)
    flags.add_argument("--repeats", type=int, default=3)
    args = flags.parse_args()
    keep_memory()
    plan = EvaluationPlan((args.data,), (args.model,), (Asked("clean"), Asked("image", ATTACK)),
                limit=args.limit, batch=args.batch)
    busy, title = os.getloadavg()[0], open_all(plan)[0][0].title
    ours, theirs = measure(plan, Library(), args.repeats)
    ratio = theirs / ours
    text = "\n".join([
        START, "",
        f"{describe_device()}, torch {torch.__version__}, {date.today().isoformat()}; medians of "
        f"{args.repeats}, in processor seconds on a CPU, {args.model}, {args.limit} images of "
        f"{title}, batch {args.batch}. Load of the machine meanwhile: {busy:.0f} jobs on "
        f"{os.cpu_count()} cores.",
        "", "| clean and PGD-10 | images/s |", "|---|---|",
        f"| `evaluate`, decoding and keeping included | {args.limit / ours:.2f} |",
        f"| bare loop of encode and attack, pictures in memory | {args.limit / theirs:.2f} |",
        f"| ratio (goal: at least {LEAST}) | {ratio:.2f} |", "", END])
    page = PAGE.read_text("utf-8")
    PAGE.write_text(page.split(START)[0] + text + page.split(END)[1], encoding="utf-8")
    print(text)
    return 0 if ratio >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
