"""The Attack tab: a photo and its captions on the left, what became of them on the right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import gradio as gr

from explorer.actions.attack import reopen
from explorer.attacks.request import Request
from explorer.base.errors import InputError, sentence
from explorer.base.progress import Progress
from explorer.base.settings import Settings
from explorer.data.examples import Example, load_examples
from explorer.data.pairs import to_image
from explorer.jobs.threads import ThreadJobs
from explorer.models.library import Library
from explorer.results.stage import draw
from explorer.results.views import inline
from explorer.server.gate import Gate
from explorer.server.kept import Kept
from explorer.ui.attack.captions import joined, relist, take
from explorer.ui.attack.defend import offer
from explorer.ui.attack.defend_strip import DefendStrip
from explorer.ui.attack.drawing import DrawingForm
from explorer.ui.attack.examples import PICK, strip
from explorer.ui.attack.learning import LearnForm
from explorer.ui.attack.opened import LABEL, opened
from explorer.ui.attack.place import clicked
from explorer.ui.attack.running import Drawn, Running
from explorer.ui.shared.asked import FIRST, YOURS
from explorer.ui.shared.choice import AttackChoice
from explorer.ui.shared.desk import ANY_WRONG, Desk, aim
from explorer.ui.shared.photo import LOOK, Photo, look_at
from explorer.ui.shared.runs import (
    DEVICE,
    IDLE,
    LIGHT,
    PLAIN,
    error_line,
    fresh,
    heavy,
    in_turn,
    lines,
    status,
    told,
)

GOALS = [("classification: another caption wins", "classification"),
         ("similarity: tear photo and caption apart", "similarity"),
         ("embedding: move away from the clean place", "embedding")]
LOOKING = told("Looking at your photo …")
ARRIVED = told("Your photo is here. Write what it may show, mark the true caption, and press "
               "Attack.")
STRONGER = """
element.addEventListener('click', (event) => {
  if (event.target.closest('[data-strong]')) trigger('click', {});
  if (event.target.closest('[data-signs]')) trigger('select', {});
  const take = event.target.closest('[data-take]');
  if (take) trigger('take', {caption: take.dataset.take});
});
"""


class AttackTab:
    """Builds the tab's components and wires them."""

    def __init__(self, demo: gr.Blocks, library: Library, pair: tuple[str, str],
                 gate: Gate | None = None, kept: Kept | None = None,
                 works: ThreadJobs | None = None, data: str = "",
                 finished: gr.HTML | None = None) -> None:
        # Renewed by each run that ended: other tabs listen. Of a State they hear nothing, nor of
        # what is in a tab that is not open, so a page of several tabs brings one from outside.
        self.finished = finished or gr.HTML("", elem_id="rx-finished", **PLAIN)
        self.library, self.examples, self.pair_ids = library, load_examples(), pair
        self.gate = gate or Gate(Settings())
        self.running = Running(library, self.gate, kept)
        self.tickets, self.store = self.running.tickets, self.running.store
        self.works, self.data = works, data
        first = self.examples[FIRST]
        self.strip = gr.HTML(strip(self.examples, kept.own if kept else inline),
                             elem_id="rx-examples", js_on_load=PICK, **PLAIN)
        with gr.Row(elem_id="rx-main", equal_height=False):
            with gr.Column(scale=3, min_width=300, elem_id="rx-input"):
                self._inputs(first, pair)
            with gr.Column(scale=8, min_width=480):
                self.status = gr.HTML(status(Progress("Opening the models …")), **PLAIN)
                self.stage = gr.HTML("", elem_id="rx-stage", js_on_load=STRONGER, **PLAIN)
                self.signs = gr.HTML("", elem_id="rx-signs", **PLAIN)
                self.defend = DefendStrip()
        self._wire(demo)
        self.defend.wire(self)
        if self.learning is not None:
            self.learning.wire(demo, self)

    @property
    def desk(self) -> Desk:
        """For the tabs that open something here."""
        return Desk(self.pair_ids, self.gate, self.store, self.choice, self.photo, self.captions,
                    self.listed, self.true, self.target, self.alt, self.goal, self.standard,
                    self.robust, self.seed, self.finished)

    def _inputs(self, first: Example, pair: tuple[str, str]) -> None:
        self.alt = gr.State(first.alt)
        self.ticket = gr.State(0)
        self.listed = gr.State(list(first.captions))  # the captions as the menus show them
        self.photo = Photo(str(first.path), type="filepath", image_mode=None, format="png",
                           label="Photo", sources=["upload", "clipboard", "webcam"], height=180,
                           elem_id="rx-photo", buttons=[])
        with gr.Row():
            self.go = gr.Button("Attack", variant="primary", elem_id="rx-go", scale=3)
            self.stop = gr.Button("Stop", elem_id="rx-stop", min_width=80, scale=1)
        self.choice = AttackChoice()
        self.choice.what()
        self.captions = gr.Textbox("\n".join(first.captions), lines=4, max_lines=6,
                                   label="Captions, one a line", elem_id="rx-captions")
        with gr.Group():
            self.true = gr.Dropdown(list(first.captions), value=first.captions[first.true],
                                    label="The true one", elem_id="rx-true")
            self.target = gr.Dropdown(
                [ANY_WRONG, *first.captions], value=ANY_WRONG, elem_id="rx-target",
                label="Make it say (choose, or type your own)", allow_custom_value=True)
        self.choice.budgets()
        self.drawing = DrawingForm()
        self.learning = LearnForm(self.works, self.gate, self.data) if self.works else None
        with gr.Accordion("More settings", open=False):
            self.choice.more()
            self.goal = gr.Dropdown(GOALS, value="classification", label="Goal")
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0)
            cards = self.library.cards()
            names = [(f"{c.title}", c.id) for c in cards.values()]
            self.standard = gr.Dropdown(names, value=pair[0], label="Left model")
            self.robust = gr.Dropdown(names, value=pair[1], label="Right model")
            bases = [(f"{base} with {robust}", f"{base}|{robust}")
                     for base, robust in self.library.pairs()]
            self.saved = gr.UploadButton("Open a saved bundle", file_types=[".zip"], size="sm",
                                         elem_id="rx-open")
            self.change = gr.UploadButton(LABEL, size="sm", elem_id="rx-open-change")
            self.pair = gr.Dropdown(bases, value="|".join(pair), label="Pairs that belong together")

    def _wire(self, demo: gr.Blocks) -> None:
        inputs = [self.ticket, self.photo, self.captions, self.true, self.target, self.goal,
                  self.standard, self.robust, self.seed, self.alt, *self.choice.components()]
        late = {"inputs": inputs, "outputs": [self.status, self.stage], **heavy(DEVICE),
                "trigger_mode": "multiple"}
        self.count: dict[str, Any] = {
            "fn": self._ended, "inputs": self.captions,
            "outputs": [self.finished, self.defend.page, self.captions], **LIGHT}
        self.captions.change(relist, [self.captions, self.listed, self.true, self.target],
                             [self.listed, self.true, self.target], trigger_mode="always_last",
                             **LIGHT)
        menu = self.choice.image.choices.attack
        self.photo.select(clicked, [self.photo, menu], self.choice.point, **LIGHT)
        self.photo.input(self._arrived, None, [self.ticket, self.alt, self.status, self.stage],
                         **LIGHT).then(self._looked, [self.ticket, self.photo],
                                       [self.photo, self.status, self.stage, self.signs], **LOOK)
        self.pair.input(lambda both: both.split("|"), self.pair, [self.standard, self.robust],
                        **LIGHT)
        self.go.click(self.tickets.take, None, self.ticket, **LIGHT).then(
            self._run, **late).then(**self.count)
        self.strip.click(
            self._pick, None, [self.ticket, self.photo, self.captions, self.listed, self.true,
                               self.target, self.alt], **LIGHT).then(
            self._run, **late).then(**self.count)
        drawing = {**late, "inputs": [*inputs[:4], *inputs[6:10], *self.drawing.components()]}
        for event in (self.drawing.go.click, self.drawing.caption.submit):
            event(self.tickets.take, None, self.ticket, **LIGHT).then(
                self._draw, **drawing).then(**self.count)
        self.stage.click(self._stronger, None, [self.ticket, *self.choice.strength],
                         **LIGHT).then(self._run, **late).then(**self.count)
        cast(Any, self.stage).take(
            take, self.captions, [self.captions, self.listed, self.true, self.target,
                                  self.status], **LIGHT)
        self.defend.page.select(self._universal, None, [self.ticket, *self.choice.universal],
                                **LIGHT).then(self._run, **late).then(**self.count)
        self.stage.select(self.tickets.take, None, self.ticket, **LIGHT).then(
            self.running.signs,
            **{**late, "inputs": self.ticket, "outputs": [self.status, self.signs]})
        self.finished.change(lambda: "", None, self.signs, **LIGHT)
        self.saved.upload(self._open, **{**late, "inputs": self.saved, "outputs": [
            self.status, self.stage, self.photo, self.captions, self.listed, self.true, self.target,
            self.goal, self.standard, self.robust, self.seed, self.alt,
            *self.choice.components()]}).then(**self.count)
        self.change.upload(opened, self.change, [
            self.status, *self.choice.universal, self.choice.perturbation], **LIGHT)
        self.stop.click(self.running.stop, None, self.status, **LIGHT)

    def _ended(self, request: gr.Request, captions: str) -> tuple[Any, ...]:
        """A run is over."""
        outcome = self.store.last(str(request.session_hash))
        return fresh(), offer(), joined(captions, outcome) or gr.skip()

    def _arrived(self, request: gr.Request) -> tuple[Any, ...]:
        """A photo is given, or taken away: the run of the one before ends, its result goes."""
        return self.tickets.take(request), YOURS, LOOKING, ""

    def _looked(self, request: gr.Request, ticket: int, photo: str | None) -> tuple[Any, ...]:
        """Says what a photo is that cannot be read, and takes it away; a kind that browsers do not
        know is shown as it is read. Whoever has pressed Attack by now sees that run."""
        shown, said = gr.skip(), IDLE
        if photo:
            try:
                shown, said = look_at(photo) or gr.skip(), ARRIVED
            except InputError as error:
                shown, said = None, error_line(f"{sentence(error)} Choose another photo.")
        rest = (said, "", "") if self.tickets.holds(request, ticket) else (gr.skip(),) * 3
        return shown, *rest

    def _pick(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        example = self.examples.get(str(event._data.get("id")), self.examples[FIRST])
        captions = list(example.captions)
        return (self.tickets.take(request), str(example.path), "\n".join(captions), captions,
                gr.update(choices=captions, value=captions[example.true]),
                gr.update(choices=[ANY_WRONG, *captions], value=ANY_WRONG), example.alt)

    def _stronger(self, request: gr.Request) -> tuple[Any, ...]:
        """The strong preset for the photo, at the budget as it is."""
        return self.tickets.take(request), "strong"

    def _universal(self, request: gr.Request) -> tuple[Any, ...]:
        """One change for all photos, at the size it was learnt for."""
        return self.tickets.take(request), "image", "universal", "linf", 8

    def _open(self, file: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """A saved bundle: its result as it was, and the controls as they were set."""
        skips = [gr.skip()] * (11 + len(self.choice.components()))
        yield from in_turn(self.gate, request, lambda: iter([self._reopened(file, request)]),
                           tuple, lambda line: (line, *skips))

    def _reopened(self, file: str, request: gr.Request) -> tuple[Any, ...]:
        bundle, outcome = reopen(self.library, file)
        self.store.put(str(request.session_hash), outcome.light())
        first = outcome.parts[0].result
        assert first is not None
        captions = list(bundle.captions)
        target = first.targets
        aim = ANY_WRONG if target is None else captions[int(target[0])]
        ids = [p.card.id for p in outcome.parts]
        return (status(Progress("This is the saved case, scored again just now.")),
                draw(outcome, self.running.keep), to_image(first.images[0]), "\n".join(captions),
                captions, gr.update(choices=captions, value=captions[bundle.label]),
                gr.update(choices=[ANY_WRONG, *captions], value=aim), first.goal, ids[0], ids[-1],
                first.seed, bundle.alt or "the photo of a saved case",
                *self.choice.show(first.kind, first.attack, first.settings))

    def _run(self, request: gr.Request, ticket: int, photo: str | None, captions: str, true: str,
             target: str, goal: str, left: str, right: str, seed: float, alt: str,
             *choice: Any) -> Drawn:
        def asked() -> Request:
            said = tuple(lines(captions))
            return Request((photo,) if photo else (), said, (true or 0,),
                           self.choice.build(list(choice)), aim(target), goal, (left, right),
                           int(seed or 0), alt)

        yield from self.running.attack(request, ticket, asked)

    def _draw(self, request: gr.Request, ticket: int, photo: str | None, captions: str, true: str,
              left: str, right: str, seed: float, alt: str, *form: Any) -> Drawn:
        """A caption drawn into the photo, or into plain grey, on both models."""
        yield from self.running.attack(request, ticket, lambda: self.drawing.asked(
            form, photo, captions, true, models=(left, right), seed=int(seed or 0), alt=alt))
