"""The command `attack --attack universal --fit DATA`: one change learnt from a set of photos."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from explorer.actions.learning import (
    about_of,
    earlier,
    finish,
    keep,
    photos_of,
    pictures_of,
)
from explorer.actions.terminal import device_named, model_names
from explorer.attacks.amounts import parse_eps
from explorer.attacks.image.universal import Fit, Photos, State, fooling
from explorer.attacks.image.universal import fit as learn
from explorer.base.errors import InputError
from explorer.base.intervals import wilson
from explorer.data.sets import Examples, RetrievalSet, read_examples, read_retrieval
from explorer.models.encoder import DualEncoder
from explorer.results import saving

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
    photos = photos_of(data, models, how)
    about = about_of(models, data.name, photos, how)
    state = earlier(args.out, about)
    with tqdm(total=how.passes, initial=state.passes if state else 0, unit="pass", leave=False,
              disable=None) as bar:
        for now in learn(models, photos, how, state):
            state = now
            bar.update(state.passes - bar.n)
            keep(args.out, state, about)
    assert state is not None
    rates = list(_rates(models, photos, data, unseen, state))
    print(f"written to {args.out}: {', '.join(finish(args.out, state, about, rates))}")


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
           ) -> Iterator[dict[str, Any]]:
    """How often the answer changes, on the photos it was learnt from and on others, said as well
    as yielded."""
    for place, model in enumerate(models):
        for name, found in ((LEARNT_FROM, data), *unseen.items()):
            if len(found.captions) < 2:
                continue  # one answer alone does not change
            images = photos.images[place] if found is data else pictures_of(found, model)[0]
            rate = fooling(model, images, state.change, found.captions)
            low, high = wilson(rate.changed, rate.n)
            where = "the photos it was learnt from; measure it on others (--unseen)" if (
                found is data) else f"photos of {Path(name).name}"
            print(f"{rate.model}: the answer changed on {rate.changed} of {rate.n} "
                  f"({low:.0%} to {high:.0%}) of {where}")
            yield {"data": name, **vars(rate)}


def _opened(path: Path, args: argparse.Namespace) -> Examples | RetrievalSet:
    """Photos with labels or, where there are none, with captions."""
    try:
        return read_examples(path, args.limit, args.seed)
    except InputError as error:
        try:
            return read_retrieval(path, args.limit, args.seed)
        except InputError:
            raise error from None
