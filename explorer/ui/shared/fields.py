"""One control for one setting of an attack: what it shows, and what is read from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

import gradio as gr

from explorer.attacks.image.area import VisibleAttack
from explorer.base.errors import InputError

SHARED = {  # set once for all attacks of a kind
    "image": ("eps", "norm"),
    "text": ("objective", "captions", "similarity", "protect", "words", "characters"),
    "joint": ("image", "text"),
}
LANGUAGE_MODELS = [("embedded: MiniLM with a head of ours", ""),
                   ("bert-base-uncased, from the hub", "bert-base-uncased")]


class Slider(gr.Slider):
    """gr.Slider that hands over any value as it was sent, so that we refuse it, with our words."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


def number(value: Any, refusal: str) -> float:
    """The value as a number; NaN and infinity are numbers here. Raises InputError(refusal)."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(refusal) from None


def own_fields(kind: type[Any], of: str = "image") -> list[Field[Any]]:
    """The settings of an attack besides those that all of its kind share; a budget of area is an
    attack's own."""
    shared = ("norm",) if issubclass(kind, VisibleAttack) else SHARED[of]
    return [f for f in fields(kind) if f.name not in shared]


def _default(field: Field[Any]) -> Any:
    return field.default


def control(field: Field[Any]) -> gr.components.Component:
    """Slider, checkbox or dropdown for one field; sliders in grey levels where the unit says so."""
    meta, default = field.metadata, _default(field)
    common = {"label": meta["label"], "info": meta["help"], "interactive": True}
    if field.name == "model":
        return gr.Dropdown(LANGUAGE_MODELS, value=default, **common)
    if "choices" in meta:
        return gr.Dropdown(list(meta["choices"]), value=default, **common)
    if isinstance(default, bool):
        return gr.Checkbox(default, **common)
    if isinstance(default, str):
        return gr.Textbox(default, max_lines=1, **common)
    factor = _factor(field)
    if default is None:  # the slider's 0
        return Slider(0, meta["high"] * factor, 0, step=meta["step"] * factor, **common)
    if factor == 255:
        common["label"] += " (n/255)"
    return Slider(meta["low"] * factor, meta["high"] * factor, default * factor,
                  step=meta["step"] * factor, **common)


def _factor(field: Field[Any]) -> int:
    return 255 if field.metadata.get("unit") == "/255" else 1


def shown(field: Field[Any], settings: Mapping[str, Any]) -> Any:
    """What a control shows for given settings; its default where they have none."""
    value = settings.get(field.name, _default(field))
    if value is None:
        return 0
    if value not in field.metadata.get("choices", [value]):
        return gr.skip()  # such as a file, on the machine where the case was saved
    return value * _factor(field) if isinstance(value, float) else value


def read(field: Field[Any], value: Any) -> Any:
    """A control's value as the field's value. Raises InputError outside the control's range."""
    default, meta, factor = _default(field), field.metadata, _factor(field)
    if default is None and number(value or 0, f"{meta['label']} must be a number") == 0:
        return None
    if isinstance(default, bool):
        return bool(value)
    if not isinstance(default, int | float | None):
        if value and "choices" in meta and value not in meta["choices"] and not re.fullmatch(
                meta.get("also", "(?!)"), str(value)):
            raise InputError(f"{meta['label']} must be one of {', '.join(meta['choices'])}")
        typed = isinstance(default, str) and "choices" not in meta and field.name != "model"
        return str(value or "") if typed else value or default
    low, high = meta["low"] * factor, meta["high"] * factor
    refusal = f"{meta['label']} must be a number from {low:g} to {high:g}"
    got = number(value, refusal)
    if not low - 1e-6 <= got <= high + 1e-6:
        raise InputError(refusal)
    if default is None or isinstance(default, float):
        return got / factor
    if got != int(got):
        raise InputError(f"{meta['label']} must be a whole number")
    return int(got)
