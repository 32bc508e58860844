"""Readers of image sets as their authors publish them, each in its own folder layout.

torchvision reads those whose loaders check nothing but the layout. Its loaders of CIFAR, STL-10
and Flowers-102 take only the full original files, and CIFAR's runs whatever its pickles say; these
few have readers here.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from explorer.base.errors import InputError
from explorer.data.class_names import imagenet_names
from explorer.data.containers import first_line, open_folder
from explorer.data.listings import is_picture
from explorer.data.sources import Boxed, Files, Picture, Source

TUMOUR = ("lymph node", "lymph node containing metastatic tumor tissue")  # CLIP, data/prompts.md
SAFE = {("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct")}


@dataclass(frozen=True)
class Arrays(Source):
    """Pictures in an array (n, 3, H, W) of 8-bit values, best one that stays on disk."""

    data: Any

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        for i in chosen:
            yield Image.fromarray(np.ascontiguousarray(np.moveaxis(self.data[i], 0, 2)))


@dataclass(frozen=True)
class Patches(Source):
    """Pictures in the array x (n, H, W, 3) of an HDF5 file."""

    path: Path

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        import h5py  # type: ignore[import-untyped]

        with h5py.File(self.path) as file:
            for i in chosen:
                yield Image.fromarray(file["x"][i])


def reading(read: Callable[[Path], Source], folder: Path) -> Source:
    """read(folder), with whatever a damaged or incomplete copy raises as one sentence."""
    try:
        return read(folder)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - loaders of many formats raise many kinds
        raise InputError(f"the copy of the set in {folder.name} is damaged or incomplete: "
                         f"{type(error).__name__}, {first_line(error)}") from None


def by_number(numbers: Sequence[int], names: Sequence[str]) -> list[tuple[str, ...]]:
    """The name of each whole-number label."""
    low, high = min(numbers, default=0), max(numbers, default=-1)
    if low < 0 or high >= len(names):
        raise InputError(f"a label is {low if low < 0 else high}, and there are "
                         f"{len(names)} names")
    return [(names[k],) for k in numbers]


# --- arrays ---------------------------------------------------------------------------------


class _Plain(pickle.Unpickler):
    """Reads pickles of numbers, text and arrays, and runs nothing else that they name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return lambda text, _: text.encode("latin-1")
        if (module, name) not in SAFE:
            raise InputError("the file is not one of CIFAR's: it asks to run "
                             f"{module}.{name}"[:120])
        if name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        return getattr(np, name)


def unpickle(file: BinaryIO) -> dict[str, Any]:
    """A dictionary of plain values and arrays. Raises InputError for a pickle of anything else."""
    found = _Plain(file, encoding="latin1").load()
    if not isinstance(found, dict):
        raise InputError("the file is not one of CIFAR's")
    return found


def cifar(folder: Path, file: str, meta: str, labels: str, names: str) -> Source:
    """CIFAR's Python version: n rows of 3072 bytes, red then green then blue, row by row."""
    with (folder / file).open("rb") as opened:
        batch = unpickle(opened)
    with (folder / meta).open("rb") as opened:
        classes = unpickle(opened)[names]
    data = np.asarray(batch["data"], np.uint8).reshape(-1, 3, 32, 32)
    numbers = [int(k) for k in batch[labels]]
    if len(numbers) != len(data):
        raise InputError(f"{file} has {len(data)} images and {len(numbers)} labels")
    return Arrays(by_number(numbers, [str(c) for c in classes]), False, data)


def stl10(folder: Path) -> Source:
    """STL-10's test set: images as 3 x 96 x 96 bytes, column by column; labels from 1."""
    data = np.memmap(folder / "test_X.bin", np.uint8, "r").reshape(-1, 3, 96, 96)
    numbers = [int(k) - 1 for k in np.fromfile(folder / "test_y.bin", np.uint8)]
    if len(numbers) != len(data):
        raise InputError(f"test_X.bin has {len(data)} images and test_y.bin {len(numbers)} labels")
    classes = (folder / "class_names.txt").read_text("utf-8").split()
    return Arrays(by_number(numbers, classes), False, np.transpose(data, (0, 1, 3, 2)))


