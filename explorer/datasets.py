"""Labelled image sets on disk -> batches of Pairs, decoded as they are needed.

`read_examples` draws a fixed random sample of a source, makes the captions, and decodes in
batches, so that memory does not grow with the set.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from explorer.errors import InputError
from explorer.pairs import MAX_CAPTIONS, Pairs, clean_captions, open_image, to_pixels
from explorer.sources import Source, open_source

TEMPLATE = "a photo of a {}"


@dataclass(frozen=True)
class Examples:
    """A drawn sample: which examples of the source, and which caption is true for each.

    len() is how many were drawn; pictures that cannot be read are left out of the batches, so
    the difference from what `batches` yields is how many were unreadable.
    """

    name: str
    source: Source
    captions: tuple[str, ...]
    chosen: tuple[int, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.chosen)

    def batches(self, size: int, batch: int = 32) -> Iterator[Pairs]:
        """Pairs of at most `batch` pictures, (n, 3, size, size), decoded one batch at a time.

        Raises InputError at the end when not one picture could be read.
        """
        pixels: list[torch.Tensor] = []
        labels: list[int] = []
        readable = False
        for label, raw in zip(self.labels, self.source.pictures(self.chosen), strict=True):
            try:
                pixels.append(to_pixels(open_image(raw), size))
            except InputError:
                continue
            labels.append(label)
            readable = True
            if len(pixels) == batch:
                yield Pairs(torch.stack(pixels), self.captions, torch.tensor(labels))
                pixels, labels = [], []
        if pixels:
            yield Pairs(torch.stack(pixels), self.captions, torch.tensor(labels))
        if not readable:
            raise InputError(f"none of the {len(self)} images of {self.name} can be read")


def read_examples(path: str | Path, limit: int | None = None, seed: int = 0) -> Examples:
    """A set of labelled or captioned pictures: a parquet or CSV file, or a folder of classes.

    Labels become "a photo of a {label}"; captions stay as they are. The candidates are those of
    the whole set, so that a sample is judged as the set is (with more than MAX_CAPTIONS captions,
    those of the sample). limit: draw this many at random, the same ones for the same seed.
    Raises InputError for anything that cannot be read or is not a choice between two or more.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise InputError(f"the limit must be at least 1, not {limit}")
    source = open_source(path)
    if not source.answers:
        raise InputError(f"there are no images in {path.name}")
    spoken = dict(zip(dict.fromkeys(source.answers), _captions(source), strict=True))
    everything = range(len(source.answers))
    chosen: Sequence[int] = everything
    if limit is not None and limit < len(everything):
        chosen = sorted(random.Random(seed).sample(everything, limit))
    truth = [spoken[source.answers[i]] for i in chosen]
    candidates = list(dict.fromkeys(spoken.values()))
    if source.are_captions and len(candidates) > MAX_CAPTIONS:
        candidates = list(dict.fromkeys(truth))
    if len(candidates) < 2:
        raise InputError(f"all images of {path.name} have the same answer, '{candidates[0]}': "
                         "two different ones are needed at least")
    captions = clean_captions(candidates)
    place = {caption: i for i, caption in enumerate(candidates)}
    return Examples(path.name, source, captions, tuple(chosen), tuple(place[t] for t in truth))


def _captions(source: Source) -> Iterator[str]:
    """The caption of each distinct answer, in order."""
    for number, answer in enumerate(dict.fromkeys(source.answers), 1):
        text = answer if source.are_captions else answer.replace("_", " ")
        if not text.split():
            raise InputError(f"{'caption' if source.are_captions else 'label'} {number} is empty")
        tidy = clean_captions([text])[0]
        yield tidy if source.are_captions else TEMPLATE.format(tidy)
