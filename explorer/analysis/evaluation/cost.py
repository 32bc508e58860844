"""What an evaluation will cost here, measured on the spot on a few images of each set."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from explorer.analysis import metrics
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan
from explorer.analysis.evaluation.sets import Opened, open_all
from explorer.analysis.evaluation.watched import Watched
from explorer.attacks.defences.detect import evade, scores
from explorer.attacks.defences.guard import stream_against
from explorer.attacks.defences.model import Defended
from explorer.attacks.registry import name_of
from explorer.attacks.run import stream
from explorer.base.errors import InputError
from explorer.base.framing import Size
from explorer.data.pairs import Pairs
from explorer.data.sets import Examples
from explorer.data.tasks import RETRIEVAL
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library

SOME = 4  # images that are measured
PATIENCE = 30.0  # seconds of measuring; what is left by then is taken from what is known
Each = dict[tuple[str, str, tuple[str, str, bool]], float]  # (model, set, column) -> seconds
Column = Asked | Watched


@dataclass(frozen=True)
class Cost:
    """Seconds on this machine now, if every image is attacked: an upper bound, since one that is
    read wrongly is not. measured: of how many images in how many cells; images, cells: in all;
    left_out: a sentence for each set or model that cannot be read."""

    seconds: float
    images: int
    cells: int
    measured: int
    left_out: tuple[str, ...] = ()

    def sentence(self) -> str:
        said = (f"About {duration(self.seconds)} at most on this machine as busy as it is: "
                f"{self.cells:,} number{'s' * (self.cells != 1)} on {self.images:,} images, judged "
                f"by {SOME} images each in {self.measured:,} of them.")
        return " ".join([said, *(f"Left out: {sentence}." for sentence in self.left_out)])


def duration(seconds: float) -> str:
    """"40 s", "12 min", "3.5 h", "4 days": rounded as a guess should be."""
    if seconds < 90:
        return f"{max(1, round(seconds)) if seconds < 20 else 5 * round(seconds / 5)} s"
    if seconds < 5_400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def estimate(plan: EvaluationPlan, library: Library, root: str | Path | None = None,
             work: Path | None = None, device: str | None = None) -> Iterator[str | Cost]:
    """Yields what it is doing, in words, and at last the Cost. An attack of several budgets is
    measured at the first. Raises InputError when nothing can be measured."""
    yield "Measuring the cost: opening the image sets …"
    sets, left_out = open_all(plan, root, work)
    firsts: dict[tuple[str, str, bool], Column] = {}
    columns: list[Column] = [*plan.asked, *plan.watched]
    for asked in columns:
        firsts.setdefault(_column(asked), asked)
    each: Each = {}
    spent = 0.0
    for name in plan.models:
        yield f"Measuring the cost: opening {name} …"
        try:
            model = library.load(name, device)
        except InputError as error:
            left_out.append(f"{name}: {error}")
            continue
        for one in sets:
            pairs = _few(one, model.frame)
            if pairs is None:
                continue
            for asked in firsts.values():
                if spent < PATIENCE:
                    yield f"Measuring the cost: {name} on {one.title}, {asked.name} …"
                    took = yield from _timed(model, pairs, asked, plan)
                    each[name, one.name, _column(asked)] = took
                    spent += took * len(pairs)
    if not each:
        raise InputError("; ".join(left_out) or sets[0].data.unreadable)
    yield _total(plan, sets, each, tuple(left_out))


def _column(asked: Column) -> tuple[str, str, bool]:
    """What is measured once for all budgets."""
    if isinstance(asked, Watched):
        return name_of(asked.attack), f"detector {asked.name}", asked.aware
    return asked.name, asked.behind, asked.aware


def _total(plan: EvaluationPlan, sets: list[Opened], each: Each,
           left_out: tuple[str, ...]) -> Cost:
    columns: list[Column] = [*plan.asked, *plan.watched]

    def guess(asked: Column) -> float:
        own = [s for (_, _, column), s in each.items() if column == _column(asked)]
        known = own or list(each.values())
        return sum(known) / len(known)

    models = [m for m in plan.models if not any(s.startswith(f"{m}: ") for s in left_out)]
    seconds = sum(len(one.data) * each.get((model, one.name, _column(asked)), guess(asked))
                  for model in models for one in sets for asked in columns)
    return Cost(seconds, sum(len(one.data) for one in sets),
                len(models) * len(sets) * len(columns), len(each), left_out)


def _few(one: Opened, size: Size) -> Pairs | None:
    """The first images of a set; None where none of them can be read."""
    _, places, images = next(iter(one.data.chunks(size, SOME, range(1))))
    if not places:
        return None
    if isinstance(one.data, Examples):
        return Pairs(images, one.data.captions, torch.tensor([one.data.labels[p] for p in places]))
    own = [one.data.own(place) for place in places]
    starts = [sum(map(len, own[:k])) for k in range(len(own))]
    sets = tuple(tuple(range(start, start + len(texts))) for start, texts in
                 zip(starts, own, strict=True))
    return Pairs(images, tuple(text for texts in own for text in texts), torch.tensor(starts), sets)


def _timed(model: DualEncoder, pairs: Pairs, asked: Column, plan: EvaluationPlan,
           ) -> Generator[str, None, float]:
    """Seconds an image, after a clean pass that warms up. Yields at each step of an attack, so
    that it can be ended."""
    if isinstance(asked, Watched):
        return (yield from _watched(model, pairs, asked, plan))
    if asked.defence is not None:
        model = Defended(model, asked.defence, plan.seed)
    metrics.right(model, pairs)
    began = time.perf_counter()
    metrics.right(model, asked.shown(pairs, plan.seed))
    if asked.attack is not None:
        try:
            for _ in stream_against(asked.attack, model, pairs, _goal(plan), seed=plan.seed,
                                    aware=asked.aware):
                yield f"Measuring the cost: {model.card.id}, {asked.name} …"
        except InputError:
            pass  # told when it is run
    return (time.perf_counter() - began) / len(pairs)


def _watched(model: DualEncoder, pairs: Pairs, asked: Watched, plan: EvaluationPlan,
             ) -> Generator[str, None, float]:
    """The same for a detector and the attack that it is to find."""
    scores(asked.detector, model, pairs.images)
    began = time.perf_counter()
    for _ in (evade(asked.detector, asked.attack, model, pairs, plan.seed) if asked.aware else
              stream(asked.attack, model, pairs, seed=plan.seed)):
        yield f"Measuring the cost: {model.card.id}, detector {asked.name} …"
    scores(asked.detector, model, torch.cat([pairs.images] * 2))
    return (time.perf_counter() - began) / len(pairs)


def _goal(plan: EvaluationPlan) -> str:
    return "similarity" if plan.task == RETRIEVAL else "classification"
