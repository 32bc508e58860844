"""What a person asks of an evaluation: the form's controls, and the plan from their values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.analysis.evaluation.guards import Guards
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan, harmed, read_budgets, spread
from explorer.analysis.evaluation.rows import CLEAN
from explorer.analysis.evaluation.sets import Known, known_sets
from explorer.analysis.evaluation.watched import watched
from explorer.attacks.corruptions.base import SEVERITIES
from explorer.attacks.corruptions.registry import CORRUPTIONS, corruptions_named
from explorer.attacks.defences.detect import DETECTORS
from explorer.attacks.defences.registry import DEFENCES, NONE, attackers_named
from explorer.attacks.image.classic import ImageAttack
from explorer.attacks.joint import JOINT_ATTACKS, JointAttack
from explorer.attacks.text.base import TextAttack
from explorer.base.errors import InputError
from explorer.data.registry import PHOTOS, SERVER, UPLOAD, listed, open_place, shipped
from explorer.data.tasks import CLASSES, RETRIEVAL
from explorer.data.uploads import collect
from explorer.models.library import Library
from explorer.results.views import esc
from explorer.ui.shared.case import Case, edits_of
from explorer.ui.shared.fields import Slider, number
from explorer.ui.shared.forms import AttackForm, Choices, TextForm
from explorer.ui.shared.photo import LOOK, files_line
from explorer.ui.shared.runs import LIGHT, PLAIN, lines, told

MOST_IMAGES = 5_000  # of each set
PICTURES = [".zip", ".tar", ".gz", ".tgz", ".parquet", ".csv", ".tsv", "image"]
TASKS = [("which caption fits", CLASSES), ("retrieval, both ways", RETRIEVAL)]
KINDS = [("nothing", CLEAN), ("photo", "image"), ("caption", "text"), ("both", "joint")]
BUDGETS = {"linf": ("Budgets ε, in n/255", "1, 2, 4"), "l2": ("Budgets ε, in L2", "0.5, 1")}
ATTACKERS = [("not", "unaware"), ("yes", "aware"), ("once not, once yes", "both")]
HINT = ("A zip or parquet file, or several photos. What they show is told by a CSV with the "
        "columns image and caption (or label), by one folder a class, by the lines below, or by "
        "the file names.")


def own_files(kept: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of what lies in the data folder, that which is no known set."""
    return [(title, name) for title, name in kept if name.startswith(SERVER)]


def here(data: str) -> list[tuple[str, str]]:
    """(title, id) of the sets that this server can read, shipped ones apart."""
    known = [(f"{one.title} ({one.size:,} images)", one.id) for one in known_sets(data or None)
             if one.here]
    return [*known, *own_files(listed(data or None))]


def absent(data: str) -> str:
    """The published sets that are not here, and what would bring them."""
    missing = [one for one in known_sets(data or None) if not one.here]
    if not missing:
        return ""
    how = ("Put a set into the server’s data folder, as its authors publish it, and open the page "
           "again." if data else
           "Start the app with --data and a folder that holds them, each as its authors publish "
           "it.")
    rows = "".join(_missing(one) for one in missing)
    return (f'<details class="ev-absent"><summary>{len(missing)} published sets are not on this '
            f"server</summary><p>{esc(how)}</p><ul>{rows}</ul></details>")


def _missing(one: Known) -> str:
    folder = f": {esc(one.how)}" if one.how else ""
    what = " (retrieval)" if one.task == RETRIEVAL else ""
    return f"<li>{esc(one.title)}{what}, {one.size:,} images{folder}</li>"


def whole_seed(value: Any) -> int:
    refusal = "the seed must be a whole number from 0 to 2147483647"
    seed = number(value or 0, refusal)
    if not 0 <= seed < 2**31 or seed != int(seed):
        raise InputError(refusal)
    return int(seed)


def guards(defences: Sequence[Any], attacker: str) -> Guards:
    """What was ticked, beside no defence."""
    return Guards.named([NONE, *map(str, defences)], attacker if defences else "unaware")


