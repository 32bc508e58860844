"""Trains the rows and measures them, cell by cell; what is done already is read from disk."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.reproduce.config import Config, Trained, located
from explorer.attacks.image.classic import PGD
from explorer.attacks.joint import JOINT_ATTACKS
from explorer.attacks.run import run
from explorer.attacks.text.classic import BertAttack
from explorer.data.pairs import Pairs
from explorer.data.sets import Examples, read_examples
from explorer.jobs.job import write_text
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.training.events import End
from explorer.training.plan import TrainingPlan
from explorer.training.run import run as train

KINDS = ("clean", "image", "text", "joint")


@dataclass(frozen=True)
class Cell:
    """hits: for each kind of attack, whether each image is still classified correctly."""

    model: str
    method: str
    seed: int
    set: str
    level: int
    hits: dict[str, list[int]]
    seconds: float


def folder_of(row: Trained, seed: int, work: Path) -> Path:
    return work / f"{row.method.replace('+', '-plus')}-{seed}"


def trained(config: Config, row: Trained, seed: int, data: Path, work: Path) -> Path:
    """The folder of a row's model, trained now unless it is there."""
    out = folder_of(row, seed, work)
    if not (out / "model" / "card.json").exists():
        plan = TrainingPlan(config.of(row, seed), located(config.train, data), config.base, out,
                    eval_data=located(config.known, data), probe_every=10**6, probe_images=64)
        for event in train(plan, resume=(out / "run.json").exists()):
            if isinstance(event, End):
                print(f"{out.name}: {event.reason}, {event.hours * 60:.1f} min", flush=True)
    return out / "model"


def measure(model: DualEncoder, examples: Examples, level: int, config: Config,
            ) -> dict[str, list[int]]:
    """One run of the paper's multimodal attack gives all four readings of an image: the attacked
    and the clean picture, each with the attacked and the clean captions. Images that are wrong
    before the attack stay wrong."""
    eps = level / 255
    attack = JOINT_ATTACKS["separate"](
        image=PGD(eps, steps=config.attack_steps),
        text=BertAttack(objective="kl", captions="all", words=config.words))
    hits: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for pairs in examples.batches(model.frame):
        with torch.no_grad():
            scores = model.encode_image(pairs.images) @ model.encode_text(pairs.captions).T
        right = scores.argmax(1).cpu() == pairs.labels
        found = {kind: right.clone() for kind in KINDS}
        if bool(right.any()):
            part = Pairs(pairs.images[right], pairs.captions, pairs.labels[right])
            result = run(attack, model, part)
            for kind, reading in (("image", result.image_only), ("text", result.text_only),
                                  ("joint", result.adversarial)):
                found[kind][right] = reading.prediction == part.labels
        for kind in KINDS:
            hits[kind] += found[kind].int().tolist()
    return hits


def kept(file: Path, images: int) -> Cell | None:
    """The cell measured before, if it was on as many images."""
    if not file.exists():
        return None
    cell = Cell(**json.loads(file.read_text("utf-8")))
    return cell if len(cell.hits["clean"]) == images else None


def cells(config: Config, data: Path, work: Path) -> Iterator[Cell]:
    """Every cell of the table and the curves, the base model's first."""
    library = Library((), keep=1)
    work.mkdir(parents=True, exist_ok=True)
    todo: list[tuple[str, int, Trained | None]] = [("none", 0, None)]
    todo += [(row.method, seed, row) for row in config.rows for seed in row.seeds]
    sets = {name: read_examples(located(name, data), config.images or None)
            for name in config.sets}
    for method, seed, row in todo:
        source = config.base if row is None else \
            f"local-dir:{trained(config, row, seed, data, work)}"
        model = library.load(source)
        for name, examples in sets.items():
            for level in config.levels(name):
                file = work / "cells" / f"{method}-{seed}-{Path(name).stem}-{level}.json"
                cell = kept(file, len(examples.labels))
                if cell is None:
                    began = time.perf_counter()
                    hits = measure(model, examples, level, config)
                    cell = Cell(model.card.id, method, seed, Path(name).stem, level, hits,
                                round(time.perf_counter() - began, 1))
                    file.parent.mkdir(exist_ok=True)
                    write_text(file, json.dumps(asdict(cell)))
                    print(f"{method} {seed} {cell.set} {level}/255: " + ", ".join(
                        f"{k} {sum(v) / len(v):.1%}" for k, v in hits.items()), flush=True)
                yield cell