def pcam(folder: Path) -> Source:
    """PatchCamelyon's test set in HDF5: 96 x 96 patches, label 1 where the centre has tumour."""
    import h5py

    start = "camelyonpatch_level_2_split_test_"
    with h5py.File(folder / f"{start}y.h5") as file:
        numbers = [int(k) for k in np.asarray(file["y"]).reshape(-1)]
    path = folder / f"{start}x.h5"
    with h5py.File(path) as file:
        if file["x"].shape[1:] != (96, 96, 3) or len(file["x"]) != len(numbers):
            raise InputError(f"{path.name} must hold one 96 x 96 image a label")
    return Patches(by_number(numbers, TUMOUR), False, path)


# --- folders of classes ---------------------------------------------------------------------


def class_folders(folder: Path, name: Callable[[str], str] = str, without: str = "") -> Source:
    """One sub-folder a class, its name made readable; `without` is a folder that is no class."""
    box = open_folder(folder)
    kept = [(n, n.split("/", 1)[0]) for n in box.files if is_picture(n) and "/" in n]
    if not kept:
        raise InputError(f"there are no images in {folder.name}")
    return Boxed([(name(c),) for _, c in kept if c != without], False, box,
                 [n for n, c in kept if c != without], report=box.report)


def camel(name: str) -> str:
    """"HerbaceousVegetation" -> "herbaceous vegetation"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def numbered(name: str) -> str:
    """"224.touring-bike" and "253.faces-easy-101" -> "touring bike", "faces easy"."""
    return re.sub(r"^\d+\.|-101$", "", name).replace("-", " ")


def country(code: str) -> str:
    """The name of a two-letter ISO 3166 code; Kosovo has one in use that is not in ISO's list."""
    import pytz  # type: ignore[import-untyped]

    if code == "XK":
        return "Kosovo"
    try:
        return str(pytz.country_names[code])
    except KeyError:
        raise InputError(f"there is no country with the code {code[:20]}") from None


def imagenet(folder: Path) -> Source:
    """ImageNet's validation set, one sub-folder of val for each WordNet id."""
    names = imagenet_names()

    def name(wnid: str) -> str:
        if wnid not in names:
            raise InputError(f"{wnid[:20]} is not one of ImageNet's 1000 classes")
        return names[wnid]

    return class_folders(folder / "val", name)


# --- lists ----------------------------------------------------------------------------------


def tiny_imagenet(folder: Path) -> Source:
    """Tiny-ImageNet's validation set: val_annotations.txt and words.txt, separated by tabs."""
    words = dict(line.split("\t", 1) for line in _lines(folder / "words.txt"))
    rows = [line.split("\t")[:2] for line in _lines(folder / "val" / "val_annotations.txt")]
    return Files([(words[wnid].split(",")[0].strip(),) for _, wnid in rows], False,
                 [folder / "val" / "images" / Path(name).name for name, _ in rows])


def pets(folder: Path) -> Source:
    """Oxford-IIIT Pet's test set; a picture is named after its breed: Abyssinian_201."""
    names = [line.split()[0] for line in _lines(folder / "annotations" / "test.txt")]
    return Files([(name.rsplit("_", 1)[0].replace("_", " "),) for name in names], False,
                 [folder / "images" / f"{Path(name).name}.jpg" for name in names])


def flowers(folder: Path) -> Source:
    """Oxford Flowers-102's test set: labels and numbers of images in two Matlab files."""
    from scipy.io import loadmat
    from torchvision.datasets import Flowers102  # type: ignore[import-untyped]

    labels = loadmat(folder / "imagelabels.mat")["labels"].reshape(-1)
    numbers = [int(k) for k in loadmat(folder / "setid.mat")["tstid"].reshape(-1)]
    return Files(by_number([int(labels[k - 1]) - 1 for k in numbers], Flowers102.classes), False,
                 [folder / "jpg" / f"image_{k:05d}.jpg" for k in numbers])


def torchvision(folder: Path, kind: str, name: Callable[[str], str] = str, **options: Any,
                ) -> Source:
    """A set that torchvision reads; as its loader it gets one that only notes the path."""
    import torchvision.datasets as loaders  # type: ignore[import-untyped]

    data: Any = getattr(loaders, kind)(folder.parent, loader=Path, **options)
    rows = [data[i] for i in range(len(data))]
    names = [name(str(one)) for one in data.classes]
    return Files(by_number([int(k) for _, k in rows], names), False, [path for path, _ in rows])


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
