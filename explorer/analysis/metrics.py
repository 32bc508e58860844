"""Accuracy with its interval, the transfer grid, and the smallest budget that flips."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.attacks.defences.guard import stream_against
from explorer.attacks.defences.model import facing
from explorer.attacks.engine import Step
from explorer.attacks.image.classic import ImageAttack
from explorer.attacks.joint import JointAttack
from explorer.attacks.registry import Attack
from explorer.attacks.result import Reading, Result
from explorer.attacks.run import stream
from explorer.base.intervals import wilson
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.results.outcome import Flip


@dataclass(frozen=True)
class Measured:
    """One line of an evaluation. accuracy and ci95 in [0, 1]; eps_255 in grey levels."""

    model: str
    attack: str
    eps_255: float
    n: int
    accuracy: float
    ci95: tuple[float, float]
    seconds: float


def eps_of(attack: Attack | None) -> float:
    """The pixel budget of an attack; 0 where it leaves the pixels alone."""
    half = attack.image if isinstance(attack, JointAttack) else attack
    return half.eps if isinstance(half, ImageAttack) else 0.0


def row(model: str, attack: str, eps: float, hits: Tensor, seconds: float) -> Measured:
    """hits: (N,) bool, whether each image was classified correctly."""
    good, n = int(hits.sum()), len(hits)
    return Measured(model, attack, round(eps * 255, 6), n, good / n if n else 0.0, wilson(good, n),
               round(seconds, 3))


def judged(pairs: Pairs, same: Mapping[int, int]) -> Pairs:
    """Without the images whose true caption is among `same`, those that the model cannot tell from
    another one (`explorer.models.fast.padding.twins`)."""
    if not same:
        return pairs
    kept = [i for i, label in enumerate(pairs.labels.tolist()) if label not in same]
    return Pairs(pairs.images[kept], pairs.captions, pairs.labels[kept])


def right(model: DualEncoder, pairs: Pairs) -> Tensor:
    """(N,) bool, on the CPU: whether each image finds its true caption."""
    model = facing(model, pairs.captions)
    clean = model.look_again(pairs.images)
    text = model.encode_text(pairs.captions)
    return Reading.of(clean, text, model.scale).prediction.cpu() == pairs.labels


def still_right(model: DualEncoder, attack: Attack, pairs: Pairs, correct: Tensor, seed: int = 0,
                aware: bool = False) -> Iterator[Step | Tensor]:
    """Yields Steps, then (N,) bool: which images are right after an attack.

    correct: what `right` says. Only those are attacked: a wrong one is wrong already. aware: where
    the model is defended, whether the attacker knows of it.
    """
    after = correct.clone()
    if bool(correct.any()):
        part = Pairs(pairs.images[correct], pairs.captions, pairs.labels[correct])
        for event in stream_against(attack, model, part, seed=seed, aware=aware):
            if isinstance(event, Step):
                yield event
            else:
                after[correct] = event.correct_after
    yield after


def evaluate(
    model: DualEncoder, attack: Attack | None, batches: Iterable[Pairs], seed: int = 0,
    aware: bool = False,
) -> Iterator[tuple[int, Tensor]]:
    """Yields (images done, (n,) bool correct) after each batch; attack None is clean accuracy."""
    done = 0
    for pairs in batches:
        correct = right(model, pairs)
        if attack is not None:
            *_, last = still_right(model, attack, pairs, correct, seed, aware)
            assert isinstance(last, Tensor)
            correct = last
        done += len(pairs)
        yield done, correct


def evaluate_row(model: DualEncoder, name: str, attack: Attack | None,
                 batches: Iterable[Pairs], seed: int = 0) -> Measured:
    """`evaluate` to the end, as one Measured."""
    began = time.perf_counter()
    hits = [h for _, h in evaluate(model, attack, batches, seed)]
    return row(model.card.id, name, eps_of(attack), torch.cat(hits),
               time.perf_counter() - began)


def read_by(model: DualEncoder, result: Result) -> tuple[Reading, Reading]:
    """What another model says of a result's clean and adversarial pairs (transfer)."""
    images = torch.cat([result.images, result.adversarial_images])
    sides = model.frame.height, model.frame.width
    if images.shape[-2:] != sides:
        images = torch.nn.functional.interpolate(
            images, sides, mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        features = model.encode_image(images)
    n, rows = len(result.images), result.adversarial_captions
    text = model.encode_text(result.captions)
    now = text if all(row == result.captions for row in rows) else torch.stack(
        [model.encode_text(row) for row in rows])
    return (Reading.of(features[:n], text, model.scale),
            Reading.of(features[n:], now, model.scale))


def smallest_flip(
    attack: ImageAttack, model: DualEncoder, pairs: Pairs, goal: str = "classification",
    targets: Tensor | None = None, seed: int = 0, most: int = 16, known: int | None = None,
) -> Iterator[Step | Flip]:
    """Searches the L-inf budget for one image: doubles it until the attack succeeds, then
    bisects. Yields Steps, then a Flip. An upper bound, as a stronger attack may need less.

    known: a number of grey levels at which the attack is known to succeed.
    """
    if goal == "classification" and _met_clean(model, pairs, targets):
        yield Flip(0, most)
        return
    low, high = 0, known
    while high is None or high - low > 1:
        level = min(max(1, 2 * low), most) if high is None else (low + high) // 2
        fields: dict[str, object] = {"eps": level / 255, "norm": "linf"}
        if hasattr(attack, "step"):
            fields["step"] = None  # follows the budget
        trial = dataclasses.replace(attack, **fields)  # type: ignore[arg-type]
        hit = False
        for event in stream(trial, model, pairs, goal, targets, seed):
            if isinstance(event, Step):
                yield event
            else:
                hit = bool(event.success[0])
        if hit:
            high = level
        elif level >= most:
            break
        else:
            low = level
    yield Flip(high, most)


def _met_clean(model: DualEncoder, pairs: Pairs, targets: Tensor | None) -> bool:
    """Whether the classification goal is met before any change."""
    features = model.look_again(pairs.images)
    said = Reading.of(features, model.encode_text(pairs.captions), model.scale).prediction[0]
    return bool(said == targets[0]) if targets is not None else bool(said != pairs.labels[0])
