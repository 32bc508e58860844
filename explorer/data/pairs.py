"""Images and captions as the rest of the library takes them.

A picture of any kind becomes (3, H, W) pixels in [0, 1] on the 8-bit grid, at the model's own
input size, here and in `explorer.base.framing` and nowhere else; attacks start from that.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from explorer.base.errors import InputError
from explorer.base.files import read_start
from explorer.base.framing import Size, to_pixels
from explorer.base.settings import Settings, current
from explorer.data.formats import FORMATS, is_heif, kind_of, know_heif, without_texts

__all__ = ["Pairs", "Size", "clean_captions", "one_pair", "open_image", "to_image",
           "to_pixels"]

# The defaults; a server may set others (explorer/base/settings.py), and those count.
MAX_PIXELS = Settings.pixels
MAX_SIDE = 2048  # of the shorter side; models read a few hundred pixels
TILE = 1024
TWELVE_BITS = 4095  # white of microscopes and scanners, which keep 12 bits in 16
MAX_CAPTIONS = Settings.captions
MAX_CAPTION = Settings.caption_characters


def open_image(source: str | Path | bytes | Image.Image) -> Image.Image:
    """Any picture file -> upright 8-bit RGB; transparency on white, the first frame of a film.

    The shorter side is brought to at most MAX_SIDE by averaging whole blocks of pixels. Raises
    InputError for what is not a picture, with what it is instead; is damaged; or is larger than
    MAX_PIXELS.
    """
    if isinstance(source, Image.Image):
        return _decode(source)
    raw = source if isinstance(source, bytes) else read_start(
        Path(source), current().upload_bytes, "the image file ")
    if not raw:
        raise InputError("the image file is empty")
    if len(raw) > (most := current().upload_bytes):
        raise InputError(f"the image file is larger than {most / 1e6:g} MB")
    if raw.lstrip()[:200].lower().startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        raise InputError("SVG drawings are not supported: use PNG or JPEG")
    heif = is_heif(raw)
    if heif and not know_heif():
        raise InputError("the file is an HEIC photo, and pillow-heif, which reads these, is not "
                         "installed: use PNG or JPEG")
    raw = without_texts(raw)
    try:
        Image.init()  # registers every format, so that each of FORMATS is known
        image = Image.open(io.BytesIO(raw), formats=[f for f in FORMATS if f in Image.OPEN])
    except Image.DecompressionBombError:
        raise InputError("the image has too many pixels; at most "
                         f"{current().pixels / 1e6:g} million are read") from None
    except UnidentifiedImageError:
        if heif:
            raise InputError("the HEIC photo is damaged or cut short") from None
        kind = kind_of(raw)
        raise InputError(f"the file is {f'{kind} and ' if kind else ''}not an image this app can "
                         "read: use PNG or JPEG") from None
    except Exception as error:  # noqa: BLE001 - decoders raise many kinds on damaged files
        raise InputError(f"the image file is damaged or cut short ({error})") from None
    return _decode(image)


def _decode(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > current().pixels:
        raise InputError(f"the image has {width} x {height} pixels; at most "
                         f"{current().pixels / 1e6:g} million are read")
    try:
        image.load()
        return _to_rgb(image)
    except Exception as error:  # noqa: BLE001 - as above
        kind = f"{image.format} image" if image.format else "image file"
        raise InputError(f"the {kind} is damaged or cut short ({error})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Tile by tile, so that a large picture is held only once besides its result."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    width, height = image.size
    factor = max(1, -(-min(width, height) // MAX_SIDE))
    side = TILE // factor * factor
    corners = [(x, y) for y in range(0, height, side) for x in range(0, width, side)]

    def tile(x: int, y: int) -> Image.Image:
        return image.crop((x, y, min(x + side, width), min(y + side, height)))

    top = 65535.0
    if image.mode in ("I", "F"):  # "I" holds 32 bits, used by some for 8 and by some for 16
        highest = max(np.nan_to_num(np.asarray(tile(*c))).max(initial=0) for c in corners)
        low, high = (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0)
        top = low if highest <= low else high
    elif image.mode.startswith("I;16") and 255 < max(
            int(np.asarray(tile(*c)).max(initial=0)) for c in corners) <= TWELVE_BITS:
        top = float(TWELVE_BITS)
    result = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for x, y in corners:
        result.paste(_tile_to_rgb(tile(x, y), top).reduce(factor), (x // factor, y // factor))
    return result


def _tile_to_rgb(image: Image.Image, top: float) -> Image.Image:
    """top: the value of white in pictures with one number of more than 8 bits a pixel."""
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        image = Image.fromarray((values.clip(0, top) * 255 / top).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def to_image(pixels: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] on the 8-bit grid -> the picture, exactly."""
    levels = (pixels.detach().cpu() * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).numpy())


