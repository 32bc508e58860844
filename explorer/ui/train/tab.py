"""The Train tab: start a run, follow it from anywhere, compare its model with the base."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.base.errors import InputError, sentence
from explorer.base.paths import EXAMPLES
from explorer.base.progress import Progress
from explorer.jobs.job import BUSY, LIVE
from explorer.jobs.processes import ProcessJobs, Run
from explorer.models.library import Library
from explorer.results.views import esc
from explorer.server.rules import LOOPBACK
from explorer.training.comparison import FOLDER, compare, compared
from explorer.ui.shared.desk import Desk
from explorer.ui.shared.looks import EVERY, while_open
from explorer.ui.shared.opening import noticed, opens, pressed, values
from explorer.ui.shared.runs import DEVICE, LIGHT, PLAIN, error_line, heavy, in_turn, obeyed, status
from explorer.ui.train.compared import compared as compared_view
from explorer.ui.train.form import TrainForm, base_choices
from explorer.ui.train.keep import Keep
from explorer.ui.train.start import Starter
from explorer.ui.train.upload import BringModel
from explorer.ui.train.views import gallery, listing, notice, panel, run_list

HERE, KIND = Path(__file__).parent, "train"


def open_jobs(library: Library, host: str, asked: bool, folder: Path,
              ) -> tuple[ProcessJobs | None, str]:
    """The runs of a folder, whose models join the library, or None and why training is off.

    On where it is asked for, and where the server listens on loopback alone. Raises InputError
    when it is asked for and cannot be.
    """
    if not asked and host not in LOOPBACK:
        return None, ("This server can be reached from other machines, so anybody who opens the "
                      "page could use its processors for hours.")
    try:
        jobs = ProcessJobs(folder, examples=EXAMPLES)
    except InputError as error:
        if asked:
            raise
        return None, sentence(error)
    library.folders.append(jobs.models)
    return jobs, ""


class TrainTab:
    """Builds the tab's components and wires them; put it inside a gr.Tab.

    jobs: None where training is off, and then nothing here can be called. tabs: the gr.Tabs
    around, whose tab ATTACK_ID holds `desk`. bring: visitors may add models of their own.
    """

    def __init__(self, demo: gr.Blocks, library: Library, desk: Desk, tabs: gr.Tabs,
                 jobs: ProcessJobs | None, why_off: str = "", bring: bool = False) -> None:
        style = f"<style>{(HERE / 'train.css').read_text('utf-8')}</style>"
        gr.HTML("", html_template=style, elem_id="tr-style", **PLAIN)
        if jobs is None:
            gr.HTML(notice(why_off), elem_id="tr-off", **PLAIN)
            return
        self.library, self.desk, self.tabs, self.jobs = library, desk, tabs, jobs
        self.starter = Starter(library, jobs)
        self._build(bring)
        self._wire(demo)
        jobs.watch()

    def _build(self, bring: bool) -> None:
        script = (HERE / "train.js").read_text("utf-8")
        # Written by one event each, since an answer may come late: the run that was clicked,
        # whether the tab is open, and what the page shows.
        self.chosen, self.open, self.shown = gr.State(""), gr.State(False), gr.State({})
        self.timer = gr.Timer(EVERY, active=False)
        with gr.Row(elem_id="tr-main", equal_height=False):
            with gr.Column(scale=4, min_width=330, elem_id="tr-form"):
                self.form = TrainForm(self.library)
                self.own = BringModel(self.library, self.jobs.models, self.desk.gate) if (
                    bring) else None
            with gr.Column(scale=8, min_width=480, elem_id="tr-watch"):
                self.runs = gr.HTML("", elem_id="tr-runs", js_on_load=script, **PLAIN)
                with gr.Row(elem_id="tr-orders", visible=False) as self.orders:
                    self.pause = gr.Button("Pause", size="sm", elem_id="tr-pause")
                    self.resume = gr.Button("Resume", size="sm", elem_id="tr-resume")
                    self.stop = gr.Button("Stop and keep the model", size="sm", elem_id="tr-stop")
                    self.end = gr.Button("End it at once", size="sm", elem_id="tr-end")
                    self.again = gr.Button("Go on with it", size="sm", elem_id="tr-again")
                    self.compare = gr.Button("Compare with its base", size="sm",
                                             variant="primary", elem_id="tr-compare")
                self.answer = gr.HTML("", elem_id="tr-answer", **PLAIN)
                self.keep = Keep(self.jobs)
                self.panel = gr.HTML("", elem_id="tr-panel", **PLAIN)
                self.compared = gr.HTML("", elem_id="tr-compared", js_on_load=script, **PLAIN)
                self.gallery = gr.HTML("", elem_id="tr-gallery", js_on_load=script, **PLAIN)
                with gr.Accordion("What it printed", open=False, visible=False) as self.printed:
                    self.tail = gr.Button("Show the last lines", size="sm", elem_id="tr-tail")
                    self.output = gr.HTML("", elem_id="tr-output", **PLAIN)

    def _wire(self, demo: gr.Blocks) -> None:
        alone = {**heavy(KIND), "concurrency_limit": 1}
        seen = [self.chosen, self.open, self.shown, self.keep.beside]
        view = [self.runs, self.panel, self.gallery, self.orders, self.pause, self.resume,
                self.stop, self.end, self.again, self.compare, self.printed, self.compared,
                self.timer, *self.keep.outputs(),
                self.form.base, self.desk.standard, self.desk.robust, self.shown]
        self.form.wire(LIGHT)
        if self.own is not None:
            self.own.wire([self.form.base, self.desk.standard, self.desk.robust])
        inputs = self.form.components()
        self.form.estimate.click(self.starter.estimate, inputs, self.form.said, **alone)
        self.form.start.click(
            self.starter.start, inputs, [self.form.said, self.chosen], **alone,
        ).then(self._look, seen, view, **LIGHT)
        self.timer.tick(self._look, seen, view, trigger_mode="once", **LIGHT)
        for turned in while_open(self.tabs, KIND, self.open):
            turned.then(self._look, seen, view, **LIGHT)
        demo.load(self._arrive, None, view, **LIGHT)
        self.runs.click(self._choose, None, [self.chosen, self.answer, self.output],
                        **LIGHT).then(self._look, seen, view, **LIGHT)
        for button, order in ((self.pause, self.jobs.pause), (self.resume, self.jobs.go_on),
                              (self.stop, self.jobs.stop), (self.end, self.jobs.end),
                              (self.again, self.jobs.go_on)):
            button.click(self._order(order), self.shown, self.answer, **LIGHT).then(
                self._look, seen, view, **LIGHT)
        self.keep.wire(self.shown, lambda event: event.then(self._look, seen, view, **LIGHT))
        self.keep.beside.input(self._look, seen, view, **LIGHT)
        self.tail.click(self._tail, self.shown, self.output, **LIGHT)
        self.compare.click(self._compare, self.shown, self.answer, **heavy(DEVICE)).then(
            self._look, seen, view, **LIGHT)
        opens(self.compared, self._open, None, self.desk, self.tabs)

    # -- looking ---------------------------------------------------------------------------------

    def _arrive(self) -> tuple[Any, ...]:
        """The first look, which knows nothing of the timer: the tab may be open by now."""
        return self._look("", None, {}, "")

    def _look(self, chosen: str, is_open: bool | None, shown: dict[str, Any], beside: str,
              ) -> tuple[Any, ...]:
        """What has changed since `shown`, for all of the view. The timer goes on while the tab
        is open and a run is not over."""
        self.jobs.settle()  # so that what has just ended is listed, by now or never
        jobs, queue = listing(self.jobs)
        job = _chosen(jobs, chosen)
        place = next((k for k, other in enumerate(queue, 1) if job and other.id == job.id), 0)
        ready = [] if job is None else [
            (p.name, *(other.title for other in jobs if other.id == p.name))
            for p in sorted(self.jobs.models.glob("2*"))]
        busy = any(other.state in BUSY for other in jobs)
        others = [other for other in jobs if job and other.id != job.id and other.story.probes]
        second = next((other for other in others if other.id == beside), None)
        drawn = {
            "id": job.id if job else "",
            "runs": run_list(jobs, queue, job.id if job else ""),
            "panel": panel(job, place, second),
            "moments": [job.id, len(job.story.probes)] if job else [],
            "state": [job.state, job.id] if job else [], "ready": ready,
            "keep": [job.id, job.title, job.note, [o.id + o.title for o in others]] if job else [],
            "compared": [job.id, self._size(job)] if job else [],
            "timer": busy and is_open if is_open is not None else shown.get("timer"),
        }
        changed = {key for key, value in drawn.items() if shown.get(key) != value}

        def only(key: str, value: Callable[[], Any]) -> Any:
            return value() if key in changed else gr.skip()

        models = [only("ready", lambda: gr.update(choices=base_choices(self.library)))] * 3
        return (only("runs", lambda: drawn["runs"]), only("panel", lambda: drawn["panel"]),
                only("moments", lambda: gallery(job)),
                *(gr.update(visible=b) if "state" in changed else gr.skip()
                  for b in _buttons(job)),
                only("compared", lambda: self._compared(job)),
                only("timer", lambda: gr.Timer(active=bool(drawn["timer"]))),
                *(self.keep.shown(job, others, beside) if "keep" in changed
                  else [gr.skip()] * len(self.keep.outputs())),
                *models, drawn)

    @staticmethod
    def _choose(event: gr.EventData) -> tuple[str, str, str]:
        return str(event._data.get("id", "")), "", ""

    def _tail(self, shown: dict[str, Any]) -> str:
        try:
            text = self.jobs.output(_id(shown)) or "It has printed nothing yet."
        except InputError as error:
            return error_line(sentence(error))
        return f'<pre class="tr-pre" tabindex="0" aria-label="Last lines">{esc(text)}</pre>'

    # -- orders ----------------------------------------------------------------------------------

    @staticmethod
    def _order(act: Callable[[str], None]) -> Callable[[dict[str, Any]], str]:
        return lambda shown: obeyed(lambda: act(_id(shown)))

    def _compare(self, shown: dict[str, Any], request: gr.Request) -> Iterator[str]:
        """Attacks held-out pictures on the model and its base, in this visitor's turn."""

        def work() -> Iterator[Progress]:
            job = self.jobs.get(_id(shown))
            yield from compare(job.folder, self.library)

        yield from in_turn(self.desk.gate, request, work, status, str)
        yield ""

    @staticmethod
    def _size(job: Run) -> int:
        """How many pictures are compared by now."""
        found = compared(job.folder)
        return len(found[1].cases) if found else 0

    @staticmethod
    def _compared(job: Run | None) -> str:
        found = compared(job.folder) if job is not None else None
        if job is None or found is None:
            return ""
        return compared_view(job.id, job.folder, *found, live=not job.is_example)

    def _open(self, event: gr.EventData) -> list[Any]:
        """A compared picture, with everything set as the run had it."""
        with noticed():
            job = self.jobs.get(str(event._data.get("run")))
            kept = compared(job.folder)
            if kept is None:
                raise InputError("this comparison is not there any more")
            plan, found = kept
            for name in plan.models:
                self.library.card(name)
            return values(job.folder / FOLDER, plan, found, pressed(found, event),
                          self.desk.choice)


def _id(shown: dict[str, Any]) -> str:
    """The run that the page shows."""
    return str(shown.get("id", ""))


def _chosen(jobs: list[Run], chosen: str) -> Run | None:
    """The run asked for, else the one that is going on, else the newest."""
    found = [job for job in jobs if job.id == chosen] or [job for job in jobs if job.state in LIVE]
    return next(iter(found or jobs), None)


def _buttons(job: Run | None) -> tuple[bool, ...]:
    """Which show: the row, pause, resume, stop, end, again, compare, what it printed."""
    state = job.state if job and not job.is_example else ""
    shown = (state == "running", state == "paused", state in ("running", "paused", "waiting"),
             state == "stopping", bool(job and job.can_go_on), state == "finished")
    return (any(shown), *shown, bool(job and not job.is_example))
