"""What the embedded models make of the landmarks and the example photos, and its maps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from explorer.analysis.embedding.landmarks import (
    concepts,
    landmark_name,
    named,
    picture_name,
    sentences,
)
from explorer.analysis.embedding.state import Spaces, drain
from explorer.analysis.embedding.umaps import UmapSettings, fit_umap, layout_name
from explorer.base import diskcache
from explorer.data.examples import load_examples
from explorer.models.library import Library
from tools.shipping import MODELS, Shipped


def things(library: Library) -> list[Shipped]:
    return [thing for name in MODELS for thing in [*_features(library, name),
                                                   *_maps(library, name)]]


def _spaces(library: Library, name: str) -> Spaces:
    """With the clean points of a model, read or kept."""
    spaces = Spaces(library, load_examples())
    drain(spaces.prepare((name,)))
    return spaces


def _features(library: Library, name: str) -> list[Shipped]:
    model, files = library.load(name), [e.path for e in load_examples().values()]
    return [Shipped(f"what {name} makes of {what}", f"{key}.npz",
                    partial(_through_cache, key, lambda: _spaces(library, name)))
            for what, key in (("the landmark concepts", landmark_name(model, named(concepts()))),
                              ("the landmark sentences", landmark_name(model, sentences())),
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


def _through_cache(key: str, work: Callable[[], object], path: Path) -> None:
    """What the app itself keeps under a key once it has done that work."""
    work()
    shutil.copyfile(diskcache.folder() / f"{key}.npz", path)
