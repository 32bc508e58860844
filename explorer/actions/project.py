"""The call `project`: where an attack took the embeddings, on a map, with the true numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer.actions.answers import sentence
from explorer.analysis.embedding import words as space_words
from explorer.analysis.embedding.layout import Layout, View, centres_of, lay_out, mirrored
from explorer.analysis.embedding.shift import (
    Anchors,
    Attacked,
    Near,
    among,
    attacked,
    caption_ranks,
    nearest,
    overlap,
    shifts,
)
from explorer.analysis.embedding.state import Spaces
from explorer.analysis.embedding.svg import drawing
from explorer.attacks.amounts import NORMS
from explorer.attacks.image.classic import Noise
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.pairs import Pairs
from explorer.models.library import Library
from explorer.results.views import esc

PROJECTIONS = ("pca", "plane")  # UMAP is fitted behind the page, which takes minutes
MOST_NEIGHBOURS = 50


@dataclass(frozen=True, eq=False)
class ModelMap:
    """One model's part of a map. role: standard or robust."""

    model: str
    role: str
    anchors: Anchors
    found: Attacked
    layout: Layout
    said: str


@dataclass(frozen=True, eq=False)
class Map:
    """Clean and attacked points of each model, laid out alike; k: neighbours counted."""

    sides: tuple[ModelMap, ...]
    view: View
    k: int

    def __getitem__(self, model: str) -> ModelMap:
        for side in self.sides:
            if side.model == model:
                return side
        raise KeyError(model)

    def _words(self) -> list[space_words.Side]:
        return [(side.model, side.anchors, side.found) for side in self.sides]

    def sentence(self) -> str:
        return space_words.sentence(self._words())

    def plain(self, background: bool = False) -> dict[str, Any]:
        """For JSON. background: with the coordinates of the fixed clean points too."""
        return {"sentence": self.sentence(), "projection": self.view.projection,
                "dims": self.view.dims, "centred": self.view.centre,
                "landmarks": self.view.landmarks,
                "sides": [_plain(side, self.k, background) for side in self.sides]}

    def __repr__(self) -> str:
        return self.sentence()

    def _repr_html_(self) -> str:
        maps = "".join(
            f'<figure style="display:inline-block;margin:0 12px 0 0"><figcaption>'
            f"{esc(side.model)}</figcaption>{drawing(side.model, side.layout, side.found)}"
            f'<p style="max-width:420px">{esc(side.layout.quality)}</p></figure>'
            for side in self.sides if self.view.dims == 2)
        numbers = space_words.numbers(self._words(), [s.layout.shown for s in self.sides], self.k)
        return f"<p>{esc(self.sentence())}</p>{maps}{numbers}"


def control(result: Result, library: Library) -> Result | None:
    """Random noise of the attack's own size on the same picture; None where only words moved, or a
    part of it was covered."""
    if result.kind == "text" or result.settings["norm"] not in NORMS:
        return None
    noise = Noise(eps=result.settings["eps"], norm=result.settings["norm"])
    pairs = Pairs(result.images, result.captions, result.labels)
    return run(noise, library.load(result.model), pairs, result.goal, result.targets, result.seed)


def lay(library: Library, spaces: Spaces, results: Mapping[str, Result], view: View, k: int = 10,
        ) -> Iterator[Progress | Map]:
    """Lays finished attacks out among the fixed clean points, saying how far it is; at last the
    Map. The first time a model reads about 1,200 landmarks, which takes seconds."""
    if view.projection not in PROJECTIONS:
        raise InputError(f"the projection must be one of {', '.join(PROJECTIONS)}; UMAP is in the "
                         "app's Embedding space tab")
    for said in spaces.prepare(tuple(results)):
        yield Progress(said.text, said.done, said.total)
    sides: list[ModelMap] = []
    for name, result in results.items():
        yield Progress(f"Placing the points of {name}")
        base = spaces.anchors(name)
        assert base is not None
        anchors = among(base, view.landmarks)
        found = attacked(result, control(result, library))
        layout = lay_out(anchors, found, view, spaces.maps)
        if sides:
            layout = mirrored(layout, sides[0].layout)
        kind = library.card(name).kind
        sides.append(ModelMap(name, kind, anchors, found, layout, sentence(result)))
    yield Map(tuple(sides), view, k)


def _plain(side: ModelMap, k: int, background: bool) -> dict[str, Any]:
    found, layout = side.found, side.layout
    points = [{"key": p.key, "name": p.name, "kind": p.kind, "at": _at(layout.points[i])}
              for i, p in enumerate(found.points)]
    arrows = [{"from": a, "to": b, "kind": kind, "length_shown": _some(layout.shown.get((a, b)))}
              for a, b, kind in found.arrows]
    told = {"model": side.model, "role": side.role, "sentence": side.said,
            "projection": layout.drawn, "axes": list(layout.titles), "quality": layout.quality,
            "notes": list(layout.notes), "points": points, "arrows": arrows,
            "true_space": _true(side, k)}
    if background:
        told["background"] = [
            {"name": name, "kind": kind, "at": _at(at)} for name, kind, at in
            zip(side.anchors.names, side.anchors.kinds, layout.anchors, strict=True)]
    return told


def _at(row: np.ndarray) -> list[float]:
    return [round(float(v), 5) for v in row]


def _some(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _true(side: ModelMap, k: int) -> dict[str, Any]:
    """Measured on the features themselves, nothing projected; angles in degrees."""
    found, anchors = side.found, side.anchors
    told: dict[str, Any] = {
        "dimensions": int(anchors.features.shape[1]),
        "modality_gap": round(centres_of(anchors).gap, 4),
        "shifts": [{"name": s.name, "cosine": round(s.cosine, 5), "angle": round(s.angle, 3),
                    "noise_angle": None if s.noise is None else round(s.noise, 3)}
                   for s in shifts(found)]}
    if found.has("clean") and found.has(found.true):
        before, after, of = caption_ranks(found)
        told["rank_of_true_caption"] = {"before": before, "after": after, "of": of}
    told["neighbours"] = {
        "captions": _neighbours(found, anchors, False, k),
        "pictures": _neighbours(found, anchors, True, k)} if found.has("clean") else {}
    return told


def _neighbours(found: Attacked, anchors: Anchors, images: bool, k: int) -> dict[str, Any]:
    """Of the picture, among the fixed points of one modality; overlap: the share that stayed."""
    start = nearest(found["clean"].features, anchors, images, k)
    end = (nearest(found["attacked"].features, anchors, images, k)
           if found.has("attacked") else start)
    return {"before": _near(start), "after": _near(end), "overlap": _some(overlap(start, end))}


def _near(found: Near) -> list[dict[str, Any]]:
    return [{"name": name, "cosine": round(cosine, 5)} for _, name, cosine in found]
