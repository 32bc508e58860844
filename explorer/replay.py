"""Scores a bundle again, and on request attacks again, and says whether the numbers hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from explorer.attacks.build import attack_of
from explorer.attacks.run import run
from explorer.bundle import Bundle, Case
from explorer.errors import InputError
from explorer.models import DualEncoder, Library
from explorer.pairs import Pairs
from explorer.result import Reading

TOLERANCE = 1e-3  # of a cosine: other machines add up in another order


@dataclass(frozen=True)
class Check:
    """One thing that was compared. holds None: cannot be compared, which is no failure."""

    model: str
    what: str
    holds: bool | None
    sentence: str


def replay(bundle: Bundle, library: Library, rerun: bool = False, device: str | None = None,
           ) -> Iterator[Check]:
    """Compares what each model says of the pictures with what the bundle says.

    rerun: attack again too, with the same settings and seed. Raises InputError when a model is
    not there.
    """
    for case in bundle.cases:
        name = str(case.numbers.get("model"))
        model = library.load(name, device)
        yield _weights(bundle, name, model)
        try:
            yield from _scores(bundle, case, model)
            yield _distance(case, name)
            if rerun:
                yield _again(bundle, case, model)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"bundle.json lacks numbers of {name}, or has them wrong "
                             f"({type(error).__name__})") from None


def _weights(bundle: Bundle, name: str, model: DualEncoder) -> Check:
    said, is_now = bundle.models.get(name, ""), model.fingerprint
    if not said:
        return Check(name, "weights", None, "the bundle does not say which weights it was made on")
    same = said == is_now
    return Check(name, "weights", same, "the weights are the same" if same else
                 f"the weights differ: {said[:12]} then, {is_now[:12]} now")


def _scores(bundle: Bundle, case: Case, model: DualEncoder) -> Iterator[Check]:
    name = model.card.id
    if case.clean.shape[-1] != model.size:
        raise InputError(f"the pictures have {case.clean.shape[-1]} pixels a side, but {name} "
                         f"reads {model.size}")
    for part, picture in (("clean", case.clean), ("adversarial", case.adversarial)):
        said = case.numbers[part]
        with torch.no_grad():
            features = model.encode_image(picture[None])
        text = model.encode_text([str(c) for c in said["captions"]])
        now = Reading.of(features, text, model.scale)
        then = torch.tensor([float(c) for c in said["cosines"]])
        if then.shape != now.cosines[0].shape:
            raise InputError(f"the bundle has {len(then)} scores for {len(text)} captions")
        off = float((now.cosines[0] - then).abs().max())
        same = int(now.prediction[0]) == int(said["prediction"])
        holds = off <= TOLERANCE and same
        yield Check(name, part, holds, f"{part}: cosines differ by at most {off:.1e}, the answer "
                    f"is {'the same' if same else 'another one'}")


def _distance(case: Case, name: str) -> Check:
    moved = float((case.adversarial - case.clean).abs().max() * 255)
    said = float(case.numbers["linf_255"])
    holds = round(moved) == round(said)
    return Check(name, "distance", holds, f"the pictures differ by {moved:.0f}/255, "
                 f"{'as' if holds else 'not'} {said:.0f}/255{' as said' if holds else ''}")


def settings_of_case(numbers: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Kind, name and settings of the attack, for `attack_of`."""
    attack = dict(numbers["attack"])
    return str(numbers.get("kind", "image")), str(attack.pop("name")), attack


def _again(bundle: Bundle, case: Case, model: DualEncoder) -> Check:
    kind, attack_name, settings = settings_of_case(case.numbers)
    target = settings.get("target")
    targets = None if target is None else torch.tensor([bundle.captions.index(target)])
    pairs = Pairs(case.clean[None], bundle.captions, torch.tensor([bundle.label]))
    result = run(attack_of(kind, attack_name, settings), model, pairs, str(settings["goal"]),
                 targets, int(settings["seed"]))
    same = bool((result.adversarial_images[0] == case.adversarial).all())
    agrees = bool(result.success[0]) == bool(case.numbers["success"])
    sentence = "attacked again: " + (
        "the same picture, pixel for pixel" if same else
        "another picture, as another machine may make, with the same outcome" if agrees else
        "the outcome differs")
    return Check(model.card.id, "rerun", agrees, sentence)
