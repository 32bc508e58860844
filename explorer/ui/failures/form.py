"""What a person asks of a hunt: the form's controls, and the plan from their values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.analysis.failures.hunt import MOST_IMAGES, HuntPlan
from explorer.base.errors import InputError
from explorer.data.registry import PHOTOS, SERVER, UPLOAD, listed, open_place, shipped
from explorer.data.uploads import collect
from explorer.models.library import Library
from explorer.ui.shared.case import Case
from explorer.ui.shared.choice import AttackChoice
from explorer.ui.shared.fields import Slider, number
from explorer.ui.shared.photo import LOOK, files_line
from explorer.ui.shared.runs import PLAIN, lines, told

PICTURES = [".zip", ".tar", ".gz", ".tgz", ".parquet", ".csv", ".tsv", "image"]
OWN = ("My own pictures …", UPLOAD)
HINT = ("A zip, tar or parquet file, or several photos. What they show is told by the lines "
        "below, by a CSV with the columns image and caption (or label), by one folder for each "
        "class, or by the file names.")


class FailuresForm:
    """The controls, in the order of `components`."""

    def __init__(self, library: Library, pair: tuple[str, str], data: str) -> None:
        self.root = data or None
        self.place = gr.Dropdown([*shipped(), *listed(data), OWN], value=PHOTOS,
                                 label="Pictures", elem_id="fx-place")
        with gr.Column(visible=False, min_width=0) as self.own:
            self.files = gr.File(label="Zip, parquet, or photos", file_count="multiple",
                                 file_types=PICTURES, height=120, elem_id="fx-files")
            gr.HTML(f'<p class="fx-hint">{HINT}</p>', **PLAIN)
            self.answers = gr.Textbox("", lines=2, max_lines=6, elem_id="fx-answers",
                                      label="What they show, one line a photo (optional)",
                                      placeholder="cat1.jpg: a photo of a cat")
        with gr.Row():
            self.start = gr.Button("Start", variant="primary", elem_id="fx-start", scale=3)
            self.stop = gr.Button("Stop", elem_id="fx-stop", min_width=80, scale=1)
        self.said = gr.HTML("", elem_id="fx-started", **PLAIN)
        self.choice = AttackChoice("fx")
        self.choice.what()
        self.choice.budgets()
        self.limit = Slider(1, MOST_IMAGES, 200, step=1, label="Number of pictures, at most",
                            elem_id="fx-limit")
        with gr.Accordion("More settings", open=False):
            self.extra = gr.Textbox("", lines=2, max_lines=6, elem_id="fx-extra",
                                    label="More answers to choose from, one a line")
            self.choice.more()
            cards = [(card.title, card.id) for card in library.cards().values()]
            self.left = gr.Dropdown(cards, value=pair[0], label="Left model", elem_id="fx-left")
            self.right = gr.Dropdown(cards, value=pair[1], label="Right model", elem_id="fx-right")
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0)
        self.place.change(lambda name: gr.update(visible=name == UPLOAD), self.place, self.own,
                          queue=False, show_progress="hidden", api_visibility="private")
        self.files.upload(files_line, self.files, self.said, **LOOK)

    def carried(self) -> list[Any]:
        return [*self.choice.components(), self.left, self.right, self.seed, self.extra, self.said]

    def carry(self, case: Case) -> list[Any]:
        """Values of `carried` that hunt with the attack of a case, among its captions too."""
        found = case.result
        return [*self.choice.show(found.kind, found.attack, found.settings), *case.models,
                found.seed, "\n".join(case.captions),
                told("Set as the attack above, with its captions as further answers: choose the "
                     "pictures and press Start.")]

    def components(self) -> list[gr.components.Component]:
        return [self.place, self.files, self.answers, self.limit, self.extra, self.left,
                self.right, self.seed, *self.choice.components()]

    def read(self, values: Sequence[Any], folder: Path) -> tuple[HuntPlan, str, list[str]]:
        """(plan, name of the pictures, what was understood of them and left out); uploads are put
        into `folder`. Raises InputError for values outside the rules."""
        place, files, answers, limit, extra, left, right, seed, *choice = values
        many = number(limit, "the number of pictures must be a number")
        if not 1 <= many <= MOST_IMAGES:
            raise InputError(f"choose 1 to {MOST_IMAGES:,} pictures")
        attack = self.choice.build(choice)
        plan = HuntPlan.of(str(place), (str(left), str(right)), attack, limit=int(many),
                       seed=int(seed or 0), extra=tuple(lines(extra)))
        if place == UPLOAD:
            got = collect([Path(str(path)) for path in files or []], lines(answers), folder)
            found = open_place(UPLOAD, None, int(many), plan.seed, folder)  # what is wrong
            said = [*found.understood.sentences(), *got.report.sentences()]  # is said now
            return plan, got.name, list(dict.fromkeys(said))
        found = open_place(str(place), self.root, int(many), plan.seed, folder)
        said = found.understood.sentences()
        if str(place).startswith(SERVER):
            return plan, found.name, said
        known = {name: title for title, name in self.place.choices}
        return plan, str(known.get(str(place), place)).split(",")[0], said