JOINERS = "\u200c\u200d"  # shape Persian words and emoji; the one kind of invisible sign we keep


def _tidy(text: str) -> str:
    """Without control and invisible characters, runs of space made one; "" when none is left."""
    shown = "".join(
        c if c.isprintable() or c in JOINERS else "" if unicodedata.category(c) == "Cf" else " "
        for c in text)
    tidy = " ".join(shown.split())
    return tidy if tidy.strip(JOINERS + " ") else ""


def clean_captions(captions: Sequence[str]) -> tuple[str, ...]:
    """Trimmed captions in order. Raises InputError when there is none, one is empty, too long
    or given twice, or there are more than MAX_CAPTIONS."""
    tidy = tuple(_tidy(text) for text in captions)
    if not tidy:
        raise InputError("give at least one caption")
    limits = current()
    if len(tidy) > limits.captions:
        raise InputError(f"there are {len(tidy)} captions; at most {limits.captions} are compared")
    for number, text in enumerate(tidy, 1):
        if not text:
            raise InputError(f"caption {number} is empty")
        if len(text) > limits.caption_characters:
            raise InputError(f"caption {number} has {len(text):,} characters; at most "
                             f"{limits.caption_characters:,} are read")
    for number, text in enumerate(tidy, 1):
        first = tidy.index(text) + 1
        if first < number:
            raise InputError(f"captions {first} and {number} are the same: '{text[:60]}'")
    return tidy


@dataclass(frozen=True, eq=False)
class Pairs:
    """N images against K captions. images: (N, 3, H, W) in [0, 1] on the 8-bit grid;
    labels: (N,) index of each image's true caption; sets: where an image has several true
    captions, the indices of all of them."""

    images: Tensor
    captions: tuple[str, ...]
    labels: Tensor
    sets: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.images.dim() != 4 or self.images.shape[1] != 3:
            raise InputError("images must have the shape (N, 3, H, W)")
        if not bool(((self.images >= 0) & (self.images <= 1)).all()):
            raise InputError("image values must lie between 0 and 1")
        if bool(((self.images * 255) - (self.images * 255).round()).abs().gt(1e-3).any()):
            raise InputError("image values must be whole grey levels: multiples of 1/255")
        if len(self.labels) != len(self.images):
            raise InputError("there must be one label an image")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
                self.captions):
            raise InputError(f"a label must be a caption's number, 0 to {len(self.captions) - 1}")
        if self.sets is not None and (len(self.sets) != len(self.images) or not all(
                own and all(0 <= k < len(self.captions) for k in own) for own in self.sets)):
            raise InputError("each image needs a set of captions, by their numbers")

    def truths(self, row: int) -> tuple[int, ...]:
        """All captions that are true of image `row`."""
        return (int(self.labels[row]),) if self.sets is None else self.sets[row]

    def __len__(self) -> int:
        return len(self.images)


def one_pair(image: Image.Image, captions: Sequence[str], label: int, size: Size) -> Pairs:
    """A single picture and its captions at a model's input size."""
    return Pairs(to_pixels(image, size)[None], clean_captions(captions), torch.tensor([label]))
