"""The Evaluate tab: tables of robustness over image sets, models, attacks and budgets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.analysis.evaluation.cost import Cost, estimate
from explorer.analysis.evaluation.plan import EvaluationPlan
from explorer.analysis.evaluation.work import wish_of
from explorer.jobs.threads import ThreadJobs
from explorer.models.library import Library
from explorer.server.gate import Gate
from explorer.ui.evaluate import views
from explorer.ui.evaluate.form import EvaluateForm
from explorer.ui.evaluate.look import KIND, EvaluateLook, Shown
from explorer.ui.shared.looks import EVERY, PARTS, while_open
from explorer.ui.shared.plotly import LOADER, plotly_js
from explorer.ui.shared.runs import LIGHT, PLAIN, heavy, in_turn, told
from explorer.ui.shared.works import Orders

HERE = Path(__file__).parent
HEAVY = heavy(KIND)


class EvaluateTab:
    """Builds the tab's components and wires them; put it inside a gr.Tab of `tabs`, and call
    `follow` when all tabs are there. data: the server's data folder, "" for none."""

    def __init__(self, demo: gr.Blocks, library: Library, tabs: gr.Tabs, works: ThreadJobs,
                 gate: Gate, pair: tuple[str, str], data: str = "") -> None:
        style = f"<style>{(HERE / 'evaluate.css').read_text('utf-8')}</style>"
        gr.HTML("", html_template=style, elem_id="ev-style", **PLAIN)
        self.library, self.tabs, self.gate = library, tabs, gate
        self.data, self.look = data, EvaluateLook(works)
        self.orders = Orders(works, gate, KIND)
        self._build(pair)
        self._wire(demo)

    def _build(self, pair: tuple[str, str]) -> None:
        plotly = plotly_js()
        gr.set_static_paths([plotly])
        # Written by few events each, since an answer may come late: the evaluation that was
        # pressed, whether the tab is open, what the page shows, and what is laid beside.
        self.asked, self.open, self.shown = gr.State(""), gr.State(False), gr.State({})
        self.ticked = gr.State([])
        self.timer = gr.Timer(EVERY, active=False)
        with gr.Row(elem_id="ev-main", equal_height=False):
            with gr.Column(scale=4, min_width=330, elem_id="ev-form"):
                self.form = EvaluateForm(self.library, pair, self.data)
            with gr.Column(scale=9, min_width=520, elem_id="ev-watch"):
                self.list = gr.HTML("", elem_id="ev-works", js_on_load=PARTS, **PLAIN)
                self.state = gr.HTML(views.NONE, elem_id="ev-state", js_on_load=PARTS, **PLAIN)
                self.table = gr.HTML("", elem_id="ev-table", **PLAIN)
                self.curve = curves(plotly, "ev-curve", "Against the budget", "robustness-curve",
                                    "Curves of the numbers against the budget")
                self.found = gr.HTML("", elem_id="ev-found", **PLAIN)
                self.roc = curves(plotly, "ev-roc", "Detectors", "detectors-curve",
                                  "Curves of photos found against false alarms")

    def _wire(self, demo: gr.Blocks) -> None:
        seen = [self.asked, self.open, self.shown, self.ticked]
        view = [self.list, self.state, self.table, self.curve, self.found, self.roc, self.timer,
                self.shown]
        self.redraw: dict[str, Any] = {"fn": self.look.draw, "inputs": seen, "outputs": view,
                                       **LIGHT}
        demo.load(self.look.arrive, None, view, **LIGHT)
        self.timer.tick(trigger_mode="once", **self.redraw)
        form = self.form
        form.start.click(self._start, form.components(), [form.said, self.asked], **HEAVY).then(
            **self.redraw)
        form.cost.click(self._cost, form.components(), form.said, **HEAVY)
        form.stop.click(self._stop, self.shown, form.said, **LIGHT).then(**self.redraw)
        self.state.click(self._order, None, form.said, **LIGHT).then(**self.redraw)
        self.list.click(self._press, self.ticked, [self.asked, self.ticked], **LIGHT).then(
            **self.redraw)

    def follow(self) -> None:
        """Looks at an evaluation over and over only while its tab is open."""
        for turned in while_open(self.tabs, KIND, self.open):
            turned.then(**self.redraw)

    # -- starting and ending ----------------------------------------------------------------------

    def _start(self, request: gr.Request, *values: Any) -> tuple[Any, Any]:
        def fill(folder: Path) -> tuple[str, dict[str, Any]]:
            plan, upload, left_out = self.form.read(values, folder)
            return self._title(plan, upload), {**wish_of(plan, upload), "left_out": left_out}

        return self.orders.start(request, fill)

    def _title(self, plan: EvaluationPlan, upload: str) -> str:
        """What an evaluation is called: its first set, and what more there is."""
        first = self.form.title(plan.sets[0]) or upload
        more = len(plan.sets) - 1
        task = "retrieval on " if plan.task == "retrieval" else ""
        return f"{task}{first}{f' and {more} more' if more else ''}"

    def _cost(self, request: gr.Request, *values: Any) -> Iterator[str]:
        """Measures on a few images in this visitor's turn."""

        def work() -> Iterator[str]:
            with tempfile.TemporaryDirectory(prefix="explorer-cost-") as folder:
                plan, _, said = self.form.read(values, Path(folder))
                for item in estimate(plan, self.library, self.data or None, Path(folder)):
                    yield " ".join([*said, item.sentence()]) if isinstance(item, Cost) else item

        yield from in_turn(self.gate, request, work, told, str)

    def _stop(self, shown: Shown, request: gr.Request) -> str:
        return self.orders.stop(request, str(shown.get("work", "")))

    def _order(self, request: gr.Request, event: gr.EventData) -> Any:
        """What a button beside the state asks for."""
        does, name = str(event._data.get("do")), str(event._data.get("id", ""))
        return self.orders.obey(request, does, name)

    @staticmethod
    def _press(ticked: list[str], event: gr.EventData) -> tuple[Any, Any]:
        """What a press in the list of evaluations leads to."""
        does, name = str(event._data.get("do")), str(event._data.get("id", ""))
        if does == "tick":
            kept = [one for one in ticked if one != name]
            return gr.skip(), kept + [name] * bool(event._data.get("on"))
        return name, gr.skip()


def curves(plotly: Path, name: str, title: str, file: str, about: str) -> gr.HTML:
    """A place for Plotly's curves, which fetches Plotly once there are some."""
    page = (HERE / "evaluate.html").read_text("utf-8")
    for mark, said in (("@PLOTLY@", plotly.as_posix()), ("@TITLE@", title), ("@FILE@", file),
                       ("@ABOUT@", about)):
        page = page.replace(mark, said)
    return gr.HTML("", html_template=page, elem_id=name, **PLAIN,
                   js_on_load=LOADER + (HERE / "curve.js").read_text("utf-8"))
