"""One model's space laid out for a picture: which axes, where each point lies, what to say of it.

Joins the true space (`space`) and the maps (`projection`, `umapping`); draws nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from explorer.analysis.embedding.projection import (
    PICTURE_ENDS,
    WORDS_ENDS,
    Axes,
    Centres,
    attack_plane,
    fit_pca,
    flip_to,
    halves,
    length_kept,
    trustworthiness,
)
from explorer.analysis.embedding.shift import LANDMARKS, Anchors, Attacked
from explorer.analysis.embedding.umaps import Maps, UmapSettings
from explorer.base.errors import InputError

PROJECTIONS = ("pca", "umap", "plane")
FEW_IMAGES = 50


@dataclass(frozen=True)
class View:
    """How to look: a projection of PROJECTIONS, 2 or 3 dimensions, whether each modality's mean is
    taken away first, UMAP's settings, and which of LANDMARKS stand around."""

    projection: str = "pca"
    dims: int = 2
    centre: bool = False
    umap: UmapSettings = field(default_factory=UmapSettings)
    landmarks: str = "both"

    def __post_init__(self) -> None:
        if self.projection not in PROJECTIONS or self.dims not in (2, 3):
            raise InputError(f"the projection must be one of {', '.join(PROJECTIONS)}, in 2 or 3 "
                             "dimensions")
        if self.landmarks not in LANDMARKS:
            raise InputError(f"the landmarks must be one of {', '.join(LANDMARKS)}")


@dataclass(frozen=True, eq=False)
class Chosen:
    """Attacked pictures of the person's own set. rows: (n,) their places among the anchors;
    features: (n, D) after the attack."""

    rows: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class Layout:
    """Coordinates, (n, dims) each, of the anchors, of the attack's points, of its trail and of
    the ends of chosen arrows; axis titles; quality in words; notes: what else to know; shown: the
    share of each arrow's true length that is seen, by its keys; drawn: the projection in use."""

    anchors: np.ndarray
    points: np.ndarray
    trail: np.ndarray
    chosen: np.ndarray
    titles: tuple[str, ...]
    quality: str
    notes: tuple[str, ...]
    shown: dict[tuple[str, str], float | None]
    drawn: str


@lru_cache(maxsize=16)
def centres_of(anchors: Anchors) -> Centres:
    return Centres.of(anchors.features, anchors.is_image)


def _background(anchors: Anchors, centre: bool) -> np.ndarray:
    if not centre:
        return anchors.features
    return centres_of(anchors).subtract(anchors.features, anchors.is_image)


@lru_cache(maxsize=16)
def pca_of(anchors: Anchors, centre: bool) -> Axes:
    """Fitted once for a set of anchors; three axes, of which two are used in the plane. Pictures
    and texts count one half each: else a thousand landmarks would hide where pictures differ."""
    return fit_pca(_background(anchors, centre), weights=halves(anchors.is_image))


@lru_cache(maxsize=32)
def _trusted(anchors: Anchors, centre: bool, dims: int) -> float | None:
    points = _background(anchors, centre)
    return trustworthiness(points, pca_of(anchors, centre).first(dims).transform(points))


def lay_out(anchors: Anchors, attack: Attacked | None, view: View, maps: Maps,
            chosen: Chosen | None = None) -> Layout:
    """Places everything. UMAP that is not ready, or cannot be, is replaced by PCA with a note."""
    if not len(anchors.features):
        raise InputError("there is no clean point with finite features to fit axes on")
    points = anchors.features[:0] if attack is None else np.stack(
        [p.features for p in attack.points])
    trail = anchors.features[:0] if attack is None else attack.trail
    ends = anchors.features[:0] if chosen is None else chosen.features
    kinds = np.array([] if attack is None else [p.is_image for p in attack.points], bool)
    trail_image = np.full(len(trail), True)
    new = np.concatenate([points, trail, ends])
    is_image = np.concatenate([kinds, trail_image, np.full(len(ends), True)])
    background = _background(anchors, view.centre)
    if view.centre:
        new = centres_of(anchors).subtract(new, is_image)
    notes = _notes(anchors, attack, view)
    placed, base, titles, quality, drawn = _place(
        anchors, attack, view, maps, background, new, notes)
    cuts = np.cumsum([len(points), len(trail)])
    at, along, heads = np.split(placed, cuts)
    shown = _shown(attack, new, at)
    return Layout(base, at, along, heads, titles, quality, tuple(notes), shown, drawn)


Placed = tuple[np.ndarray, np.ndarray, tuple[str, ...], str, str]


