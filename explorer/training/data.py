"""Pictures with captions for training, from any source the library reads."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from explorer.base.errors import InputError
from explorer.data.columns import Given
from explorer.data.hub import PREFIX
from explorer.data.pairs import MAX_CAPTIONS, clean_captions
from explorer.data.sets import Examples, open_any
from explorer.data.sources import Picture, Source
from explorer.data.tables import Reading
from explorer.data.understood import Understood, same_answer

FINGERPRINTED = 16  # pictures whose bytes a set is known by


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Which pictures of a source are trained on, and what is true of each.

    captions: all different ones, a caption's place being its group. first: (N + 1,) and groups:
    the groups of example i are groups[first[i]:first[i + 1]], several where it has several
    captions. chosen: the examples that are trained on, in rising order.
    """

    name: str
    source: Source
    captions: tuple[str, ...]
    first: np.ndarray
    groups: np.ndarray
    chosen: np.ndarray

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The captions of all classes, or None where pictures have captions of their own."""
        return None if self.source.are_captions else self.captions

    @property
    def understood(self) -> Understood:
        """What was understood of the set, to be said before it is trained on."""
        return Understood.of(self.name, self.source, self.captions, len(self))

    def group(self, example: int, draw: int) -> int:
        """The group of one of an example's captions; draw: any whole number, decides which."""
        own = self.groups[self.first[example] : self.first[example + 1]]
        return int(own[draw % len(own)])

    @cached_property
    def fingerprint(self) -> dict[str, int]:
        """What has to be the same when a run goes on: the number of pictures, all captions, and
        the bytes of some pictures."""
        said = 0
        for text in self.captions:
            said = zlib.crc32(text.encode("utf-8", "backslashreplace"), said)
        said = zlib.crc32(self.groups.tobytes(), said)
        places = np.unique(np.linspace(0, len(self) - 1, FINGERPRINTED).astype(int))
        some = [int(self.chosen[k]) for k in places]
        seen = 0
        for raw in self.source.pictures(some):
            seen = zlib.crc32(_bytes_of(raw), seen)
        return {"pictures": len(self), "captions": said, "bytes": seen}


def _bytes_of(raw: Picture) -> bytes:
    if isinstance(raw, Path):
        try:
            return raw.read_bytes()
        except OSError:
            return b""
    return raw.tobytes() if isinstance(raw, Image.Image) else raw


def open_training(data: str, template: str, holdout: int = 0, seed: int = 0, columns: str = "",
                  ) -> tuple[TrainingSet, Examples | None]:
    """The set at a path or hf:NAME[:SPLIT] (train, where no split is named), and `holdout`
    pictures drawn from it, by the seed, that are not trained on (at most a fifth of it). columns:
    as --columns takes them.

    Raises InputError for a set that cannot be read or tells nothing apart.
    """
    if data.startswith(PREFIX) and ":" not in data.removeprefix(PREFIX):
        data += ":train"
    name, source = open_any(data, Reading(True, True, Given.of(columns)))
    if not source.answers:
        raise InputError(" ".join([f"there are no images in {name}.",
                                   *source.report.sentences()]).removesuffix("."))
    captions, first, groups = _spoken(source, template)
    if len(captions) < 2:
        raise InputError(same_answer(name, captions[0], source.report))
    n = len(source.answers)
    held = sorted(random.Random(seed).sample(range(n), min(holdout, n // 5)))
    chosen = np.setdiff1d(np.arange(n), np.array(held, dtype=np.int64), assume_unique=True)
    made = TrainingSet(name, source, captions, first, groups, chosen)
    return made, _examples(made, held) if len(held) > 1 else None


def _spoken(source: Source, template: str) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The different captions, and each example's places among them (see TrainingSet)."""
    place: dict[str, int] = {}
    tidied: dict[str, str] = {}
    groups: list[int] = []
    first = np.zeros(len(source.answers) + 1, dtype=np.int64)
    for number, texts in enumerate(source.answers):
        for text in texts if source.are_captions else texts[:1]:
            if text not in tidied:
                tidied[text] = _caption(text, source.are_captions, template)
            groups.append(place.setdefault(tidied[text], len(place)))
        first[number + 1] = len(groups)
    return tuple(place), first, np.array(groups, dtype=np.int32)


def _caption(text: str, is_caption: bool, template: str) -> str:
    said = text if is_caption else text.replace("_", " ")
    tidy = clean_captions([said])[0]
    return tidy if is_caption else template.replace("{}", tidy)


def _examples(data: TrainingSet, held: Sequence[int]) -> Examples | None:
    """The held-out pictures against all captions of the set, or, where these are too many,
    against each other's."""
    truth = [data.captions[data.group(i, 0)] for i in held]
    listed: Iterable[str] = data.captions if len(data.captions) <= MAX_CAPTIONS else truth
    captions = tuple(dict.fromkeys(listed))
    if len(captions) < 2:
        return None
    place = {caption: k for k, caption in enumerate(captions)}
    return Examples(data.name, data.source, captions, tuple(held), tuple(place[t] for t in truth))
