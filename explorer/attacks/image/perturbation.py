"""A change of pixels as a file: PNG, .npy or .safetensors. Pickled ones are refused, since opening
them can run code."""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from explorer.attacks.budgets import norm_of
from explorer.base.errors import InputError
from explorer.base.files import read_start
from explorer.base.paths import SHIPPED as SHIPPED_FILES
from explorer.data.pairs import open_image, to_image

SHIPPED = ("pocket", "pocket-robust")  # learnt on the embedded models by `tools.shipping`
FORMATS = (".png", ".npy", ".safetensors")
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npz", ".bin", ".mat")
MOST_BYTES, MOST_SIDE = 50_000_000, 2048
MIDDLE = 128  # the grey of a PNG that stands for no change
MARK = "perturbation"  # the text inside a PNG that tells it from a photo
OPENED = r"opened-[0-9a-f]{32}"  # the names of those that visitors of the app gave
MOST_OPENED = 200  # kept at a time; the oldest go first


@dataclass(frozen=True, eq=False)
class Perturbation:
    """change: (3, H, W) float32 in [-1, 1], to be added to pixels in [0, 1]; name: its file's."""

    change: Tensor
    name: str

    def size(self, norm: str) -> float:
        """Its L-inf or L2 length, pixels in 0 to 1."""
        return float(norm_of(self.change[None], norm)[0])

    def fitted(self, height: int, width: int) -> Tensor:
        """(3, H, W) resized to another size where that is needed."""
        if self.change.shape[1:] == (height, width):
            return self.change
        return F.interpolate(self.change[None], (height, width), mode="bilinear",
                             antialias=True, align_corners=False)[0]

    def note(self, height: int, width: int) -> str:
        """A sentence when it is resized for a model, else ""."""
        own = tuple(self.change.shape[1:])
        if own == (height, width):
            return ""
        return f"{self.name} has {own[0]} x {own[1]} pixels and is resized to {height} x {width}"


def png_of(change: Tensor) -> bytes:
    """A PNG that holds a change exactly where it is whole grey levels of at most 127: each value is
    128 plus its grey levels. A text inside says what it is."""
    buffer, told = io.BytesIO(), PngInfo()
    told.add_text(MARK, f"pixel values are {MIDDLE} plus grey levels of 255")
    levels = (change * 255).round().clamp(-MIDDLE, 127) + MIDDLE
    to_image(levels / 255).save(buffer, "PNG", optimize=True, pnginfo=told)
    return buffer.getvalue()


def bytes_of(change: Tensor, suffix: str) -> bytes:
    """The file of a change (3, H, W), by the ending of its name. Raises InputError."""
    values = change.detach().cpu().float().contiguous()
    if suffix == ".png":
        return png_of(values)
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, values.numpy(), allow_pickle=False)
        return buffer.getvalue()
    if suffix == ".safetensors":
        from safetensors.torch import save

        return bytes(save({"perturbation": values}))
    raise InputError(f"a perturbation is saved as {', '.join(FORMATS)}, not as '{suffix[:20]}'")


def shipped_name(model: str, fingerprint: str, how: object) -> str:
    """Of the file that comes with the app: by the weights that it is learnt on, and how."""
    about = hashlib.sha256(repr((fingerprint, how)).encode()).hexdigest()
    return f"{model}.universal-{about[:16]}.png"


@lru_cache(maxsize=len(SHIPPED))
def _shipped(model: str) -> Perturbation:
    """One that comes with the app; where its model's weights are newer, that of the older ones."""
    (path,) = SHIPPED_FILES.glob(f"{model}.universal-*.png")
    return Perturbation(_checked(_levels(path.read_bytes()), path.name),
                        f"the one learnt on {model}")


def _opened() -> Path:
    return Path(tempfile.gettempdir()) / "explorer-perturbations"


def keep(found: Perturbation) -> str:
    """Keeps one that a visitor gave, and says under which name `open_perturbation` knows it: that
    of its content, and no path. Raises InputError."""
    raw = bytes_of(found.change, ".safetensors")
    name = f"opened-{hashlib.sha256(raw).hexdigest()[:32]}"
    folder = _opened()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / f"{name}.safetensors").write_bytes(raw)
        for old in sorted(folder.glob("*.safetensors"), key=lambda one: one.stat().st_mtime,
                          )[:-MOST_OPENED]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot keep the perturbation: {error.strerror}") from None
    return name


