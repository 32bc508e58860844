"""Values as strangers send them, checked: each mistake is one InputError with one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from explorer.attacks.corruptions.base import SEVERITIES, Corruption
from explorer.attacks.corruptions.registry import corruptions_named
from explorer.attacks.request import PAIR
from explorer.base.errors import InputError
from explorer.models.library import Library

MOST_MODELS = 4


@dataclass(frozen=True, eq=False)
class Answer:
    """What a call found out, as plain data for JSON, and the PNG files that `data` names."""

    data: dict[str, Any]
    pictures: dict[str, bytes]


def shown(value: Any) -> str:
    """A value as it may stand in a sentence."""
    return "".join(c if c.isprintable() else "?" for c in str(value)[:60])


def text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not '{shown(value)}'")
    return value.strip()


def texts(value: Any, name: str) -> list[str]:
    """A list of texts; one text alone is a list of one."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
        raise InputError(f"{name} must be a list of texts")
    return list(value)


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number; 3.0 is one too, since some clients know no other numbers."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or value != int(value) or not low <= value <= high:
        raise InputError(f"{name} must be a whole number from {low} to {high:,}, "
                         f"not '{shown(value)}'")
    return int(value)


def harm(corruptions: Any, severities: Any) -> list[Corruption]:
    """The corruptions of a list of names, at each severity of another."""
    if not isinstance(severities, (list, tuple)):
        raise InputError("severities must be a list of whole numbers, such as [1, 3, 5]")
    levels = [whole(level, "a severity", 1, SEVERITIES[-1]) for level in severities]
    return corruptions_named(texts(corruptions, "corruptions"), levels)


def truth(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, not '{shown(value)}'")
    return value


def choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """One of the choices, which are in small letters, whatever the value's case."""
    low = value.strip().lower() if isinstance(value, str) else ""
    if low not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, not '{shown(value)}'")
    return low


def mapping(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{name} must be an object of names and values, such as "
                         '{"eps": "2/255", "steps": 20}')
    return dict(value)


def listed_models(value: Any, library: Library) -> tuple[str, ...]:
    """Ids from the library's list and no others: a stranger names no folder and no address."""
    names = texts(value, "models") if value is not None else list(PAIR)
    known = library.cards()
    for name in names:
        if name not in known:
            raise InputError(f"there is no model '{shown(name)}'; known are {', '.join(known)}")
    if not 1 <= len(names) <= MOST_MODELS or len(set(names)) < len(names):
        raise InputError(f"models must be 1 to {MOST_MODELS} different ids")
    return tuple(names)
