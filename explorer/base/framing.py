"""How a model wants its pictures cut to its input: the one place where a picture is resized.

The same pixels as open_clip's own transform makes (open_clip 3.3.0, transform.py), without torch's
image functions: a resize of the whole picture, then a crop of whole pixels, or borders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from explorer.base.errors import InputError

MODES = ("shortest", "longest", "squash")
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR,
           "random": Image.Resampling.BICUBIC}  # as open_clip takes "random" outside training
MOST = 16_000_000  # pixels of the whole picture when resized; of a longer one only the crop is made
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Frame:
    """An input of height x width pixels, and how a picture is brought to it. mode: "shortest"
    (the shorter side fits, the rest is cut off), "longest" (all of it fits, borders in the colour
    `fill`, 0 to 255) or "squash" (both sides fit, the proportions change)."""

    height: int
    width: int
    mode: str = "shortest"
    interpolation: str = "bicubic"
    fill: tuple[int, int, int] = (0, 0, 0)

    @property
    def square(self) -> bool:
        return self.height == self.width

    @property
    def sides(self) -> str:
        """ "224 x 224"."""
        return f"{self.height} x {self.width}"

    def cut(self, image: Image.Image) -> Image.Image:
        """The picture at this size."""
        if self.mode == "squash":
            return image.resize((self.width, self.height), FILTERS[self.interpolation])
        width, height = self._scaled(image.width, image.height)
        # Where the input is not square, open_clip leaves the interpolation of "shortest" at bicubic
        plain = self.square or self.mode == "longest"
        kind = FILTERS[self.interpolation if plain else "bicubic"]
        left, top = (round((a - b) / 2) for a, b in ((width, self.width), (height, self.height)))
        if self.mode == "shortest" and width * height > MOST:
            across, down = image.width / width, image.height / height
            box = (left * across, top * down, min((left + self.width) * across, image.width),
                   min((top + self.height) * down, image.height))
            return image.resize((self.width, self.height), kind, box=box)
        small = image.resize((width, height), kind)
        if self.mode == "longest":
            bordered = Image.new("RGB", (self.width, self.height), self.fill)
            bordered.paste(small, ((self.width - width) // 2, (self.height - height) // 2))
            return bordered
        return small.crop((left, top, left + self.width, top + self.height))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the whole picture before it is cropped or given borders."""
        if self.mode == "shortest" and self.square:  # torchvision's rule, which rounds down
            side, short = self.width, min(width, height)
            long = max(side, side * max(width, height) // short)
            return (side, long) if width <= height else (long, side)
        ratios = height / self.height, width / self.width
        ratio = max(ratios) if self.mode == "longest" else min(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def config(self) -> dict[str, Any]:
        """Its part of an open_clip preprocess_cfg."""
        own: dict[str, Any] = {"interpolation": self.interpolation, "resize_mode": self.mode}
        if any(self.fill):
            own["fill_color"] = list(self.fill)
        return own


Size = int | Frame  # a whole number: a square of that side, as CLIP has it


def frame_of(size: Size) -> Frame:
    return size if isinstance(size, Frame) else Frame(size, size)


def to_pixels(image: Image.Image, size: Size) -> Tensor:
    """An RGB picture as a model takes it -> (3, H, W) in [0, 1] on the 8-bit grid."""
    small = frame_of(size).cut(image)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


@dataclass(frozen=True)
class Intake:
    """frame: how pictures are cut; mean, std: by which their values are normalised, each (3,)."""

    frame: Frame
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def config(self) -> dict[str, Any]:
        """As an open_clip preprocess_cfg."""
        return {"mean": list(self.mean), "std": list(self.std), **self.frame.config()}


def read_intake(size: Any, raw: Any, name: str) -> Intake:
    """From a tower's image_size and an open_clip preprocess_cfg; what is missing is open_clip's
    own default. Raises InputError for what this app cannot do."""
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        raise InputError(f"preprocess_cfg of {name} is no JSON object")
    height, width = _sides(size, name)
    mean, std = (_three(raw.get(key), usual) for key, usual in (("mean", CLIP_MEAN),
                                                                  ("std", CLIP_STD)))
    if mean is None or std is None or min(std) <= 0:
        raise InputError(f"preprocess_cfg of {name} needs a mean and a std of three numbers each, "
                         "std above 0")
    mode, kind = raw.get("resize_mode") or "shortest", raw.get("interpolation") or "bicubic"
    for key, value, known in (("resize_mode", mode, MODES), ("interpolation", kind, [*FILTERS])):
        if value not in known:
            raise InputError(f"preprocess_cfg of {name} says {key} = {str(value)[:40]}: only "
                             f"{', '.join(known)} are known")
    if raw.get("mode", "RGB") != "RGB":
        raise InputError(f"preprocess_cfg of {name} says mode = {str(raw['mode'])[:40]}: only RGB "
                         "is known")
    fill = _three(raw.get("fill_color"), (0, 0, 0))
    if fill is None or not all(v == int(v) and 0 <= v <= 255 for v in fill):
        raise InputError(f"preprocess_cfg of {name} says fill_color = "
                         f"{str(raw['fill_color'])[:40]}: it must be a whole number from 0 to 255, "
                         "or three of them")
    red, green, blue = (int(v) for v in fill)
    return Intake(Frame(height, width, mode, kind, (red, green, blue)), mean, std)


def _sides(size: Any, name: str) -> tuple[int, int]:
    """(height, width)."""
    both = [size, size] if isinstance(size, int) else size
    if (not isinstance(both, Sequence) or len(both) not in (1, 2)
            or not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in both)):
        raise InputError(f"the image size of {name} must be a number of pixels or two of them, not "
                         f"{str(size)[:40]}")
    return both[0], both[-1]


def _three(value: Any, usual: tuple[float, float, float]) -> tuple[float, float, float] | None:
    """One number or three; None: neither."""
    if value is None:
        return usual
    numbers = list(value) if isinstance(value, (list, tuple)) else [value] * 3
    if len(numbers) != 3 or not all(isinstance(v, (int, float)) and not isinstance(v, bool)
                                    for v in numbers):
        return None
    return float(numbers[0]), float(numbers[1]), float(numbers[2])
