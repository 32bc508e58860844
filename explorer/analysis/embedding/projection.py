"""From hundreds of numbers a point to two or three, and how much of the truth survives it.

Axes are fitted once, on clean points; attacked points are only ever transformed, so no attack can
bend the map that judges it. Features are (n, D) float arrays; coordinates (n, dims), dims 2 or 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_COMPARED = 600  # points that trustworthiness is measured on: its cost grows with their square
TINY = 1e-9
PICTURE_ENDS = ("the attacked picture", "the true caption")
WORDS_ENDS = ("the attacked caption", "the picture")  # from the true caption


@dataclass(frozen=True, eq=False)
class Axes:
    """An orthonormal view: (x - origin) @ directions.T, so lengths in it are true lengths, of the
    part of a difference that lies in it.

    origin: (D,); directions: (dims, D), rows of length 1 (or 0 where there is no direction left);
    kept: (dims,) share of the anchors' variance along each; titles: one an axis.
    """

    origin: np.ndarray
    directions: np.ndarray
    kept: np.ndarray
    titles: tuple[str, ...]

    def transform(self, points: np.ndarray) -> np.ndarray:
        """(n, D) -> (n, dims) float64; each point alone, so a batch equals its parts."""
        moved = np.asarray(points, np.float64) - self.origin
        placed: np.ndarray = np.einsum("nd,kd->nk", moved, self.directions)
        return placed

    def first(self, dims: int) -> Axes:
        return Axes(self.origin, self.directions[:dims], self.kept[:dims], self.titles[:dims])


@dataclass(frozen=True, eq=False)
class Centres:
    """Where the two modalities lie on average. CLIP puts images and texts in two separate cones,
    the modality gap (Liang et al. 2022, arXiv 2203.02053); taking each one's own mean away lets
    both be seen in one picture. Differences within a modality do not change.

    image, text: (D,) means over clean anchors; zeros where there is none.
    """

    image: np.ndarray
    text: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, is_image: np.ndarray) -> Centres:
        def mean(rows: np.ndarray) -> np.ndarray:
            return rows.mean(0, dtype=np.float64) if len(rows) else np.zeros(points.shape[1])

        return cls(mean(points[is_image]), mean(points[~is_image]))

    @property
    def gap(self) -> float:
        """Distance between the two means; 0 to 2 for unit features."""
        return float(np.linalg.norm(self.image - self.text))

    def subtract(self, points: np.ndarray, is_image: np.ndarray) -> np.ndarray:
        centred: np.ndarray = points - np.where(is_image[:, None], self.image, self.text)
        return centred


def finite_rows(points: np.ndarray) -> np.ndarray:
    """(n,) bool: rows without NaN or infinity."""
    good: np.ndarray = np.isfinite(points).all(1)
    return good


def halves(is_image: np.ndarray) -> np.ndarray:
    """(n,) weights by which pictures and texts count one half each, however many there are."""
    images, texts = int(is_image.sum()), int((~is_image).sum())
    if not images or not texts:
        return np.full(len(is_image), 1 / max(len(is_image), 1))
    return np.where(is_image, 0.5 / images, 0.5 / texts)


def fit_pca(anchors: np.ndarray, dims: int = 3, weights: np.ndarray | None = None) -> Axes:
    """The directions along which (n, D) anchors differ most (Pearson 1901), largest first, signs
    fixed so that the largest entry of each is positive. One point, or identical points: axes of
    variance 0, so every anchor lands on the origin. weights: (n,) summing to 1; equal if None."""
    points = np.asarray(anchors, np.float64)
    share = np.full(len(points), 1 / len(points)) if weights is None else weights
    origin = share @ points
    centred = points - origin
    values, vectors = np.linalg.eigh(centred.T @ (centred * share[:, None]))
    order = np.argsort(values)[::-1][:dims]
    directions = vectors[:, order].T
    biggest = directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    directions = directions * np.sign(biggest)[:, None]
    total = max(values.clip(0).sum(), 0.0)
    kept = values[order].clip(0) / total if total > TINY else np.zeros(len(order))
    directions, kept = _filled(directions, dims), np.pad(kept, (0, dims - len(kept)))
    titles = tuple(f"principal axis {i + 1} ({kept[i] * 100:.0f} % of the variance)"
                   for i in range(dims))
    return Axes(origin, directions, kept, titles)


def _filled(directions: np.ndarray, dims: int) -> np.ndarray:
    """With rows of zeros where the space has fewer dimensions than the picture."""
    return np.pad(directions, ((0, dims - len(directions)), (0, 0)))


def attack_plane(clean: np.ndarray, adversarial: np.ndarray, other: np.ndarray,
                 anchors: np.ndarray, dims: int = 2, ends: tuple[str, str] = PICTURE_ENDS) -> Axes:
    """Origin: the clean point. First axis: towards the adversarial one; second: what is left of
    the direction to a third point (Gram-Schmidt). Lengths between these three are true in it.

    clean, adversarial, other: (D,); ends: what the last two are called. A third axis, and any that
    is undefined because nothing moved, is the largest direction in which the (n, D) anchors still
    differ.
    """
    clean = np.asarray(clean, np.float64)
    rows: list[np.ndarray] = []
    titles: list[str] = []
    wanted = [(end, f"towards {name}") for end, name in zip((adversarial, other), ends,
                                                            strict=True)]
    spare = anchors - clean
    for end, title in wanted[:dims]:
        left = _without(np.asarray(end, np.float64) - clean, rows)
        if np.linalg.norm(left) > 1e-6:
            rows.append(left / np.linalg.norm(left))
            titles.append(title)
    while len(rows) < dims:
        rest = spare - spare @ np.stack(rows).T @ np.stack(rows) if rows else spare
        direction = fit_pca(rest, 1).directions[0]
        left = _without(direction, rows)
        size = np.linalg.norm(left)
        rows.append(left / size if size > 1e-6 else np.zeros_like(clean))
        titles.append("where the background differs most otherwise")
    directions = np.stack(rows)
    spread = anchors - anchors.mean(0)
    total = float((spread**2).sum())
    along = ((spread @ directions.T) ** 2).sum(0)
    kept = along / total if total > TINY else np.zeros(dims)
    return Axes(clean, directions, kept, tuple(titles))


def _without(vector: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    """What of a vector is left outside the directions so far; twice, for rounding."""
    for row in rows + rows:
        vector = vector - (vector @ row) * row
    return vector


def flip_to(reference: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """(dims,) of +1 or -1: the mirroring of each axis that brings the same anchors of two models
    closest. Mirroring changes no distance. Both (n, dims), row by row the same anchor."""
    a, b = reference - reference.mean(0), coordinates - coordinates.mean(0)
    return np.where((a * b).sum(0) < 0, -1.0, 1.0)


def trustworthiness(points: np.ndarray, coordinates: np.ndarray, k: int = 10, seed: int = 0,
                    ) -> float | None:
    """How far neighbours on the map are neighbours in truth (Venna and Kaski 2001): 1 when every
    point's k nearest on the map are among its k nearest in (n, D), less the farther they come
    from; about 0.5 for a random map. Euclidean, which orders unit vectors as the cosine does.

    On a seeded sample of MOST_COMPARED points. None when there are too few points to say (k must
    be below n / 2) or all are the same.
    """
    if len(points) > MOST_COMPARED:
        chosen = np.random.default_rng(seed).choice(len(points), MOST_COMPARED, replace=False)
        points, coordinates = points[chosen], coordinates[chosen]
    n = len(points)
    k = min(k, (n - 1) // 2)
    if k < 1 or np.allclose(points, points[0]):
        return None
    true, drawn = _squares(points), _squares(coordinates)
    ranks = np.argsort(np.argsort(true, axis=1, kind="stable"), axis=1, kind="stable") + 1
    near = np.argsort(drawn, axis=1, kind="stable")[:, :k]
    beyond = np.take_along_axis(ranks, near, 1) - k
    return float(1 - 2 / (n * k * (2 * n - 3 * k - 1)) * beyond.clip(0).sum())


def _squares(points: np.ndarray) -> np.ndarray:
    """(n, n) squared distances; infinite to oneself."""
    p = np.asarray(points, np.float64)
    p = p - p.mean(0)
    norms = (p**2).sum(1)
    squares: np.ndarray = (norms[:, None] + norms[None] - 2 * p @ p.T).clip(0)
    np.fill_diagonal(squares, np.inf)
    return squares


def length_kept(start: np.ndarray, end: np.ndarray, a: np.ndarray, b: np.ndarray) -> float | None:
    """How much of the true distance between two (D,) points a drawn arrow a -> b shows; None when
    they coincide. Above 1 only on maps that stretch, such as UMAP's."""
    true = float(np.linalg.norm(np.asarray(end, np.float64) - start))
    return float(np.linalg.norm(b - a)) / true if true > 1e-6 else None
