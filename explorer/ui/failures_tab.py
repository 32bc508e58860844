"""The Failures tab: one attack on many pictures, what broke sorted, a click to the Attack tab."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import gradio as gr

from explorer.background import BUSY, FAILED, STOPPED, Background, Work
from explorer.errors import InputError
from explorer.failures import (
    AXES,
    SLICES,
    SORTS,
    Found,
    View,
    chosen,
    named_answers,
    read_study,
)
from explorer.models import Library
from explorer.server.gate import Gate, visitor_of
from explorer.ui import failures_views as views
from explorer.ui.attack_tab import PLAIN, AttackTab, failure
from explorer.ui.failures_cases import FailureCases, owner_of, sentence, view_of
from explorer.ui.failures_form import FailuresForm
from explorer.ui.train_start import told
from explorer.ui.train_tab import PRESS_ATTACK
from explorer.views import esc

HERE = Path(__file__).parent
LOG = logging.getLogger(__name__)
KIND, LABEL = "failures", "Failures"
EVERY = 2.0  # seconds between two looks at a study
ANY = "any"
FIRST: dict[str, Any] = {"slice": "all", "cell": None, "page": 0}
Shown = dict[str, Any]


class FailuresTab:
    """Builds the tab's components and wires them. works: None where nothing can be kept on disk,
    which `why_off` says; data: the server's data folder, "" for none."""

    def __init__(self, demo: gr.Blocks, library: Library, attack_tab: AttackTab, tabs: gr.Tabs,
                 works: Background | None, gate: Gate, data: str = "", why_off: str = "") -> None:
        style = f"<style>{(HERE / 'failures.css').read_text('utf-8')}</style>"
        gr.HTML("", html_template=style, elem_id="fx-style", **PLAIN)
        if works is None:
            gr.HTML(f'<p class="rx-status">{esc(why_off)}</p>', **PLAIN)
            return
        self.library, self.attack, self.tabs = library, attack_tab, tabs
        self.works, self.gate, self.data = works, gate, data
        self.cases = FailureCases(library, works, gate)
        self._build()
        self._wire(demo)

    def _build(self) -> None:
        script = (HERE / "failures.js").read_text("utf-8")
        part: dict[str, Any] = {"js_on_load": script, **PLAIN}
        self.study, self.shown, self.ticked = gr.State(""), gr.State({}), gr.State([])
        self.where = gr.State(FIRST)
        self.timer = gr.Timer(EVERY, active=False)
        with gr.Row(elem_id="fx-main", equal_height=False):
            with gr.Column(scale=3, min_width=300, elem_id="fx-form"):
                self.form = FailuresForm(self.library, self.attack.pair_ids, self.data)
            with gr.Column(scale=9, min_width=520, elem_id="fx-watch"):
                self.studies = gr.HTML("", elem_id="fx-studies", **part)
                self.state = gr.HTML(views.NONE, elem_id="fx-state", **PLAIN)
                with gr.Row(visible=False) as self.orders:
                    self.again = gr.Button("Go on", size="sm", elem_id="fx-again")
                    self.delete = gr.Button("Delete this study", size="sm", elem_id="fx-delete")
                self.slices = gr.HTML("", elem_id="fx-slices", **part)
                self._choices()
                with gr.Accordion("Confusion matrix", open=False, elem_id="fx-confusion"):
                    self.axes = gr.Radio([(text, name) for name, text in AXES.items()],
                                         value="models", label="Rows and columns",
                                         elem_id="fx-axes")
                    self.matrix = gr.HTML("", elem_id="fx-matrix", **part)
                self.gallery = gr.HTML("", elem_id="fx-gallery", **part)

    def _choices(self) -> None:
        with gr.Row(visible=False, elem_id="fx-choices") as self.choices:
            self.label = gr.Dropdown([("any", ANY)], value=ANY, label="True answer",
                                     elem_id="fx-label", min_width=140)
            self.sort = gr.Dropdown([(text, name) for name, text in SORTS.items()], value="place",
                                    label="Sorted by", elem_id="fx-sort", min_width=140)
            self.falling = gr.Checkbox(False, label="Largest first", elem_id="fx-falling",
                                       min_width=110)
            self.layout = gr.Radio([("pictures", "cards"), ("table", "table")], value="cards",
                                   label="Show as", elem_id="fx-layout", min_width=160)
        with gr.Row(visible=False, elem_id="fx-exports") as self.exports:
            self.flip = gr.Button("Find ε to flip", size="sm", elem_id="fx-flip", min_width=90)
            self.bundle = gr.Button("Bundles", size="sm", elem_id="fx-bundle", min_width=80)
            self.table = gr.Button("CSV", size="sm", elem_id="fx-csv", min_width=60)
            self.sheet = gr.Button("Contact sheet", size="sm", elem_id="fx-sheet", min_width=90)
            self.none = gr.Button("Untick all", size="sm", elem_id="fx-none", min_width=80)
        self.answer = gr.HTML("", elem_id="fx-answer", **PLAIN)
        self.file = gr.File(label="Ready to save", visible=False, interactive=False,
                            elem_id="fx-file", height=70)

    def _wire(self, demo: gr.Blocks) -> None:
        light: dict[str, Any] = {"queue": False, "show_progress": "hidden",
                                 "api_visibility": "private"}
        heavy: dict[str, Any] = {"concurrency_id": "failures", "concurrency_limit": 8,
                                 "show_progress": "hidden", "api_visibility": "private"}
        controls = [self.label, self.sort, self.falling, self.layout, self.axes]
        seen = [self.study, self.shown, self.ticked, self.where, *controls]
        view = [self.studies, self.state, self.slices, self.matrix, self.gallery, self.orders,
                self.again, self.choices, self.exports, self.label, self.timer, self.study,
                self.shown]
        look: dict[str, Any] = {"fn": self._look, "inputs": seen, "outputs": view, **light}
        self.form.start.click(self._start, self.form.components(),
                              [self.form.said, self.study, self.where, self.ticked], **heavy
                              ).then(**look)
        self.form.stop.click(self._order(self.works.stop), self.study, self.form.said, **light
                             ).then(**look)
        self.again.click(self._order(self.works.go_on), self.study, self.form.said, **light
                         ).then(**look)
        self.delete.click(self._order(self.works.delete), self.study, self.form.said, **light
                          ).then(**look)
        self.timer.tick(trigger_mode="once", **look)
        self.tabs.select(self._turned, self.shown, self.shown, **light).then(**look)
        demo.load(**look)
        for control in controls:
            cast(Any, control).input(self._first_page, self.where, self.where, **light).then(**look)
        moves = [self.study, self.where, self.ticked]
        self.studies.click(self._move, moves, moves, **light).then(**look)
        for part in (self.slices, self.matrix):
            part.click(self._move, moves, moves, **light).then(**look)
        self._wire_cases(light, heavy, look, moves)

    def _wire_cases(self, light: dict[str, Any], heavy: dict[str, Any], look: dict[str, Any],
                    moves: list[Any]) -> None:
        attack, cases = self.attack, self.cases
        self.none.click(lambda: ([], ""), None, [self.ticked, self.answer], **light).then(**look)
        self.gallery.click(self._move, moves, moves, **light).then(**look)
        opened = [attack.photo, attack.captions, attack.listed, attack.true, attack.target,
                  attack.alt, attack.goal, attack.standard, attack.robust, attack.seed, self.tabs,
                  *attack.choice.components()]
        cast(Any, self.gallery).opencase(cases.open, self.study, opened, **light).success(
            None, None, None, js=PRESS_ATTACK, api_visibility="private")
        picked = [self.study, self.ticked, self.where, self.label, self.sort, self.falling,
                  self.axes]
        saved = [self.answer, self.file]
        self.flip.click(cases.flips, [self.study, self.ticked], self.answer, **heavy).then(**look)
        self.bundle.click(cases.bundles, [self.study, self.ticked], saved, **heavy)
        self.table.click(cases.csv, picked, saved, **heavy)
        self.sheet.click(cases.sheet, picked, saved, **heavy)

    # -- starting and ending ----------------------------------------------------------------------

    def _start(self, request: gr.Request, *values: Any) -> tuple[Any, ...]:
        said: list[str] = []

        def fill(folder: Path) -> tuple[str, dict[str, Any]]:
            wish, name, report = self.form.read(values, folder)
            said.extend(report.sentences())
            return name, {"study": wish.as_dict(), "left_out": report.sentences()}

        try:
            wait = self.gate.rate.take(visitor_of(request))
            if wait:
                raise InputError(f"too many runs in a minute: try again in {wait:.0f} s")
            work = self.works.submit(KIND, owner_of(request), fill)
        except InputError as error:
            return failure(sentence(error)), gr.skip(), gr.skip(), gr.skip()
        except Exception:
            LOG.exception("a study could not be started")
            return (failure("Something failed on our side; the server's log has the details."),
                    gr.skip(), gr.skip(), gr.skip())
        return told(" ".join(["Started. You may close this page: it goes on.", *said])), work.id, (
            FIRST), []

    def _order(self, act: Callable[[str, str], None]) -> Callable[..., str]:
        def obey(study: str, request: gr.Request) -> str:
            if not study:
                return told("Nothing is running.")
            try:
                act(study, owner_of(request))
            except InputError as error:
                return failure(sentence(error))
            return ""

        return obey

    # -- looking ----------------------------------------------------------------------------------

    def _turned(self, shown: Shown, event: gr.SelectData) -> Shown:
        """Looks at the studies only while the tab is open."""
        return {**shown, "open": event.value == LABEL}

    @staticmethod
    def _first_page(where: Shown) -> Shown:
        return {**where, "page": 0, "cell": None}

    @staticmethod
    def _move(study: str, where: Shown, ticked: list[int], event: gr.EventData,
              ) -> tuple[Any, ...]:
        """What a press in the lists, the slices, the matrix or the gallery leads to."""
        does, to = str(event._data.get("do")), str(event._data.get("id", ""))
        try:
            if does == "study":
                return to, FIRST, []
            if does == "slice" and to in SLICES:
                return gr.skip(), {**where, "slice": to, "page": 0, "cell": None}, gr.skip()
            if does == "page":
                return gr.skip(), {**where, "page": max(0, int(to))}, gr.skip()
            if does == "cell":
                row, column = (int(part) for part in to.split(","))
                cell = None if where.get("cell") == [row, column] else [row, column]
                return gr.skip(), {**where, "cell": cell, "page": 0}, gr.skip()
            if does == "tick":
                kept = [place for place in ticked if place != int(to)]
                return gr.skip(), gr.skip(), kept + [int(to)] * bool(event._data.get("on"))
        except (TypeError, ValueError):
            pass
        return gr.skip(), gr.skip(), gr.skip()

    def _look(self, request: gr.Request, study: str, shown: Shown, ticked: list[int],
              where: Shown, label: str, sort: str, falling: bool, layout: str, axes: str,
              ) -> tuple[Any, ...]:
        """What has changed since `shown`, for all of the view."""
        works = self.works.list(owner_of(request), KIND)
        ids = [work.id for work in works]
        study = study if study in ids else ids[0] if ids else ""
        work = self.works.get(study) if study else None
        found = read_study(work.folder) if work else Found("", (), ())
        view = view_of(where, label, sort, falling, layout, axes)
        roles = self.cases.roles(work)
        drawn = self._draw(works, work, found, view, roles, ticked)
        answers = sorted({case.label for case in found.cases},
                         key=lambda k: found.captions[k].lower())
        busy = any(other.state in BUSY for other in works)
        active = busy and bool(shown.get("open"))
        now = {**{name: digest(text) for name, text in drawn.items()},
               "labels": [study, *answers], "open": bool(shown.get("open")), "active": active,
               "work": [study, work.state if work else ""]}
        same = {name for name in now if shown.get(name) == now[name]}

        def part(name: str) -> Any:
            return gr.skip() if name in same else drawn[name]

        can_go_on = work is not None and work.state in (STOPPED, FAILED)
        orders = gr.skip() if "work" in same else gr.update(
            visible=work is not None and work.state not in BUSY)
        again = gr.skip() if "work" in same else gr.update(visible=can_go_on)
        fresh = shown.get("labels", [None])[0] != study
        kept = label if not fresh and label in map(str, answers) else ANY
        labels = gr.skip() if "labels" in same else gr.update(
            value=kept, choices=[("any", ANY), *((found.captions[k], str(k)) for k in answers)])
        row = gr.skip() if "labels" in same else gr.update(visible=bool(found.cases))
        timer = gr.skip() if "active" in same else gr.Timer(active=active)
        return (part("studies"), part("state"), part("slices"), part("matrix"), part("gallery"),
                orders, again, row, row, labels, timer, study, now)

    def _draw(self, works: Sequence[Work], work: Work | None, found: Found, view: View,
              roles: tuple[str, str], ticked: Sequence[int]) -> dict[str, str]:
        apart = [case for case in found.cases if view.slice in ("all", case.slice)]
        named = named_answers(apart, view.axes)
        page = chosen(found.cases, view, named)
        ahead = self.works.ahead(work) if work and work.state == "waiting" else 0
        extra = tuple(work.wish.get("left_out", ())) if work else ()
        told_of = replace(found, left_out=(*extra, *found.left_out))
        folder = work.folder if work else Path()
        return {"studies": views.studies(works, work.id if work else ""),
                "state": views.state(work, told_of, ahead, *roles),
                "slices": views.slices(found, view, *roles),
                "matrix": views.matrix(found, apart, view, named, *roles),
                "gallery": views.gallery(folder, found, page, view, *roles, set(ticked))}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
