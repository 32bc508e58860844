"""Pictures and values as a notebook has them: arrays, tensors, open files, NumPy's numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, KeysView, Mapping, ValuesView
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from explorer.base.errors import InputError
from explorer.data.pairs import open_image

TAKEN = ("a path, bytes, an open file, a PIL image, a NumPy array or a torch tensor")
CHANNELS = (1, 3, 4)
NEAR = 1e-4  # so far outside 0 to 1 a float may be by rounding


def plainly(value: Any) -> Any:
    """NumPy's and torch's numbers as Python's, and their rows (a Series too) as lists; all else
    as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0:
        return value.item()
    if not isinstance(value, str | bytes) and hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plainly(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, range | KeysView | ValuesView | Iterator):
        return [plainly(one) for one in value]
    return value


def picture(value: Any) -> tuple[Image.Image, str]:
    """The picture, and a sentence on how an array was read ("" for all else). Raises InputError."""
    if isinstance(value, Image.Image):
        return open_image(value), ""
    if isinstance(value, torch.Tensor):
        moved = value.detach().cpu()
        return _of_array(moved.float().numpy() if moved.is_floating_point() else moved.numpy(),
                         channels_first=True)
    if isinstance(value, np.ndarray):
        return _of_array(value, channels_first=False)
    if isinstance(value, bytes | bytearray | memoryview):
        return open_image(bytes(value)), ""
    if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():  # as Hugging Face has it
        held = value.get("bytes") or value.get("path")
        return picture(held) if held else _refused("an empty dict")
    if hasattr(value, "read"):
        return open_image(_read(value)), ""
    if isinstance(value, str | os.PathLike):
        named = os.fspath(value)
        if isinstance(named, str) and named.lower().startswith(("http://", "https://")):
            raise InputError("no address is read: download the picture, and give its path or bytes")
        return open_image(Path(os.fsdecode(named))), ""
    return _refused("nothing" if value is None else f"a value of the type {type(value).__name__}")


def _refused(what: str) -> tuple[Image.Image, str]:
    raise InputError(f"image must be {TAKEN}, not {what}")


def _read(file: Any) -> bytes:
    try:
        content = file.read()
    except (OSError, ValueError) as error:
        raise InputError(f"the open file cannot be read: {str(error)[:80]}") from None
    if isinstance(content, str):
        raise InputError("the file is open as text: open it with mode 'rb'")
    if not isinstance(content, bytes | bytearray):
        raise InputError(f"image must be {TAKEN}, not a value of the type {type(file).__name__}")
    if not content:
        raise InputError("the open file is empty or was read to its end: open it again, or use "
                         "seek(0)")
    return bytes(content)


def _of_array(values: NDArray[Any], channels_first: bool) -> tuple[Image.Image, str]:
    """channels_first: what a shape that could be either is taken for."""
    if values.dtype == object or values.dtype.kind not in "biuf":
        raise InputError(f"the array holds {values.dtype}, not numbers: give uint8 from 0 to 255 "
                         "or floats from 0 to 1")
    shape = " x ".join(map(str, values.shape))
    while values.ndim > 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim > 3:
        raise InputError(f"the array has the shape {shape}, which are several pictures: give one, "
                         "such as images[0]")
    if values.size == 0:
        raise InputError(f"the array has the shape {shape}: there is no pixel in it")
    pixels, order = _channels_last(values, shape, channels_first)
    levels, scale = _levels(pixels)
    grey = levels.shape[2] == 1
    image = Image.fromarray(levels[:, :, 0] if grey else levels)
    return open_image(image), f"The array of {shape} was read as {order}, {scale}."


def _channels_last(values: NDArray[Any], shape: str, first: bool) -> tuple[NDArray[Any], str]:
    """(H, W, C), and the order in words."""
    if values.ndim == 2:
        return values[:, :, None], "height x width, grey"
    if values.ndim != 3:
        raise InputError(f"the array has the shape {shape}: a picture has height x width x 3 or "
                         "3 x height x width")
    ends = values.shape[2] in CHANNELS, values.shape[0] in CHANNELS
    if not any(ends):
        raise InputError(f"the array has the shape {shape}: neither the first nor the last number "
                         "is that of channels (1, 3 or 4)")
    if ends == (False, True) or (all(ends) and first):
        return values.transpose(1, 2, 0), "channels x height x width"
    return values, "height x width x channels"


def _levels(values: NDArray[Any]) -> tuple[NDArray[np.uint8], str]:
    """Whole grey levels, and the scale in words."""
    kind = values.dtype
    if kind.kind == "b":
        return np.ascontiguousarray(values).astype(np.uint8) * np.uint8(255), "true is white"
    if not bool(np.isfinite(values).all()):
        raise InputError("the array holds values that are not finite (NaN or infinity)")
    low, high = float(values.min()), float(values.max())
    if kind.kind in "iu":
        if low < 0 or high > 255:
            raise InputError(f"the array holds {kind} from {low:g} to {high:g}: whole numbers must "
                             "be grey levels from 0 to 255")
        return np.ascontiguousarray(values).astype(np.uint8), f"{kind}, grey levels from 0 to 255"
    if low < -NEAR or high > 1 + NEAR:
        why = ("it looks normalised: undo that" if low < -NEAR else
               "they look like grey levels: divide by 255, or make them uint8" if high <= 255 else
               "scale them")
        raise InputError(f"the array holds {kind} from {low:.4g} to {high:.4g}: floats must lie "
                         f"between 0 and 1 ({why})")
    rounded = (values.astype(np.float64).clip(0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(rounded), f"{kind} from 0 to 1, rounded to 8 bits"
