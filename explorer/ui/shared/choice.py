"""What is attacked and how: the controls that every run reads, and the attack they describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from explorer.attacks.registry import USUAL, VISIBLE_ATTACKS, Attack
from explorer.base.errors import InputError
from explorer.ui.shared.fields import Slider
from explorer.ui.shared.forms import AttackForm, JointForm, TextForm
from explorer.ui.shared.runs import LIGHT

KINDS = [("the photo", "image"), ("the caption", "text"), ("both", "joint")]


class AttackChoice:
    """Kind, budgets and settings of an attack. Call `what`, `budgets` and `more`, in this order,
    where they belong. prefix: of the elements' ids, which must differ between tabs."""

    def __init__(self, prefix: str = "rx") -> None:
        self.prefix = prefix

    def what(self) -> None:
        """The first choice: which of the two inputs is attacked."""
        self.kind = gr.Radio(KINDS, value="image", label="Attack",
                             elem_id=f"{self.prefix}-kind")

    def budgets(self) -> None:
        """By how much it may change."""
        self.eps = Slider(0, 16, 1, step=0.5, elem_id=f"{self.prefix}-eps",
                          label="Budget ε: grey levels of 255 a pixel may move")
        self.edits = Slider(0, 5, 1, step=1, elem_id=f"{self.prefix}-edits", visible=False,
                            label="Words (or keystrokes) of the caption that may change")

    def more(self) -> None:
        """The rest, in an accordion."""
        with gr.Row():
            self.paper = gr.Button("Paper preset", size="sm")
            self.quick = gr.Button("Quick preset", size="sm")
            self.strong = gr.Button("Strong preset", size="sm")
        with gr.Column(visible=False, min_width=0) as self.joint_part:
            self.joint = JointForm()
        with gr.Column(min_width=0) as self.image_part:
            self.image = AttackForm()
        with gr.Column(visible=False, min_width=0) as self.text_part:
            self.text = TextForm()
        norm = self.image.norm
        for source in (self.kind, norm, self.image.choices.attack):
            source.change(self._shown, [self.kind, norm, self.image.choices.attack],
                          [self.eps, self.image.eps_l2, self.edits, self.image_part,
                           self.text_part, self.joint_part], **LIGHT)
        self.image.follow(self.eps)
        self._presets()

    @staticmethod
    def _shown(kind: str, norm: str, attack: str) -> list[Any]:
        pixels, words = kind != "text", kind != "image"
        eps = pixels and attack not in VISIBLE_ATTACKS  # whose budget is an area, among their own
        seen = (eps and norm == "linf", eps and norm == "l2", words, pixels, words,
                kind == "joint")
        return [gr.update(visible=part) for part in seen]

    def _presets(self) -> None:
        """Paper: MMCoA's attacks. Quick: one step, any typo. Strong: the harshest there is."""
        both = [self.image.choices.attack, self.image.norm, self.eps, self.edits,
                self.text.choices.attack, self.text.objective, self.text.captions,
                self.joint.choices.attack, self.text.similarity]
        self.paper.click(
            lambda: ("pgd", "linf", 1, 1, "bert", "kl", "all", "separate", 0.0, 1, 10, True),
            None,
            [*both, *self.image.choices.own["pgd"][:3]], **LIGHT)
        self.quick.click(
            lambda: ("fgsm", "linf", 1, 1, "typo", "goal", "true", "separate", 0.0), None,
            both, **LIGHT)
        self.strong.click(
            lambda: ("strong", "linf", 1, 1, "hotflip", "goal", "true", "alternating", 0.0),
            None, both, **LIGHT)

    @property
    def strength(self) -> list[gr.components.Component]:
        """What the strong preset sets for the photo."""
        return [self.image.choices.attack]

    @property
    def universal(self) -> list[gr.components.Component]:
        """What sets one change for all photos: kind, attack, norm and budget."""
        return [self.kind, self.image.choices.attack, self.image.norm, self.eps]

    @property
    def perturbation(self) -> gr.components.Component:
        """Which change for all photos it is."""
        return self.image.choices.control("universal", "perturbation")

    @property
    def point(self) -> list[gr.components.Component]:
        """Where a patch lies: its place, across and down."""
        return [self.image.choices.control("patch", name) for name in ("place", "across", "down")]

    def components(self) -> list[gr.components.Component]:
        """Inputs in the order that `build` takes their values."""
        return [self.kind, self.eps, self.edits, *self.image.components(),
                *self.text.components(), *self.joint.components()]

    def show(self, kind: str, name: str, settings: Mapping[str, Any]) -> list[Any]:
        """Values of `components` that describe an attack, as results and bundles have it."""
        image = str(settings.get("image_attack", name if kind == "image" else USUAL["image"]))
        text = str(settings.get("text_attack", name if kind == "text" else USUAL["text"]))
        linf = settings.get("norm", "linf") == "linf"
        eps = float(settings.get("eps", 1 / 255)) * 255 if linf else 1.0
        edits = settings.get("words", settings.get("characters", 1))
        skipped = [gr.skip()] * len(self.joint.components())
        return [kind, round(eps, 3), edits, *self.image.show(image, settings),
                *self.text.show(text, settings),
                *(self.joint.choices.show(name, settings) if kind == "joint" else skipped)]

    def build(self, values: list[Any]) -> Attack:
        """The attack that the controls describe. Raises InputError for values outside the rules."""
        kind, eps, edits, *rest = values
        image, text = self.image.build(eps, rest), self.text.build(edits, rest)
        if kind == "image":
            return image
        if kind == "text":
            return text
        if kind != "joint":
            raise InputError("choose what to attack: the photo, the caption, or both")
        return self.joint.build(image, text, rest)
