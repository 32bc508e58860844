"""What stands beside a photo's captions: others for one that is alone, and how well they fit it.

Two rules, both in the models' own cosines, so that they hold for a good and for a bad model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OTHERS = 5
ALIKE = 0.6  # MiniLM's cosine from which two sentences say much the same
CROWD = 0.1  # the share of the landmarks that may be more alike to a photo than a caption that fits
NEAREST = 3
VOWEL = re.compile(r"\ba (?=[aeiou])", re.IGNORECASE)  # names stand in "a photo of a {name}"


def others(photo: np.ndarray, landmarks: np.ndarray, alike: np.ndarray) -> list[int]:
    """The OTHERS landmarks that a model finds most alike to a photo, the nearest first, but for
    those that say much the same as its caption. photo: (D,), landmarks: (L, D) unit features;
    alike: (L,) MiniLM's cosines to the caption."""
    order = np.argsort(-(landmarks @ photo), kind="stable")
    return [int(k) for k in order if alike[k] < ALIKE][:OTHERS]


@dataclass(frozen=True)
class Fit:
    """A photo's captions among the landmarks. closer: how many of them the model finds more alike
    to the photo than the best of the captions, of: of how many; nearest: the captions of the
    nearest."""

    closer: int
    of: int
    nearest: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return self.closer <= CROWD * self.of


def fit(photo: np.ndarray, captions: np.ndarray, landmarks: np.ndarray, said: Sequence[str],
        ) -> Fit:
    """photo: (D,), captions: (K, D), landmarks: (L, D) unit features; said: the L texts."""
    cosines = landmarks @ photo
    order = np.argsort(-cosines, kind="stable")[:NEAREST]
    return Fit(int((cosines > float((captions @ photo).max())).sum()), len(said),
               tuple(VOWEL.sub("an ", said[int(k)]) for k in order))
