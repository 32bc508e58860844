"""Model cards: what a model is, where it comes from, what was measured on it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError


@dataclass(frozen=True)
class Card:
    """What a model is and where it is from. kind: "standard" or "robust"; base: the id of the
    standard model that a robust one was fine-tuned from; source: local-dir:PATH, hf-hub:NAME,
    open_clip:ARCHITECTURE:TAG or transformers:NAME; numbers: measured by `make cards`; sha256: of
    the weights of a local-dir, 64 hexadecimal digits, checked whenever they are opened."""

    id: str
    title: str
    kind: str
    source: str
    licence: str
    about: str
    base: str | None = None
    architecture: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None


def read_json(path: Path) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError:
        raise InputError(f"the model folder has no {path.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path.name} of the model: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"cannot read {path.name} of the model: it holds no JSON object")
    return value


def card_of(raw: Any, where: str) -> Card:
    """A card from JSON, with every field of its type."""
    if not isinstance(raw, dict):
        raise InputError(f"{where} is no JSON object")
    try:
        card = Card(**raw)
    except TypeError as error:
        raise InputError(f"{where} is incomplete: {error}") from None
    for key in ("id", "title", "kind", "source", "licence", "about"):
        if not isinstance(getattr(card, key), str):
            raise InputError(f"{where} is wrong: {key} must be text")
    for key in ("base", "architecture", "sha256"):
        if not isinstance(getattr(card, key), str | None):
            raise InputError(f"{where} is wrong: {key} must be text or null")
    if not isinstance(card.numbers, dict):
        raise InputError(f"{where} is wrong: numbers must be a JSON object")
    if card.kind not in ("standard", "robust"):
        raise InputError(f"{where} is wrong: kind must be standard or robust")
    return card


def card_of_folder(folder: Path) -> Card:
    """The card of a model folder; a folder without card.json gets one from its path."""
    known = set(Card.__dataclass_fields__) - {"source"}
    source = f"local-dir:{folder}"
    if (folder / "card.json").is_file():
        raw = read_json(folder / "card.json")
        return card_of({**{k: v for k, v in raw.items() if k in known}, "source": source},
                     f"card.json of {folder.name}")
    return Card(source, folder.name, "standard", source, "not stated", "A folder of yours.")
