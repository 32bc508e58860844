"""Form controls made from the fields of the attacks in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import gradio as gr

from explorer.attacks.image.base import USUAL_EPS, ImageAttack, default_step
from explorer.attacks.joint import JOINT_ATTACKS, JointAttack
from explorer.attacks.registry import REGISTRIES, USUAL, VISIBLE_ATTACKS
from explorer.attacks.text.base import OBJECTIVES, SCOPES, TextAttack
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.errors import InputError
from explorer.ui.shared.fields import Slider, control, number, own_fields, read, shown

PIXELS = REGISTRIES["image"]
AIMS = dict(zip(OBJECTIVES, ("the goal above", "away from itself, by KL (the paper's)",
                             "away from itself, by cosine"), strict=True))
WHOSE = dict(zip(SCOPES, ("the true caption", "all captions at once (the paper's)"), strict=True))


def automatic(eps: float, norm: str, steps: int) -> str:
    """What stands beside a step size that nobody set."""
    size = default_step(eps, norm, steps)
    return (f"0 is automatic: {size * 255:.3g}/255 now" if norm == "linf" else
            f"0 is automatic: {size:.3g} now, in the unit of ε")


class Choices:
    """A menu of one registry, and one group of controls for each of its attacks, of which the
    chosen one's shows. Call `groups` where they belong."""

    def __init__(self, kind: str, registry: Mapping[str, Any], label: str) -> None:
        self.kind, self.registry = kind, registry
        self.attack = gr.Dropdown([(found.title, name) for name, found in registry.items()],
                                  value=USUAL[kind], label=label, interactive=True)

    def groups(self) -> None:
        self.own: dict[str, list[gr.components.Component]] = {}
        groups = []
        for name, found in self.registry.items():
            with gr.Column(visible=name == USUAL[self.kind], min_width=0) as group:
                self.own[name] = [control(f) for f in own_fields(found, self.kind)]
            groups.append(group)
        self.attack.change(
            lambda chosen: [gr.update(visible=name == chosen) for name in self.registry],
            self.attack, groups, show_progress="hidden", queue=False, api_visibility="private")

    def control(self, name: str, setting: str) -> gr.components.Component:
        """The control of one setting of one attack."""
        names = [f.name for f in own_fields(self.registry[name], self.kind)]
        return self.own[name][names.index(setting)]

    def all_own(self) -> list[gr.components.Component]:
        return [c for controls in self.own.values() for c in controls]

    def show_own(self, name: str, settings: Mapping[str, Any]) -> list[Any]:
        """Values of `all_own` that describe an attack."""
        return [shown(f, settings) if other == name else gr.skip()
                for other, found in self.registry.items() for f in own_fields(found, self.kind)]

    def read_own(self, name: str, values: list[Any]) -> dict[str, Any]:
        """The chosen attack's own settings; takes the values of `all_own` off the front of
        `values`. Raises InputError for values outside the rules."""
        if name not in self.registry:
            raise InputError(f"there is no attack '{name}'")
        chosen: dict[str, Any] = {}
        for other, found in self.registry.items():
            for field in own_fields(found, self.kind):
                value = values.pop(0)
                if other == name:
                    chosen[field.name] = read(field, value)
        return chosen

    def components(self) -> list[gr.components.Component]:
        return [self.attack, *self.all_own()]

    def show(self, name: str, settings: Mapping[str, Any]) -> list[Any]:
        """Values of `components` that describe an attack; nothing changes for an unlisted one."""
        return [name if name in self.registry else gr.skip(), *self.show_own(name, settings)]

    def read(self, values: list[Any]) -> tuple[type[Any], dict[str, Any]]:
        """The chosen class and its own settings; takes its values off the front of `values`."""
        name = values.pop(0)
        chosen = self.read_own(name, values)
        return self.registry[name], chosen


