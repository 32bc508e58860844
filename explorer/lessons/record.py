"""What a demonstration found, as plain data: drawn in any language, kept in assets/lessons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from explorer.base.errors import InputError
from explorer.base.paths import ASSETS
from explorer.base.versions import versions

if TYPE_CHECKING:
    from explorer.models.encoder import DualEncoder

FOLDER = ASSETS / "lessons"
Cell = str | Mapping[str, Any]  # text as it is, or one of the cells below


def word(key: str, **values: Any) -> Cell:
    """A label of the texts, with values in its gaps."""
    return {"label": key, "values": values}


def chance(p: float) -> Cell:
    """A probability."""
    return {"chance": round(p, 5)}


def cosine(c: float) -> Cell:
    return {"cosine": round(c, 4)}


def reworded(clean: str, now: str) -> Cell:
    """A caption with its changes."""
    return {"clean": clean, "now": now}


@dataclass(frozen=True)
class Bars:
    """One model's answer before and after. title: label; rows: (caption, probability before,
    probability after); true: row of the true caption."""

    title: str
    model: str
    rows: tuple[tuple[str, float, float], ...]
    true: int


@dataclass(frozen=True)
class Table:
    """title, head: labels; rows: of cells, the first of which names the row."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, eq=False)
class Record:
    """One run of a lesson's demonstration. facts: numbers and words that its texts and its
    question use; pictures: (label, (H, W, 3) uint8, magnification or 0), in order; weights: model
    id -> SHA-256 that it was made with; seconds: how long it took."""

    lesson: int
    photo: str
    option: str
    facts: Mapping[str, Any]
    bars: tuple[Bars, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[tuple[str, np.ndarray, int], ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    made_with: Mapping[str, str] = field(default_factory=versions)


def weights(models: Sequence[DualEncoder]) -> dict[str, str]:
    """By id, what is known of the file the weights came from, else of the weights themselves."""
    return {m.card.id: m.card.sha256 or m.fingerprint for m in models}


def save(record: Record, folder: Path = FOLDER) -> None:
    """NUMBER.json, and NUMBER-K.png for its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{record.lesson}-*.png"):
        old.unlink()
    names = []
    for k, (label, pixels, factor) in enumerate(record.pictures):
        name = f"{record.lesson}-{k}.png"
        Image.fromarray(pixels).save(folder / name, optimize=True)
        names.append([label, name, factor])
    plain = {
        "lesson": record.lesson, "photo": record.photo, "option": record.option,
        "facts": record.facts,
        "bars": [[b.title, b.model, [list(r) for r in b.rows], b.true] for b in record.bars],
        "tables": [[t.title, list(t.head), [list(r) for r in t.rows]] for t in record.tables],
        "pictures": names, "weights": record.weights, "seconds": round(record.seconds, 1),
        "made_with": record.made_with}
    text = json.dumps(plain, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / f"{record.lesson}.json").write_text(text + "\n", "utf-8")


def load(number: int, folder: Path = FOLDER) -> Record:
    """The kept record of a lesson. Raises InputError when it is not there."""
    path = folder / f"{number}.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
        pictures = []
        for label, name, factor in raw["pictures"]:
            with Image.open(folder / name) as image:
                pictures.append((label, np.asarray(image.convert("RGB")), int(factor)))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the results of lesson {number} cannot be read ({type(error).__name__}): "
                         "make them by python -m tools.lessons build") from None
    return Record(
        raw["lesson"], raw["photo"], raw["option"], raw["facts"],
        tuple(Bars(t, m, tuple((c, p, q) for c, p, q in rows), true)
              for t, m, rows, true in raw["bars"]),
        tuple(Table(t, tuple(head), tuple(tuple(r) for r in rows))
              for t, head, rows in raw["tables"]),
        tuple(pictures), raw["weights"], raw["seconds"], raw["made_with"])
