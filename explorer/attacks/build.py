"""Attacks from plain data, as results and bundles carry them: the way back from `settings_of`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from explorer.attacks.run import KINDS, REGISTRIES, Attack
from explorer.base.errors import InputError

RECIPE = "textattack:"


def attack_of(kind: str, name: str, settings: Mapping[str, Any]) -> Attack:
    """The attack of a kind and registry name with these settings; entries that it does not have
    are left out. Raises InputError for unknown names and values outside the rules."""
    if kind not in KINDS:
        raise InputError(f"there is no kind of attack '{kind}'")
    if kind == "joint":
        own = _take(_class(kind, name), settings, ("image", "text"))
        image = attack_of("image", str(settings.get("image_attack", "pgd")), settings)
        text = attack_of("text", str(settings.get("text_attack", "bert")), settings)
        joint: Attack = _make(_class(kind, name), {**own, "image": image, "text": text})
        return joint
    found = _class(kind, name)
    values = _take(found, settings)
    if name.startswith(RECIPE):
        values["recipe"] = name.removeprefix(RECIPE)
    return _make(found, values)


def _class(kind: str, name: str) -> type[Any]:
    if kind == "text" and name.startswith(RECIPE):
        from explorer.attacks.text.recipes import Recipe

        return Recipe
    if name not in REGISTRIES[kind]:
        raise InputError(f"there is no {kind} attack '{name[:40]}'; known are "
                         f"{', '.join(REGISTRIES[kind])}")
    found: type[Any] = REGISTRIES[kind][name]
    return found


def _take(found: type[Any], settings: Mapping[str, Any], leave: tuple[str, ...] = (),
          ) -> dict[str, Any]:
    names = [f.name for f in fields(found) if f.name not in leave]
    return {name: settings[name] for name in names if name in settings}


def _make(found: type[Any], values: dict[str, Any]) -> Attack:
    try:
        attack: Attack = found(**values)
    except (TypeError, AttributeError):
        raise InputError(f"the settings of {found.__name__} are of the wrong type") from None
    return attack
