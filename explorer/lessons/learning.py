"""Demonstration 7: what adversarial training changes, and a minute of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from explorer.attacks.engine import Step
from explorer.base.errors import InputError
from explorer.data.samples import SAMPLES, by_kind
from explorer.jobs.job import BUSY, LIVE
from explorer.jobs.processes import ProcessJobs
from explorer.lessons.bench import Asked, Bench, Count
from explorer.lessons.pixels import STEPS, Demo, models_of, pgd
from explorer.lessons.record import Cell, Record, Table, weights, word
from explorer.training.plan import TrainingPlan
from explorer.training.recipe import Recipe

PHOTOS = 12
CARD = "tiny_imagenet_val"
METHODS = ("tecoa", "mmcoa", "clip")
UPDATES, BATCH, HELD_OUT = 40, 16, 32
LOOK = 0.5  # seconds between two looks at the run
SHORT: dict[str, Any] = {
    "inner_steps": 1, "batch": BATCH, "lr": 3e-4, "depthwise_share": 0.25,
    "template": "a picture of {}", "steps": UPDATES, "warmup": 4}


def share(part: float, digits: int = 0) -> str:
    """A part of a whole in per cent."""
    return f"{100 * part:.{digits}f} %"


def compare(bench: Bench, asked: Asked) -> Demo:
    """Both models on the example photos, clean and under PGD of 1/255. option: "measure"."""
    began, count = time.perf_counter(), Count(2 * STEPS)
    rows: list[tuple[Cell, ...]] = []
    facts: dict[str, Any] = {}
    for role, model in models_of(bench):
        pairs = bench.several(asked.photo, PHOTOS, model)
        result = yield from count.run(pgd(1), model, pairs)
        clean, robust = (float(right.float().mean())
                         for right in (result.correct_before, result.correct_before
                                       & result.correct_after))
        near = float(result.image_cosine.mean())
        rows.append((word(role), model.card.id, share(clean), share(robust), f"{near:.3f}"))
        facts |= {f"{role}_clean": share(clean), f"{role}_robust": share(robust),
                  f"{role}_near": f"{near:.3f}", f"{role}_clean_share": clean,
                  f"{role}_robust_share": robust, **_card_facts(role, model.card.numbers)}
    facts |= {"photos": PHOTOS, "captions": len(pairs.captions)}
    tables = [Table("on_photos", ("role", "model", "clean_accuracy", "robust_accuracy", "near"),
                    tuple(rows))]
    card = _card_table(bench)
    yield Record(7, asked.photo, asked.option, facts, (), (*tables, *card), (),
                 weights([m for _, m in models_of(bench)]), time.perf_counter() - began)


def _card_facts(role: str, numbers: Any) -> dict[str, float]:
    found = {}
    for what, key in (("clean", "clean"), ("robust", "pgd")):
        row = numbers.get(f"{CARD}/{key}")
        if row:
            found[f"{role}_card_{what}"] = float(row["accuracy"])
    return found


def _card_table(bench: Bench) -> list[Table]:
    """What the model cards measured on many pictures, where both did."""
    rows: list[tuple[Cell, ...]] = []
    for role, model in models_of(bench):
        cells: list[Cell] = [word(role), model.card.id]
        for key in ("clean", "pgd"):
            row = model.card.numbers.get(f"{CARD}/{key}")
            if not row:
                return []
            low, high = row["ci95"]
            cells.append(word("interval", p=share(row["accuracy"], 1), low=share(low, 1),
                              high=share(high, 1), n=row["n"]))
        rows.append(tuple(cells))
    return [Table("on_cards", ("role", "model", "clean_accuracy", "robust_accuracy"),
                  tuple(rows))]


def start(bench: Bench, jobs: ProcessJobs, method: str, cache: Path) -> str:
    """Starts a short run on the emoji sample as a process of its own; returns its id. Raises
    InputError when the queue is full or the method unknown."""
    if method not in METHODS:
        raise InputError(f"this lesson trains with {', '.join(METHODS)}, not '{method[:20]}'")
    sample = SAMPLES["emoji-kinds"]
    data = by_kind(sample.train, cache / f"{sample.id}.parquet")
    name = f"lesson-{method}-{secrets.token_hex(2)}"
    plan = TrainingPlan(Recipe(method=method, **SHORT), str(data), bench.pair[0], Path(), name=name,
                probe_every=UPDATES, probe_images=HELD_OUT, save_every=UPDATES,
                folders=tuple(bench.library.folders))
    about = {"model": name, "base": bench.pair[0], "method": method, "eps": 1.0,
             "data": sample.title, "budget": f"{UPDATES} steps"}
    return jobs.train(plan.told(), data, False, about)


def train(bench: Bench, jobs: ProcessJobs, method: str, cache: Path, asked: Asked) -> Iterator[
        Step | Record]:
    """A short run to its end: Steps, then a Record. Closing the iterator ends the run."""
    began, run = time.perf_counter(), start(bench, jobs, method, cache)
    try:
        while True:
            jobs.settle()
            job = jobs.get(run)
            step = job.story.step
            yield Step(int(step["index"]) if step else 0, UPDATES)
            if job.state not in BUSY:
                break
            time.sleep(LOOK)
    finally:
        if jobs.get(run).state == "waiting":
            jobs.stop(run)
        elif jobs.get(run).state in LIVE:
            jobs.end(run)
    probes = job.story.probes
    if job.state != "finished" or len(probes) < 2:
        raise InputError("the training ended early: the Train tab shows what it printed")
    yield learned(method, asked, list(job.story.steps), probes[0], probes[-1],
                  time.perf_counter() - began)


def learned(method: str, asked: Asked, steps: list[dict[str, Any]], first: dict[str, Any],
            last: dict[str, Any], seconds: float) -> Record:
    """The Record of a run from its log: measurements before and after, loss at some steps."""
    rows = tuple((word(when), share(p["clean"]), share(p["robust"]))
                 for when, p in (("before_training", first), ("after_training", last)))
    loss = tuple((str(s["index"]), f"{sum(s['losses'].values()):.2f}")
                 for s in steps if s["index"] in (1, 10, 20, 30, UPDATES))
    facts = {"method": method, "updates": UPDATES, "held_out": first["n"],
             "before_clean": share(first["clean"]), "after_clean": share(last["clean"]),
             "before_robust": share(first["robust"]), "after_robust": share(last["robust"]),
             "minutes": f"{seconds / 60:.1f}"}
    return Record(7, asked.photo, f"train-{method}", facts, (), (
        Table("trained", ("when", "clean_accuracy", "robust_accuracy"), rows),
        Table("losses", ("update", "loss"), loss)), seconds=seconds)
