"""Form controls made from the fields of the attacks in the registry."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

import gradio as gr

from explorer.attacks.image import IMAGE_ATTACKS, ImageAttack
from explorer.errors import InputError

SHARED = ("eps", "norm")


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
    factor = 255 if meta.get("unit") == "/255" else 1
    if factor == 255:
        common["label"] += " (n/255)"
    return gr.Slider(meta["low"] * factor, meta["high"] * factor, default * factor,
                     step=meta["step"] * factor, **common)


def read(field: Field[Any], value: Any) -> Any:
    """A control's value as the field's value."""
    default = _default(field)
    if field.metadata.get("unit") == "/255":
        return float(value) / 255
    if isinstance(default, bool):
        return bool(value)
    if isinstance(default, int):
        if float(value) != int(value):
            raise InputError(f"{field.metadata['label']} must be a whole number")
        return int(value)
    return float(value) if isinstance(default, float) else value


class AttackForm:
    """The attack's name, its budget, and one group of controls an attack, of which one shows."""

    def __init__(self) -> None:
        self.names = [n for n in IMAGE_ATTACKS if n != "noise"] + ["noise"]
        choices = [(IMAGE_ATTACKS[n].title, n) for n in self.names]
        self.attack = gr.Dropdown(choices, value="pgd", label="Attack", interactive=True)
        self.norm = gr.Radio([("L∞: every pixel a little", "linf"), ("L2: the whole change", "l2")],
                             value="linf", label="How the change is measured", interactive=True)
        self.eps_l2 = gr.Slider(0, 10, 1.0, step=0.1, label="Budget ε (L2, pixels in 0 to 1)",
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

    def build(self, eps_255: float, values: list[Any]) -> ImageAttack:
        """The attack that the form describes. Raises InputError for values outside the rules."""
        name, norm, eps_l2, *rest = values
        if name not in IMAGE_ATTACKS:
            raise InputError(f"there is no attack '{name}'")
        settings: dict[str, Any] = {
            "norm": norm, "eps": float(eps_255) / 255 if norm == "linf" else float(eps_l2)}
        for other in self.names:
            for field in own_fields(IMAGE_ATTACKS[other]):
                value = rest.pop(0)
                if other == name:
                    settings[field.name] = read(field, value)
        if norm == "l2" and "step" in settings:
            steps = int(settings["steps"])
            settings["step"] = max(settings["step"], 2.5 * settings["eps"] / steps, 1e-6)
        return IMAGE_ATTACKS[name](**settings)
