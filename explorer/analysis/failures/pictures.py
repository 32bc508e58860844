"""The pictures in a hunt's folder: exact ones, and small ones to look at.

pictures/PLACE-clean-SIDE.png and PLACE-attacked-SIDE.png are exact; a clean one is kept for the
second model only where it is cut otherwise. In what comes with the app they take less room, as
exactly: a clean one may be the JPEG that it was read from, and of an attacked one there is the
change alone, PLACE-change-SIDE.webp, 128 where nothing changed. thumbs/ is JPEG.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from explorer.attacks.result import Result
from explorer.base.errors import InputError
from explorer.data.pairs import open_image, to_image

THUMB = 128  # pixels
ZERO = 128  # of a change


def keep(folder: Path, place: int, row: int, results: list[Result]) -> None:
    """Writes the pictures of one row of each model's result."""
    for number, result in enumerate(results):
        clean = to_image(result.images[row])
        if number == 0 or not torch.equal(result.images[row], results[0].images[row]):
            clean.save(_path(folder, place, "clean", number, "png"), "PNG")
        if number == 0:
            _thumb(clean, folder / "thumbs" / f"{place:05d}.jpg")
        if int(result.linf_255[row]):
            now = to_image(result.adversarial_images[row])
            now.save(_path(folder, place, "attacked", number, "png"), "PNG")
            _thumb(now, folder / "thumbs" / f"{place:05d}-{number}.jpg")


def _path(folder: Path, place: int, what: str, side: int, ending: str) -> Path:
    return folder / "pictures" / f"{place:05d}-{what}-{side}.{ending}"


def _thumb(image: Image.Image, path: Path) -> None:
    """Only to recognise the picture; everything measured is in the exact one."""
    image.resize((THUMB, THUMB), Image.Resampling.LANCZOS).save(path, "JPEG", quality=85)


def clean_picture(folder: Path, place: int, side: int = 0) -> Image.Image:
    """As the model of a side was shown it. Raises InputError when it is not there any more."""
    for number in (side, 0):
        for ending in ("png", "jpg"):
            path = _path(folder, place, "clean", number, ending)
            if path.is_file():
                return open_image(path)
    raise InputError("the picture is not in the hunt's folder any more")


def attacked_picture(folder: Path, place: int, side: int) -> Image.Image:
    """As the attack left it; the clean one where no pixel changed."""
    path = _path(folder, place, "attacked", side, "png")
    if path.is_file():
        return open_image(path)
    clean = clean_picture(folder, place, side)
    change = _path(folder, place, "change", side, "webp")
    if not change.is_file():
        return clean
    with Image.open(change) as opened:
        moved = np.asarray(clean.convert("RGB"), np.int16) + np.asarray(opened, np.int16) - ZERO
    return Image.fromarray(moved.astype(np.uint8))


def pack(folder: Path, place: int, original: bytes) -> None:
    """Makes a row's pictures small, exactly: `original` in the place of the clean one where it
    holds the same pixels, and changes in the place of attacked ones."""
    clean, jpeg = (_path(folder, place, "clean", 0, ending) for ending in ("png", "jpg"))
    before = np.asarray(open_image(clean).convert("RGB"), np.int16)
    for side in (0, 1):
        path = _path(folder, place, "attacked", side, "png")
        if path.is_file() and not _path(folder, place, "clean", 1, "png").exists():
            change = np.asarray(open_image(path).convert("RGB"), np.int16) - before + ZERO
            Image.fromarray(change.clip(0, 255).astype(np.uint8)).save(
                _path(folder, place, "change", side, "webp"), "WEBP", lossless=True, quality=100)
            path.unlink()
    if np.array_equal(np.asarray(open_image(original).convert("RGB"), np.int16), before):
        jpeg.write_bytes(original)
        clean.unlink()
