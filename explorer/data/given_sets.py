"""Sets of pictures as a notebook has them: data frames, `datasets.Dataset`, torchvision's folders,
lists of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from explorer.base.errors import InputError
from explorer.data import catalogue
from explorer.data.given import picture, plainly
from explorer.data.hub import PREFIX, from_dataset
from explorer.data.listings import is_picture
from explorer.data.registry import CATALOGUE, open_place
from explorer.data.sets import Examples, make_examples, read_examples
from explorer.data.sources import Picture, Source

TAKEN = ("a folder, a file, a set by its name, a datasets.Dataset, a pandas DataFrame, a data set "
         "of torchvision such as ImageFolder, or a list of (picture, class name)")
SAMPLE = "sample:"


@dataclass(frozen=True)
class Held(Source):
    """Pictures of objects in memory, or of files that they name. get: the picture of a place."""

    get: Callable[[int], Any]

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        for i in chosen:
            held = self.get(i)
            if isinstance(held, str | Path):
                yield Path(held)
                continue
            try:
                yield picture(held)[0]
            except InputError:
                yield b""  # counted as a picture that cannot be read

    def fault(self, example: int) -> str:
        try:
            picture(self.get(example))
        except InputError as error:
            return str(error)
        return ""


def open_data(data: Any, limit: int | None, seed: int, work: Path) -> Examples:
    """Labelled pictures of any kind of `TAKEN`. work: for what is made on the way. Raises
    InputError."""
    if isinstance(data, Examples):
        return data
    if isinstance(data, str | Path):
        return _named(data, limit, seed, work)
    name = type(data).__name__
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        names = dict.fromkeys(str(key) for row in data for key in row)
        rows = _rows_of({key: [row.get(key) for row in data] for key in names}, "the list")
        return make_examples("the list", from_dataset(rows, "the list"), limit, seed)
    if _is(data, "pandas", "DataFrame"):
        rows = _rows_of({str(c): data[c].tolist() for c in data.columns}, "the DataFrame")
        return make_examples("the DataFrame", from_dataset(rows, "the DataFrame"), limit, seed)
    if _is(data, "datasets", "DatasetDict"):
        raise InputError(f"the DatasetDict has the splits {', '.join(map(str, data))}: give one, "
                         f"such as data['{next(iter(data), 'test')}']")
    if _is(data, "datasets", "Dataset"):
        return make_examples("the Dataset", from_dataset(_with_images(data), "the Dataset"), limit,
                             seed)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__") and not hasattr(data, "keys"):
        return make_examples(f"the {name}", _pairs(data, name), limit, seed)
    raise InputError(f"data must be {TAKEN}, not "
                     f"{'nothing' if data is None else f'a value of the type {name}'}")


def _is(value: Any, package: str, kind: str) -> bool:
    return any(c.__name__ == kind and c.__module__.split(".")[0] == package
               for c in type(value).__mro__)


def _named(data: str | Path, limit: int | None, seed: int, work: Path) -> Examples:
    """A set of the catalogue, one that comes with the app, or whatever lies at a path."""
    name = str(data).strip()
    if not name:
        raise InputError(f"data must be {TAKEN}, not an empty text")
    if isinstance(data, str) and name.lower().startswith(SAMPLE):
        found: Any = open_place(name.lower(), None, limit, seed, work)
    elif isinstance(data, str) and (own := _of_catalogue(name)):
        found = open_place(CATALOGUE + own, None, limit, seed, work)
    else:
        path = Path(name)
        if not name.startswith(PREFIX) and path.name == name and not path.suffix and (
                not path.exists()) and not any(c in name for c in "*{["):
            raise InputError(f"there is no file, folder or known set '{name[:60]}'; known are "
                             f"{', '.join(catalogue.SETS)}, and those that begin with {SAMPLE}")
        return read_examples(data, limit, seed)
    assert isinstance(found, Examples)
    return found


def _of_catalogue(name: str) -> str | None:
    """"CIFAR-10" is cifar10."""
    def plain(text: str) -> str:
        return "".join(c for c in text.lower() if c.isalnum())

    return next((known for known in catalogue.SETS if plain(known) == plain(name)), None)


def _looks_like_picture(value: Any) -> bool:
    if isinstance(value, str | Path):
        return is_picture(str(value))
    if isinstance(value, dict):
        return bool({"bytes", "path"} & value.keys())
    return isinstance(value, bytes | bytearray | Image.Image | np.ndarray | torch.Tensor)


def _rows_of(given: Mapping[str, list[Any]], name_of: str) -> Any:
    """A table as a `datasets.Dataset` whose pictures are in the column image; names of columns in
    small letters."""
    from datasets import Dataset  # type: ignore[import-untyped]

    if not any(given.values()):
        raise InputError(f"{name_of} has no rows")
    low = [name.lower() for name in given]
    columns = {name.lower() if low.count(name.lower()) == 1 else name: [_known(v) for v in held]
               for name, held in given.items()}
    able = [name for name, held in columns.items() if _looks_like_picture(_first(held))]
    wanted = [name for name in able if name.lower() == "image"] or able
    if len(wanted) != 1:
        raise InputError(f"{name_of} needs one column of pictures: paths that end like those of "
                         f"pictures, bytes, PIL images or arrays; it has {', '.join(columns)}")
    pictures = [_packed(value) for value in columns.pop(wanted[0])]
    if "image" in columns:
        raise InputError(f"the column image of {name_of} holds no pictures: rename it")
    try:
        return _with_images(Dataset.from_dict({"image": pictures, **columns}))
    except (TypeError, ValueError) as error:  # pyarrow's are of these
        raise InputError(f"a column of {name_of} holds values of several kinds: "
                         f"{str(error)[:100]}") from None


def _known(value: Any) -> Any:
    """None for what pandas has where nothing is known."""
    return None if isinstance(value, float) and value != value else value


def _first(held: Sequence[Any]) -> Any:
    return next((value for value in held if value is not None), None)


def _packed(value: Any) -> dict[str, Any]:
    """A picture as Hugging Face keeps it; empty for one that cannot be read."""
    if isinstance(value, str | Path):
        return {"bytes": None, "path": str(value)}
    if isinstance(value, dict):
        return {"bytes": value.get("bytes"), "path": value.get("path")}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value), "path": None}
    import io

    out = io.BytesIO()
    try:
        picture(value)[0].save(out, "PNG")
    except InputError:
        return {"bytes": b"", "path": None}
    return {"bytes": out.getvalue(), "path": None}


def _with_images(rows: Any) -> Any:
    """The Dataset with its column of pictures marked as one, where it only holds paths or bytes."""
    from datasets import Image as Pictures

    if not len(rows):
        raise InputError("the Dataset has no rows")
    rows = rows.with_format(None)
    if any(isinstance(kind, Pictures) for kind in rows.features.values()):
        return rows
    for column in rows.column_names:
        if _looks_like_picture(rows[0][column]):
            return rows.cast_column(column, Pictures(decode=False))
    return rows


def _pairs(data: Any, name: str) -> Held:
    """Of pairs of a picture and a class, as torch's data sets are."""
    if not len(data):
        raise InputError(f"the {name} is empty")
    samples = getattr(data, "samples", None) or getattr(data, "imgs", None)
    inner = getattr(data, "dataset", data)  # of a Subset
    named = plainly(getattr(data, "classes", None) or getattr(inner, "classes", None))
    classes = [str(c) for c in named or []]
    targets = plainly(getattr(data, "targets", None))
    rows = samples if isinstance(samples, list) and len(samples) == len(data) else data
    if rows is data and len(data) and isinstance(data[0], str | bytes | Path):
        raise InputError(f"each entry of the {name} must be a pair: a picture and its class")
    try:
        labels = targets if isinstance(targets, list) and len(targets) == len(data) else [
            plainly(rows[i][1]) for i in range(len(data))]
    except (TypeError, IndexError, KeyError):
        raise InputError(f"each entry of the {name} must be a pair: a picture and its class"
                         ) from None
    return Held([(_class(label, classes, name),) for label in labels], False, lambda i: rows[i][0])


def _class(label: Any, classes: Sequence[str], name: str) -> str:
    if isinstance(label, str):
        return label
    if isinstance(label, int) and not isinstance(label, bool):
        if 0 <= label < len(classes):
            return classes[label]
        raise InputError(f"the {name} has the class number {label} and "
                         f"{f'{len(classes)} class names' if classes else 'no class names'}: give "
                         "pairs of a picture and a class name, or a data set with the attribute "
                         "classes")
    raise InputError(f"a class of the {name} must be a name or a number, not "
                     f"'{str(label)[:40]}'")
