"""Finished work of three tabs: a hunt, an evaluation and a training run, by the embedded models.

Each is a job's folder as the app keeps its own, so a tab shows it as it shows a visitor's.
Pictures take less room, as exactly.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image

from explorer.analysis.evaluation.plan import Asked, EvaluationPlan
from explorer.analysis.evaluation.work import carry_out, wish_of
from explorer.analysis.failures.hunt import HuntPlan, hunt
from explorer.analysis.failures.hunt import wish_of as hunt_wish
from explorer.analysis.failures.pictures import pack
from explorer.attacks.image.classic import PGD
from explorer.attacks.registry import make_attack
from explorer.base.progress import Progress
from explorer.data.registry import CROPS, KINDS, open_place
from explorer.data.samples import EMOJI_KINDS, by_kind
from explorer.jobs.job import EXAMPLE, FINISHED, Job, write_job
from explorer.models.library import Library
from explorer.training.comparison import FOLDER, compare
from explorer.training.plan import TrainingPlan
from explorer.training.recipe import Recipe
from explorer.training.run import run
from tools.shipping import MODELS, Shipped

FORMAT = 2  # another number when the same plan is to be carried out anew
BUDGETS = (0.5, 1, 2, 4)
"""Pixel budgets of the evaluation, in 255ths."""
HUNT = HuntPlan.of(CROPS, MODELS, PGD(1 / 255, steps=10), limit=200)
EVALUATION = EvaluationPlan(
    (CROPS, KINDS), MODELS,
    (Asked("clean"), *(Asked("image", PGD(b / 255, steps=10)) for b in BUDGETS),
     Asked("text", make_attack("text")),
     Asked("joint", make_attack("joint", settings={"eps": 1 / 255}))), limit=100)
RECIPE = Recipe(method="tecoa", eps=1 / 255, inner_steps=1, batch=16, lr=3e-4, steps=120,
                warmup=12, template="a picture of {}", depthwise_share=0.25)
STEPS_A_PROBE = 20


def things(library: Library) -> list[Shipped]:
    marks = [library.load(name).fingerprint for name in MODELS]
    found = []
    for number, (kind, title, wish, work) in enumerate((
            ("failures", "200 parts of the example photos", hunt_wish(HUNT), _hunt),
            ("evaluate", "Photos, and emoji by kind", wish_of(EVALUATION), _evaluate),
            ("train", "pocket-emoji", {"plan": {"recipe": RECIPE.as_dict()}, "about": {
                "model": "pocket-emoji", "base": MODELS[0], "method": RECIPE.method,
                "eps": RECIPE.eps * 255, "data": "emoji by kind",
                "budget": f"{RECIPE.steps} steps"}}, _train))):
        told = json.dumps([FORMAT, kind, wish, marks], sort_keys=True)
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        name = f"20000101-00000{number}-{digest}"  # a date, as all jobs have: older than any
        job = partial(Job, name, kind, EXAMPLE, title, 0.0, wish=wish, state=FINISHED)
        found.append(Shipped(f"a finished job of the tab {kind}", f"jobs/{name}",
                             partial(_job, job, work, library)))
    return found


def _job(job: Callable[..., Job], work: Callable[[Job, Library], None], library: Library,
         path: Path) -> None:
    path.mkdir()
    done = job(folder=path)
    work(done, library)
    write_job(done)


def _hunt(job: Job, library: Library) -> None:
    for progress in hunt(HUNT, job.folder, library):
        _say(progress)
    originals = open_place(CROPS, limit=HUNT.limit, seed=HUNT.seed)
    raws = originals.source.pictures(originals.chosen)
    for place, raw in enumerate(raws):
        assert isinstance(raw, bytes)
        pack(job.folder, place, raw)


def _evaluate(job: Job, library: Library) -> None:
    for progress in carry_out(job, library):
        _say(progress)
    shutil.rmtree(job.folder / "cells")
    shutil.rmtree(job.folder.parent / "cells", ignore_errors=True)
    _drop(job.folder, "*.parquet")


def _say(progress: Progress) -> None:
    if progress.kept and progress.total:
        print(f"{progress.done} of {progress.total} pictures", flush=True)


def _drop(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()


def _train(job: Job, library: Library) -> None:
    """A run's story and pictures. Its model stays out: it is as large as the embedded ones."""
    data = by_kind(EMOJI_KINDS.train, job.folder / "emoji-kinds.parquet")
    plan = TrainingPlan(RECIPE, str(data), MODELS[0], job.folder, name=job.title, save_every=10**6,
                        probe_every=STEPS_A_PROBE, probe_images=64, cpu=True)
    for event in run(plan):
        print(event, flush=True)
    for progress in compare(job.folder, Library([job.folder])):
        _say(progress)
    for image in (job.folder / "samples").glob("*.png"):
        with Image.open(image) as opened:
            opened.save(image.with_suffix(".webp"), "WEBP", lossless=True, quality=100)
        image.unlink()
    for left in ("model", "checkpoints", f"{FOLDER}/pictures"):
        shutil.rmtree(job.folder / left, ignore_errors=True)
    for path in (data, job.folder / "run.json"):
        path.unlink()
