"""Small picture sets that several test files write: pictures, zips and tars."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image


def picture(grey: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (grey, grey, grey)).save(buffer, "PNG")
    return buffer.getvalue()


def files_of(kind: str) -> dict[str, bytes]:
    """Three pictures of grey 0, 1, 2 in a layout, with what says what they show."""
    images = {f"{name}.png": picture(i) for i, name in enumerate(("a", "b", "c"))}
    both = [["a cat", "one cat"], ["a dog"], ["the sea", "water"]]
    if kind == "folders":
        return {"cat/0.png": picture(0), "dog/1.png": picture(1), "red_fox/deep/2.png": picture(2)}
    if kind == "labels":
        return {"p/a.png": picture(0), "p/b.png": picture(1), "p/c.png": picture(2),
                "set.csv": b"image;label\np/a.png;cat\np/b.png;dog\np/c.png;red_fox\n"}
    if kind == "rows":
        rows = [f'{n}.png,"{t}"' for n, own in zip("abc", both, strict=True) for t in own]
        return images | {"set.csv": "\n".join(["image,caption", *rows]).encode()}
    if kind == "lists":
        rows = [f"{n}.png\t" + '"' + json.dumps(own).replace('"', '""') + '"'
                for n, own in zip("abc", both, strict=True)]
        return images | {"set.tsv": "\n".join(["image\tcaptions", *rows]).encode()}
    if kind == "beside":
        return images | {f"{n}.txt": "\n".join(t).encode() for n, t in zip("abc", both,
                                                                          strict=True)}
    if kind == "json beside":
        return images | {f"{n}.json": json.dumps({"captions": t}).encode()
                         for n, t in zip("abc", both, strict=True)}
    if kind == "karpathy":
        entries = [{"filename": f"{n}.png", "filepath": "val2014", "split": "test",
                    "sentences": [{"raw": t} for t in own]}
                   for n, own in zip("abc", both, strict=True)]
        entries.append({"filename": "d.png", "split": "train", "sentences": [{"raw": "no"}]})
        return {f"val2014/{n}": raw for n, raw in images.items()} | {
            "dataset.json": json.dumps({"images": entries, "dataset": "x"}).encode()}
    assert kind == "words", kind
    return {"a_cat_01.png": picture(0), "a-dog.png": picture(1), "the sea (2).png": picture(2)}


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, raw in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw)
    return path


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return path


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path
