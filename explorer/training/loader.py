"""An endless, seeded stream of batches that can start anywhere in it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from explorer.base.errors import InputError
from explorer.base.framing import FILTERS, Size, frame_of
from explorer.data.archives import Tar
from explorer.data.hub import HubSet
from explorer.data.pairs import open_image, to_pixels
from explorer.data.sources import Boxed, Chained, Files, Picture, Source
from explorer.training.attacker import Batch
from explorer.training.data import TrainingSet
from explorer.training.inner import mix

WINDOW = 1024  # encoded pictures held at once, of a source that is read from front to back
BLOCK = 16  # neighbours that come in the same window, as they are read together
TRIES = 20  # other pictures tried in the place of one that cannot be read


def any_order(source: Source) -> bool:
    """Whether pictures may be asked for in any order at no cost; else only in rising order."""
    if isinstance(source, Chained):  # of archives each would be opened for every picture
        return all(isinstance(part, Files | HubSet) for part in source.parts)
    if isinstance(source, Boxed):
        return not (isinstance(source.box, Tar) and source.box.gzipped)
    return isinstance(source, Files | HubSet)


def order(n: int, seed: int, epoch: int, block: int = 1, window: int = 1) -> np.ndarray:
    """(n,) a permutation of range(n), the same for the same numbers.

    block above 1: runs of neighbours are moved together and then mixed within each window.
    """
    random = np.random.default_rng([seed, epoch])
    starts = random.permutation(-(-n // block)) * block
    if block == 1:
        return starts
    places = (starts[:, None] + np.arange(block)).ravel()
    places = places[places < n]
    for start in range(0, n, window):
        random.shuffle(places[start : start + window])
    return places


class Loader:
    """Batches of one process. The order, the captions drawn and the augmentation depend on the
    seed and the place in the stream alone, not on the number of processes or threads.

    A picture that cannot be read is counted, once, and another one of the set takes its place.
    """

    def __init__(self, data: TrainingSet, size: Size, batch: int, seed: int, augment: str = "none",
                 rank: int = 0, world: int = 1, workers: int | None = None) -> None:
        """batch: over all `world` processes, which must divide it."""
        if batch % world:
            raise InputError(f"a batch of {batch} cannot be shared by {world} processes: make it "
                             f"a multiple of {world}")
        if len(data) < batch:
            raise InputError(f"{data.name} has {len(data)} pictures to train on, fewer than one "
                             f"batch: make the batch {len(data)} or smaller")
        self.data, self.size, self.batch, self.seed = data, size, batch, seed
        self.augment, self.rank, self.own = augment, rank, batch // world
        self.per_epoch = len(data) // batch
        self.windowed = not any_order(data.source)
        self.workers = workers or min(8, len(os.sched_getaffinity(0)))
        self.unreadable: set[int] = set()

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """From batch number `start` of the run on, without end, two batches decoded ahead."""
        with ThreadPoolExecutor(self.workers) as pool:
            yield from ahead(self._batches(start, pool))

    def _batches(self, start: int, pool: ThreadPoolExecutor) -> Iterator[Batch]:
        epoch, within = divmod(start, self.per_epoch)
        while True:
            for number, raws in enumerate(self._raws(epoch, within), within):
                keys = [mix(self.seed, epoch, number * self.batch + self.rank * self.own + k)
                        for k in range(self.own)]
                yield self._batch(raws, keys, pool)
            epoch, within = epoch + 1, 0

    def _raws(self, epoch: int, within: int) -> Iterator[list[tuple[int, Picture]]]:
        """(example, encoded picture) of this process, a list for each batch of an epoch."""
        window = max(1, WINDOW // self.batch)
        places = order(len(self.data), self.seed, epoch, BLOCK if self.windowed else 1,
                       window * self.batch)
        shared = places[: self.per_epoch * self.batch].reshape(self.per_epoch, self.batch)
        own = self.data.chosen[shared[:, self.rank * self.own : (self.rank + 1) * self.own]]
        if not self.windowed:
            left = own[within:].ravel().tolist()
            pairs = zip(left, self.data.source.pictures(left), strict=True)
            while part := list(islice(pairs, self.own)):
                yield part
            return
        for start in range(within // window * window, self.per_epoch, window):
            part_of = own[max(start, within) : start + window]
            rising = sorted(part_of.ravel().tolist())
            held = dict(zip(rising, self.data.source.pictures(rising), strict=True))
            for row in part_of.tolist():
                yield [(i, held.pop(i)) for i in row]

    def _batch(self, raws: list[tuple[int, Picture]], keys: Sequence[int],
               pool: ThreadPoolExecutor) -> Batch:
        decoded = list(pool.map(self._decode, [raw for _, raw in raws], keys))
        examples = [i for i, _ in raws]
        for k, pixels in enumerate(decoded):
            if pixels is None:
                self.unreadable.add(examples[k])
                examples[k], decoded[k] = self._another(set(examples), keys[k])
        groups = [self.data.group(i, mix(key, "caption"))
                  for i, key in zip(examples, keys, strict=True)]
        found = [pixels for pixels in decoded if pixels is not None]
        return Batch(torch.stack(found), torch.tensor(groups),
                     tuple(self.data.captions[g] for g in groups))

    def _decode(self, raw: Picture, key: int) -> Tensor | None:
        try:
            return augmented(open_image(raw), self.size, self.augment, key)
        except InputError:
            return None

    def _another(self, taken: set[int], key: int) -> tuple[int, Tensor]:
        """A readable picture that is not in the batch. Raises InputError when none is found."""
        for attempt in range(TRIES):
            example = int(self.data.chosen[mix(key, "instead", attempt) % len(self.data)])
            if example in taken or example in self.unreadable:
                continue
            raw = next(iter(self.data.source.pictures([example])))
            pixels = self._decode(raw, key)
            if pixels is not None:
                return example, pixels
            self.unreadable.add(example)
        raise InputError(f"too many pictures of {self.data.name} cannot be read: "
                         f"{len(self.unreadable)} so far")


def ahead(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    """The same batches, made by another thread before they are asked for."""
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, batches) for _ in range(depth))
        try:
            while True:
                yield waiting.popleft().result()
                waiting.append(pool.submit(next, batches))
        finally:
            for future in waiting:
                future.cancel()


def augmented(image: Image.Image, size: Size, how: str, key: int) -> Tensor:
    """(3, H, W) in [0, 1] on the 8-bit grid. how: "none", "crop", or "crop+flip"."""
    if how == "none":
        return to_pixels(image, size)
    random, frame = np.random.default_rng(key), frame_of(size)
    if not frame.square or frame.mode != "shortest":
        return to_pixels(_cropped(image, how, random), frame)
    whole = min(image.size)
    side = whole * float(random.uniform(0.9, 1.0)) ** 0.5
    middle = ((image.width - whole) / 2, (image.height - whole) / 2)
    left, top = (m + float(random.uniform(0, whole - side)) for m in middle)
    box = (left, top, left + side, top + side)
    if how == "crop+flip" and random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        box = (image.width - box[2], box[1], image.width - box[0], box[3])
    small = image.resize((frame.width, frame.height), FILTERS[frame.interpolation], box=box)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def _cropped(image: Image.Image, how: str, random: np.random.Generator) -> Image.Image:
    """A part with the picture's own proportions, 0.9 to 1 of its area, perhaps mirrored."""
    share = float(random.uniform(0.9, 1.0)) ** 0.5
    width, height = (max(1, round(side * share)) for side in image.size)
    left, top = (int(random.integers(0, a - b + 1)) for a, b in
                 ((image.width, width), (image.height, height)))
    part = image.crop((left, top, left + width, top + height))
    flip = how == "crop+flip" and random.random() < 0.5
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else part
