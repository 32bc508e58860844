"""An attack against a defended model: run by an attacker who knows of the defence or who does not,
and measured behind the defence, by the code that measures every attack."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from explorer.attacks.defences.base import Defence
from explorer.attacks.defences.model import Defended
from explorer.attacks.defences.registry import settings_of
from explorer.attacks.defences.vote import Ballot, NoiseVote
from explorer.attacks.engine import Step
from explorer.attacks.goals import make_goal
from explorer.attacks.image.classic import ImageAttack
from explorer.attacks.registry import Attack
from explorer.attacks.result import Reading, Result
from explorer.attacks.run import drain, stream
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder


def guarded(result: Result, defended: Defended, aware: bool = False) -> Result:
    """The same attacked pictures and captions, read and judged behind a defence. aware: whether the
    attacker knew of it; seconds and queries stay the attack's."""
    defended = defended.facing(result.captions)
    device, text = defended.device, result.text_features.to(defended.device)
    words, scale = result.adversarial_text.to(device), defended.scale
    with torch.no_grad():
        clean = defended.encode_image(result.images.to(device))
        now = defended.encode_image(result.adversarial_images.to(device))
    targets = None if result.targets is None else result.targets.to(device)
    aim = make_goal(result.goal, clean, text, result.labels.to(device), scale, targets)
    success = aim.reached(now, words).cpu()
    return replace(
        result, defence=settings_of(defended.defence), aware=aware,
        clean=Reading.of(clean, text, scale), adversarial=Reading.of(now, words, scale),
        image_only=Reading.of(now, text, scale), text_only=Reading.of(clean, words, scale),
        success=success, raw_success=success, trail=_trail(result, defended))


def _trail(result: Result, defended: Defended) -> Reading | None:
    """The recorded moments of image 0, read behind the defence."""
    if result.frames is None:
        return None
    with torch.no_grad():
        features = defended.encode_image(result.frames.to(defended.device))
    texts = result.text_features.expand(len(features), *result.text_features.shape).clone()
    text = result.adversarial_text
    texts[-1] = text if text.dim() == 2 else text[0]
    texts[:, int(result.labels[0])] = defended.encode_text(result.frame_captions).cpu()
    return Reading.of(features.cpu(), texts, defended.scale)


def check(attack: Attack, defence: Defence) -> None:
    """Raises InputError for an attack that a defence cannot be measured against."""
    if isinstance(defence, NoiseVote) and not isinstance(attack, ImageAttack):
        raise InputError("noise-vote counts votes for the captions as they are: choose another "
                         "defence where the caption is attacked as well")


def stream_against(attack: Attack, model: DualEncoder, pairs: Pairs,
                   goal: str = "classification", targets: Tensor | None = None, seed: int = 0,
                   record: bool = False, aware: bool = False) -> Iterator[Step | Result]:
    """`attacks.run.stream` against a model that may be defended. aware: the attacker knows of the
    defence and follows its slope; else he attacks the bare model. Both have the same budget."""
    if not isinstance(model, Defended):
        yield from stream(attack, model, pairs, goal, targets, seed, record)
        return
    defended = model
    check(attack, defended.defence)
    victim = defended.facing(pairs.captions).known() if aware else defended.bare
    for event in stream(attack, victim, pairs, goal, targets, seed, record):
        yield guarded(event, defended, aware) if isinstance(event, Result) else event


def run_against(attack: Attack, model: DualEncoder, pairs: Pairs, goal: str = "classification",
                targets: Tensor | None = None, seed: int = 0, record: bool = False,
                aware: bool = False) -> Result:
    """`stream_against` without the steps."""
    return drain(stream_against(attack, model, pairs, goal, targets, seed, record, aware))


@dataclass(frozen=True, eq=False)
class Trial:
    """A defence tried on attacked pictures that are there already. result: measured behind it;
    seconds: to read one picture; before: the same without the defence; ballots: for a vote, of the
    clean and of the attacked pictures."""

    defence: Defence
    result: Result
    seconds: float
    before: float
    ballots: tuple[list[Ballot], list[Ballot]] | None = None


def try_defence(result: Result, model: DualEncoder, defence: Defence, aware: bool = False) -> Trial:
    """Reads a result's clean and attacked pictures behind a defence, and takes the time."""
    defended = Defended(model, defence, result.seed)
    pictures = torch.cat([result.images, result.adversarial_images])
    with torch.no_grad():
        began = time.perf_counter()
        model.encode_image(pictures.to(model.device))
        before = (time.perf_counter() - began) / len(pictures)
    began = time.perf_counter()
    found = guarded(replace(result, frames=None, trail=None), defended, aware)
    seconds = (time.perf_counter() - began) / len(pictures)
    ballots = None
    if isinstance(defence, NoiseVote):
        text = result.text_features.to(model.device)
        ballots = tuple(defence.ballots(model.encode_image, x.to(model.device), text, result.seed)
                        for x in (result.images, result.adversarial_images))
    return Trial(defence, found, seconds, before, ballots)  # type: ignore[arg-type]
