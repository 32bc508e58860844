"""Runs any attack on any model: checks, takes turns, measures, times.

Measuring happens here once, so that no attack can flatter itself.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explorer.attacks.defences.model import facing
from explorer.attacks.engine import Engine, Log, Pictures, Scene, Step, Wording
from explorer.attacks.goals import GOALS, make_goal
from explorer.attacks.image.base import ImageAttack
from explorer.attacks.joint import JointAttack
from explorer.attacks.registry import Attack, kind_of, name_of, settings_of
from explorer.attacks.result import Reading, Result, Seen
from explorer.attacks.text.base import TextAttack
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import caption_notes


def check_targets(targets: Tensor | None, pairs: Pairs) -> None:
    if targets is None:
        return
    if len(targets) != len(pairs) or not bool(
            ((targets >= 0) & (targets < len(pairs.captions))).all()):
        raise InputError("a target must be one of the captions, one for each image")
    if bool((targets == pairs.labels).any()):
        raise InputError("the target is the true caption already: choose another one")


@dataclass(frozen=True, eq=False)
class _Asked:
    """An attack about to run and what was asked of it."""

    attack: Attack
    scene: Scene
    goal: str
    targets: Tensor | None
    began: float


def _prepare(attack: Attack, model: DualEncoder, pairs: Pairs, goal: str,
             targets: Tensor | None, seed: int) -> Scene:
    """Checks what was asked for and reads the clean pictures."""
    if goal not in GOALS:
        raise InputError(f"the goal must be one of {', '.join(GOALS)}, not '{goal}'")
    if goal == "embedding" and targets is not None:
        raise InputError("the goal embedding only moves away from the clean place and takes no "
                         "target: choose the goal classification or similarity")
    if targets is not None and isinstance(attack, JointAttack) and not attack.targeted:
        raise InputError(f"the attack {name_of(attack)} has no target, it only leads away: "
                         "choose separate or alternating")
    check_targets(targets, pairs)
    if goal == "classification" and len(pairs.captions) < 2:
        raise InputError("with one caption there is no wrong answer: add a caption, "
                         "or choose the goal similarity or embedding")
    model = facing(model, pairs.captions)
    clean, text = pairs.images.to(model.device), model.encode_text(pairs.captions)
    features = model.look_again(pairs.images)
    aim = make_goal(goal, features, text, pairs.labels.to(model.device), model.scale,
                    None if targets is None else targets.to(model.device))
    return Scene(model, pairs, aim, seed, clean, features, text)


def stream(
    attack: Attack, model: DualEncoder, pairs: Pairs, goal: str = "classification",
    targets: Tensor | None = None, seed: int = 0, record: bool = False,
) -> Iterator[Step | Result]:
    """Runs an attack, yielding a Step after each one and a Result at the end.

    targets: (N,) caption index for a targeted attack. record: keep the pictures and captions of
    image 0 on the way. Stopping the iteration stops the attack within a step.
    """
    began = time.perf_counter()
    scene = _prepare(attack, model, pairs, goal, targets, seed)
    turns = Engine(scene, record)
    pictures, wording = turns.unchanged, turns.as_given
    if isinstance(attack, JointAttack):
        pictures, wording = yield from attack.play(turns)
    elif isinstance(attack, TextAttack):
        wording = yield from turns.text(attack)
    else:
        pictures = yield from turns.image(attack)
    yield _measure(_Asked(attack, scene, goal, targets, began), pictures, wording, turns.log)


def _measure(on: _Asked, pictures: Pictures, wording: Wording, log: Log) -> Result:
    """Reads all four pairings in full precision and judges the attacked one."""
    scene, attack = on.scene, on.attack
    model, pairs, text, aim = scene.model, scene.pairs, scene.text, scene.aim
    now, words = pictures.features, wording.features
    success = aim.reached(now, words)
    raw_success = success.clone()
    missed = (~success).nonzero()[:, 0]
    if isinstance(attack, ImageAttack) and len(missed):
        with torch.no_grad():
            unrounded = model.encode_image(pictures.raw[missed])
        raw_success[missed] = aim.subset(missed).reached(unrounded, text)
    return Result.measured(
        Seen(scene.clean, scene.clean_features, (pairs.captions,) * len(pairs), text),
        Seen(pictures.pixels, now, wording.rows, words), model.scale,
        model=model.card.id, kind=kind_of(attack), attack=name_of(attack),
        settings=settings_of(attack), goal=on.goal, seed=scene.seed, labels=pairs.labels,
        targets=on.targets, success=success.cpu(), raw_success=raw_success.cpu(),
        queries=log.queries, tried=log.tried, refused=log.refused,
        seconds=time.perf_counter() - on.began,
        **_trail(scene, pictures, wording, log), notes=tuple(_notes(scene)),
    )


def _notes(scene: Scene) -> list[str]:
    """Of the model itself, and of captions that it does not read to their end."""
    tokenize = getattr(scene.model, "tokenize", None)
    return [*getattr(scene.model, "notes", ()),
            *caption_notes(scene.model.card.id, tokenize, scene.pairs.captions)]


def _trail(scene: Scene, pictures: Pictures, wording: Wording, log: Log) -> dict[str, Any]:
    """The recorded moments of image 0; the last one is what came out."""
    if not log.record or not log.moments:
        return {}
    label = int(scene.pairs.labels[0])
    if len(log.moments) == 1 and wording.rows[0] != scene.pairs.captions:
        log.add(pictures.pixels[0], wording.rows[0][label])  # other captions than its own changed
    last = log.moments[-1]
    last.pixels, last.caption = pictures.pixels[0].cpu(), wording.rows[0][label]
    frames = torch.stack([m.pixels for m in log.moments])
    captions = tuple(m.caption for m in log.moments)
    model = scene.model
    with torch.no_grad():
        features = model.encode_image(frames)
    final = wording.each()[0]
    texts = torch.stack([final if k == len(captions) - 1 else scene.text for k in
                         range(len(captions))])
    texts = texts.clone()
    texts[:, label] = model.encode_text(captions)
    return {"frames": frames, "frame_captions": captions,
            "frame_steps": tuple(m.step for m in log.moments),
            "trail": Reading.of(features, texts, model.scale)}


def drain(events: Generator[Step | Result, None, None] | Iterator[Step | Result]) -> Result:
    """The Result at the end of a stream."""
    *_, last = events
    assert isinstance(last, Result)
    return last


def run(attack: Attack, model: DualEncoder, pairs: Pairs, goal: str = "classification",
        targets: Tensor | None = None, seed: int = 0, record: bool = False) -> Result:
    """`stream` without the steps."""
    return drain(stream(attack, model, pairs, goal, targets, seed, record))
