"""About 1,000 concepts as fixed points of the text space, and what a model makes of them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from explorer.base import diskcache
from explorer.base.paths import ASSETS
from explorer.data.sets import TEMPLATE
from explorer.models.encoder import DualEncoder

FILE = ASSETS / "landmarks" / "concepts.txt"
PROBE = ["a photo of a cat", "Zwölf Boxkämpfer jagen Viktor"]
BATCH = 64
_FINGERPRINTS: WeakKeyDictionary[DualEncoder, str] = WeakKeyDictionary()
_LOCK = threading.Lock()


@lru_cache
def concepts(file: Path = FILE) -> tuple[str, ...]:
    """Names of the landmarks, in order: WordNet's names of the ImageNet classes."""
    return tuple(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip())


def fingerprint(model: DualEncoder) -> str:
    """A hash of all that decides a model's features: weights, normalisation, tokens of a probe."""
    with _LOCK:
        if model not in _FINGERPRINTS:
            digest = hashlib.sha256(model.fingerprint.encode())
            for part in (model.mean, model.std, model.tokenize(PROBE)):
                digest.update(part.cpu().numpy().tobytes())
            _FINGERPRINTS[model] = digest.hexdigest()
        return _FINGERPRINTS[model]


def landmark_features(model: DualEncoder, names: tuple[str, ...] | None = None,
                      ) -> Generator[tuple[int, int], None, np.ndarray]:
    """Unit text features of "a photo of a {concept}", (L, dim) float32; from the disk cache when
    this very model has read these very concepts before. Yields (done, total) while reading."""
    names = concepts() if names is None else names
    captions = [TEMPLATE.format(name) for name in names]
    name = diskcache.key("landmarks", [fingerprint(model), *captions])
    held = diskcache.load(name)
    if held is not None and held.get("features", np.empty(0)).shape == (len(names), model.dim):
        return held["features"]
    parts = []
    for start in range(0, len(captions), BATCH):
        yield start, len(captions)
        parts.append(model.encode_text(captions[start : start + BATCH]).cpu().numpy())
    features = np.concatenate(parts).astype(np.float32)
    diskcache.save(name, {"features": features})
    return features
