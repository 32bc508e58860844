"""One change for all photos, learnt as long work: what is asked, and how it is carried out in a
folder, where a second start goes on. The command `attack --fit` and the Attack tab both use it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from explorer.attacks.image.perturbation import FORMATS, bytes_of
from explorer.attacks.image.universal import Fit, Photos, State, fooling
from explorer.attacks.image.universal import fit as learn
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.versions import versions
from explorer.data.registry import PHOTOS, open_place
from explorer.data.sets import Examples, RetrievalSet
from explorer.jobs.job import Job
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results import saving

STATE, ABOUT = "state.safetensors", "fit.json"
MOST_PHOTOS = 1_000
KIND = "universal"  # of the job


@dataclass(frozen=True)
class Wish:
    """data: id of a set, as `open_place` takes it; models: ids; photos: drawn of it, at most."""

    data: str
    models: tuple[str, ...]
    eps: float = 8 / 255
    passes: int = 40
    photos: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("choose a model at least")
        if not 1 <= self.photos <= MOST_PHOTOS:
            raise InputError(f"choose 1 to {MOST_PHOTOS:,} photos")
        self.how  # noqa: B018 - checks the rest

    @property
    def how(self) -> Fit:
        return Fit(self.eps, "linf", self.passes, seed=self.seed)

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Wish:
        return cls(**{**raw, "models": tuple(raw["models"])})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def carry_out(work: Job, library: Library, root: str | None = None) -> Iterator[Progress]:
    """Learns what a job asks for, a pass at a time; at last the change as files, and in fit.json
    how often answers change, on the photos it was learnt from and on the example photos."""
    wish = Wish.read(work.wish["fit"])
    yield Progress("Opening the photos and the models …", kept=False)
    data = open_place(wish.data, root, wish.photos, wish.seed, work.folder)
    models = [library.load(name) for name in wish.models]
    photos = photos_of(data, models, wish.how)
    about = about_of(models, data.name, photos, wish.how)
    state = earlier(work.folder, about)
    for now in learn(models, photos, wish.how, state):
        state = now
        keep(work.folder, state, about)
        yield Progress(f"Learning from {len(photos.images[0])} photos: pass", state.passes,
                       wish.passes)
    assert state is not None
    yield Progress("Counting on photos it has not seen …", wish.passes, wish.passes)
    rates = list(rates_of(models, {"learnt from": data, "example photos": open_place(
        PHOTOS, root, None, 0, work.folder)}, state))
    finish(work.folder, state, about, rates)


def about_of(models: Sequence[DualEncoder], name: str, photos: Photos, how: Fit) -> dict[str, Any]:
    """What a change depends on."""
    return {"models": {m.card.id: m.fingerprint for m in models}, "data": name,
            "photos": len(photos.images[0]), "fit": vars(how)}


def rates_of(models: Sequence[DualEncoder], sets: Mapping[str, Examples | RetrievalSet],
             state: State) -> Iterator[dict[str, Any]]:
    """How often the answer changes, by model and set; a set with one caption alone is left out."""
    for model in models:
        for name, data in sets.items():
            if len(data.captions) >= 2:
                yield {"data": name, **vars(fooling(
                    model, pictures_of(data, model)[0], state.change, data.captions))}


def finish(folder: Path, state: State, about: Mapping[str, Any], rates: Sequence[Mapping[str, Any]],
           ) -> list[str]:
    """Writes the change in all formats and what is known of it; the names of its files."""
    found = {f"perturbation{suffix}": bytes_of(state.change, suffix) for suffix in FORMATS}
    done = {**about, "passes": state.passes, "fooling": list(rates), "versions": versions()}
    saving.write_files(folder, {**found, ABOUT: saving.json_bytes(done)})
    (folder / STATE).unlink(missing_ok=True)
    return list(found)


def photos_of(data: Examples | RetrievalSet, models: Sequence[DualEncoder], how: Fit) -> Photos:
    """What is learnt from, at each model's size."""
    if how.goal == "label" and not isinstance(data, Examples):
        raise InputError("to learn from labels the photos must have some: leave --labels out")
    images, labels = [], None
    for model in models:
        pixels, places = pictures_of(data, model)
        images.append(pixels)
        if isinstance(data, Examples):
            labels = torch.tensor([data.labels[place] for place in places])
    return Photos(images, tuple(data.captions), labels)


def pictures_of(data: Examples | RetrievalSet, model: DualEncoder,
                ) -> tuple[torch.Tensor, list[int]]:
    """(N, 3, H, W) at a model's input, and the places of those that can be read."""
    parts = list(data.chunks(model.frame, 50, range(-(-len(data) // 50))))
    return (torch.cat([pixels for _, _, pixels in parts]),
            [place for _, places, _ in parts for place in places])


def keep(folder: Path, state: State, about: Mapping[str, Any]) -> None:
    """What is needed to go on, after each pass."""
    from safetensors.torch import save

    note = {"about": json.dumps(about, sort_keys=True), "passes": str(state.passes),
            "loss": str(state.loss)}
    raw = save({"change": state.change.contiguous(), "memory": state.memory.contiguous()}, note)
    saving.write_files(folder, {STATE: raw})


def earlier(folder: Path, about: Mapping[str, Any]) -> State | None:
    """Where an earlier start of the same stopped; None for another one, or a damaged file."""
    from safetensors import SafetensorError, safe_open

    if not (folder / STATE).is_file():
        return None
    try:
        with safe_open(folder / STATE, "pt") as file:
            note = file.metadata()
            if note.get("about") != json.dumps(about, sort_keys=True):
                return None
            return State(file.get_tensor("change"), file.get_tensor("memory"),
                         int(note["passes"]), float(note["loss"]))
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError):
        return None
