"""What an attack did to embeddings, in the true space: angles, ranks and neighbours.

Nothing here is projected: every number is taken from the model's own unit features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from explorer.analysis.embedding.projection import finite_rows

if TYPE_CHECKING:
    from explorer.attacks.result import Result

LANDMARK, SENTENCE, EXAMPLE, OWN = "landmark", "sentence", "example", "own"
LANDMARKS = {"both": (), "things": (SENTENCE,), "sentences": (LANDMARK,)}
"""Which landmarks are looked at -> the kinds that are left out."""
IMAGE_KINDS = frozenset({EXAMPLE, OWN, "clean", "attacked", "noise"})


@dataclass(frozen=True, eq=False)
class Anchors:
    """Clean points of one model: landmark texts and images. features: (n, D) finite unit rows;
    keys, names, kinds: one each; dropped: how many had no finite features and were left out."""

    model: str
    keys: tuple[str, ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    features: np.ndarray
    dropped: int = 0
    is_image: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        good = finite_rows(self.features)
        if not good.all():
            for name in ("keys", "names", "kinds"):
                kept = tuple(v for v, g in zip(getattr(self, name), good, strict=True) if g)
                object.__setattr__(self, name, kept)
            object.__setattr__(self, "features", self.features[good])
            object.__setattr__(self, "dropped", self.dropped + int((~good).sum()))
        object.__setattr__(self, "is_image", np.array([k in IMAGE_KINDS for k in self.kinds], bool))

    def joined(self, other: Anchors) -> Anchors:
        """Both sets of points, of the same model."""
        assert self.model == other.model
        return Anchors(self.model, self.keys + other.keys, self.names + other.names,
                       self.kinds + other.kinds, np.concatenate([self.features, other.features]),
                       self.dropped + other.dropped)


@lru_cache(maxsize=16)
def among(anchors: Anchors, landmarks: str) -> Anchors:
    """The same points with one of LANDMARKS alone; the same object for the same question."""
    gone = LANDMARKS[landmarks]
    rows = [i for i, kind in enumerate(anchors.kinds) if kind not in gone]
    if len(rows) == len(anchors.kinds):
        return anchors
    keys, names, kinds = (tuple(part[i] for i in rows)
                          for part in (anchors.keys, anchors.names, anchors.kinds))
    return Anchors(anchors.model, keys, names, kinds, anchors.features[rows], anchors.dropped)


@dataclass(frozen=True, eq=False)
class Point:
    """A point that an attack brought. kind: clean, attacked, noise, caption, attacked caption."""

    key: str
    name: str
    kind: str
    features: np.ndarray

    @property
    def is_image(self) -> bool:
        return self.kind in IMAGE_KINDS


@dataclass(frozen=True, eq=False)
class Attacked:
    """One picture's attack on one model. arrows: (from key, to key, "attack" or "noise");
    trail: (F, D) the attacked side after each recorded step; steps: their numbers."""

    points: tuple[Point, ...]
    arrows: tuple[tuple[str, str, str], ...]
    trail: np.ndarray
    steps: tuple[int, ...]
    true: str
    dropped: int = 0

    def __getitem__(self, key: str) -> Point:
        return next(p for p in self.points if p.key == key)

    def has(self, key: str) -> bool:
        return any(p.key == key for p in self.points)

    def became(self, key: str) -> Point | None:
        """Where the attack took a clean point; the clean one of an attacked point is itself."""
        ends = {a: b for a, b, kind in self.arrows if kind == "attack"}
        return self[ends[key]] if key in ends else None


def adversarial_text(result: Result, row: int = 0) -> np.ndarray:
    """(K, D) features of the captions as attacked, for one image."""
    text = np.asarray(result.adversarial_text)
    return text[row] if text.ndim == 3 else text


def attacked(result: Result, noise: Result | None = None, row: int = 0) -> Attacked:
    """The points and arrows of one image of a result; points without finite features left out."""
    text, words = np.asarray(result.text_features), result.adversarial_captions[row]
    moved = adversarial_text(result, row)
    points = [Point("clean", "the clean picture", "clean", np.asarray(result.clean.features[row]))]
    arrows = []
    label = int(result.labels[row])
    if float(result.linf_255[row]) > 0:
        points.append(Point("attacked", "the attacked picture", "attacked",
                            np.asarray(result.adversarial.features[row])))
        arrows.append(("clean", "attacked", "attack"))
    if noise is not None and float(noise.linf_255[row]) > 0:
        points.append(Point("noise", "the picture with random noise", "noise",
                            np.asarray(noise.adversarial.features[row])))
        arrows.append(("clean", "noise", "noise"))
    for k, caption in enumerate(result.captions):
        points.append(Point(f"caption:{k}", caption, "caption", text[k]))
        if words[k] != caption:
            points.append(Point(f"attacked:{k}", words[k], "attacked caption", moved[k]))
            arrows.append((f"caption:{k}", f"attacked:{k}", "attack"))
    good = {p.key: p for p in points if finite_rows(p.features[None])[0]}
    kept = tuple(a for a in arrows if a[0] in good and a[1] in good)
    trail = np.empty((0, text.shape[1])) if result.trail is None else np.asarray(
        result.trail.features)
    fine = finite_rows(trail)
    steps = tuple(s for s, f in zip(result.frame_steps, fine, strict=False) if f)
    return Attacked(tuple(good.values()), kept, trail[fine], steps, f"caption:{label}",
                    len(points) - len(good))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two unit vectors, -1 to 1."""
    return float(np.clip(np.asarray(a, np.float64) @ np.asarray(b, np.float64), -1, 1))


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between two unit vectors, exact for small ones too (Kahan's half-angle form)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    half = np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))
    return float(np.degrees(2 * half))


@dataclass(frozen=True)
class Shift:
    """How far one thing moved. noise: angle of the control, where there is one; degrees."""

    name: str
    cosine: float
    angle: float
    noise: float | None = None

    @property
    def ratio(self) -> float | None:
        """The attack's angle over the noise's; None without a control that moved."""
        return self.angle / self.noise if self.noise else None


def shifts(found: Attacked) -> list[Shift]:
    """The picture's shift first, then that of each caption that was changed."""
    noise = None
    if found.has("clean") and found.has("noise"):
        noise = angle(found["clean"].features, found["noise"].features)
    said = []
    for start, end, kind in found.arrows:
        if kind == "attack":
            a, b = found[start], found[end]
            name = "picture" if a.is_image else a.name
            said.append(Shift(name, cosine(a.features, b.features), angle(a.features, b.features),
                              noise if a.is_image else None))
    return said


def rank(cosines: np.ndarray, index: int) -> int:
    """Place of one caption, 1 for the nearest; ties share the better place."""
    return 1 + int((np.asarray(cosines) > cosines[index]).sum())


def caption_ranks(found: Attacked) -> tuple[int, int, int]:
    """(before, after, of how many): the true caption's place among the person's captions, as the
    clean and the attacked picture read the clean and the attacked captions."""
    before = [p for p in found.points if p.kind == "caption"]
    after = [found.became(p.key) or p for p in before]
    index = [p.key for p in before].index(found.true)
    clean = found["clean"].features
    image = found["attacked"].features if found.has("attacked") else clean
    return (rank(np.stack([p.features for p in before]) @ clean, index),
            rank(np.stack([p.features for p in after]) @ image, index), len(before))


def answer(found: Attacked) -> Point | None:
    """The caption, as attacked, that the picture, as attacked, lies nearest to; None where there
    is no picture to ask."""
    if not found.has("clean"):
        return None
    image = found["attacked" if found.has("attacked") else "clean"].features
    said = [found.became(p.key) or p for p in found.points if p.kind == "caption"]
    return max(said, key=lambda p: float(p.features @ image), default=None)


Near = list[tuple[str, str, float]]


def nearest(query: np.ndarray, anchors: Anchors, images: bool, k: int, skip: str = "") -> Near:
    """The k anchors of one modality closest by cosine: (key, name, cosine), nearest first."""
    mine = np.flatnonzero(anchors.is_image == images)
    mine = np.array([i for i in mine if anchors.keys[i] != skip], int)
    cosines = anchors.features[mine] @ np.asarray(query, anchors.features.dtype)
    order = np.argsort(-cosines, kind="stable")[:k]
    return [(anchors.keys[mine[i]], anchors.names[mine[i]], float(cosines[i])) for i in order]


def overlap(before: Near, after: Near) -> float | None:
    """Share of neighbours that stayed, 0 to 1 (overlap@k); None when there are none."""
    if not before:
        return None
    return len({b[0] for b in before} & {a[0] for a in after}) / len(before)