def _place(anchors: Anchors, attack: Attacked | None, view: View, maps: Maps,
           background: np.ndarray, new: np.ndarray, notes: list[str]) -> Placed:
    dims = view.dims
    if view.projection == "umap":
        try:
            made = maps.get((anchors, view.centre), lambda: background, dims, view.umap)
        except InputError as error:
            notes.append(f"{str(error)[0].upper()}{str(error)[1:]}. PCA is shown instead.")
        else:
            if made is not None:
                if made.note:
                    notes.append(f"UMAP: {made.note}.")
                quality = (f"UMAP keeps neighbours, not lengths: {_trust(made.trust)}. Do not "
                           "compare lengths of arrows here; use the angles below.")
                titles = tuple(f"UMAP {i + 1} (no unit)" for i in range(dims))
                return made.transform(new), made.coordinates, titles, quality, "umap"
            notes.append("UMAP is being fitted in the background; PCA is shown until it is ready.")
    if view.projection == "plane" and attack is not None:
        axes, sentence = _plane(attack, new, background, dims)
        base = axes.transform(background)
        kept = axes.kept.sum() * 100
        quality = (f"{sentence} The background is only cast onto it: {kept:.0f} % of its variance, "
                   f"{_trust(trustworthiness(background, base))}.")
        return axes.transform(new), base, axes.titles, quality, "plane"
    if view.projection == "plane":
        notes.append("There is no attack to lay a plane through yet; PCA is shown.")
    axes = pca_of(anchors, view.centre).first(dims)
    quality = (f"PCA, fitted on {len(background):,} clean points, pictures and texts one half "
               f"each: {axes.kept.sum() * 100:.0f} % of their variance, "
               f"{_trust(_trusted(anchors, view.centre, dims))}.")
    return axes.transform(new), axes.transform(background), axes.titles, quality, "pca"


def mirrored(layout: Layout, reference: Layout) -> Layout:
    """The layout with its axes mirrored so that its background lies as that of the reference does,
    another model's; mirroring changes no distance. Untouched where they do not show the same."""
    if (layout.drawn != reference.drawn or layout.drawn == "plane"
            or layout.anchors.shape != reference.anchors.shape):
        return layout
    signs = flip_to(reference.anchors, layout.anchors)
    return replace(layout, anchors=layout.anchors * signs, points=layout.points * signs,
                   trail=layout.trail * signs, chosen=layout.chosen * signs)


def one_scale(layouts: Sequence[Layout]) -> tuple[float | None, str]:
    """The side of a square that holds each of several maps, all drawn to one scale, and what their
    lengths tell; None where they tell nothing."""
    drawn = {at.drawn for at in layouts}
    if len(drawn) > 1 or "umap" in drawn:
        return None, "No common scale: do not compare lengths."
    every = [np.concatenate([at.anchors, at.points]) for at in layouts]
    side = max(float(np.ptp(points, axis=0).max()) for points in every)
    maps = "Both maps on one scale" if len(layouts) > 1 else "One scale"
    return side, (f"{maps}, the attack’s arrow in true length." if drawn == {"plane"} else
                  f"{maps}, but lengths only as far as they lie in the map.")


def _plane(attack: Attacked, new: np.ndarray, background: np.ndarray, dims: int,
           ) -> tuple[Axes, str]:
    """The plane through the clean picture, its attacked end and the true caption; where only words
    were changed, through the true caption, its attacked end and the picture."""
    place = {p.key: i for i, p in enumerate(attack.points)}
    words, ends = attack.became(attack.true), PICTURE_ENDS
    if not attack.has("attacked") and words is not None and "clean" in place:
        start, end, other = new[place[attack.true]], new[place[words.key]], new[place["clean"]]
        said = "Plane through the true caption, clean and attacked, and the picture"
        ends = WORDS_ENDS
    elif "clean" in place:
        start = new[place["clean"]]
        end = new[place["attacked"]] if "attacked" in place else start
        other = new[place[attack.true]] if attack.true in place else start
        said = "Plane through the clean and the attacked picture and the true caption"
    else:
        raise InputError("the clean picture has no finite features: there is no plane to show")
    if not attack.arrows or np.linalg.norm(end - start) < 1e-6:
        return attack_plane(start, end, other, background, dims, ends), (
            "Nothing moved, so the plane only holds the picture and its caption.")
    return attack_plane(start, end, other, background, dims, ends), (
        f"{said}: lengths and angles between these three are true.")


def _trust(value: float | None) -> str:
    return ("too few different points to measure trustworthiness" if value is None
            else f"trustworthiness {value:.2f} of 1")


def _notes(anchors: Anchors, attack: Attacked | None, view: View) -> list[str]:
    notes = []
    dropped = anchors.dropped + (attack.dropped if attack else 0)
    if dropped:
        notes.append(f"{dropped} point{'s have' if dropped > 1 else ' has'} no finite features "
                     f"and {'are' if dropped > 1 else 'is'} left out.")
    if view.centre:
        images = int(anchors.is_image.sum())
        few = " (few: a rough centre)" if images < FEW_IMAGES else ""
        notes.append(f"Each modality is drawn around its own mean, of {images} pictures{few} and "
                     f"{len(anchors.features) - images} texts; the gap between the two, "
                     f"{centres_of(anchors).gap:.2f}, is taken out.")
    elif anchors.is_image.any() and not anchors.is_image.all():
        notes.append("CLIP keeps pictures and texts apart (the modality gap: their means lie "
                     f"{centres_of(anchors).gap:.2f} apart); “Centre each modality” takes each "
                     "one’s mean away.")
    if len(anchors.features) > 1 and np.allclose(anchors.features, anchors.features[0], atol=1e-7):
        notes.append("All background points are the same, so they are drawn on one spot.")
    return notes


def _shown(attack: Attacked | None, new: np.ndarray, at: np.ndarray,
           ) -> dict[tuple[str, str], float | None]:
    if attack is None:
        return {}
    place = {p.key: i for i, p in enumerate(attack.points)}
    return {(a, b): length_kept(new[place[a]], new[place[b]], at[place[a]], at[place[b]])
            for a, b, _ in attack.arrows}
