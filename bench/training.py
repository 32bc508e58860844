"""What a training step costs beside the bare model, and whether memory stays flat.

`python -m bench.training` measures on the embedded base and writes into docs/training.md, between
its marks. Every figure of one table comes from one run, with the jobs taking turns.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from explorer.base.device import describe_device
from explorer.base.errors import InputError
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library
from explorer.models.loaders import open_model
from explorer.training.data import TrainingSet, open_training
from explorer.training.recipe import Recipe
from explorer.training.trainer import Trainer, make_accelerator

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "training.md"
START, END = "<!-- measured: start -->", "<!-- measured: end -->"
MOST = 1.1  # times (inner steps + 1) bare passes


class Bare:
    """One forward and backward pass of the model a method trains, on the same batch."""

    def __init__(self, trainer: Trainer, texts: bool) -> None:
        self.trainer, self.batch = trainer, next(trainer.loader.batches())
        self.tokens: Tensor | None = None
        if texts:
            different = list(dict.fromkeys(self.batch.captions))
            self.tokens = trainer.objective.tokenize(different)

    def __call__(self) -> None:
        with self.trainer.autocast():
            out = self.trainer.student(self.batch.pixels, self.tokens)
        loss = out["image"].square().mean()
        if "text" in out:
            loss = loss + out["text"].square().mean()
        loss.backward()
        self.trainer.student.zero_grad(set_to_none=True)


def medians(jobs: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median processor seconds of each job, taking turns: what others do on the machine counts
    less than in seconds on the clock."""
    for job in jobs:
        job()
    seconds: list[list[float]] = [[] for _ in jobs]
    for _ in range(repeats):
        for job, kept in zip(jobs, seconds, strict=True):
            began = time.process_time()
            job()
            kept.append(time.process_time() - began)
    return [statistics.median(kept) for kept in seconds]


def trainer_of(recipe: Recipe, data: TrainingSet) -> Trainer:
    base = open_model(Library().card("pocket"), "cpu")
    return Trainer(recipe, base, data, make_accelerator(True))


def one_step(trainer: Trainer) -> Callable[[], object]:
    steps: Iterator[object] = trainer.steps()
    return lambda: next(steps)


def cost(data: TrainingSet, batch: int, repeats: int) -> list[str]:
    """A row of the table for each method and number of inner steps."""
    lines = []
    for method, inner in (("tecoa", 1), ("tecoa", 2), ("fare", 2), ("mmcoa", 2)):
        recipe = Recipe(method=method, inner_steps=inner, batch=batch, steps=10_000, lr=1e-5,
                        refresh=10_000)
        trainer = trainer_of(recipe, data)
        if recipe.attacks_text:  # `wording` measures this
            attacker = trainer.objective.attacker
            assert attacker.words is not None
            attacker.words.at(0, attacker.encode, attacker.encode, data.captions, [])
        bare = Bare(trainer, "text" in recipe.trained)
        step, alone = medians([one_step(trainer), bare], repeats)
        bound = MOST * (inner + 1) * alone
        lines.append(f"| {method} | {inner} | {step:.2f} s | {alone:.2f} s | "
                     f"{step / alone / (inner + 1):.2f} | {MOST} |")
        print(lines[-1], "within" if step <= bound else "over", flush=True)
    return lines


def wording(data: TrainingSet, batch: int) -> str:
    """What attacking the captions of one batch costs, which is done once in `refresh` steps."""
    recipe = Recipe(method="mmcoa", batch=batch)
    trainer = trainer_of(recipe, data)
    attacker, words = trainer.objective.attacker, next(trainer.loader.batches())
    attacker.captions(words, 0)  # loads the language model
    began = time.process_time()
    attacker.captions(words, recipe.refresh)
    took = time.process_time() - began
    return (f"BERT-Attack of the {len(set(words.captions))} different captions of a batch: "
            f"{took:.2f} s, once in {recipe.refresh} steps for each caption; not in the table.")


def flat(data: TrainingSet, steps: int) -> str:
    """Resident memory of a run after its first tenth, and at its end, in MB."""
    recipe = Recipe(method="tecoa", inner_steps=1, batch=4, steps=steps)
    found = []
    for step in trainer_of(recipe, data).steps():
        if step.index in (max(1, steps // 10), steps):
            found.append(resident())
    return (f"Resident memory of tecoa on pocket, batch 4: {found[0]:.0f} MB after step "
            f"{max(1, steps // 10)}, {found[1]:.0f} MB after step {steps}.")


def resident() -> float:
    """MB in memory now (Linux), or at most so far elsewhere."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.training")
    parser.add_argument("--data", default=str(ROOT / "assets/samples/emoji/noto.parquet"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="of the memory run; 0: none")
    args = parser.parse_args()
    keep_memory()
    data, _ = open_training(args.data, "a photo of a {}")
    busy = os.getloadavg()[0]
    memory = [flat(data, args.steps), ""] if args.steps else []  # before others leave theirs
    rows = cost(data, args.batch, args.repeats)
    words = wording(data, args.batch)
    said = (f"{describe_device()}, torch {torch.__version__}, {date.today().isoformat()}; medians "
            f"of {args.repeats} in processor seconds, pocket, batch {args.batch}, on "
            f"{data.name}. Load of the machine meanwhile: {busy:.0f} jobs on "
            f"{os.cpu_count()} cores" + (", so a busy one." if busy > 1.5 else "."))
    text = "\n".join([
        START, "", said, "",
        "| method | attack steps | a training step | bare forward and back | step / ((attack "
        "steps + 1) x bare) | goal, at most |", "|---|---|---|---|---|---|", *rows, "", words, "",
        *memory, END])
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(before + text + after, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
