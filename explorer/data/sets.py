"""Labelled image sets on disk -> batches of Pairs, decoded as they are needed.

`read_examples` draws a fixed random sample of a source, makes the captions, and decodes in
batches, so that memory does not grow with the set. `read_retrieval` does the same for images
that have captions of their own.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from explorer.base.errors import InputError
from explorer.base.framing import Size, frame_of
from explorer.data.columns import Given
from explorer.data.containers import Report, name_of
from explorer.data.hub import PREFIX, open_hub
from explorer.data.pairs import MAX_CAPTIONS, Pairs, clean_captions, open_image, to_pixels
from explorer.data.sources import Source, open_source, open_upload
from explorer.data.tables import Reading
from explorer.data.understood import Understood, same_answer

TEMPLATE = "a photo of a {}"


@dataclass(frozen=True)
class Drawn:
    """A drawn sample: which examples of the source.

    len() is how many were drawn; pictures that cannot be read are left out of the batches, so
    the difference from what the batches yield is how many were unreadable.
    """

    name: str
    source: Source
    captions: tuple[str, ...]
    chosen: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def report(self) -> Report:
        """What was left out of the set before the draw and while it was read."""
        return self.source.report

    def pixels(self, size: Size, batch: int) -> Iterator[tuple[list[int], Tensor]]:
        """(places among the drawn, (n, 3, H, W)), decoded one batch at a time.

        Raises InputError at the end when not one picture could be read.
        """
        places: list[int] = []
        held: list[Tensor] = []
        readable = False
        for place, raw in enumerate(self.source.pictures(self.chosen)):
            try:
                held.append(to_pixels(open_image(raw), size))
            except InputError:
                continue
            places.append(place)
            readable = True
            if len(held) == batch:
                yield places, torch.stack(held)
                places, held = [], []
        if held:
            yield places, torch.stack(held)
        if not readable:
            raise InputError(self.unreadable)

    @property
    def understood(self) -> Understood:
        """What was understood of the set, to be said before it is measured."""
        return Understood.of(self.name, self.source, self.captions, len(self))

    @property
    def unreadable(self) -> str:
        """What to say when not one picture could be read."""
        why = self.source.fault(self.chosen[0]) if self.chosen else ""
        return (f"none of the {len(self)} images of {self.name} can be read"
                f"{f'; of the first: {why}' if why else ''}")

    def chunks(self, size: Size, batch: int, numbers: Sequence[int],
               ) -> Iterator[tuple[int, list[int], Tensor]]:
        """(number, places that can be read, (n, 3, H, W)) of stretches of `batch` places.

        numbers: which stretches, rising; number 0 begins with place 0. Unlike those of `pixels`,
        their limits do not depend on which pictures can be read.
        """
        parts = [range(k * batch, min((k + 1) * batch, len(self))) for k in numbers]
        raws = iter(self.source.pictures([self.chosen[p] for part in parts for p in part]))
        for number, part in zip(numbers, parts, strict=True):
            places: list[int] = []
            held: list[Tensor] = []
            for place in part:
                raw = next(raws)
                try:
                    held.append(to_pixels(open_image(raw), size))
                except InputError:
                    continue
                places.append(place)
            frame = frame_of(size)
            yield number, places, torch.stack(held) if held else torch.empty(
                0, 3, frame.height, frame.width)


@dataclass(frozen=True)
class Examples(Drawn):
    """Images that share their captions, as in classification; labels: which is true for each.

    An image with several captions of its own takes part with the first; `retrieval` has all.
    """

    labels: tuple[int, ...]

    def batches(self, size: Size, batch: int = 32) -> Iterator[Pairs]:
        """Pairs of at most `batch` pictures, (n, 3, H, W), decoded one batch at a time.

        Raises InputError at the end when not one picture could be read.
        """
        for places, images in self.pixels(size, batch):
            labels = torch.tensor([self.labels[place] for place in places])
            yield Pairs(images, self.captions, labels)

    def retrieval(self) -> RetrievalSet:
        """The same images, each with all of its own captions."""
        return make_retrieval(self.name, self.source, self.chosen)


@dataclass(frozen=True)
class RetrievalSet(Drawn):
    """Images and captions of their own, to be found by each other.

    owner: for each caption, the place among the drawn of the image that it describes. Captions
    of different images may be the same.
    """

    owner: tuple[int, ...]

    def own(self, place: int) -> tuple[str, ...]:
        """The captions of one image, in order."""
        first, last = (bisect_left(self.owner, p) for p in (place, place + 1))
        return self.captions[first:last]


def open_any(path: str | Path, reading: Reading | None = None, upload: bool = False,
             ) -> tuple[str, Source]:
    """(name, source) of a file, a folder, a pattern of files, or hf:NAME[:SPLIT], a data set of
    the hub.

    upload: the file is a stranger's, so only what names no other file is taken.
    """
    if upload:
        return Path(path).name, open_upload(Path(path), reading)
    if isinstance(path, str) and path.startswith(PREFIX):
        return path.removeprefix(PREFIX), open_hub(path, reading)
    return name_of(Path(path)), open_source(Path(path), reading)


def read_examples(path: str | Path, limit: int | None = None, seed: int = 0,
                  upload: bool = False, columns: Given | None = None) -> Examples:
    """A set of labelled or captioned pictures: any that `open_any` reads.

    Labels become "a photo of a {label}"; captions stay as they are. The candidates are those of
    the whole set, so that a sample is judged as the set is (with more than MAX_CAPTIONS captions,
    those of the sample). limit: draw this many at random, the same ones for the same seed;
    columns: those of a table that a person named. Raises InputError for anything that cannot be
    read or is not a choice between two or more.
    """
    name, source = _limited(path, limit, Reading(given=columns or Given()), upload)
    return make_examples(name, source, limit, seed)


def read_retrieval(path: str | Path, limit: int | None = None, seed: int = 0,
                   upload: bool = False, columns: Given | None = None) -> RetrievalSet:
    """A set of images with captions of their own: any that `open_any` reads with captions.

    Raises InputError for anything that cannot be read, or has labels alone.
    """
    name, source = _limited(path, limit, Reading(True, given=columns or Given()), upload)
    return make_retrieval(name, source, draw(source, name, limit, seed))


def _limited(path: str | Path, limit: int | None, reading: Reading, upload: bool,
             ) -> tuple[str, Source]:
    if limit is not None and limit < 1:
        raise InputError(f"the limit must be at least 1, not {limit}")
    return open_any(path, reading, upload)


def draw(source: Source, name: str, limit: int | None, seed: int) -> tuple[int, ...]:
    """Which examples: all, or `limit` at random, in order."""
    if not source.answers:
        raise InputError(" ".join([f"there are no images in {name}.",
                                   *source.report.sentences()]).removesuffix("."))
    everything = range(len(source.answers))
    if limit is not None and limit < len(everything):
        return tuple(sorted(random.Random(seed).sample(everything, limit)))
    return tuple(everything)


def make_examples(name: str, source: Source, limit: int | None = None, seed: int = 0,
                  template: str = TEMPLATE) -> Examples:
    """`read_examples` of a source; template: the prompt around a label, "{}" for the label."""
    chosen = draw(source, name, limit, seed)
    firsts = [texts[0] for texts in source.answers]
    spoken = dict(zip(dict.fromkeys(firsts), _captions(firsts, source.are_captions, template),
                      strict=True))
    truth = [spoken[firsts[i]] for i in chosen]
    candidates = list(dict.fromkeys(spoken.values()))
    if source.are_captions and len(candidates) > MAX_CAPTIONS:
        candidates = list(dict.fromkeys(truth))
    if len(candidates) < 2:
        raise InputError(same_answer(name, candidates[0], source.report))
    captions = clean_captions(candidates)
    place = {caption: i for i, caption in enumerate(candidates)}
    return Examples(name, source, captions, chosen, tuple(place[t] for t in truth))


def make_retrieval(name: str, source: Source, chosen: Sequence[int]) -> RetrievalSet:
    """The drawn images of a source with all of their captions."""
    if not source.are_captions:
        raise InputError(f"{name} has labels and no captions: retrieval needs captions of each "
                         "image's own")
    if len(chosen) < 2:
        raise InputError("retrieval needs two images at least")
    captions: list[str] = []
    owner: list[int] = []
    for place, example in enumerate(chosen):
        for text in source.answers[example]:
            try:
                captions += clean_captions([text])
            except InputError as error:
                raise InputError(f"image {example + 1} of {name}: {error}") from None
            owner.append(place)
    return RetrievalSet(name, source, tuple(captions), tuple(chosen), tuple(owner))


def _captions(answers: Sequence[str], are_captions: bool, template: str) -> Iterator[str]:
    """The caption of each distinct answer, in order."""
    for number, answer in enumerate(dict.fromkeys(answers), 1):
        text = answer if are_captions else answer.replace("_", " ")
        if not text.split():
            raise InputError(f"{'caption' if are_captions else 'label'} {number} is empty")
        tidy = clean_captions([text])[0]
        yield tidy if are_captions else template.format(tidy)
