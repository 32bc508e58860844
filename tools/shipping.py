"""Makes what comes with the app, so that nobody waits for what is the same for everybody.

    python -m tools.shipping [--check]     (make shipped)

Each thing is a file of assets/shipped whose name is made from all that decides it, the hash of a
model's weights above all. The app looks for that name and, where it is not there, computes the
thing itself: a file that is stale is never used, only missed. A thing whose file is missing, and a
file that nothing asks for, mean that models or settings have changed and this has to be run again.

To ship another thing, add a `Shipped` to `things`: a sentence that says what it is, the name that
the app looks for now, and a function that makes the file's bytes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from explorer.analysis.embedding.landmarks import concepts, landmark_name, picture_name
from explorer.analysis.embedding.state import Spaces, drain
from explorer.analysis.embedding.umaps import UmapSettings, fit_umap, layout_name
from explorer.attacks.image.perturbation import bytes_of, shipped_name
from explorer.attacks.image.universal import Fit, Photos, fit
from explorer.base import diskcache
from explorer.base.diskcache import SHIPPED
from explorer.data.examples import load_examples
from explorer.data.sets import read_examples
from explorer.models.library import Library

MODELS = ("pocket", "pocket-robust")
PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos_train.parquet"
LEARNT = Fit()  # the changes for all photos, from so many of PHOTOS
MANY = 200
MOST = 5_000_000  # bytes of all files together: everybody downloads them
NOTICE = "NOTICE.md"


@dataclass(frozen=True)
class Shipped:
    """One finished thing. name: of its file, from all that decides it; make: its bytes."""

    what: str
    name: str
    make: Callable[[], bytes]


def things(library: Library, photos: Path = PHOTOS) -> list[Shipped]:
    """Everything that is shipped. Opens the embedded models, to hash their weights. photos: what
    changes for all photos are learnt from, which needs to be there only to make them."""
    return [thing for name in MODELS for thing in [
        *_features(library, name), *_maps(library, name), _universal(library, name, photos)]]


def _universal(library: Library, name: str, photos: Path) -> Shipped:
    """One change for all photos, learnt on a model. Minutes."""
    model = library.load(name)

    def make() -> bytes:
        data = read_examples(photos, MANY, LEARNT.seed)
        images = torch.cat([images for _, images in data.pixels(model.frame, 50)])
        *_, state = fit([model], Photos([images]), LEARNT)
        return bytes_of(state.change, ".png")

    return Shipped(f"one change for all photos, learnt on {name}",
                   shipped_name(name, model.fingerprint, (LEARNT, MANY)), make)


def _spaces(library: Library, name: str) -> Spaces:
    """With the clean points of a model, read or kept."""
    spaces = Spaces(library, load_examples())
    drain(spaces.prepare((name,)))
    return spaces


def _features(library: Library, name: str) -> list[Shipped]:
    model, files = library.load(name), [e.path for e in load_examples().values()]
    return [Shipped(f"what {name} makes of {what}", f"{key}.npz",
                    partial(_through_cache, key, lambda: _spaces(library, name)))
            for what, key in (("the landmark concepts", landmark_name(model, concepts())),
                              ("the example photos", picture_name(model, files)))]


def _maps(library: Library, name: str) -> list[Shipped]:
    """UMAP's layout of the clean points with its settings as the page opens, 2-D and 3-D."""
    anchors, settings = _spaces(library, name).anchors(name), UmapSettings()
    assert anchors is not None
    points = anchors.features
    found = []
    for dims in (2, 3):
        key = layout_name(points, dims, settings, settings.neighbours)
        found.append(Shipped(f"UMAP's map of {name}, {dims}-D", f"{key}.npz",
                             partial(_through_cache, key,
                                     partial(fit_umap, points, dims, settings))))
    return found


def _through_cache(key: str, work: Callable[[], object]) -> bytes:
    """What the app itself keeps under a key once it has done that work."""
    work()
    return (diskcache.folder() / f"{key}.npz").read_bytes()


def stale(asked: list[Shipped], folder: Path = SHIPPED) -> list[str]:
    """What is wrong with the shipped files, a sentence each; nothing when all is well."""
    names = {thing.name for thing in asked}
    held = {path.name for path in folder.glob("*")} - {NOTICE}
    wrong = [f"{thing.what} is missing" for thing in asked if thing.name not in held]
    wrong += [f"{name} is what nothing asks for any more" for name in sorted(held - names)]
    size = sum(path.stat().st_size for path in folder.glob("*"))
    if size > MOST:
        wrong.append(f"the files are {size:,} bytes together, more than {MOST:,}")
    return wrong


def ship(asked: list[Shipped], folder: Path = SHIPPED) -> Iterator[str]:
    """Makes what is missing and deletes what nothing asks for; says what it does."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*")):
        if path.name != NOTICE and path.name not in {thing.name for thing in asked}:
            path.unlink()
            yield f"deleted {path.name}"
    for thing in asked:
        if not (folder / thing.name).exists():
            raw = thing.make()
            (folder / thing.name).write_bytes(raw)
            yield f"made {thing.what}: {len(raw):,} bytes"


@contextmanager
def _own_cache() -> Iterator[None]:
    """A cache folder of its own, so that nothing old is taken for new."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("EXPLORER_CACHE")
        os.environ["EXPLORER_CACHE"] = folder
        try:
            yield
        finally:
            del os.environ["EXPLORER_CACHE"]
            if before is not None:
                os.environ["EXPLORER_CACHE"] = before


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes what comes with the app.")
    parser.add_argument("--check", action="store_true", help="say what is stale, make nothing")
    parser.add_argument("--photos", type=Path, default=PHOTOS, metavar="FILE", help="photographs "
                        f"from which changes for all photos are learnt (default {PHOTOS})")
    args = parser.parse_args()
    library = Library()
    with _own_cache():
        asked = things(library, args.photos)
        if not args.check:
            for line in ship(asked):
                print(line, flush=True)
    wrong = stale(asked)
    for line in wrong:
        print(f"stale: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
