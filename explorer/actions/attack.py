"""The call `attack`: one photo, its captions, or both, against one or more models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from explorer.actions.session import WHAT, Progress
from explorer.actions.values import PAIR, Answer
from explorer.attacks.budgets import parse_eps
from explorer.attacks.build import attack_of
from explorer.attacks.engine import Step
from explorer.attacks.image.base import default_step
from explorer.attacks.result import Result, versions
from explorer.attacks.run import Attack, name_of, settings_of, stream
from explorer.base.errors import InputError
from explorer.data.pairs import clean_captions, one_pair, open_image
from explorer.models.library import Library
from explorer.results.saving import as_dict, file_stem, picture_files
from explorer.results.verdicts import verdict

USUAL = {"image": "pgd", "text": "bert", "joint": "alternating"}


@dataclass(frozen=True, eq=False)
class Call:
    """An attack that may be run. true, target: numbers of captions."""

    image: Image.Image
    captions: tuple[str, ...]
    true: int
    target: int | None
    attack: Attack
    models: tuple[str, ...]
    goal: str
    seed: int


def tuned(kind: str, name: str | None, settings: Mapping[str, Any]) -> Attack:
    """The attack of a kind and registry name (None: the usual one) with settings of its own; eps
    and step may be texts such as "4/255", and PGD's step follows its eps unless it is given.

    Raises InputError for anything else, settings that the attack does not have included.
    """
    if kind not in USUAL:
        raise InputError(f"kind must be image, text or joint, not '{kind}'")
    values = {k: parse_eps(v) if k in ("eps", "step") else v for k, v in settings.items()}
    try:
        attack = attack_of(kind, name or USUAL[kind], values)
        has = settings_of(attack)
        unknown = values.keys() - has.keys()
        if unknown:
            raise InputError(f"the attack {name_of(attack)} has no setting "
                             f"{', '.join(sorted(unknown))}; it has {', '.join(has)}")
        if "step" in has and "step" not in values:
            values["step"] = default_step(has["eps"], has["norm"], has["steps"])
            attack = attack_of(kind, name or USUAL[kind], values)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError):  # such as a text where a number belongs
        raise InputError("the settings of the attack are of the wrong type") from None
    return attack


def prepare(image: str | Path | bytes | Image.Image, captions: Sequence[str], true: int = 0,
            kind: str = "image", name: str | None = None, models: Sequence[str] = PAIR,
            goal: str = "classification", target: str | None = None, seed: int = 0,
            settings: Mapping[str, Any] | None = None) -> Call:
    """Checks what is asked for. Raises InputError in one sentence."""
    said = clean_captions(captions)
    if not 0 <= true < len(said):
        raise InputError(f"true must be a caption's number, 0 to {len(said) - 1}")
    aim = None
    if target is not None:
        (wanted,) = clean_captions([target])
        said = said if wanted in said else clean_captions([*said, wanted])
        aim = said.index(wanted)
    attack = tuned(kind, name, settings or {})
    return Call(open_image(image), said, true, aim, attack, tuple(models), goal, seed)


def run_call(library: Library, call: Call, record: bool = False,
             ) -> Iterator[Progress | dict[str, Result]]:
    """Attacks each model in turn, saying how far it is; at last the results by model."""
    results: dict[str, Result] = {}
    targets = None if call.target is None else torch.tensor([call.target])
    for name in call.models:
        yield Progress(f"Opening {name} …")
        model = library.load(name)
        pair = one_pair(call.image, call.captions, call.true, model.size)
        for event in stream(call.attack, model, pair, call.goal, targets, call.seed, record):
            if isinstance(event, Step):
                yield Progress(f"Attacking {WHAT[event.what]} on {name}", event.index, event.total)
            else:
                results[name] = event
    yield results


def sentence(result: Result) -> str:
    """What happened to the picture, in one sentence that names the model; for changed captions
    the words too."""
    said = f"{result.model}: {verdict(result)[1]}"
    clean, now = result.own_captions()
    if clean != now:
        said += f" The true caption reads “{now}” now."
    return said


def plain(call: Call, results: Mapping[str, Result]) -> Answer:
    """Everything but features: scores, success, distances, and the two PNGs of each model."""
    runs, pictures = [], dict[str, bytes]()
    for number, (model, result) in enumerate(results.items()):
        names, contents = picture_files(result, f"{number}-{file_stem(model)}")
        kept = {k: names[k] for k in ("clean", "adversarial")}
        pictures |= {name: contents[name] for name in kept.values()}
        runs.append({**as_dict(result, files=kept), "sentence": sentence(result)})
    return Answer({"sentences": [run["sentence"] for run in runs], "captions": list(call.captions),
                   "true": call.true, "target": call.target, "seed": call.seed, "runs": runs,
                   "versions": versions()}, pictures)
