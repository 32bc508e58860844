"""What happens when someone presses Attack: both models, controls and comparisons, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from explorer.analysis.metrics import read_by, smallest_flip
from explorer.attacks.engine import Step
from explorer.attacks.image.classic import PGD, ImageAttack, Noise
from explorer.attacks.joint import JointAttack
from explorer.attacks.result import Result
from explorer.attacks.run import Attack, run, stream
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs, clean_captions, one_pair, open_image
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.bundle import Bundle, bundle_bytes, read_bundle
from explorer.results.outcome import Flip, Outcome, Part
from explorer.results.replay import restored

ANY_WRONG = "anything wrong"
MOST_FLIP = 16
LONG = 60  # steps; the search for the smallest budget repeats the attack and takes PGD instead
WHAT = {"image": "the photo", "text": "the caption"}


@dataclass(frozen=True)
class Request:
    """One press of the button. photo: a file; target: ANY_WRONG or a caption, new ones too."""

    photo: str | None
    captions: tuple[str, ...]
    true: str
    target: str
    goal: str
    attack: Attack
    models: tuple[str, ...]
    seed: int
    alt: str = "your photo"


@dataclass(frozen=True)
class Progress:
    """done of total steps of one named thing; outcome when there is more to draw."""

    text: str
    done: int = 0
    total: int = 0
    outcome: Outcome | None = None


def check(request: Request) -> tuple[tuple[str, ...], int, int | None]:
    """Captions with the target among them, the true index, and the target's, if any."""
    if not request.photo:
        raise InputError("choose a photo first: upload one, paste one, or pick an example")
    captions = clean_captions([c for c in request.captions if c.strip()])
    (true,) = clean_captions([request.true]) if request.true else (captions[0],)
    if true not in captions:
        raise InputError(f"mark one of the captions as the true one ('{true[:60]}' is not listed)")
    target = " ".join((request.target or "").split())
    if not target or target == ANY_WRONG:
        return captions, captions.index(true), None
    (target,) = clean_captions([target])
    if target not in captions:
        captions = (*captions, target)
    return captions, captions.index(true), captions.index(target)


def attack_both(library: Library, request: Request) -> Iterator[Progress]:
    """Runs a request, yielding Progress; pictures come as soon as each is ready."""
    captions, label, target = check(request)
    image = open_image(str(request.photo))
    outcome = Outcome(request.alt, [Part(library.card(m)) for m in request.models])
    models: list[DualEncoder] = []
    for name in request.models:
        yield Progress(f"Opening {name} …")
        models.append(library.load(name))
    pairs = [one_pair(image, captions, label, m.size) for m in models]
    targets = None if target is None else torch.tensor([target])
    pixels = pixel_half(request.attack)
    searched = (request.goal == "classification" and isinstance(request.attack, ImageAttack)
                and not isinstance(pixels, Noise))
    for part, model, pair in zip(outcome.parts, models, pairs, strict=True):
        part.flip_searched = searched
        for event in stream(request.attack, model, pair, request.goal, targets, request.seed,
                            record=True):
            if isinstance(event, Step):
                yield Progress(f"Attacking {WHAT[event.what]} on {part.card.id}", event.index,
                               event.total)
            else:
                part.result = event
        yield Progress(f"Attacked {part.card.id}", outcome=outcome.now())
    if isinstance(request.attack, JointAttack):
        yield from _halves(request, request.attack, outcome, models, pairs, targets)
    if pixels is not None:
        _noise(request, pixels, outcome, models, pairs, targets)
    _transfer(outcome, models)
    yield Progress("Compared with random noise and with each other", outcome=outcome.now())
    if searched:
        yield from _flips(request, outcome, models, pairs, targets)
    outcome.bundle = bundle_bytes([p.result for p in outcome.parts if p.result is not None],
                                  {m.card.id: m.fingerprint for m in models}, request.alt)
    yield Progress("Done.", outcome=outcome.now())


def reopen(library: Library, file: str) -> tuple[Bundle, Outcome]:
    """A saved bundle and the outcome that it shows, scored anew."""
    bundle = read_bundle(Path(file))
    results = restored(bundle, library)
    outcome = Outcome(bundle.alt, [Part(library.card(r.model), r, flip_searched=False)
                                   for r in results])
    _transfer(outcome, [library.load(r.model) for r in results])
    return bundle, outcome


def pixel_half(attack: Attack) -> ImageAttack | None:
    """The part of an attack that changes the image, if any."""
    half = attack.image if isinstance(attack, JointAttack) else attack
    return half if isinstance(half, ImageAttack) else None


def _halves(request: Request, attack: JointAttack, outcome: Outcome, models: list[DualEncoder],
            pairs: list[Pairs], targets: torch.Tensor | None) -> Iterator[Progress]:
    """Each half of a joint attack alone, at the same budget."""
    halves: tuple[tuple[str, Attack], ...] = (("image", attack.image), ("text", attack.text))
    for part, model, pair in zip(outcome.parts, models, pairs, strict=True):
        for what, half in halves:
            for event in stream(half, model, pair, request.goal, targets, request.seed):
                if isinstance(event, Step):
                    yield Progress(f"For comparison, {WHAT[what]} alone on {part.card.id}",
                                   event.index, event.total)
                else:
                    part.alone[what] = event


def _noise(request: Request, pixels: ImageAttack, outcome: Outcome, models: list[DualEncoder],
           pairs: list[Pairs], targets: torch.Tensor | None) -> None:
    """Noise of the same size."""
    noise = Noise(eps=pixels.eps, norm=pixels.norm)
    for part, model, pair in zip(outcome.parts, models, pairs, strict=True):
        part.noise = run(noise, model, pair, request.goal, targets, request.seed)


def _transfer(outcome: Outcome, models: list[DualEncoder]) -> None:
    """Each model's reading of what was made against the other."""
    for made, part in enumerate(outcome.parts):
        result = part.result
        assert isinstance(result, Result)
        for read, model in enumerate(models):
            outcome.grid[made, read] = (result, *read_by(model, result))


def _flips(request: Request, outcome: Outcome, models: list[DualEncoder], pairs: list[Pairs],
           targets: torch.Tensor | None) -> Iterator[Progress]:
    assert isinstance(request.attack, ImageAttack)
    asked = request.attack if request.attack.total <= LONG else PGD()
    attack = replace(asked, norm="linf", eps=1 / 255)
    for part, model, pair in zip(outcome.parts, models, pairs, strict=True):
        steps, shown = 0, part.result
        assert shown is not None
        known = max(1, int(shown.linf_255[0])) if bool(shown.success[0]) else None
        for event in smallest_flip(attack, model, pair, request.goal, targets, request.seed,
                                   MOST_FLIP, known):
            if isinstance(event, Flip):
                part.flip = event
            else:
                steps += 1
                yield Progress(f"Looking for the smallest ε that flips {part.card.id}: "
                               f"step {steps}")
