"""Form controls made from the fields of the attacks in the registry."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

import gradio as gr

from explorer.attacks.image import IMAGE_ATTACKS, ImageAttack, default_step
from explorer.errors import InputError

SHARED = ("eps", "norm")


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


def own_fields(kind: type[ImageAttack]) -> list[Field[Any]]:
    """The settings of an attack besides its budget."""
    return [f for f in fields(kind) if f.name not in SHARED]


def _default(field: Field[Any]) -> Any:
    return field.default


def control(field: Field[Any]) -> gr.components.Component:
    """Slider, checkbox or dropdown for one field; sliders in grey levels where the unit says so."""
    meta, default = field.metadata, _default(field)
    common = {"label": meta["label"], "info": meta["help"], "interactive": True}
    if "choices" in meta:
        return gr.Dropdown(list(meta["choices"]), value=default, **common)
    if isinstance(default, bool):
        return gr.Checkbox(default, **common)
    factor = _factor(field)
    if factor == 255:
        common["label"] += " (n/255)"
    return Slider(meta["low"] * factor, meta["high"] * factor, default * factor,
                  step=meta["step"] * factor, **common)


def _factor(field: Field[Any]) -> int:
    return 255 if field.metadata.get("unit") == "/255" else 1


def read(field: Field[Any], value: Any) -> Any:
    """A control's value as the field's value. Raises InputError outside the control's range."""
    default, meta, factor = _default(field), field.metadata, _factor(field)
    if isinstance(default, bool):
        return bool(value)
    if not isinstance(default, int | float):
        return value
    low, high = meta["low"] * factor, meta["high"] * factor
    refusal = f"{meta['label']} must be a number from {low:g} to {high:g}"
    got = number(value, refusal)
    if not low - 1e-6 <= got <= high + 1e-6:
        raise InputError(refusal)
    if isinstance(default, float):
        return got / factor
    if got != int(got):
        raise InputError(f"{meta['label']} must be a whole number")
    return int(got)


class AttackForm:
    """The attack's name, its budget, and one group of controls an attack, of which one shows."""

    def __init__(self) -> None:
        self.names = [n for n in IMAGE_ATTACKS if n != "noise"] + ["noise"]
        choices = [(IMAGE_ATTACKS[n].title, n) for n in self.names]
        self.attack = gr.Dropdown(choices, value="pgd", label="Attack", interactive=True)
        self.norm = gr.Radio([("L∞: every pixel a little", "linf"), ("L2: the whole change", "l2")],
                             value="linf", label="How the change is measured", interactive=True)
        self.eps_l2 = Slider(0, 10, 1.0, step=0.1, label="Budget ε (L2, pixels in 0 to 1)",
                             visible=False, interactive=True)
        self.own: dict[str, list[gr.components.Component]] = {}
        groups = []
        for name in self.names:
            with gr.Column(visible=name == "pgd", min_width=0) as group:
                self.own[name] = [control(f) for f in own_fields(IMAGE_ATTACKS[name])]
            groups.append(group)
        self.attack.change(
            lambda chosen: [gr.update(visible=n == chosen) for n in self.names],
            self.attack, groups, show_progress="hidden", queue=False, api_visibility="private")

    def components(self) -> list[gr.components.Component]:
        """Inputs in the order that `build` takes their values."""
        every = [c for name in self.names for c in self.own[name]]
        return [self.attack, self.norm, self.eps_l2, *every]

    def build(self, eps_255: Any, values: list[Any]) -> ImageAttack:
        """The attack that the form describes. Raises InputError for values outside the rules."""
        name, norm, eps_l2, *rest = values
        if name not in IMAGE_ATTACKS:
            raise InputError(f"there is no attack '{name}'")
        eps = number(eps_255 if norm == "linf" else eps_l2, "the budget ε must be a number")
        settings: dict[str, Any] = {"norm": norm, "eps": eps / 255 if norm == "linf" else eps}
        for other in self.names:
            for field in own_fields(IMAGE_ATTACKS[other]):
                value = rest.pop(0)
                if other == name:
                    settings[field.name] = read(field, value)
        if norm == "l2" and "step" in settings:
            fitting = default_step(eps, norm, settings["steps"])
            settings["step"] = max(settings["step"], fitting)
        return IMAGE_ATTACKS[name](**settings)
