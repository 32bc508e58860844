"""What a person asks of a training run: the form's controls, and the plan from them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.base.errors import InputError
from explorer.base.settings import current
from explorer.data.samples import SAMPLES, by_kind
from explorer.data.sets import read_examples
from explorer.models.library import Library
from explorer.training.costs import PROBES, Cost
from explorer.training.methods import METHODS
from explorer.training.plan import MOST_MINUTES, TrainingPlan
from explorer.training.recipe import Recipe
from explorer.ui.shared.case import Case
from explorer.ui.shared.fields import number
from explorer.ui.shared.runs import PLAIN, told

OWN = "own"
UPLOADS = [".zip", ".tar", ".gz", ".tgz", ".parquet"]
MINUTES, PASSES = "minutes", "passes"
FIVE_MINUTES: dict[str, Any] = {  # starts from what a photo model knows of emoji: little
    "data": "emoji-kinds", "base": "pocket", "method": "tecoa", "eps": 1, "budget": MINUTES,
    "amount": 5, "inner_steps": 1, "batch": 16, "lr": 3e-4, "probe_images": 64, "seed": 0,
    "depthwise": 0.25}
NAMES = ("data", "file", "base", "method", "eps", "budget", "amount", "inner_steps", "batch", "lr",
         "probe_images", "seed", "depthwise")
MOST_EPS = 8  # grey levels
AGAINST = {"image": "tecoa", "text": "leaf", "joint": "mmcoa"}  # methods, by what is attacked
KIND = "a picture of {}"  # the kinds bring their articles
MOST_PASSES = 1000
SAVE_EVERY = 25  # steps between checkpoints


@dataclass(frozen=True)
class Draft:
    """A training as the form asks for it, checked, before its budget is known in steps. copy:
    `data` is an upload. Either minutes or passes is None. understood: what was understood of the
    data, in a paragraph."""

    data: Path
    copy: bool
    data_title: str
    eval_data: Path | None
    base: str
    recipe: Recipe
    minutes: float | None
    passes: float | None
    probe_images: int
    understood: str = ""

    def plan(self, folders: Sequence[Path]) -> TrainingPlan:
        """What is asked for."""
        return TrainingPlan(
            self._recipe, str(self.data), self.base, Path(), folders=tuple(folders),
            eval_data=None if self.eval_data is None else str(self.eval_data),
            probe_images=self.probe_images, save_every=SAVE_EVERY, minutes=self.minutes)

    @property
    def _recipe(self) -> Recipe:
        return self.recipe if self.passes is None else replace(self.recipe, epochs=self.passes)

    @property
    def budget(self) -> str:
        if self.minutes is not None:
            return f"{self.minutes:g} minute{'s' if self.minutes != 1 else ''}"
        return f"{self.passes:g} pass{'es' if self.passes != 1 else ''} over the data"

    def model_name(self) -> str:
        """A new id for the model to come."""
        base = re.sub(r"[^A-Za-z0-9.-]+", "-", self.base.rsplit("/", 1)[-1]).strip("-.")[:40]
        method = self.recipe.method.replace("+", "-plus-", 1).strip("-")
        return f"{base}-{method}-{secrets.token_hex(2)}"


class TrainForm:
    """The controls, in the order of NAMES."""

    def __init__(self, library: Library) -> None:
        first = FIVE_MINUTES
        samples = [(sample.title, sample.id) for sample in SAMPLES.values()]
        self.data = gr.Radio([*samples, ("My own", OWN)], value=first["data"],
                             label="Learn from", elem_id="tr-data")
        self.about = gr.HTML(_about(first["data"]), elem_id="tr-data-about", **PLAIN)
        self.file = gr.File(label="Zip, tar or parquet file", file_types=UPLOADS, height=110,
                            visible=False, elem_id="tr-file")
        with gr.Group():
            self.method = gr.Dropdown([(kind.title, name) for name, kind in METHODS.items()],
                                      value=first["method"], label="Method", elem_id="tr-method")
            self.base = gr.Dropdown(base_choices(library), value=first["base"],
                                    label="Start from the model", elem_id="tr-base")
        with gr.Row():
            self.amount = gr.Number(first["amount"], label="Train for", minimum=0, min_width=80,
                                    scale=1, elem_id="tr-amount")
            self.budget = gr.Radio([("minutes", MINUTES), ("passes", PASSES)], scale=3,
                                   value=first["budget"], label="minutes, or passes over the data",
                                   elem_id="tr-budget", min_width=160)
        self.eps = gr.Slider(0, MOST_EPS, first["eps"], step=0.5, elem_id="tr-eps",
                             label="Budget ε of the attacks, grey levels of 255")
        with gr.Row():
            self.start = gr.Button("Start", variant="primary", elem_id="tr-start", min_width=80)
            self.estimate = gr.Button("What will it cost?", elem_id="tr-estimate", min_width=140)
        self.said = gr.HTML("", elem_id="tr-said", **PLAIN)
        with gr.Accordion("More settings", open=False):
            with gr.Row():
                self.inner_steps = gr.Number(first["inner_steps"], label="Attack steps a picture",
                                             precision=0, minimum=1, elem_id="tr-inner")
                self.batch = gr.Number(first["batch"], label="Pictures a step", precision=0,
                                       minimum=2, elem_id="tr-batch")
                self.lr = gr.Number(first["lr"], label="Learning rate", step=1e-6,
                                    elem_id="tr-lr")
            with gr.Row():
                self.probe_images = gr.Number(
                    first["probe_images"], label="Held-out pictures measured", precision=0,
                    minimum=2, elem_id="tr-probe")
                self.seed = gr.Number(first["seed"], label="Seed", precision=0, minimum=0)
            self.depthwise = gr.Slider(
                0.05, 1, first["depthwise"], step=0.05, elem_id="tr-depthwise",
                label="Part for depthwise gradients, on the CPU: below 1 faster and noisier")
            self.default = gr.Button("Back to the five-minute preset", size="sm",
                                     elem_id="tr-preset")

    def carried(self) -> list[Any]:
        return [self.method, self.base, self.eps, self.seed, self.said]

    def carry(self, case: Case) -> list[Any]:
        """Values of `carried` that harden the left model of a case against its attack."""
        eps, size = gr.skip(), ""
        if case.grey_levels is not None:
            eps = min(case.grey_levels, MOST_EPS)
        elif case.result.kind != "text":
            size = " Its budget is no ε of grey levels: set the one to train with."
        if case.grey_levels is not None and case.grey_levels > MOST_EPS:
            size = f" Trained with is {MOST_EPS}/255 at most."
        return [AGAINST[case.result.kind], case.models[0], eps, case.result.seed,
                told(f"Set against the attack above, for {case.models[0]}: press Start.{size}")]

    def components(self) -> list[Any]:
        return [getattr(self, name) for name in NAMES]

    def preset(self) -> list[Any]:
        """Values of the five-minute preset for `components`."""
        return [FIVE_MINUTES.get(name) for name in NAMES]

    def wire(self, light: dict[str, Any]) -> None:
        self.data.change(lambda chosen: (_about(chosen), gr.update(visible=chosen == OWN)),
                         self.data, [self.about, self.file], **light)
        self.default.click(self.preset, None, self.components(), **light)


def base_choices(library: Library) -> list[tuple[str, str]]:
    return [(card.title, card.id) for card in library.cards().values()]


def _about(data: str) -> str:
    said = SAMPLES[data].about if data in SAMPLES else (
        "A zip or tar with one folder a class, or with a CSV of the columns image and caption "
        "beside the pictures; or a parquet file with these columns. Some pictures are held out "
        "to measure on.")
    return f'<p class="tr-hint">{said}</p>'


def read(values: Sequence[Any], cache: Path) -> Draft:
    """The form's values, checked; cache: a folder for data made from the shipped ones. Raises
    InputError with a sentence for the first mistake."""
    given = dict(zip(NAMES, values, strict=True))
    data, copy, name, eval_data, understood = _data(given["data"], given["file"], cache)
    if not given["base"]:
        raise InputError("choose a model to start from")
    amount = number(given["amount"], "say for how long to train")
    minutes = amount if given["budget"] == MINUTES else None
    most = MOST_PASSES if minutes is None else MOST_MINUTES
    if not 0 < amount <= most:
        raise InputError(f"the training must take more than 0 and at most {most:,} "
                         f"{'passes' if minutes is None else 'minutes'}")
    probes = _whole(given["probe_images"], "held-out pictures measured", 2, 10_000)
    recipe = Recipe(
        method=given["method"], eps=number(given["eps"], "the budget ε must be a number") / 255,
        inner_steps=_whole(given["inner_steps"], "attack steps a picture", 1, 100),
        batch=_whole(given["batch"], "pictures a step", 2, current().batch),
        lr=number(given["lr"], "the learning rate must be a number"),
        template=_template(given["data"]),
        seed=_whole(given["seed"] or 0, "seed", 0, 2**31 - 1),
        depthwise_share=number(given["depthwise"], "the part must be a number"))
    return Draft(data, copy, name, eval_data, str(given["base"]), recipe, minutes,
                amount if minutes is None else None, probes, understood)


def _whole(value: Any, name: str, low: int, high: int) -> int:
    refusal = f"{name} must be a whole number from {low} to {high:,}"
    got = number(value, refusal)
    if not low <= got <= high or got != int(got):
        raise InputError(refusal)
    return int(got)


def _data(chosen: str, file: str | None, cache: Path,
          ) -> tuple[Path, bool, str, Path | None, str]:
    """The data, whether it has to be copied, what to call it, what to measure on, and what was
    understood of it."""
    from explorer.data.sources import open_upload
    from explorer.data.tables import Reading

    if chosen in SAMPLES:
        sample = SAMPLES[chosen]
        path = by_kind(sample.train, cache / f"{sample.id}.parquet") if sample.kinds else (
            sample.train)
        return path, False, sample.id, sample.probe, _understood(path, sample.title, chosen)
    if chosen != OWN or not file:
        raise InputError("choose a file of pictures and captions first")
    path = Path(file)
    different = len(set(open_upload(path, Reading(True, True)).answers))
    if different < 2:
        raise InputError(f"{path.name} has {different} different caption{'s' * (different != 1)}: "
                         "two are needed at least")
    return path, True, path.name, None, _understood(path, path.name, chosen)


def _template(chosen: str) -> str:
    """What is put around a class's name."""
    return KIND if chosen in SAMPLES and SAMPLES[chosen].kinds else Recipe.template


