"""The command `attack --attack universal --fit DATA`: one change learnt from a set of photos."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from explorer.actions.terminal import device_named, model_names
from explorer.attacks.amounts import parse_eps
from explorer.attacks.image.perturbation import FORMATS, bytes_of
from explorer.attacks.image.universal import Fit, Fooling, Photos, State, fooling
from explorer.attacks.image.universal import fit as learn
from explorer.base.errors import InputError
from explorer.base.intervals import wilson
from explorer.base.versions import versions
from explorer.data.sets import Examples, RetrievalSet, read_examples, read_retrieval
from explorer.models.encoder import DualEncoder
from explorer.results import saving

STATE, ABOUT = "state.safetensors", "fit.json"
LEARNT_FROM = "learnt from"
DEFAULT_EPS = {"linf": "8/255", "l2": "4"}


def fit(args: argparse.Namespace) -> None:
    """Learns, and writes the change in all formats, with what it did to the photos it was learnt
    from and to others. Raises InputError for what cannot be learnt."""
    how = _asked(args)
    saving.check_writable(args.out)
    data = _opened(args.fit, args)
    unseen = {str(path): _opened(path, args) for path in args.unseen}
    device = device_named(args.device)
    library, names = model_names(args)
    models = [library.load(name, device) for name in names]
    photos = _photos(data, models, how)
    about: dict[str, Any] = {
        "models": {m.card.id: m.fingerprint for m in models}, "data": data.name,
        "photos": len(photos.images[0]), "fit": vars(how)}
    state = _earlier(args.out, about)
    with tqdm(total=how.passes, initial=state.passes if state else 0, unit="pass", leave=False,
              disable=None) as bar:
        for now in learn(models, photos, how, state):
            state = now
            bar.update(state.passes - bar.n)
            _keep(args.out, state, about)
    assert state is not None
    found = {f"perturbation{suffix}": bytes_of(state.change, suffix) for suffix in FORMATS}
    rates = [{"data": name, **vars(rate)} for name, rate in _rates(
        models, photos, data, unseen, state)]
    done = {**about, "passes": state.passes, "fooling": rates, "versions": versions()}
    saving.write_files(args.out, {**found, ABOUT: saving.json_bytes(done)})
    (args.out / STATE).unlink(missing_ok=True)
    print(f"written to {args.out}: {', '.join(found)}")


def _asked(args: argparse.Namespace) -> Fit:
    """How it is to be learnt, by the flags."""
    if args.attack != "universal" or args.kind != "image":
        raise InputError("only the attack universal is learnt from a set: add --attack universal")
    if args.image or args.perturbation or args.defence:
        raise InputError("--fit learns a perturbation: leave --image, --perturbation and --defence "
                         "to the command that applies it")
    if args.limit < 1:
        raise InputError(f"--limit must be at least 1, not {args.limit}")
    eps = parse_eps(DEFAULT_EPS[args.norm] if args.eps is None else args.eps)
    passes = Fit.passes if args.passes is None else args.passes
    if args.out.is_file():
        raise InputError(f"{args.out} is a file: --out must be a folder")
    return Fit(eps, args.norm, passes, goal="label" if args.labels else "feature", seed=args.seed)


def _rates(models: list[DualEncoder], photos: Photos, data: Examples | RetrievalSet,
           unseen: Mapping[str, Examples | RetrievalSet], state: State,
           ) -> Iterator[tuple[str, Fooling]]:
    """How often the answer changes, on the photos it was learnt from and on others, said as well
    as yielded."""
    for place, model in enumerate(models):
        for name, found in ((LEARNT_FROM, data), *unseen.items()):
            if len(found.captions) < 2:
                continue  # one answer alone does not change
            images = photos.images[place] if found is data else _pictures(found, model)[0]
            rate = fooling(model, images, state.change, found.captions)
            low, high = wilson(rate.changed, rate.n)
            where = "the photos it was learnt from; measure it on others (--unseen)" if (
                found is data) else f"photos of {Path(name).name}"
            print(f"{rate.model}: the answer changed on {rate.changed} of {rate.n} "
                  f"({low:.0%} to {high:.0%}) of {where}")
            yield name, rate


def _opened(path: Path, args: argparse.Namespace) -> Examples | RetrievalSet:
    """Photos with labels or, where there are none, with captions."""
    try:
        return read_examples(path, args.limit, args.seed)
    except InputError as error:
        try:
            return read_retrieval(path, args.limit, args.seed)
        except InputError:
            raise error from None


def _photos(data: Examples | RetrievalSet, models: list[DualEncoder], how: Fit) -> Photos:
    if how.goal == "label" and not isinstance(data, Examples):
        raise InputError("to learn from labels the photos must have some: leave --labels out")
    images, labels = [], None
    for model in models:
        pixels, places = _pictures(data, model)
        images.append(pixels)
        if isinstance(data, Examples):
            labels = torch.tensor([data.labels[place] for place in places])
    return Photos(images, tuple(data.captions), labels)


def _pictures(data: Examples | RetrievalSet, model: DualEncoder) -> tuple[torch.Tensor, list[int]]:
    """(N, 3, H, W) at a model's input, and the places of those that can be read."""
    parts = list(data.chunks(model.frame, 50, range(-(-len(data) // 50))))
    return (torch.cat([pixels for _, _, pixels in parts]),
            [place for _, places, _ in parts for place in places])


def _keep(folder: Path, state: State, about: dict[str, Any]) -> None:
    """What is needed to go on, after each pass."""
    from safetensors.torch import save

    note = {"about": json.dumps(about, sort_keys=True), "passes": str(state.passes),
            "loss": str(state.loss)}
    raw = save({"change": state.change.contiguous(), "memory": state.memory.contiguous()}, note)
    saving.write_files(folder, {STATE: raw})


def _earlier(folder: Path, about: dict[str, Any]) -> State | None:
    """Where an earlier start of the same command stopped; None for another one, or a damaged
    file."""
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