def open_perturbation(path: str | Path) -> Perturbation:
    """A file, or the name of one that comes with the app. Raises InputError in one sentence."""
    if str(path) in SHIPPED:
        return _shipped(str(path))
    file = Path(path)
    if re.fullmatch(OPENED, str(path)):
        file = _opened() / f"{path}.safetensors"
        if not file.is_file():
            raise InputError("the perturbation that you opened is not here any more: open it again")
    suffix, name = file.suffix.lower(), file.name[:80]
    if suffix in PICKLES:
        raise InputError(f"{name} is of a kind that may be pickled, and opening a pickle can run "
                         "code: save the numbers as .npy or .safetensors in a program that you "
                         "trust, and give that file")
    if suffix not in FORMATS:
        raise InputError(f"a perturbation is a file that ends in {', '.join(FORMATS)}, not '{name}'"
                         )
    return read_perturbation(read_start(file, MOST_BYTES, "the perturbation "), name)


def read_perturbation(raw: bytes, name: str) -> Perturbation:
    """The same from bytes; name: of the file, whose ending says the format."""
    if len(raw) > MOST_BYTES:
        raise InputError(f"a perturbation has at most {MOST_BYTES // 1_000_000} MB")
    read = {".png": _png, ".npy": _npy, ".safetensors": _tensors}[Path(name).suffix.lower()]
    return Perturbation(_checked(read(raw, name), name), name)


def _png(raw: bytes, name: str) -> Tensor:
    values = _levels(raw)
    if MARK not in Image.open(io.BytesIO(raw)).info:
        raise InputError(f"{name} is a picture, and nothing in it says that it is a perturbation: "
                         "give a PNG that was saved as one here, or its numbers as .npy or "
                         ".safetensors")
    return values


def _levels(raw: bytes) -> Tensor:
    """(H, W, 3), as a PNG has them."""
    levels = np.array(open_image(raw)).astype(np.float32) - MIDDLE
    return torch.from_numpy(levels / 255)


def _npy(raw: bytes, name: str) -> Tensor:
    try:
        array = np.load(io.BytesIO(raw), allow_pickle=False)
        return torch.from_numpy(np.ascontiguousarray(array).astype(np.float32))
    except (ValueError, TypeError, OSError, EOFError, MemoryError) as error:
        pickled = "pickle" in str(error).lower() or "object" in str(error).lower()
        raise InputError(
            f"{name} holds pickled objects, and opening them can run code: save plain numbers"
            if pickled else f"{name} is no .npy file of numbers, or a damaged one") from None


def _tensors(raw: bytes, name: str) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found = load(raw)
    except (SafetensorError, ValueError, KeyError, OverflowError):
        raise InputError(f"{name} is no .safetensors file, or a damaged one") from None
    fitting = {key: value for key, value in found.items() if value.dim() in (3, 4)}
    if len(fitting) != 1:
        raise InputError(f"{name} must hold one tensor of the shape 3 x H x W, not "
                         f"{len(fitting)} of them")
    return next(iter(fitting.values())).float()


def _checked(values: Tensor, name: str) -> Tensor:
    """(3, H, W) in [-1, 1], of whatever order the axes came in."""
    if values.dim() == 4 and len(values) == 1:
        values = values[0]
    if values.dim() == 3 and values.shape[0] != 3 and values.shape[2] == 3:
        values = values.permute(2, 0, 1)
    shape = " x ".join(map(str, values.shape))
    if values.dim() != 3 or values.shape[0] != 3 or not all(
            1 <= n <= MOST_SIDE for n in values.shape):
        raise InputError(f"{name} has the shape {shape}; a perturbation is "
                         f"3 x H x W, with sides of at most {MOST_SIDE}")
    if not bool(values.isfinite().all()):
        raise InputError(f"{name} holds values that are no finite numbers")
    most = float(values.abs().max())
    if most > 1:
        raise InputError(f"{name} holds values of up to {most:.3g}; they must lie between -1 and "
                         "1, as pixels run from 0 to 1: divide by 255 if they are grey levels")
    return values.contiguous()
