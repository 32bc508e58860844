"""UMAP maps: fitted on clean anchors with a seed, new points transformed, kept between starts.

McInnes, Healy, Melville 2018, arXiv 1802.03426, by the authors' package, imported on first use.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import astuple, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from explorer.analysis.embedding.projection import trustworthiness
from explorer.base import diskcache
from explorer.base.errors import InputError

FIT_MOST = 2_000  # anchors a map is fitted on; the others are transformed into it
FEWEST = 5
METRICS = ("cosine", "euclidean", "correlation")
LOG = logging.getLogger(__name__)
_UMAP = threading.RLock()  # the package is not safe between threads


@dataclass(frozen=True)
class UmapSettings:
    """neighbours: small shows fine structure, large the whole; min_dist: how tightly points may
    be packed, 0 to 0.99; metric: one of METRICS, in the space of the features."""

    neighbours: int = 15
    min_dist: float = 0.1
    metric: str = "cosine"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f"the metric must be one of {', '.join(METRICS)}")
        if not 2 <= self.neighbours <= 200 or self.neighbours != int(self.neighbours):
            raise InputError("n_neighbors must be a whole number from 2 to 200")
        if not 0 <= self.min_dist < 1:
            raise InputError("min_dist must be at least 0 and below 1")


class UmapMap:
    """A fitted map. coordinates: (n, dims) of the anchors, trust: their trustworthiness; note:
    what a reader must know."""

    def __init__(self, model: Any, fitted: np.ndarray, anchors: np.ndarray, note: str) -> None:
        self.model, self.note = model, note
        self.coordinates = np.empty((len(anchors), model.embedding_.shape[1]))
        self.coordinates[fitted] = model.embedding_
        rest = np.setdiff1d(np.arange(len(anchors)), fitted)
        if len(rest):
            self.coordinates[rest] = self.transform(anchors[rest])
        self.trust = trustworthiness(anchors, self.coordinates)

    def transform(self, points: np.ndarray) -> np.ndarray:
        """(m, D) -> (m, dims): UMAP's own transform, seeded. Points of one call share its random
        numbers, so give all that belong together at once."""
        if not len(points):
            return np.empty((0, self.coordinates.shape[1]))
        with _UMAP, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            placed = self.model.transform(np.ascontiguousarray(points, np.float32))
        return np.asarray(placed, np.float64)


def fit_umap(anchors: np.ndarray, dims: int, settings: UmapSettings) -> UmapMap:
    """Fits a map on (n, D) finite anchors, or restores one from the disk cache.

    Above FIT_MOST anchors, a seeded sample is fitted. Raises InputError when fewer than FEWEST
    different points are left.
    """
    n = len(anchors)
    fitted = np.arange(n)
    notes = []
    if n > FIT_MOST:
        random = np.random.default_rng(settings.seed)
        fitted = np.sort(random.choice(n, FIT_MOST, replace=False))
        notes.append(f"fitted on {FIT_MOST:,} of {n:,} clean points, the others placed in it")
    points = np.ascontiguousarray(anchors[fitted], np.float32)
    different = len(np.unique(points, axis=0))
    if different < FEWEST:
        raise InputError(f"a UMAP map needs at least {FEWEST} different clean points; there "
                         f"{'is' if different == 1 else 'are'} {different}")
    neighbours = min(settings.neighbours, len(points) - 1)
    if neighbours < settings.neighbours:
        notes.append(f"n_neighbors lowered to {neighbours}, as there are {len(points)} points")
    with _UMAP:
        model = _restored(points, dims, settings, neighbours)
    return UmapMap(model, fitted, anchors, "; ".join(notes))


def layout_name(points: np.ndarray, dims: int, settings: UmapSettings, neighbours: int) -> str:
    """What a fitted map's layout is kept under."""
    return diskcache.key("umap", [points, repr((astuple(settings), neighbours, dims)),
                                  version("umap-learn")])


def _restored(points: np.ndarray, dims: int, settings: UmapSettings, neighbours: int) -> Any:
    """The fitted package object. From the cache: its graph is computed again, which is quick and
    exact, and the layout, which is slow, is put in; transform then gives the same places."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        name = layout_name(points, dims, settings, neighbours)
        held = diskcache.load(name)
        layout = None if held is None else held.get("layout")
        known = layout is not None and layout.shape == (len(points), dims)
        start: Any = layout if known else "spectral" if len(points) > 12 + dims else "random"
        model = UMAP(n_neighbors=neighbours, min_dist=settings.min_dist, metric=settings.metric,
                     n_components=dims, random_state=settings.seed, n_jobs=1,
                     transform_seed=settings.seed, init=start, n_epochs=0 if known else None)
        model.fit(points)
    if known:
        model.embedding_, model.n_epochs = layout, None
    elif not np.isfinite(model.embedding_).all():
        raise InputError("UMAP found no layout for these points: choose PCA")
    else:
        diskcache.save(name, {"layout": model.embedding_})
    return model


class Maps:
    """Maps being fitted behind the page, and the last `keep` that are ready."""

    def __init__(self, keep: int = 12) -> None:
        self.keep = keep
        self._ready: OrderedDict[Any, UmapMap | InputError] = OrderedDict()
        self._running: dict[Any, threading.Thread] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, anchors: Callable[[], np.ndarray], dims: int, settings: UmapSettings,
            ) -> UmapMap | None:
        """The map of a key, or None while a thread fits it. Raises InputError when it cannot be
        fitted. anchors: makes the points, called in the thread."""
        full = (key, dims, settings)
        with self._lock:
            found = self._ready.get(full)
            if found is None and full not in self._running:
                thread = threading.Thread(target=self._fit, args=(full, anchors), daemon=True,
                                          name="fit-umap")
                self._running[full] = thread
                thread.start()
        if isinstance(found, InputError):
            raise found
        return found

    def _fit(self, full: Any, anchors: Callable[[], np.ndarray]) -> None:
        made: UmapMap | InputError
        try:
            points = anchors()
            made = fit_umap(points, full[1], full[2])
            made.transform(points[:24] * 0.999)  # compiles what the first real arrows need
        except InputError as error:
            made = error
        except Exception as error:
            LOG.exception("UMAP failed")
            made = InputError(f"UMAP failed on these points ({type(error).__name__}): choose PCA")
        with self._lock:
            self._ready[full] = made
            self._running.pop(full, None)
            while len(self._ready) > self.keep:
                self._ready.popitem(last=False)

    def kept_bytes(self) -> int:
        """Of the maps that are ready: points, layout and graph of each."""
        maps = [m for m in list(self._ready.values()) if isinstance(m, UmapMap)]
        return sum(m.coordinates.nbytes + m.model._raw_data.nbytes + m.model.embedding_.nbytes
                   + m.model.graph_.data.nbytes * 2 for m in maps)

    def wait(self, seconds: float) -> bool:
        """Whether all fits that are under way end within so many seconds."""
        with self._lock:
            threads = list(self._running.values())
        for thread in threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in threads)
