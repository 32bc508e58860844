"""The captioned and the sharp photographs as memory-mapped arrays, read once.

Flickr8k (Hodosh et al. 2013): five captions a photo. photos_train: sharp photographs with a name.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SIDE = 176


@dataclass(frozen=True)
class Captioned:
    """images: (N, 176, 176, 3) uint8; captions: N lists of the same length."""

    images: np.ndarray
    captions: list[list[str]]

    def every(self) -> list[str]:
        """All captions, those of the first picture first."""
        return [text for row in self.captions for text in row]


def decode(table: object, target: Path) -> np.ndarray:
    """The pictures of a parquet table, centre squares of 176 pixels, (N, 176, 176, 3) uint8."""
    from PIL import Image

    if not target.exists():
        cells = table["image"]  # type: ignore[index]
        aside = target.with_suffix(".part.npy")
        array = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8,
                                          shape=(len(cells), SIDE, SIDE, 3))
        for i, cell in enumerate(cells):
            raw = cell.as_py()
            raw = raw["bytes"] if isinstance(raw, dict) else raw
            picture = Image.open(io.BytesIO(raw)).convert("RGB")
            side = min(picture.size)
            left, top = (picture.width - side) / 2, (picture.height - side) / 2
            array[i] = np.asarray(picture.resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)))
        array.flush()
        aside.rename(target)
    images: np.ndarray = np.load(target, mmap_mode="r")
    return images


def load_flickr(data: Path, work: Path, part: str = "train") -> Captioned:
    """A split of Flickr8k: "train", or "dev" to choose on."""
    import pyarrow.parquet as pq

    table = pq.read_table(data / f"flickr8k_{part}.parquet")
    return Captioned(decode(table, work / f"flickr8k_{part}.npy"), table["captions"].to_pylist())


def load_photos(data: Path, work: Path) -> tuple[np.ndarray, list[str]]:
    """The sharp photographs and their names."""
    import pyarrow.parquet as pq

    table = pq.read_table(data / "photos_train.parquet")
    return decode(table, work / "photos_train.npy"), table["label"].to_pylist()


def kept(file: Path, make: Callable[[], Tensor]) -> Tensor:
    """A tensor kept on disk: read if it is there, otherwise made and written."""
    from tools.pocket.tune import write_checkpoint

    if not file.exists():
        write_checkpoint(file, {"value": make()})
    value: Tensor = torch.load(file, weights_only=True)["value"]
    return value
