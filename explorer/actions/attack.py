"""The action `attack`: a request on its models, and what tells how much the result is worth: each
half alone, noise of the same size, transfer between the models, and the smallest budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from explorer.actions.company import accompany, remarked
from explorer.analysis.controls import harmless
from explorer.analysis.metrics import read_by, smallest_flip
from explorer.attacks.amounts import NORMS
from explorer.attacks.engine import Step
from explorer.attacks.image.classic import PGD, ImageAttack, Noise
from explorer.attacks.joint import JointAttack
from explorer.attacks.registry import Attack
from explorer.attacks.request import WHAT, Request, step_of
from explorer.attacks.result import Result
from explorer.attacks.run import drain
from explorer.base.progress import Progress
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.bundle import Bundle, bundle_bytes, read_bundle
from explorer.results.outcome import Flip, Outcome, Part
from explorer.results.replay import restored

MOST_FLIP = 16
LONG = 60  # steps; the search for the smallest budget repeats the attack and takes PGD instead


@dataclass(frozen=True, eq=False)
class _Run:
    """A checked request, its opened models, and what is known so far."""

    asked: Request
    models: list[DualEncoder]
    outcome: Outcome

    def each(self) -> Iterator[tuple[Part, DualEncoder]]:
        return zip(self.outcome.parts, self.models, strict=True)


def attack_both(library: Library, request: Request) -> Iterator[Progress]:
    """Runs a request of one picture, yielding Progress; pictures come as soon as each is ready."""
    asked = yield from accompany(library, request.checked())
    run = _Run(asked, [], Outcome(asked.alt, [Part(library.card(m)) for m in asked.models]))
    outcome = run.outcome
    for name in asked.models:
        yield Progress(f"Opening {name} …")
        run.models.append(library.load(name))
        asked.check_read(run.models[-1])
    pixels = pixel_half(asked.attack)
    searched = (asked.goal == "classification" and isinstance(asked.attack, ImageAttack)
                and asked.attack.norm in NORMS and not isinstance(pixels, Noise))
    for part, model in run.each():
        part.flip_searched = searched
        for event in asked.events(model, record=True):
            if isinstance(event, Step):
                yield step_of(event, part.card.id)
            else:
                part.result = yield from remarked(model, event, asked)
        yield Progress(f"Attacked {part.card.id}", outcome=outcome.now())
    yield from _compared(run, pixels)
    if searched:
        yield from _flips(run)
    outcome.bundle = bundle_bytes([p.result for p in outcome.parts if p.result is not None],
                                  {m.card.id: m.fingerprint for m in run.models}, asked.alt)
    yield Progress("Done.", outcome=outcome.now())


def _compared(run: _Run, pixels: ImageAttack | None) -> Iterator[Progress]:
    """With its halves, with random noise of the same size, and between the models."""
    if isinstance(run.asked.attack, JointAttack):
        yield from _halves(run, run.asked.attack)
    if pixels is not None and pixels.norm in NORMS:
        noise = Noise(eps=pixels.eps, norm=pixels.norm)
        for part, model in run.each():
            part.noise = drain(run.asked.events(model, attack=noise))
    for part, model in run.each() if pixels is not None else ():
        assert part.result is not None
        part.harmless = harmless(model, part.result)
    _transfer(run.outcome, run.models)
    yield Progress("Compared with random noise and with each other", outcome=run.outcome.now())


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


def _halves(run: _Run, attack: JointAttack) -> Iterator[Progress]:
    """Each half of a joint attack alone, at the same budget."""
    halves: tuple[tuple[str, Attack], ...] = (("image", attack.image), ("text", attack.text))
    for part, model in run.each():
        for what, half in halves:
            for event in run.asked.events(model, attack=half):
                if isinstance(event, Step):
                    yield Progress(f"For comparison, {WHAT[what]} alone on {part.card.id}",
                                   event.index, event.total)
                else:
                    part.alone[what] = event


def _transfer(outcome: Outcome, models: list[DualEncoder]) -> None:
    """Each model's reading of what was made against the other."""
    for made, part in enumerate(outcome.parts):
        result = part.result
        assert isinstance(result, Result)
        for read, model in enumerate(models):
            outcome.grid[made, read] = (result, *read_by(model, result))


def _flips(run: _Run) -> Iterator[Progress]:
    asked = run.asked
    assert isinstance(asked.attack, ImageAttack)
    short = asked.attack if asked.attack.total <= LONG else PGD()
    attack = replace(short, norm="linf", eps=1 / 255)
    for part, model in run.each():
        steps, shown = 0, part.result
        assert shown is not None
        known = max(1, int(shown.linf_255[0])) if bool(shown.success[0]) else None
        for event in smallest_flip(attack, model, asked.pairs(model), asked.goal,
                                   asked.targets(), asked.seed, MOST_FLIP, known):
            if isinstance(event, Flip):
                part.flip = event
            else:
                steps += 1
                yield Progress(f"Looking for the smallest ε that flips {part.card.id}: "
                               f"step {steps}")
