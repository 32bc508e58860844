"""Form controls made from the fields of the attacks in the registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

import gradio as gr

from explorer.attacks.image.area import VisibleAttack
from explorer.attacks.image.base import USUAL_EPS, ImageAttack, default_step
from explorer.attacks.joint import JOINT_ATTACKS, JointAttack
from explorer.attacks.registry import REGISTRIES, USUAL, VISIBLE_ATTACKS
from explorer.attacks.text.base import OBJECTIVES, SCOPES, TextAttack
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.errors import InputError

PIXELS = REGISTRIES["image"]
SHARED = {  # set once for all attacks of a kind
    "image": ("eps", "norm"),
    "text": ("objective", "captions", "similarity", "protect", "words", "characters"),
    "joint": ("image", "text"),
}
AIMS = dict(zip(OBJECTIVES, ("the goal above", "away from itself, by KL (the paper's)",
                             "away from itself, by cosine"), strict=True))
WHOSE = dict(zip(SCOPES, ("the true caption", "all captions at once (the paper's)"), strict=True))
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


def automatic(eps: float, norm: str, steps: int) -> str:
    """What stands beside a step size that nobody set."""
    size = default_step(eps, norm, steps)
    return (f"0 is automatic: {size * 255:.3g}/255 now" if norm == "linf" else
            f"0 is automatic: {size:.3g} now, in the unit of ε")


class AttackForm:
    """The attack's name, its budget, and one group of controls an attack, of which one shows."""

    def __init__(self) -> None:
        self.names = [n for n in PIXELS if n != "noise"] + ["noise"]
        choices = [(PIXELS[n].title, n) for n in self.names]
        self.attack = gr.Dropdown(choices, value=USUAL["image"], label="Attack on the photo",
                                  interactive=True)
        self.norm = gr.Radio([("L∞: every pixel a little", "linf"), ("L2: the whole change", "l2")],
                             value="linf", label="How the change is measured", interactive=True)
        self.eps_l2 = Slider(0, 20, USUAL_EPS["l2"], step=0.1, visible=False, interactive=True,
                             label="Budget ε (L2, pixels in 0 to 1)")
        self.step_l2 = Slider(0, 5, 0, step=0.01, label="Step size (L2)", visible=False,
                              info="how far one step goes, in the unit of ε; 0 is automatic",
                              interactive=True)
        self.own: dict[str, list[gr.components.Component]] = {}
        groups = []
        for name in self.names:
            with gr.Column(visible=name == USUAL["image"], min_width=0) as group:
                self.own[name] = [control(f) for f in own_fields(PIXELS[name])]
            groups.append(group)
        self.attack.change(
            lambda chosen: [gr.update(visible=n == chosen) for n in self.names],
            self.attack, groups, show_progress="hidden", queue=False, api_visibility="private")

    def _control(self, name: str, setting: str) -> gr.components.Component:
        fields = [f.name for f in own_fields(PIXELS[name])]
        return self.own[name][fields.index(setting)]

    def follow(self, eps_255: gr.components.Component) -> None:
        """Says beside each step size what it comes to, as the budget and the steps are set."""
        stepped = [n for n in self.names if "step" in PIXELS[n].__dataclass_fields__]
        outputs = [*(self._control(n, "step") for n in stepped), self.step_l2]
        steps = [self._control(n, "steps") for n in stepped]

        def say(norm: str, eps: Any, eps_l2: Any, chosen: str, *many: Any) -> list[Any]:
            try:
                size = float(eps) / 255 if norm == "linf" else float(eps_l2)
                said = [automatic(size, norm, int(n)) for n in many]
            except (TypeError, ValueError, OverflowError):
                return [gr.skip()] * (len(stepped) + 1)
            at = said[stepped.index(chosen)] if chosen in stepped else ""
            return [*(gr.update(info=one, visible=norm == "linf") for one in said),
                    gr.update(info=at, visible=norm == "l2" and chosen in stepped)]

        inputs = [self.norm, eps_255, self.eps_l2, self.attack, *steps]
        for source in inputs:
            source.change(say, inputs, outputs, show_progress="hidden", queue=False,  # type: ignore[attr-defined]
                          api_visibility="private")

    def components(self) -> list[gr.components.Component]:
        """Inputs in the order that `build` takes their values."""
        every = [c for name in self.names for c in self.own[name]]
        return [self.attack, self.norm, self.eps_l2, self.step_l2, *every]

    def show(self, name: str, settings: Mapping[str, Any]) -> list[Any]:
        """Values of `components` that describe an attack; a step that fits by itself is shown as
        automatic."""
        if name in VISIBLE_ATTACKS:
            return [name, *[gr.skip()] * 3, *(
                shown(f, settings) if n == name else gr.skip()
                for n in self.names for f in own_fields(PIXELS[n]))]
        linf, step = settings.get("norm", "linf") == "linf", settings.get("step")
        eps = float(settings.get("eps", USUAL_EPS["linf" if linf else "l2"]))
        if step is not None and abs(step - default_step(
                eps, "linf" if linf else "l2", int(settings.get("steps", 1)))) < 1e-9:
            step = None
        own = {**settings, "step": step if linf else None}
        return [name, settings.get("norm", "linf"), USUAL_EPS["l2"] if linf else eps,
                0 if linf or step is None else step,
                *(shown(f, own) if n == name else gr.skip()
                  for n in self.names for f in own_fields(PIXELS[n]))]

    def build(self, eps_255: Any, values: list[Any]) -> ImageAttack:
        """The attack that the form describes; takes its values off the front of `values`. Raises
        InputError for values outside the rules."""
        name, norm, eps_l2, step_l2 = (values.pop(0) for _ in range(4))
        if name not in PIXELS:
            raise InputError(f"there is no attack '{name}'")
        eps = number(eps_255 if norm == "linf" else eps_l2, "the budget ε must be a number")
        settings: dict[str, Any] = {"norm": norm, "eps": eps / 255 if norm == "linf" else eps}
        for other in self.names:
            for field in own_fields(PIXELS[other]):
                value = values.pop(0)
                if other == name:
                    settings[field.name] = read(field, value)
        if name in VISIBLE_ATTACKS:
            settings.pop("norm")
        if norm == "l2" and "step" in settings:
            settings["step"] = number(step_l2 or 0, "the step size must be a number") or None
        made: ImageAttack = PIXELS[name](**settings)
        return made


