"""Two hundred pictures of the example photos: a part of each, cut as it is asked for."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps

from explorer.data.examples import Example
from explorer.data.pairs import open_image
from explorer.data.sources import Picture, Source

MANY, LEAST = 200, 0.65  # pictures; smallest part of the shorter side
SIDE = 160  # pixels, as the embedded models read them


@dataclass(frozen=True)
class Crops(Source):
    """The photos take turns: each time another square, mirrored half of the time. The same row is
    the same picture, whatever else is asked for."""

    photos: Sequence[Example]

    @classmethod
    def of(cls, photos: Sequence[Example]) -> Crops:
        """MANY pictures; the answer of each is its photo's true caption."""
        return cls([(photos[k % len(photos)].truth,) for k in range(MANY)], True, list(photos))

    def name(self, row: int) -> str:
        return f"{self.photos[row % len(self.photos)].id}, part {row // len(self.photos) + 1}"

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        return (self._picture(row) for row in chosen)

    def _picture(self, row: int) -> bytes:
        rng = random.Random(row)
        image = open_image(self.photos[row % len(self.photos)].path).convert("RGB")
        side = min(image.size) * (LEAST + (1 - LEAST) * rng.random())
        left, top = ((whole - side) * rng.random() for whole in image.size)
        part = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC,
                            box=(left, top, left + side, top + side))
        out = io.BytesIO()
        (ImageOps.mirror(part) if rng.random() < 0.5 else part).save(out, "JPEG", quality=90)
        return out.getvalue()
