"""Runs any image attack on any model: checks, steps, rounds to 8 bits, measures, times.

Measuring happens here once, so that no attack can flatter itself.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from explorer.attacks.image import IMAGE_ATTACKS, ImageAttack, Noise
from explorer.errors import InputError
from explorer.goals import GOALS, Goal, make_goal
from explorer.models import DualEncoder
from explorer.pairs import Pairs
from explorer.randomness import PerImage
from explorer.result import Reading, Result

MOST_FRAMES = 40


@dataclass(frozen=True)
class Step:
    """Progress: step `index` of `total` is done."""

    index: int
    total: int


def name_of(attack: ImageAttack) -> str:
    """The registry name of an attack."""
    return next(name for name, kind in IMAGE_ATTACKS.items() if kind is type(attack))


def check_targets(targets: Tensor | None, pairs: Pairs) -> None:
    if targets is None:
        return
    if len(targets) != len(pairs) or not bool(
            ((targets >= 0) & (targets < len(pairs.captions))).all()):
        raise InputError("a target must be one of the captions, one for each image")
    if bool((targets == pairs.labels).any()):
        raise InputError("the target is the true caption already: choose another one")


@dataclass(frozen=True, eq=False)
class _Setting:
    """An attack about to run: everything that measuring needs again at the end."""

    attack: ImageAttack
    model: DualEncoder
    pairs: Pairs
    goal: str
    targets: Tensor | None
    seed: int
    clean: Tensor
    clean_features: Tensor
    text: Tensor
    aim: Goal


def _prepare(attack: ImageAttack, model: DualEncoder, pairs: Pairs, goal: str,
             targets: Tensor | None, seed: int) -> _Setting:
    """Checks what was asked for and reads the clean pictures."""
    if goal not in GOALS:
        raise InputError(f"the goal must be one of {', '.join(GOALS)}, not '{goal}'")
    if goal == "embedding" and targets is not None:
        raise InputError("the goal embedding only moves away from the clean place and takes no "
                         "target: choose the goal classification or similarity")
    check_targets(targets, pairs)
    if goal == "classification" and len(pairs.captions) < 2:
        raise InputError("with one caption there is no wrong answer: add a caption, "
                         "or choose the goal similarity or embedding")
    clean, text = pairs.images.to(model.device), model.encode_text(pairs.captions)
    with torch.no_grad():
        features = model.encode_image(clean)
    aim = make_goal(goal, features, text, pairs.labels.to(model.device), model.scale,
                    None if targets is None else targets.to(model.device))
    return _Setting(attack, model, pairs, goal, targets, seed, clean, features, text, aim)


def stream(
    attack: ImageAttack, model: DualEncoder, pairs: Pairs, goal: str = "classification",
    targets: Tensor | None = None, seed: int = 0, record: bool = False,
) -> Iterator[Step | Result]:
    """Runs an attack, yielding a Step after each one and a Result at the end.

    targets: (N,) caption index for a targeted attack. record: keep the pictures of image 0 on
    the way (thinned to about MOST_FRAMES). Stopping the iteration stops the attack within a step.
    """
    began = time.perf_counter()
    setting = _prepare(attack, model, pairs, goal, targets, seed)
    clean, queries = setting.clean, 0

    def loss(x: Tensor) -> Tensor:
        nonlocal queries
        queries += 1
        if goal == "embedding" and torch.equal(x, clean):  # its gradient is zero just there
            x = x + (PerImage(seed, clean).uniform() - 0.5) / 255
        return setting.aim.score(model.encode_image(x, fast=True), setting.text)

    frames = {0: clean[0].cpu()} if record else {}
    stride = max(1, -(-attack.total // MOST_FRAMES))
    steps = attack.iterate(loss, clean, PerImage(seed, clean))
    index = 0
    while True:
        try:
            picture = next(steps)
        except StopIteration as stop:
            raw: Tensor = stop.value
            break
        index += 1
        if record and (index % stride == 0 or index == attack.total):
            frames[index] = attack.ball.quantise(picture[:1], clean[:1])[0].cpu()
        yield Step(index, attack.total)
    yield _measure(setting, raw, frames, queries, began)


def _measure(on: _Setting, raw: Tensor, frames: dict[int, Tensor], queries: int, began: float,
             ) -> Result:
    """Rounds to 8 bits, reads the pictures in full precision, and judges."""
    model, text, aim, clean = on.model, on.text, on.aim, on.clean
    adversarial = on.attack.ball.quantise(raw, clean)
    with torch.no_grad():
        features = model.encode_image(adversarial)
        if not isinstance(on.attack, Noise):  # an attacker with nothing better leaves it alone
            worse = aim.score(features, text) < aim.score(on.clean_features, text)
            adversarial[worse], features[worse] = clean[worse], on.clean_features[worse]
        success = aim.reached(features, text)
        raw_success = success.clone()
        if not bool(success.all()):
            raw_success |= aim.reached(model.encode_image(raw), text)
    trail = kept = None
    if frames:
        frames[max(frames)] = adversarial[0].cpu()
        kept = torch.stack(list(frames.values()))
        with torch.no_grad():
            trail = Reading.of(model.encode_image(kept), text, model.scale)
    moved = (adversarial - clean).cpu()
    return Result(
        model=model.card.id, attack=name_of(on.attack), settings=asdict(on.attack), goal=on.goal,
        seed=on.seed, captions=on.pairs.captions, labels=on.pairs.labels, targets=on.targets,
        scale=model.scale, text_features=text.cpu(), images=clean.cpu(),
        adversarial_images=adversarial.cpu(),
        clean=Reading.of(on.clean_features, text, model.scale),
        adversarial=Reading.of(features, text, model.scale),
        success=success.cpu(), raw_success=raw_success.cpu(),
        linf_255=(moved * 255).abs().flatten(1).amax(1).round(),
        l2=moved.flatten(1).norm(dim=1), queries=queries,
        seconds=time.perf_counter() - began, frames=kept, frame_steps=tuple(frames),
        trail=trail,
    )


def drain(events: Generator[Step | Result, None, None] | Iterator[Step | Result]) -> Result:
    """The Result at the end of a stream."""
    *_, last = events
    assert isinstance(last, Result)
    return last


def run(attack: ImageAttack, model: DualEncoder, pairs: Pairs, goal: str = "classification",
        targets: Tensor | None = None, seed: int = 0, record: bool = False) -> Result:
    """`stream` without the steps."""
    return drain(stream(attack, model, pairs, goal, targets, seed, record))