def _understood(path: Path, title: str, chosen: str) -> str:
    """A paragraph on the set as the training reads it, and on the one that it is measured on."""
    from explorer.training.data import open_training

    found = replace(open_training(str(path), _template(chosen))[0].understood, name=title)
    said = found.sentences()
    if chosen in SAMPLES and (probe := SAMPLES[chosen].probe) is not None:
        measured = replace(read_examples(probe).understood, name="Measured on another set")
        said += measured.sentences()
    return " ".join(said)


def cost_sentence(draft: Draft, cost: Cost) -> str:
    """What the run will cost, in words."""
    if draft.minutes is not None:
        if short := cost.warning(draft.minutes):
            return short
        steps, probes = cost.steps(draft.minutes), cost.probes(draft.minutes)
    else:
        steps, probes = max(1, round((draft.passes or 0) * cost.pictures / cost.batch)), PROBES
    took = cost.seconds(steps, probes) / 60
    return (f"Measured here just now: a step of {cost.batch} pictures takes {cost.step_s:.1f} s "
            f"({cost.batch / cost.step_s:.1f} pictures/s), a measurement {cost.probe_s:.0f} s. "
            f"{draft.budget[0].upper()}{draft.budget[1:]} means {steps:,} steps, "
            f"{cost.passes(steps):.1f} passes over {cost.pictures:,} pictures, in about "
            f"{took:.0f} minutes.")
