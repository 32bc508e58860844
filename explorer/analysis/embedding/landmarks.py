"""About 1,000 concepts and 168 everyday sentences as fixed points of the text space, and what a
model makes of them and of pictures: kept, and for the embedded models shipped, under the hash of
its weights."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Sequence
from functools import lru_cache
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch

from explorer.base import diskcache
from explorer.base.paths import ASSETS
from explorer.data.pairs import open_image, to_pixels
from explorer.data.sets import TEMPLATE
from explorer.models.encoder import DualEncoder

FILE = ASSETS / "landmarks" / "concepts.txt"
SENTENCES = ASSETS / "landmarks" / "sentences.txt"
PROBE = ["a photo of a cat", "Zwölf Boxkämpfer jagen Viktor"]
BATCH = 64
_FINGERPRINTS: WeakKeyDictionary[DualEncoder, str] = WeakKeyDictionary()
_LOCK = threading.Lock()


@lru_cache
def concepts(file: Path = FILE) -> tuple[str, ...]:
    """Names of the landmarks, in order: WordNet's names of the ImageNet classes."""
    return tuple(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip())


@lru_cache
def sentences(file: Path = SENTENCES) -> tuple[str, ...]:
    """The everyday sentences, in order; lines that start with # name their groups."""
    return tuple(line for line in concepts(file) if not line.startswith("#"))


def named(names: Sequence[str]) -> tuple[str, ...]:
    """The concepts as captions: "a photo of a {name}"."""
    return tuple(map(TEMPLATE.format, names))


def fingerprint(model: DualEncoder) -> str:
    """A hash of all that decides a model's features: weights, normalisation, tokens of a probe."""
    with _LOCK:
        if model not in _FINGERPRINTS:
            digest = hashlib.sha256(model.fingerprint.encode())
            for part in (model.mean, model.std, model.tokenize(PROBE)):
                digest.update(part.cpu().numpy().tobytes())
            _FINGERPRINTS[model] = digest.hexdigest()
        return _FINGERPRINTS[model]


def landmark_name(model: DualEncoder, captions: Sequence[str]) -> str:
    """What a model's reading of these captions is kept under."""
    return diskcache.key("landmarks", [fingerprint(model), *captions])


def _kept(name: str, rows: int, dim: int) -> np.ndarray | None:
    """(rows, dim) unit float32 features that are kept under a name, or None."""
    held = diskcache.load(name)
    if held is None or held.get("features", np.empty(0)).shape != (rows, dim):
        return None
    return _unit(held["features"])


def _unit(features: np.ndarray) -> np.ndarray:
    """Half-precision rows -> float32 rows of length 1. What is read anew goes this way too, so
    that it equals what is kept."""
    wide = features.astype(np.float64)
    unit: np.ndarray = (wide / np.sqrt((wide**2).sum(1, keepdims=True))).astype(np.float32)
    return unit


def _keep(name: str, features: np.ndarray) -> np.ndarray:
    half = features.astype(np.float16)
    diskcache.save(name, {"features": half})
    return _unit(half)


def known_landmarks(model: DualEncoder, captions: Sequence[str]) -> np.ndarray | None:
    """What `landmark_features` returns, where it has been read before; else None, at once."""
    return _kept(landmark_name(model, captions), len(captions), model.dim)


def landmark_features(model: DualEncoder, captions: Sequence[str],
                      ) -> Generator[tuple[int, int], None, np.ndarray]:
    """Unit text features of captions, (L, dim) float32 from half precision; not read again when
    this very model has read these very captions before. Yields (done, total) while reading."""
    held = known_landmarks(model, captions)
    if held is not None:
        return held
    parts = []
    for start in range(0, len(captions), BATCH):
        yield start, len(captions)
        parts.append(model.encode_text(captions[start : start + BATCH]).cpu().numpy())
    return _keep(landmark_name(model, captions), np.concatenate(parts))


def picture_name(model: DualEncoder, files: Sequence[Path]) -> str:
    """What a model's view of these files is kept under."""
    return diskcache.key("pictures", [fingerprint(model), str(model.frame),
                                      *(file.read_bytes() for file in files)])


def known_pictures(model: DualEncoder, files: Sequence[Path]) -> np.ndarray | None:
    """What `picture_features` returns, where it has been read before; else None, at once."""
    return _kept(picture_name(model, files), len(files), model.dim)


def picture_features(model: DualEncoder, files: Sequence[Path]) -> np.ndarray:
    """Unit image features of picture files, (n, dim) float32 from half precision; not read again
    when this very model has seen these very files before. Raises InputError for a bad file."""
    held = known_pictures(model, files)
    if held is not None:
        return held
    pictures = torch.stack([to_pixels(open_image(file), model.frame) for file in files])
    with torch.no_grad():
        return _keep(picture_name(model, files), model.encode_image(pictures).cpu().numpy())