class AttackForm:
    """The attack on the photo, how its change is measured, and the budget and step of L2."""

    def __init__(self) -> None:
        names = sorted(PIXELS, key=lambda name: name == "noise")
        self.choices = Choices("image", {name: PIXELS[name] for name in names},
                               "Attack on the photo")
        self.norm = gr.Radio([("L∞: every pixel a little", "linf"), ("L2: the whole change", "l2")],
                             value="linf", label="How the change is measured", interactive=True)
        self.eps_l2 = Slider(0, 20, USUAL_EPS["l2"], step=0.1, visible=False, interactive=True,
                             label="Budget ε (L2, pixels in 0 to 1)")
        self.step_l2 = Slider(0, 5, 0, step=0.01, label="Step size (L2)", visible=False,
                              info="how far one step goes, in the unit of ε; 0 is automatic",
                              interactive=True)
        self.choices.groups()

    def follow(self, eps_255: gr.components.Component) -> None:
        """Says beside each step size what it comes to, as the budget and the steps are set."""
        stepped = [n for n in self.choices.own if "step" in PIXELS[n].__dataclass_fields__]
        outputs = [*(self.choices.control(n, "step") for n in stepped), self.step_l2]
        steps = [self.choices.control(n, "steps") for n in stepped]

        def say(norm: str, eps: Any, eps_l2: Any, chosen: str, *many: Any) -> list[Any]:
            try:
                size = float(eps) / 255 if norm == "linf" else float(eps_l2)
                said = [automatic(size, norm, int(n)) for n in many]
            except (TypeError, ValueError, OverflowError):
                return [gr.skip()] * (len(stepped) + 1)
            at = said[stepped.index(chosen)] if chosen in stepped else ""
            return [*(gr.update(info=one, visible=norm == "linf") for one in said),
                    gr.update(info=at, visible=norm == "l2" and chosen in stepped)]

        inputs = [self.norm, eps_255, self.eps_l2, self.choices.attack, *steps]
        for source in inputs:
            source.change(say, inputs, outputs, show_progress="hidden", queue=False,  # type: ignore[attr-defined]
                          api_visibility="private")

    def components(self) -> list[gr.components.Component]:
        """Inputs in the order that `build` takes their values."""
        return [self.choices.attack, self.norm, self.eps_l2, self.step_l2,
                *self.choices.all_own()]

    def show(self, name: str, settings: Mapping[str, Any]) -> list[Any]:
        """Values of `components` that describe an attack; a step that fits by itself is shown as
        automatic."""
        if name in VISIBLE_ATTACKS:
            return [name, *[gr.skip()] * 3, *self.choices.show_own(name, settings)]
        norm, step = str(settings.get("norm", "linf")), settings.get("step")
        linf, eps = norm == "linf", float(settings.get("eps", USUAL_EPS[norm]))
        if step is not None and abs(step - default_step(
                eps, norm, int(settings.get("steps", 1)))) < 1e-9:
            step = None
        own = {**settings, "step": step if linf else None}
        return [name, norm, USUAL_EPS["l2"] if linf else eps,
                0 if linf or step is None else step, *self.choices.show_own(name, own)]

    def build(self, eps_255: Any, values: list[Any]) -> ImageAttack:
        """The attack that the form describes; takes its values off the front of `values`. Raises
        InputError for values outside the rules."""
        name, norm, eps_l2, step_l2 = (values.pop(0) for _ in range(4))
        eps = number(eps_255 if norm == "linf" else eps_l2, "the budget ε must be a number")
        settings: dict[str, Any] = {"norm": norm, "eps": eps / 255 if norm == "linf" else eps}
        settings |= self.choices.read_own(name, values)
        if name in VISIBLE_ATTACKS:
            settings.pop("norm")
        if norm == "l2" and "step" in settings:
            settings["step"] = number(step_l2 or 0, "the step size must be a number") or None
        made: ImageAttack = PIXELS[name](**settings)
        return made


class TextForm:
    """Which words may change, and how they are chosen."""

    def __init__(self) -> None:
        self.choices = Choices("text", TEXT_ATTACKS, "Attack on the caption")
        self.choices.groups()
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
        self.choices = Choices("joint", JOINT_ATTACKS, "Order of the turns")
        self.choices.groups()

    def components(self) -> list[gr.components.Component]:
        return self.choices.components()

    def build(self, image: ImageAttack, text: TextAttack, values: list[Any]) -> JointAttack:
        kind, own = self.choices.read(values)
        attack: JointAttack = kind(image=image, text=text, **own)
        return attack
