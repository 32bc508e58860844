"""Results as files: JSON for scripts, PNG for exact pictures, .npy for the perturbation.

Used by the command line and by the app's downloads. Nothing is left half-written: files are made
aside and moved into place at the end.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from explorer.base.errors import InputError
from explorer.results.film import film
from explorer.results.views import levels

if TYPE_CHECKING:
    from explorer.attacks.result import Reading, Result


def png_bytes(pixels: ArrayLike) -> bytes:
    """(3, H, W) in [0, 1] on the 8-bit grid -> a PNG that holds exactly these values."""
    buffer = io.BytesIO()
    Image.fromarray(levels(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def npy_bytes(array: ArrayLike) -> bytes:
    """An array or CPU tensor of any shape -> a .npy file of float32."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, dtype=np.float32), allow_pickle=False)
    return buffer.getvalue()


def json_bytes(value: Any) -> bytes:
    """Plain data -> readable UTF-8 JSON; NaN and infinities, which JSON lacks, are refused."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def _reading(reading: Reading, index: int) -> dict[str, Any]:
    return {
        "cosines": reading.cosines[index].tolist(),
        "probabilities": reading.probabilities[index].tolist(),
        "prediction": int(reading.prediction[index]),
    }


def as_dict(result: Result, index: int = 0, files: Mapping[str, str] | None = None,
            ) -> dict[str, Any]:
    """Image `index` of a result as plain data for JSON: one entry of "runs" in result.json.

    image_only is the attacked image with the clean captions, text_only the clean image with the
    attacked ones. eps and step in "attack" are in [0, 1] pixel units; linf_255 is in grey levels.
    files: names of the saved clean and adversarial pictures and of the perturbation.
    """
    target = None if result.targets is None else result.captions[int(result.targets[index])]
    return {
        "model": result.model,
        "kind": result.kind,
        "attack": {"name": result.attack, **result.settings, "goal": result.goal,
                   "target": target, "seed": result.seed},
        "clean": {**_reading(result.clean, index), "captions": list(result.captions)},
        "adversarial": {**_reading(result.adversarial, index),
                        "captions": list(result.adversarial_captions[index])},
        "image_only": _reading(result.image_only, index),
        "text_only": _reading(result.text_only, index),
        "correct_before": bool(result.correct_before[index]),
        "success": bool(result.success[index]),
        "linf_255": float(result.linf_255[index]),
        "l2": float(result.l2[index]),
        "words_changed": int(result.words_changed[index]),
        "characters_changed": int(result.characters_changed[index]),
        "queries": result.queries,
        "seconds": round(result.seconds, 3),
        "image_cosine": float(result.image_cosine[index]),
        "text_cosine": float(result.text_cosine[index]),
        "notes": list(result.notes),
        **({"suggestions": list(result.suggestions)} if result.suggestions else {}),
        **({"defence": result.defence, "aware": result.aware} if result.defence else {}),
        "files": dict(files or {}),
    }


def picture_files(result: Result, stem: str, index: int = 0) -> tuple[dict[str, str],
                                                                     dict[str, bytes]]:
    """The names for `as_dict` and the contents of one image's files, called after `stem`.

    The perturbation is adversarial - clean, (3, S, S) float32 in [-1, 1]. A patch comes as a PNG to
    print, too, and recorded steps as a film (APNG).
    """
    clean, adversarial = result.images[index], result.adversarial_images[index]
    names = {"clean": f"{stem}-clean.png", "adversarial": f"{stem}-adversarial.png",
             "perturbation": f"{stem}-perturbation.npy"}
    contents = {
        names["clean"]: png_bytes(clean),
        names["adversarial"]: png_bytes(adversarial),
        names["perturbation"]: npy_bytes(adversarial - clean),
    }
    if result.attack == "patch" and bool(result.covered[index]):
        names["print"] = f"{stem}-patch-300dpi.png"
        from explorer.attacks.image.patch import printable  # torch, which a page needs not

        contents[names["print"]] = printable(clean, adversarial)
    if result.frames is not None and len(result.frames) > 2 and result.kind != "text":
        names["film"] = f"{stem}-film.png"
        contents[names["film"]] = film(list(result.frames))
    return names, contents


def file_stem(model: str) -> str:
    """The last part of a model's id, in characters that every file system takes."""
    last = model.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-")[:60] or "model"


def _existing(path: Path) -> Path:
    """The nearest folder that exists, at `path` or above it."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _aside(folder: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=".explorer-", dir=_existing(folder))


def _cannot_write(folder: Path, error: OSError) -> InputError:
    return InputError(f"cannot write to {folder}: {error.strerror or error}")


def check_writable(folder: Path) -> None:
    """Raises InputError when no file could be written there; `folder` need not exist yet."""
    if not _existing(folder).is_dir():
        raise InputError(f"cannot write to {folder}: {_existing(folder)} is a file, not a folder")
    try:
        with _aside(folder):
            pass
    except OSError as error:
        raise _cannot_write(folder, error) from None


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes name -> bytes into `folder`, in order, replacing files of these names.

    All are written in full beside the folder first, then moved in, so a full disk or an
    interruption leaves no part of a file. Raises InputError when the folder cannot be written.
    """
    try:
        with _aside(folder) as aside:
            for name, content in contents.items():
                (Path(aside) / name).write_bytes(content)
            folder.mkdir(parents=True, exist_ok=True)
            for name in contents:
                os.replace(Path(aside) / name, folder / name)
    except OSError as error:
        raise _cannot_write(folder, error) from None
