"""One attack on many pictures by two models: what became of each, kept as it is found.

A hunt lives in a folder: set.json (captions, labels, names), rows.jsonl (a line a picture),
pictures/ (clean and attacked, exact PNG), thumbs/ (small, to look at), flips.jsonl (searched on
request). Lines are written batch by batch, so that a hunt goes on where it was ended.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from explorer.analysis.failures.pictures import keep
from explorer.attacks.engine import Step
from explorer.attacks.registry import Attack, attack_of, kind_of, name_of, settings_of
from explorer.attacks.request import Request
from explorer.attacks.result import Result
from explorer.base.errors import InputError
from explorer.base.progress import Clock, Progress
from explorer.data.pairs import clean_captions, open_image
from explorer.data.registry import open_place
from explorer.data.sets import Examples
from explorer.jobs.job import Job, write_text
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import caption_notes, twins, unjudged
from explorer.models.library import Library

MOST_IMAGES = 2_000
BATCH = 8
LEAST_FREE = 500_000_000  # bytes that have to stay free on the disk
KEPT = "study"  # the plan's name in a job's record, as it was in the first edition


@dataclass(frozen=True)
class HuntPlan:
    """place: id of the data set; models: left and right; kind, attack, settings: as `attack_of`
    takes them; extra: more answers to choose from."""

    place: str
    models: tuple[str, str]
    kind: str
    attack: str
    settings: dict[str, Any]
    limit: int = 200
    seed: int = 0
    extra: tuple[str, ...] = ()

    @classmethod
    def of(cls, place: str, models: tuple[str, str], attack: Attack, **more: Any) -> HuntPlan:
        return cls(place, models, kind_of(attack), name_of(attack), settings_of(attack), **more)

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> HuntPlan:
        """The way back from `as_dict`. Hunts of the first edition also kept what the form showed,
        by position; the attack says the same by name."""
        named = {key: value for key, value in raw.items() if key != "controls"}
        return cls(**{**named, **{key: tuple(raw.get(key, ())) for key in ("models", "extra")}})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def wish_of(plan: HuntPlan) -> dict[str, Any]:
    """What is kept of a plan."""
    return {KEPT: plan.as_dict()}


def plan_of(job: Job) -> HuntPlan:
    """The way back."""
    return HuntPlan.read(job.wish[KEPT])


def candidates(examples: Examples, extra: Sequence[str]) -> tuple[str, ...]:
    """The set's answers and the further ones, each once."""
    return clean_captions(list(dict.fromkeys([*examples.captions, *(
        text for line in extra if (text := " ".join(line.split())))])))


def hunt(plan: HuntPlan, folder: Path, library: Library, root: str | None = None,
         ) -> Iterator[Progress]:
    """Attacks all pictures that rows.jsonl does not have yet, and appends what it finds."""
    if not 1 <= plan.limit <= MOST_IMAGES:
        raise InputError(f"choose 1 to {MOST_IMAGES:,} pictures")
    examples = open_place(plan.place, root, plan.limit, plan.seed, folder)
    assert isinstance(examples, Examples)
    yield from attack_all(plan, examples, folder, library)


def attack_all(plan: HuntPlan, examples: Examples, folder: Path, library: Library,
               ) -> Iterator[Progress]:
    """The same on pictures that are open already."""
    attack = attack_of(plan.kind, plan.attack, plan.settings)
    captions, done = candidates(examples, plan.extra), _repair(folder / "rows.jsonl")
    total = len(examples)
    _describe(folder, examples, captions)
    yield Progress("Opening the models …", len(done), total, kept=False)
    models = [library.load(name) for name in plan.models]
    same, notes = _unjudged(models, captions, examples)
    _describe(folder, examples, captions, notes)
    for name in ("pictures", "thumbs"):
        (folder / name).mkdir(exist_ok=True)
    count, clock = len(done), Clock(len(done))
    for places, images in _decoded(examples, done, same):
        results: list[Result] = []
        kept = [place for place in places if place in images]
        asked = Request(tuple(images.values()), captions, tuple(examples.labels[p] for p in kept),
                        attack, models=plan.models, seed=plan.seed)
        for model in models if kept else ():
            for event in asked.events(model):
                if isinstance(event, Step):
                    yield Progress(f"Now pictures {count + 1} to {count + len(places)} on "
                                   f"{model.card.id}, step {event.index} of {event.total}."
                                   f"{clock.left(count, total)}", count, total, kept=False)
                else:
                    results.append(event)
        _room(folder)
        _keep(folder, places, kept, results, same)
        count += len(places)
        yield Progress("", count, total)
    _describe(folder, examples, captions, notes)  # once more: reading pictures finds damaged ones