class Choices:
    """A menu of one registry, and one group of controls for each of its attacks, of which the
    chosen one's shows."""

    def __init__(self, kind: str, registry: dict[str, Any], first: str, label: str) -> None:
        self.kind, self.registry = kind, registry
        choices = [(found.title, name) for name, found in registry.items()]
        self.attack = gr.Dropdown(choices, value=first, label=label, interactive=True)
        self.own: dict[str, list[gr.components.Component]] = {}
        groups = []
        for name, found in registry.items():
            with gr.Column(visible=name == first, min_width=0) as group:
                self.own[name] = [control(f) for f in own_fields(found, kind)]
            groups.append(group)
        self.attack.change(
            lambda chosen: [gr.update(visible=name == chosen) for name in registry],
            self.attack, groups, show_progress="hidden", queue=False, api_visibility="private")

    def components(self) -> list[gr.components.Component]:
        return [self.attack, *(c for controls in self.own.values() for c in controls)]

    def show(self, name: str, settings: Mapping[str, Any]) -> list[Any]:
        """Values of `components` that describe an attack; nothing changes for an unlisted one."""
        return [name if name in self.registry else gr.skip(),
                *(shown(f, settings) if other == name else gr.skip()
                  for other, found in self.registry.items() for f in own_fields(found, self.kind))]

    def read(self, values: list[Any]) -> tuple[type[Any], dict[str, Any]]:
        """The chosen class and its own settings; takes its values off the front of `values`."""
        name = values.pop(0)
        if name not in self.registry:
            raise InputError(f"there is no attack '{name}'")
        chosen: dict[str, Any] = {}
        for other, found in self.registry.items():
            for field in own_fields(found, self.kind):
                value = values.pop(0)
                if other == name:
                    chosen[field.name] = read(field, value)
        return self.registry[name], chosen


class TextForm:
    """Which words may change, and how they are chosen."""

    def __init__(self) -> None:
        self.choices = Choices("text", TEXT_ATTACKS, USUAL["text"], "Attack on the caption")
        self.protect = gr.Checkbox(
            False, label="Keep the class words", interactive=True,
            info="words that tell one caption from the others stay: another class word is another "
                 "meaning")
        self.similarity = Slider(
            0, 1, 0, step=0.05, label="Similarity floor", interactive=True,
            info="least cosine between the sentence embeddings (MiniLM) before and after; 0: none")
        self.objective = gr.Dropdown([(v, k) for k, v in AIMS.items()], value="goal",
                                     label="The words aim at", interactive=True)
        self.captions = gr.Dropdown([(v, k) for k, v in WHOSE.items()], value="true",
                                    label="What is reworded", interactive=True)
        self.choices.attack.input(  # and not where a case or a preset sets both
            lambda name: 0.7 if name == "synonym" else 0.0, self.choices.attack, self.similarity,
            show_progress="hidden", queue=False, api_visibility="private")

    def components(self) -> list[gr.components.Component]:
        return [self.protect, self.similarity, self.objective, self.captions,
                *self.choices.components()]

    def show(self, name: str, settings: Mapping[str, Any]) -> list[Any]:
        """Values of `components` that describe an attack."""
        return [settings.get("protect", False), settings.get("similarity", 0.0),
                settings.get("objective", "goal"), settings.get("captions", "true"),
                *self.choices.show(name, settings)]

    def build(self, edits: Any, values: list[Any]) -> TextAttack:
        """The attack that the form describes; takes its values off the front of `values`."""
        protect, floor, objective, captions = (values.pop(0) for _ in range(4))
        kind, own = self.choices.read(values)
        many = number(edits, "the number of words must be a number")
        if not 0 <= many <= 5 or many != int(many):
            raise InputError("the number of words that may change must be a whole number from 0 "
                             "to 5")
        has = {f.name for f in fields(kind)}
        budget = "characters" if "characters" in has else "words"
        attack: TextAttack = kind(
            **own, **{budget: int(many)}, protect=bool(protect), objective=str(objective),
            captions=str(captions),
            similarity=number(floor, "the similarity floor must be a number from 0 to 1"))
        return attack


class JointForm:
    """Who moves when."""

    def __init__(self) -> None:
        self.choices = Choices("joint", JOINT_ATTACKS, USUAL["joint"], "Order of the turns")

    def components(self) -> list[gr.components.Component]:
        return self.choices.components()

    def build(self, image: ImageAttack, text: TextAttack, values: list[Any]) -> JointAttack:
        kind, own = self.choices.read(values)
        attack: JointAttack = kind(image=image, text=text, **own)
        return attack
