"""The Evaluate tab: tables of robustness over image sets, models, attacks and budgets."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import gradio as gr

from explorer.analysis.evaluation.cost import Cost, estimate
from explorer.analysis.evaluation.plan import EvaluationPlan
from explorer.analysis.evaluation.work import wish_of
from explorer.base.errors import InputError
from explorer.jobs.job import BUSY
from explorer.jobs.threads import ThreadJobs
from explorer.models.library import Library
from explorer.server.gate import Gate, visitor_of
from explorer.server.scheduler import place_words
from explorer.ui.evaluate import views
from explorer.ui.evaluate.form import EvaluateForm
from explorer.ui.evaluate.look import KIND, EvaluateLook, Shown
from explorer.ui.shared.plotly import plotly_js
from explorer.ui.shared.runs import PLAIN, WAIT, error_line, sentence, told
from explorer.ui.shared.works import owner_of

HERE = Path(__file__).parent
LOG = logging.getLogger(__name__)
EVERY = 2.0  # seconds between two looks at an evaluation
LIGHT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
HEAVY: dict[str, Any] = {"concurrency_id": KIND, "concurrency_limit": WAIT,
                         "show_progress": "hidden", "api_visibility": "private"}
OURS = "Something failed on our side; the server's log has the details."


class EvaluateTab:
    """Builds the tab's components and wires them; put it inside a gr.Tab of `tabs`, and call
    `follow` when all tabs are there. data: the server's data folder, "" for none."""

    def __init__(self, demo: gr.Blocks, library: Library, tabs: gr.Tabs, works: ThreadJobs,
                 gate: Gate, pair: tuple[str, str], data: str = "") -> None:
        style = f"<style>{(HERE / 'evaluate.css').read_text('utf-8')}</style>"
        gr.HTML("", html_template=style, elem_id="ev-style", **PLAIN)
        self.library, self.tabs, self.works, self.gate = library, tabs, works, gate
        self.data, self.look = data, EvaluateLook(works)
        self._build(pair)
        self._wire(demo)

    def _build(self, pair: tuple[str, str]) -> None:
        script = (HERE / "evaluate.js").read_text("utf-8")
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
                self.list = gr.HTML("", elem_id="ev-works", js_on_load=script, **PLAIN)
                self.state = gr.HTML(views.NONE, elem_id="ev-state", js_on_load=script, **PLAIN)
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
        for tab in self.tabs.children:  # gr.Tabs has such an event too, which is never sent
            assert isinstance(tab, gr.Tab)
            own = tab.id == KIND
            cast(Any, tab).select(_opened if own else _closed, None, self.open, **LIGHT).then(
                **self.redraw)

    # -- starting and ending ----------------------------------------------------------------------

    def _start(self, request: gr.Request, *values: Any) -> tuple[Any, Any]:
        said: list[str] = []

        def fill(folder: Path) -> tuple[str, dict[str, Any]]:
            plan, upload, left_out = self.form.read(values, folder)
            said.extend(left_out)
            return self._title(plan, upload), {**wish_of(plan, upload), "left_out": left_out}

        try:
            wait = self.gate.rate.take(visitor_of(request))
            if wait:
                raise InputError(f"too many runs in a minute: try again in {wait:.0f} s")
            work = self.works.submit(KIND, owner_of(request), fill)
        except InputError as error:
            return error_line(sentence(error)), gr.skip()
        except Exception:
            LOG.exception("an evaluation could not be started")
            return error_line(OURS), gr.skip()
        return told(" ".join(["Started. You may close this page: it goes on.", *said])), work.id

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
                plan, _, _ = self.form.read(values, Path(folder))
                for item in estimate(plan, self.library, self.data or None, Path(folder)):
                    yield told(item.sentence() if isinstance(item, Cost) else item)

        try:
            pages = self.gate.pages(request, work, lambda n: told(place_words(n)))
            with closing(cast(Any, pages)):
                yield from pages
        except InputError as error:
            yield error_line(sentence(error))
        except Exception:
            LOG.exception("the cost of an evaluation could not be measured")
            yield error_line(OURS)

    def _stop(self, shown: Shown, request: gr.Request) -> str:
        """Ends the evaluation that is shown or, where that is over, the one that goes on."""
        owner = owner_of(request)
        busy = [work.id for work in self.works.list(owner, KIND) if work.state in BUSY]
        if not busy:
            return told("Nothing is running.")
        name = shown.get("work") if shown.get("work") in busy else busy[-1]
        return self._obeyed(lambda: self.works.stop(str(name), owner),
                            "It stops at its next step; what is found is kept.")

    def _order(self, request: gr.Request, event: gr.EventData) -> Any:
        """What a button beside the state asks for."""
        acts = {"go_on": self.works.go_on, "delete": self.works.delete}
        act = acts.get(str(event._data.get("do")))
        if act is None:
            return gr.skip()
        return self._obeyed(lambda: act(str(event._data.get("id", "")), owner_of(request)))

    @staticmethod
    def _obeyed(act: Callable[[], None], said: str = "") -> str:
        try:
            act()
        except InputError as error:
            return error_line(sentence(error))
        return told(said) if said else ""

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
                   js_on_load=(HERE / "curve.js").read_text("utf-8"))


def _opened() -> bool:
    return True


def _closed() -> bool:
    return False
