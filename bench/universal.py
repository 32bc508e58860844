"""Changes for all photos, measured on photos they have not seen: python -m bench.universal.

Fills docs/universal.md: those that come with the app, on both models, and how the rate grows with
the number of photos that one is learnt from. What is learnt is kept in --keep by the weights that
it was learnt on, and not learnt again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from bench.report import filled
from explorer.attacks.image.perturbation import bytes_of, read_perturbation, shipped_name
from explorer.attacks.image.universal import Fit, Fooling, Photos, fit, fooling
from explorer.base.device import describe_device
from explorer.base.errors import InputError
from explorer.base.intervals import wilson
from explorer.base.paths import SHIPPED
from explorer.data.sets import read_examples, read_retrieval
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "universal.md"
DATA = ROOT.parent / "shared" / "data"
MODELS = "pocket,pocket-robust"
LEARN, UNSEEN = "photos_train.parquet", "flickr8k_test.parquet,sets/caltech101.parquet"
HEAD = ("learnt on", "photos", "seconds", "read by", "unseen set", "answer changed")


def pictures(data: Path, model: DualEncoder, limit: int, seed: int,
             ) -> tuple[Tensor, tuple[str, ...]]:
    """(N, 3, H, W) drawn of a set, and what there is to choose from."""
    try:
        found = read_examples(data, limit, seed)
    except InputError:
        captioned = read_retrieval(data, limit, seed)
        return (torch.cat([images for _, images in captioned.pixels(model.frame, 50)]),
                tuple(captioned.captions))
    return torch.cat([images for _, images in found.pixels(model.frame, 50)]), tuple(found.captions)


def learnt(model: DualEncoder, images: Tensor, how: Fit, keep: Path) -> tuple[Tensor, str]:
    """The change, kept in a folder, and the seconds it took, "" where it was there already."""
    name = shipped_name(model.card.id, model.fingerprint, (how, len(images)))
    path = SHIPPED / name if (SHIPPED / name).is_file() else keep / name
    if path.is_file():
        return read_perturbation(path.read_bytes(), path.name).change, ""
    began = time.perf_counter()
    *_, state = fit([model], Photos([images]), how)
    path.write_bytes(bytes_of(state.change, ".png"))
    return state.change, f"{time.perf_counter() - began:.0f}"


def rows(args: argparse.Namespace, library: Library) -> Iterator[list[str]]:
    """One a model learnt on, number of photos, model that reads, and set."""
    for name in args.models:
        model = library.load(name)
        images, _ = pictures(args.data / args.learn, model, max(args.growth), args.seed)
        for n in args.growth:
            how = replace(args.how, seed=args.seed, passes=round(
                args.how.passes * (max(args.growth) / n) ** 0.5))
            change, seconds = learnt(model, images[:n], how, args.keep)
            for other in args.models if n == max(args.growth) else [name]:
                reader = library.load(other)
                for data in args.unseen:
                    seen, captions = pictures(args.data / data, reader, args.limit, args.seed)
                    found = fooling(reader, seen, change, captions)
                    yield [name, str(len(images[:n])), seconds, other, data, told(found)]


def told(found: Fooling) -> str:
    low, high = wilson(found.changed, found.n)
    return f"{found.changed / found.n:.1%} ({low:.0%} to {high:.0%}), n = {found.n}"


def flags(argv: Sequence[str] | None) -> argparse.Namespace:
    own = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    own.add_argument("--data", type=Path, default=DATA, help="folder of the image sets")
    own.add_argument("--learn", default=LEARN, help=f"photos to learn from (default {LEARN})")
    own.add_argument("--unseen", default=UNSEEN, help=f"default {UNSEEN}")
    own.add_argument("--limit", type=int, default=1000, help="unseen photos of each set")
    own.add_argument("--growth", default="10,50,200", help="numbers of photos to learn from")
    own.add_argument("--passes", type=int, default=Fit.passes, help="over the most photos")
    own.add_argument("--models", default=MODELS, help=f"default {MODELS}")
    own.add_argument("--models-dir", type=Path, action="append", default=[],
                     help="a folder of model folders to offer as well")
    own.add_argument("--seed", type=int, default=0)
    own.add_argument("--keep", type=Path, default=ROOT / "runs" / "universal")
    own.add_argument("--page", type=Path, default=PAGE, help="what is filled")
    args = own.parse_args(argv)
    args.models, args.unseen = args.models.split(","), args.unseen.split(",")
    args.growth = [int(n) for n in args.growth.split(",")]
    args.how = Fit(passes=args.passes)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = flags(argv)
    keep_memory()
    args.keep.mkdir(parents=True, exist_ok=True)
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    for row in rows(args, Library(args.models_dir, keep=2)):
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)
    about = (f"Learnt from photos of {args.learn}, L∞ 8/255, without labels, seed {args.seed}; a "
             "photo counts when the caption closest to it is another one, with the 95 % interval "
             f"(Wilson). {describe_device()}, {date.today().isoformat()}, by `python -m "
             "bench.universal`; no seconds where it was learnt before.")
    page = filled(args.page.read_text("utf-8"), "universal", "\n".join([about, "", *lines]))
    args.page.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