class EvaluateForm:
    """The controls, in the order of `components`."""

    def __init__(self, library: Library, pair: tuple[str, str], data: str) -> None:
        self.root = data or None
        self.known = {name: title.split(",")[0] for title, name in [*shipped(), *here(data)]}
        self.task = gr.Radio(TASKS, value=CLASSES, label="What is measured", elem_id="ev-task")
        short = sorted(((title.removesuffix(", shipped with the app"), name)
                        for title, name in shipped()), key=lambda one: len(one[0]))
        self.shipped = gr.CheckboxGroup(short, value=[PHOTOS], elem_id="ev-shipped",
                                        label="Image sets that come with the app")
        self.here = gr.Dropdown(here(data), value=[], multiselect=True, elem_id="ev-here",
                                label="Image sets on this server", visible=bool(here(data)))
        with gr.Accordion("My own pictures, and other sets", open=False, elem_id="ev-own"):
            gr.HTML(absent(data), **PLAIN)
            self.files = gr.File(label="Zip, parquet, or photos", file_count="multiple",
                                 file_types=PICTURES, height=110, elem_id="ev-files")
            gr.HTML(f'<p class="ev-hint">{HINT}</p>', **PLAIN)
            self.answers = gr.Textbox("", lines=2, max_lines=6, elem_id="ev-answers",
                                      label="What they show, one line a photo (optional)")
        cards = [(card.title, card.id) for card in library.cards().values()]
        self.models = gr.Dropdown(cards, value=list(pair), multiselect=True, label="Models",
                                  elem_id="ev-models")
        self.kinds = gr.CheckboxGroup(KINDS, value=[CLEAN, "image"], label="What is attacked",
                                      elem_id="ev-kinds")
        with gr.Row():
            self.budgets = gr.Textbox(BUDGETS["linf"][1], label=BUDGETS["linf"][0], max_lines=1,
                                      elem_id="ev-budgets", min_width=120)
            self.limit = gr.Number(100, label="Images of a set, at most", elem_id="ev-limit",
                                   min_width=120)
        with gr.Row(elem_id="ev-go"):
            self.start = gr.Button("Start", variant="primary", elem_id="ev-start", min_width=80)
            self.cost = gr.Button("How long?", elem_id="ev-cost", min_width=100)
            self.stop = gr.Button("Stop", elem_id="ev-stop", min_width=60)
        self.said = gr.HTML("", elem_id="ev-said", **PLAIN)
        self.files.upload(files_line, self.files, self.said, **LOOK)
        with gr.Accordion("Defences and detectors", open=False, elem_id="ev-defend"):
            self.defences = gr.CheckboxGroup(
                [(kind.title, name) for name, kind in DEFENCES.items()], value=[],
                label="Defences when a picture is read: each beside none, in its usual settings",
                elem_id="ev-defences")
            self.detectors = gr.CheckboxGroup(
                [(kind.title, name) for name, kind in DETECTORS.items()], value=[],
                label="Detectors: a score that tells attacked photos from clean ones",
                elem_id="ev-detectors")
            self.attacker = gr.Radio(ATTACKERS, value="both", elem_id="ev-attacker",
                                     label="Does the attacker know of them?")
        with gr.Accordion("Corruptions: noise, blur, weather, files", open=False,
                          elem_id="ev-harm"):
            self.corruptions = gr.CheckboxGroup(
                [(kind.title, name) for name, kind in CORRUPTIONS.items()], value=[],
                label="What happens to photos by itself, as in ImageNet-C",
                elem_id="ev-corruptions")
            self.severities = gr.CheckboxGroup(
                [(str(level), level) for level in SEVERITIES], value=list(SEVERITIES),
                label="How severe: 1 is mild, 5 is heavy", elem_id="ev-severities")
        with gr.Accordion("More settings", open=False, elem_id="ev-more"):
            self._more()

    def _more(self) -> None:
        self.seed = gr.Number(0, label="Seed of the draw and of the attacks", precision=0,
                              minimum=0)
        self.image = AttackForm()
        self.text = TextForm()
        self.edits = Slider(0, 5, 1, step=1, elem_id="ev-edits",
                            label="Words (or keystrokes) of a caption that may change")
        self.joint = Choices("joint", JOINT_ATTACKS, "Both: order of the turns")
        self.joint.groups()
        self.image.norm.input(self._measured, self.image.norm, self.budgets, **LIGHT)

    @staticmethod
    def _measured(norm: str, given: str = "") -> Any:
        label, value = BUDGETS.get(norm, BUDGETS["linf"])
        return gr.update(label=label, value=given or value)

    def carried(self) -> list[Any]:
        return [self.task, self.models, self.kinds, self.budgets, self.seed, self.edits,
                *self.image.components(), *self.text.components(), *self.joint.components(),
                self.said]

    def carry(self, case: Case) -> list[Any]:
        """Values of `carried` that measure the attack of a case."""
        found, (image, text) = case.result, case.halves
        own, pixels = found.settings, found.kind != "text" and "eps" in found.settings
        size = f"{case.grey_levels or own['eps']:g}" if pixels else ""
        joint = self.joint.components()
        return [CLASSES, list(dict.fromkeys(case.models)), [CLEAN, found.kind],
                self._measured(str(own.get("norm")), size), found.seed, edits_of(own),
                *self.image.show(image, own), *self.text.show(text, own),
                *(self.joint.show(found.attack, own) if found.kind == "joint" else
                  [gr.skip()] * len(joint)),
                told("Set as the attack above: choose sets of images and press Start.")]

    def title(self, name: str) -> str:
        """What a set is called; "" for an upload."""
        return self.known.get(name, "").split(" (")[0]

    def components(self) -> list[gr.components.Component]:
        return [self.task, self.shipped, self.here, self.files, self.answers, self.models,
                self.kinds, self.budgets, self.limit, self.seed, self.defences, self.attacker,
                self.detectors, self.corruptions, self.severities, self.edits,
                *self.image.components(), *self.text.components(), *self.joint.components()]

    def read(self, values: Sequence[Any], folder: Path) -> tuple[EvaluationPlan, str, list[str]]:
        """(plan, name of the upload or "", what was understood of it and left out); an upload is
        put into `folder`. Raises InputError for values outside the rules."""
        (task, first, more, files, answers, models, kinds, budgets, limit, seed, defences, attacker,
         detectors, harm, severities, *rest) = values
        sets = [str(name) for name in [*(first or []), *(more or [])]]
        if not set(sets) <= set(self.known):
            raise InputError("one of the image sets is not here any more: open the page again")
        many = number(limit, "the number of images must be a number")
        if not 1 <= many <= MOST_IMAGES or many != int(many):
            raise InputError(f"choose 1 to {MOST_IMAGES:,} images of each set, as a whole number")
        columns = self.asked([str(kind) for kind in kinds or []], str(budgets or ""), list(rest))
        corruptions = corruptions_named(list(map(str, harm or [])),
                                        [int(level) for level in severities or []])
        asked = guards(defences or [], str(attacker)).columns([*columns, *harmed(corruptions)])
        upload, said = "", list[str]()
        if not sets and not files:
            raise InputError("choose an image set first, or give pictures of your own")
        if files:
            got = collect([Path(str(path)) for path in files], lines(answers), folder)
            sets.append(UPLOAD)
            upload, said = got.name, got.report.sentences()
        plan = EvaluationPlan(tuple(sets), tuple(str(name) for name in models or []), asked,
                    str(task), int(many), whole_seed(seed),
                    watched=watched(map(str, detectors or []), [one.attack for one in columns],
                                    attackers_named(str(attacker))))
        for name in sets:
            said += self._understood(name, plan, folder)
        return plan, upload, list(dict.fromkeys(said))

    def _understood(self, name: str, plan: EvaluationPlan, folder: Path) -> list[str]:
        """What is understood of a set; what is wrong with the visitor's own, and with the only one,
        is said now, and the others go on without one that cannot be read."""
        try:
            found = open_place(name, self.root, plan.limit, plan.seed, folder,
                               plan.task == RETRIEVAL)
        except InputError as error:
            if len(plan.sets) == 1 or name == UPLOAD or name.startswith(SERVER):
                raise
            return [f"{self.title(name)} cannot be used: {error}."]
        return found.understood.sentences()

    def asked(self, kinds: list[str], budgets: str, rest: list[Any]) -> list[Asked]:
        """The columns of the table."""
        linf = rest[2] == "linf"  # after the edits and the attack's name
        levels = read_budgets(budgets, linf) if {"image", "joint"} & set(kinds) else [1 / 255]
        edits = rest.pop(0)
        image: ImageAttack = self.image.build(1.0, rest)
        text: TextAttack = self.text.build(edits, rest)
        found, own = self.joint.read(rest)
        joint: JointAttack = found(image=image, text=text, **own)
        attacks = {CLEAN: None, "image": image, "text": text, "joint": joint}
        if not set(kinds) <= set(attacks):
            raise InputError("choose what is attacked: the photo, the caption, or both")
        return [one for kind in attacks if kind in kinds
                for one in spread(kind, attacks[kind], levels)]
