"""The Failures tab: one attack on many pictures, what broke sorted, a click to the Attack tab."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import gradio as gr

from explorer.analysis.failures.hunt import wish_of
from explorer.analysis.failures.slices import AXES, SLICES, SORTS
from explorer.jobs.threads import ThreadJobs
from explorer.models.library import Library
from explorer.server.gate import Gate
from explorer.ui.failures import views
from explorer.ui.failures.form import FailuresForm
from explorer.ui.failures.hunts import Hunts, shown_by
from explorer.ui.failures.look import ANY, KIND, Look
from explorer.ui.failures.saves import FailureSaves
from explorer.ui.shared.desk import Desk
from explorer.ui.shared.looks import EVERY, PARTS, while_open
from explorer.ui.shared.opening import opens
from explorer.ui.shared.runs import LIGHT, PLAIN, fresh, heavy
from explorer.ui.shared.works import Orders

HERE = Path(__file__).parent
FIRST: dict[str, Any] = {"slice": "all", "cell": None, "page": 0}
HEAVY = heavy(KIND)


class FailuresTab:
    """Builds the tab's components and wires them; put it inside a gr.Tab of `tabs`, and call
    `follow` when all tabs are there. data: the server's data folder, "" for none."""

    def __init__(self, demo: gr.Blocks, library: Library, desk: Desk, tabs: gr.Tabs,
                 works: ThreadJobs, gate: Gate, data: str = "") -> None:
        style = f"<style>{(HERE / 'failures.css').read_text('utf-8')}</style>"
        gr.HTML("", html_template=style, elem_id="fx-style", **PLAIN)
        self.library, self.desk, self.tabs = library, desk, tabs
        self.data, self.orders = data, Orders(works, gate, KIND)
        self.hunts = Hunts(library, works, gate, desk.choice)
        self.saves, self.look = FailureSaves(self.hunts), Look(self.hunts)
        self._build()
        self._wire(demo)
        self._wire_pictures()

    def _build(self) -> None:
        part: dict[str, Any] = {"js_on_load": PARTS, **PLAIN}
        # The hunt that was pressed, whether the tab is open, what is ticked, and where one is.
        self.asked, self.open = gr.State(""), gr.State(False)
        self.ticked, self.where = gr.State([]), gr.State(FIRST)
        self.poke = gr.HTML("", render=False, **PLAIN)
        self.mark = gr.HTML("{}", elem_id="fx-mark", **PLAIN)  # what the page shows, in the page
        self.timer = gr.Timer(EVERY, active=False)
        with gr.Row(elem_id="fx-main", equal_height=False):
            with gr.Column(scale=3, min_width=300, elem_id="fx-form"):
                self.form = FailuresForm(self.library, self.desk.pair_ids, self.data)
            with gr.Column(scale=9, min_width=520, elem_id="fx-watch"):
                self.list = gr.HTML("", elem_id="fx-hunts", **part)
                self.state = gr.HTML(views.NONE, elem_id="fx-state", **part)
                self.slices = gr.HTML("", elem_id="fx-slices", **part)
                self._choices()
                with gr.Accordion("Confusion matrix: which answer became which", open=False,
                                  elem_id="fx-confusion"):
                    names = [(text.format(left="left", right="right"), name)
                             for name, text in AXES.items()]
                    self.axes = gr.Radio(names, value="models", label="Rows and columns",
                                         elem_id="fx-axes")
                    self.matrix = gr.HTML("", elem_id="fx-matrix", **part)
                self.gallery = gr.HTML("", elem_id="fx-gallery", **part)

    def _choices(self) -> None:
        with gr.Row(elem_id="fx-choices"):  # shown once there is something to choose from: see
            # failures.css, since Gradio loses such updates of what is in a tab
            self.label = gr.Dropdown([("any", ANY)], value=ANY, label="True answer",
                                     elem_id="fx-label", min_width=140)
            self.sort = gr.Dropdown([(text, name) for name, text in SORTS.items()], value="place",
                                    label="Sorted by", elem_id="fx-sort", min_width=180)
            self.low = gr.Textbox("", label="From", elem_id="fx-low", min_width=70,
                                  placeholder="any", max_lines=1, scale=0)
            self.high = gr.Textbox("", label="To", elem_id="fx-high", min_width=70,
                                   placeholder="any", max_lines=1, scale=0)
            self.falling = gr.Checkbox(False, label="Largest first", elem_id="fx-falling",
                                       min_width=110)
            self.layout = gr.Radio([("pictures", "cards"), ("table", "table")], value="cards",
                                   label="Show as", elem_id="fx-layout", min_width=170)
        with gr.Row(elem_id="fx-exports"):
            self.picked = gr.HTML("", elem_id="fx-picked", **PLAIN)
            self.none = gr.Button("Untick all", size="sm", elem_id="fx-none", min_width=80)
            self.flip = gr.Button("Find smallest ε", size="sm", elem_id="fx-flip", min_width=110)
            self.report = gr.Button("Report (HTML)", size="sm", elem_id="fx-report", min_width=100)
            self.bundle = gr.Button("Bundles", size="sm", elem_id="fx-bundle", min_width=70)
            self.table = gr.Button("CSV", size="sm", elem_id="fx-csv", min_width=60)
            self.sheet = gr.Button("Contact sheet", size="sm", elem_id="fx-sheet", min_width=95)
        self.answer = gr.HTML("", elem_id="fx-answer", **PLAIN)
        self.file = gr.File(label="Ready to save", interactive=False, elem_id="fx-file",
                            height=70)

    def _wire(self, demo: gr.Blocks) -> None:
        self.controls = [self.where, self.label, self.sort, self.falling, self.low, self.high,
                         self.layout, self.axes]
        seen = [self.asked, self.open, self.mark, self.ticked, *self.controls]
        view = [self.list, self.state, self.slices, self.matrix, self.gallery, self.picked,
                self.label, self.axes, self.timer, self.mark]
        # All looks are one event, so that none overtakes another: what happens pokes it.
        gr.on([demo.load, self.timer.tick, self.poke.change], self.look.draw, seen, view,
              trigger_mode="always_last", **LIGHT)
        said, poke = self.form.said, self.poke
        self.form.start.click(
            self._start, self.form.components(), [said, self.asked, self.where, self.ticked],
            **HEAVY).then(fresh, None, poke, **LIGHT)
        self.form.stop.click(self._stop, self.mark, [said, poke], **LIGHT)
        self.state.click(self._order, self.mark, [said, poke], **LIGHT)
        typed = (self.low, self.high)  # of which Gradio's input event misses what is deleted
        for control in self.controls[1:]:
            event = cast(Any, control).change if control in typed else cast(Any, control).input
            event(self._first_page, self.where, [self.where, poke], **LIGHT)
        moves = [self.where, self.ticked]
        self.list.click(self._choose, None,
                        [self.asked, *moves, self.answer, self.file, poke], **LIGHT)
        for part in (self.slices, self.matrix, self.gallery):
            part.click(self._move, moves, [*moves, poke], trigger_mode="multiple", **LIGHT)

    def _wire_pictures(self) -> None:
        desk, saves = self.desk, self.saves
        self.none.click(lambda: ([], fresh()), None, [self.ticked, self.poke], **LIGHT)
        opens(self.gallery, self.hunts.open, self.mark, desk, self.tabs)
        picked = [self.mark, self.ticked, *self.controls]
        saved = [self.answer, self.file]
        self.flip.click(saves.flips, picked, self.answer, **HEAVY).then(
            fresh, None, self.poke, **LIGHT)
        for button, save in ((self.bundle, saves.bundles), (self.table, saves.csv),
                             (self.sheet, saves.sheet), (self.report, saves.report)):
            button.click(cast(Any, save), picked, saved, **HEAVY)

    def follow(self) -> None:
        """Looks at a hunt over and over only while its tab is open. The poke stands outside the
        tabs, since nothing in a tab that was never open is heard."""
        cast(Any, self.poke).render()
        for turned in while_open(self.tabs, KIND, self.open):
            turned.then(fresh, None, self.poke, **LIGHT)

    # -- starting and ending ----------------------------------------------------------------------

    def _start(self, request: gr.Request, *values: Any) -> tuple[Any, ...]:
        def fill(folder: Path) -> tuple[str, dict[str, Any]]:
            plan, name, left_out = self.form.read(values, folder)
            return name, {**wish_of(plan), "left_out": left_out}

        said, hunt = self.orders.start(request, fill)
        return (said, hunt, FIRST, []) if isinstance(hunt, str) else (said, *[gr.skip()] * 3)

    def _stop(self, mark: str, request: gr.Request) -> tuple[str, str]:
        return self.orders.stop(request, shown_by(mark).get("hunt", "")), fresh()

    def _order(self, mark: str, event: gr.EventData, request: gr.Request) -> tuple[Any, str]:
        """The buttons of the hunt that is shown."""
        does, hunt = str(event._data.get("do")), shown_by(mark).get("hunt", "")
        return self.orders.obey(request, does, hunt), fresh()

    # -- moving about -----------------------------------------------------------------------------

    @staticmethod
    def _first_page(where: dict[str, Any]) -> tuple[dict[str, Any], str]:
        return {**where, "page": 0, "cell": None}, fresh()

    @staticmethod
    def _choose(event: gr.EventData) -> tuple[Any, ...]:
        """Another hunt, from its start."""
        return str(event._data.get("id", "")), FIRST, [], "", None, fresh()

    @staticmethod
    def _move(where: dict[str, Any], ticked: list[int], event: gr.EventData,
              ) -> tuple[Any, Any, str]:
        """What a press in the slices, the matrix or the gallery leads to."""
        does, to = str(event._data.get("do")), str(event._data.get("id", ""))
        moved: tuple[Any, Any] = gr.skip(), gr.skip()
        try:
            if does == "slice" and to in SLICES:
                moved = {**where, "slice": to, "page": 0, "cell": None}, gr.skip()
            elif does == "page":
                moved = {**where, "page": max(0, int(to))}, gr.skip()
            elif does == "cell":
                row, column = (int(part) for part in to.split(","))
                cell = None if where.get("cell") == [row, column] else [row, column]
                moved = {**where, "cell": cell, "page": 0}, gr.skip()
            elif does == "tick":
                kept = [place for place in ticked if place != int(to)]
                moved = gr.skip(), kept + [int(to)] * bool(event._data.get("on"))
        except (TypeError, ValueError):
            pass
        return *moved, fresh()
