"""Scores a bundle again, and on request attacks again, and says whether the numbers hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from explorer.attacks.defences.guard import run_against
from explorer.attacks.defences.model import Defended
from explorer.attacks.defences.registry import defence_of
from explorer.attacks.registry import attack_of, settings_of
from explorer.attacks.result import Reading, Result, Seen
from explorer.base.errors import InputError
from explorer.base.memory import out_of_memory
from explorer.data.pairs import Pairs, clean_captions
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.bundle import Bundle, Entry

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


def _guarded(case: Entry, model: DualEncoder, captions: Sequence[str]) -> DualEncoder:
    """The model behind the defence that the case was measured behind, if any."""
    told = dict(case.numbers.get("defence") or {})
    if not told:
        return model
    defence = defence_of(str(told.pop("name")), told)
    return Defended(model, defence, int(case.numbers["attack"]["seed"])).facing(captions)


def _scores(bundle: Bundle, case: Entry, model: DualEncoder) -> Iterator[Check]:
    name, model = model.card.id, _guarded(case, model, bundle.captions)
    height, width = case.clean.shape[1:]
    if (height, width) != (model.frame.height, model.frame.width):
        raise InputError(f"the pictures have {height} x {width} pixels, but {name} reads "
                         f"{model.frame.sides}")
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


def _distance(case: Entry, name: str) -> Check:
    moved = float((case.adversarial - case.clean).abs().max() * 255)
    said = float(case.numbers["linf_255"])
    holds = round(moved) == round(said)
    return Check(name, "distance", holds, f"the pictures differ by {moved:.0f}/255, "
                 f"{'as' if holds else 'not'} {said:.0f}/255{' as said' if holds else ''}")


def restored(bundle: Bundle, library: Library, device: str | None = None) -> list[Result]:
    """The results of a bundle, scored anew on its own pictures and captions; one a model.

    Raises InputError when a model is not there or the numbers do not fit.
    """
    results = []
    for case in bundle.cases:
        try:
            results.append(_restore(bundle, case, library.load(str(case.numbers["model"]), device)))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            if isinstance(error, InputError) or out_of_memory(error):
                raise
            raise InputError("bundle.json lacks numbers or has them wrong "
                             f"({type(error).__name__})") from None
    return results


def _restore(bundle: Bundle, case: Entry, model: DualEncoder) -> Result:
    kind, name, settings = settings_of_case(case.numbers)
    attack = attack_of(kind, name, settings)
    rows = clean_captions([str(c) for c in case.numbers["adversarial"]["captions"]])
    if len(rows) != len(bundle.captions):
        raise InputError("the bundle has not as many captions after the attack as before")
    target = settings.get("target")
    model = _guarded(case, model, bundle.captions)
    both = torch.stack([case.clean, case.adversarial])
    with torch.no_grad():
        features = model.encode_image(both)
    text, now = model.encode_text(bundle.captions), model.encode_text(rows)
    done, label = torch.tensor([bool(case.numbers["success"])]), bundle.label
    return Result.measured(
        Seen(both[:1], features[:1], (bundle.captions,), text),
        Seen(both[1:], features[1:], (rows,), now), model.scale,
        model=model.card.id, kind=kind, attack=name, settings=settings_of(attack),
        goal=str(settings["goal"]), seed=int(settings["seed"]), labels=torch.tensor([label]),
        targets=None if target is None else torch.tensor([bundle.captions.index(target)]),
        success=done, raw_success=done,
        queries=int(case.numbers["queries"]), seconds=float(case.numbers["seconds"]), tried=1,
        frames=both, frame_steps=(0, 1), frame_captions=(bundle.captions[label], rows[label]),
        trail=Reading.of(features, torch.stack([text, now]), model.scale),
        versions=bundle.versions, defence=case.numbers.get("defence"),
        aware=bool(case.numbers.get("aware", False)))


def settings_of_case(numbers: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Kind, name and settings of the attack, for `attack_of`."""
    attack = dict(numbers["attack"])
    return str(numbers.get("kind", "image")), str(attack.pop("name")), attack


def _again(bundle: Bundle, case: Entry, model: DualEncoder) -> Check:
    kind, attack_name, settings = settings_of_case(case.numbers)
    target = settings.get("target")
    targets = None if target is None else torch.tensor([bundle.captions.index(target)])
    pairs = Pairs(case.clean[None], bundle.captions, torch.tensor([bundle.label]))
    result = run_against(attack_of(kind, attack_name, settings),
                         _guarded(case, model, bundle.captions), pairs, str(settings["goal"]),
                         targets, int(settings["seed"]),
                         aware=bool(case.numbers.get("aware", False)))
    same = bool((result.adversarial_images[0] == case.adversarial).all())
    agrees = bool(result.success[0]) == bool(case.numbers["success"])
    sentence = "attacked again: " + (
        "the same picture, pixel for pixel" if same else
        "another picture, as another machine may make, with the same outcome" if agrees else
        "the outcome differs")
    return Check(model.card.id, "rerun", agrees, sentence)