def _unjudged(models: Sequence[DualEncoder], captions: Sequence[str], examples: Examples,
              ) -> tuple[set[int], list[str]]:
    """The places of pictures whose true caption is another one too to either model, which are not
    attacked, and what is to be said of the captions. Raises InputError where that is all."""
    places, notes = set[int](), list[str]()
    for model in {model.card.id: model for model in models}.values():
        notes += caption_notes(model.card.id, model.tokenize, captions)
        same = twins(model.tokenize, captions)
        own = {place for place, label in enumerate(examples.labels) if label in same}
        notes += [unjudged(model.card.id, len(own))] if own else []
        places |= own
    if len(places) == len(examples):
        raise InputError(" ".join(["no picture can be judged.", *notes]).removesuffix("."))
    return places, notes


def _room(folder: Path) -> None:
    """Raises InputError before the disk is full."""
    if shutil.disk_usage(folder).free < LEAST_FREE:
        raise InputError(f"the server's disk has less than {LEAST_FREE / 1e9:g} GB left: delete "
                         "hunts that are not needed, then let this one go on")


def _decoded(examples: Examples, done: set[int], same: set[int],
             ) -> Iterator[tuple[list[int], dict[int, Image.Image]]]:
    """(places, place -> picture) of a batch; what cannot be read or is in `same` has none."""
    left = [place for place in range(len(examples)) if place not in done]
    raws = examples.source.pictures([examples.chosen[place] for place in left])
    places: list[int] = []
    images: dict[int, Image.Image] = {}
    for place, raw in zip(left, raws, strict=True):
        places.append(place)
        try:
            if place not in same:
                images[place] = open_image(raw)
        except InputError as error:
            examples.report.add(f"cannot be read: {error}"[:120], name_of_picture(examples, place))
        if len(places) == BATCH:
            yield places, images
            places, images = [], {}
    if places:
        yield places, images


def name_of_picture(examples: Examples, place: int) -> str:
    """Its file's name, or its number."""
    return examples.source.name(examples.chosen[place])


def _describe(folder: Path, examples: Examples, captions: Sequence[str],
              notes: Sequence[str] = ()) -> None:
    """notes: on how the models read the captions."""
    write_text(folder / "set.json", json.dumps({
        "name": examples.name, "captions": list(captions), "labels": list(examples.labels),
        "names": [name_of_picture(examples, place) for place in range(len(examples))],
        "left_out": [*examples.report.sentences(), *notes],
        "names_left_out": examples.report.names}, ensure_ascii=False) + "\n")


def _keep(folder: Path, places: Sequence[int], kept: Sequence[int], results: Sequence[Result],
          same: set[int]) -> None:
    """Pictures first, then their lines: a line says that its pictures are there. same: places that
    are not judged."""
    lines = []
    for place in places:
        if place not in kept:
            lines.append(json.dumps({"i": place, "unjudged" if place in same else "bad": True}))
            continue
        row = kept.index(place)
        keep(folder, place, row, list(results))
        lines.append(json.dumps({"i": place, "sides": [side(r, row) for r in results]},
                                ensure_ascii=False))
    with open(folder / "rows.jsonl", "a", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())


def side(result: Result, row: int) -> dict[str, Any]:
    """What one model said of one picture. margins: cosine of the true caption minus that of the
    best other; shift: 1 - cosine of the image's features, or for a text attack of the caption's."""
    label, was, now = (int(t[row]) for t in (result.labels, result.clean.prediction,
                                             result.adversarial.prediction))
    changed = {str(k): text for k, (old, text) in enumerate(
        zip(result.captions, result.adversarial_captions[row], strict=True)) if old != text}
    shift = 1 - float((result.text_cosine if result.kind == "text" else result.image_cosine)[row])
    numbers = {
        "p_was": float(result.clean.probabilities[row, was]),
        "p_now": float(result.adversarial.probabilities[row, now]),
        "margin_clean": _margin(result.clean.cosines[row], label),
        "margin": _margin(result.adversarial.cosines[row], label),
        "shift": shift, "l2": float(result.l2[row]),
        "seconds": result.seconds / len(result.labels),
    }
    return {"was": was, "now": now, **{k: round(v, 5) for k, v in numbers.items()},
            "linf": int(result.linf_255[row]), "words": int(result.words_changed[row]),
            "characters": int(result.characters_changed[row]), "queries": result.queries,
            "captions": changed}


def _margin(cosines: Tensor, label: int) -> float:
    others = cosines.clone()
    others[label] = -torch.inf
    return float(cosines[label] - others.max())


def _repair(path: Path) -> set[int]:
    """The places that are done; a line that was cut off by a crash goes."""
    if not path.exists():
        return set()
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        with open(path, "r+b") as file:
            file.truncate(len(whole))
    return {int(json.loads(line)["i"]) for line in whole.splitlines()}
