"""All defences by name, and the way from words to one: "jpeg", "jpeg:quality=50"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from explorer.attacks.amounts import parse_eps
from explorer.attacks.defences.base import Defence
from explorer.attacks.defences.counter import TTC
from explorer.attacks.defences.jpeg import JPEG
from explorer.attacks.defences.pixels import BitDepth, Blur, Median, RandomPad, Resize
from explorer.attacks.defences.views import AGC, Ensemble, ReliableViews
from explorer.attacks.defences.vote import NoiseVote
from explorer.base.errors import InputError

DEFENCES: dict[str, type[Defence]] = {
    "jpeg": JPEG, "bit-depth": BitDepth, "blur": Blur, "median": Median, "resize": Resize,
    "random-pad": RandomPad, "noise-vote": NoiseVote, "ensemble": Ensemble, "ttc": TTC,
    "reliable-views": ReliableViews, "agc": AGC,
}


def name_of(defence: Defence) -> str:
    return next(name for name, kind in DEFENCES.items() if kind is type(defence))


def settings_of(defence: Defence) -> dict[str, Any]:
    """Its name and settings as plain data, from which `defence_of` makes it again."""
    return {"name": name_of(defence), **asdict(defence)}


def label_of(defence: Defence | None) -> str:
    """As it stands in a table and on the command line: "jpeg", or "jpeg:quality=50" where a setting
    is not the usual one; "" for none."""
    if defence is None:
        return ""
    own = [f"{f.name}={getattr(defence, f.name):.6g}" for f in fields(defence)
           if getattr(defence, f.name) != f.default]
    return ":".join([name_of(defence), *own])


def defence_of(name: str, settings: Mapping[str, Any] | None = None) -> Defence:
    """The defence of a name with these settings. Raises InputError for what there is not."""
    if name not in DEFENCES:
        raise InputError(f"there is no defence '{str(name)[:40]}'; known are "
                         f"{', '.join(DEFENCES)}")
    kind, given = DEFENCES[name], dict(settings or {})
    has = [f.name for f in fields(kind)]
    unknown = sorted(given.keys() - set(has))
    if unknown:
        raise InputError(f"the defence {name} has no setting '{str(unknown[0])[:40]}'; it has "
                         f"{', '.join(has)}")
    return kind(**given)


def parse_defence(text: str) -> Defence:
    """"jpeg", "jpeg:quality=50", "ttc:eps=4/255:steps=2". Raises InputError."""
    name, *parts = text.strip().split(":")
    found: dict[str, Any] = {}
    for part in parts:
        key, equals, said = part.partition("=")
        if not equals or key in found:
            raise InputError("the settings of a defence are written as jpeg:quality=50, each once, "
                             f"not '{text[:60]}'")
        found[key] = _number(key, said)
    return defence_of(name, found)


NONE = "none"
ATTACKERS = {"unaware": (False,), "aware": (True,), "both": (False, True)}


def parse_defences(names: Sequence[str]) -> list[Defence | None]:
    """Each as `parse_defence` reads it; "none" is no defence. Raises InputError."""
    found = [None if name.strip() == NONE else parse_defence(name) for name in names]
    if not found or len({label_of(one) for one in found}) < len(found):
        raise InputError("name each defence once, and one at least")
    return found


def attackers_named(text: str) -> tuple[bool, ...]:
    """Whether each attacker knows of the defence: of "unaware", "aware" or "both"."""
    if text not in ATTACKERS:
        raise InputError(f"the attacker must be one of {', '.join(ATTACKERS)}, not '{text[:40]}'")
    return ATTACKERS[text]


def _number(key: str, said: str) -> int | float:
    try:
        return int(said)
    except ValueError:
        pass
    try:
        return parse_eps(said)
    except InputError:
        raise InputError(f"the setting {key[:40]} of a defence must be a number, not "
                         f"'{said[:40]}'") from None
