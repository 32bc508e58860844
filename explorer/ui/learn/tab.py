"""The Learn tab: eight lessons, each in five steps: idea, prediction, answer, live run, summary."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.jobs.processes import ProcessJobs
from explorer.lessons import draw
from explorer.lessons.texts import COUNT, LANGUAGES, Texts, texts
from explorer.models.library import Library
from explorer.server.gate import Gate
from explorer.ui.learn.live import LiveRuns
from explorer.ui.learn.page import Page, lesson_list, lessons
from explorer.ui.learn.state import Standing, answered, finished, read
from explorer.ui.shared.runs import LIGHT, PLAIN, heavy

HERE = Path(__file__).parent
LOG = logging.getLogger(__name__)
STEPS = draw.STEPS
PREDICT, LOOK = 2, 3  # steps, from 1
WAIT = 64  # visitors who may wait for the device at once
STORAGE = "clip-explorer-lessons"
# A Step whose label is updated stops the Walkthrough of Gradio 6.17 from moving, so the labels of
# the other languages are put there by hand.
LABELS = """() => { setTimeout(() => {
  const said = document.querySelector('#ln-heading [data-steps]')?.dataset.steps.split('|') || [];
  document.querySelectorAll('#ln-walk .step-label').forEach((label, k) => {
    if (said[k] && label.textContent !== said[k]) label.textContent = said[k];
  });
}, 40); }"""
# Who is on the page already keeps the place: a late answer must not take the keyboard away.
FOCUS = """setTimeout(() => {
  const pages = [...document.querySelectorAll('#ln-walk .ln-page')];
  const page = pages.find((p) => p.offsetParent !== null);
  if (!page || page.contains(document.activeElement)) return;
  page.tabIndex = -1;
  page.focus({preventScroll: true});
}, 80);"""
# One function: what follows an event that is JavaScript alone is not run.
TURNED = f"() => {{ ({LABELS})(); {FOCUS} }}"


class LearnTab:
    """Builds the tab's components and wires them; put it inside a gr.Tab. pair: the models of the
    live runs; jobs: None where training is off. Call `wire` with what holds the progress."""

    def __init__(self, library: Library, pair: tuple[str, str], gate: Gate,
                 jobs: ProcessJobs | None = None) -> None:
        self.page = Page(library, jobs is not None)
        self.runs = LiveRuns(library, gate, jobs)
        style = f"<style>{(HERE / 'learn.css').read_text('utf-8')}</style>"
        gr.HTML("", html_template=style, elem_id="ln-style", **PLAIN,
                js_on_load=(HERE / "learn.js").read_text("utf-8"))
        self.pair, self.ready, self.ticket = gr.State(pair), gr.State(False), gr.State(0)
        first = texts()
        with gr.Row(elem_id="ln-main", equal_height=False):
            with gr.Column(scale=3, min_width=230, elem_id="ln-side"):
                self.language = gr.Radio([(name, key) for key, name in LANGUAGES.items()],
                                         value="en", label="Language / 语言", elem_id="ln-language")
                self.lesson = gr.Radio(lessons(first, Standing()), value=1,
                                       label=first.ui["lessons"], elem_id="ln-lessons")
                self.glossary = gr.HTML("", elem_id="ln-glossary", **PLAIN)
            with gr.Column(scale=10, min_width=480):
                self.head = gr.HTML("", elem_id="ln-heading", **PLAIN)
                self._steps(first)

    def _steps(self, first: Texts) -> None:
        self.back: list[gr.Button] = []
        self.next: list[gr.Button] = []
        with gr.Walkthrough(selected=1, elem_id="ln-walk") as self.walk:
            self.panels = []
            for number, name in enumerate(STEPS, 1):
                with gr.Step(first.ui[f"step_{name}"], id=number) as panel:
                    getattr(self, f"_{name}")()
                    with gr.Row(elem_classes="ln-turns"):
                        self.back.append(gr.Button(
                            first.ui["back"], elem_id=f"ln-back-{number}", size="md",
                            visible=number > 1, min_width=120))
                        self.next.append(gr.Button(
                            first.ui["next"], elem_id=f"ln-next-{number}", size="md",
                            variant="primary", min_width=160))
                self.panels.append(panel)

    def _idea(self) -> None:
        self.idea = gr.HTML("", elem_id="ln-idea", **PLAIN)

    def _predict(self) -> None:
        self.ask = gr.HTML("", elem_id="ln-ask", **PLAIN)
        self.guess = gr.Radio([], label="Your prediction", elem_id="ln-guess")
        self.told = gr.HTML("", elem_id="ln-told", **PLAIN)

    def _look(self) -> None:
        self.reveal = gr.HTML("", elem_id="ln-reveal", **PLAIN)

    def _live(self) -> None:
        self.about = gr.HTML("", elem_id="ln-about", **PLAIN)
        with gr.Row(elem_id="ln-choices"):
            self.photo = gr.Dropdown([], label="Photo", elem_id="ln-photo", min_width=140, scale=2)
            self.option = gr.Radio([], label="Option", elem_id="ln-option", scale=4)
            self.own = gr.Textbox("", label="Caption", elem_id="ln-own", max_lines=1, scale=3)
        with gr.Row(elem_classes="ln-turns"):
            self.run = gr.Button("Run it now", variant="primary", elem_id="ln-run", min_width=160)
            self.stop = gr.Button("Stop", elem_id="ln-stop", min_width=120)
        self.status = gr.HTML("", elem_id="ln-status", **PLAIN)
        self.result = gr.HTML("", elem_id="ln-result", **PLAIN)

    def _keep(self) -> None:
        self.kept = gr.HTML("", elem_id="ln-kept", **PLAIN)
        self.check = gr.Radio([], label="Check", elem_id="ln-check")
        with gr.Row(elem_classes="ln-turns"):
            self.checked = gr.Button("Check my answer", elem_id="ln-checked", size="md")
        self.feedback = gr.HTML("", elem_id="ln-feedback", **PLAIN)

    # -- wiring ----------------------------------------------------------------------------------

    def wire(self, progress: gr.BrowserState) -> None:
        """progress: where a visitor is. It has to stand outside the tabs: the browser reads it
        only when it is built, and a tab is built when it is first opened."""
        self.progress = progress
        self.language.input(self._speak, [self.progress, self.language], self.progress, **LIGHT
                            ).then(self.page.all, self.progress, self._all(), **LIGHT
                            ).then(None, None, None, js=LABELS, **LIGHT)
        self.follow(self.lesson.input(self._choose, [self.progress, self.lesson], self.progress,
                                      **LIGHT))
        for number, (back, on) in enumerate(zip(self.back, self.next, strict=True), 1):
            self._turn(back.click(self._step(number - 1), self.progress, self.progress, **LIGHT))
            if number == PREDICT:
                self._turn(on.click(
                    self._predicted, [self.progress, self.guess],
                    [self.progress, self.told, self.reveal, self.head, self.lesson], **LIGHT))
            elif number == len(STEPS):
                self.follow(on.click(self._onward, self.progress, self.progress, **LIGHT))
            else:
                self._turn(on.click(self._step(number + 1), self.progress, self.progress, **LIGHT))
        for number, panel in enumerate(self.panels, 1):
            panel.select(self._seen(number), [self.progress, self.ready], self.progress, **LIGHT)
        self.checked.click(self._answered, [self.progress, self.check],
                           [self.progress, self.feedback, self.head, self.lesson], **LIGHT)
        self.run.click(self.runs.tickets.take, None, self.ticket, **LIGHT).then(
            self.runs.go, [self.ticket, self.progress, self.pair, self.photo, self.option,
                           self.own], [self.status, self.result], **heavy("learn"))
        self.stop.click(self.runs.halt, self.progress, self.status, **LIGHT)

    def _turn(self, event: Any) -> None:
        """Shows the step that `progress` is at, and puts the keyboard there."""
        event.then(self._move, self.progress, self.walk, **LIGHT).then(
            None, None, None, js=TURNED, **LIGHT)

    def follow(self, event: Any) -> None:
        """After a change of the lesson: draws it."""
        self._turn(event.then(self.page.all, self.progress, self._all(), **LIGHT))

    def arrive(self, event: Any) -> None:
        """After the page was opened and `progress` was read: draws where the visitor was."""
        event.then(self.page.all, self.progress, self._all(), **LIGHT).then(
            self._move, self.progress, self.walk, **LIGHT).then(
            lambda: True, None, self.ready, **LIGHT).then(
            None, None, None, js=LABELS, **LIGHT)

    def _all(self) -> list[Any]:
        return [self.language, self.lesson, self.glossary, self.head, self.idea, self.ask,
                self.guess, self.told, self.reveal, self.about, self.photo, self.option, self.own,
                self.run, self.stop, self.status, self.result, self.kept, self.check, self.checked,
                self.feedback, *self.back, *self.next]

    # -- what events do --------------------------------------------------------------------------

    @staticmethod
    def _speak(raw: Any, language: str) -> Any:
        return read({**read(raw).plain(), "lang": language}).plain()

    @staticmethod
    def _choose(raw: Any, lesson: int) -> Any:
        return read({**read(raw).plain(), "lesson": lesson, "step": 1}).plain()

    @staticmethod
    def _onward(raw: Any) -> Any:
        state = read(raw)
        return read({**state.plain(), "lesson": state.lesson % COUNT + 1, "step": 1}).plain()

    @staticmethod
    def _step(number: int) -> Any:
        return lambda raw: read({**read(raw).plain(), "step": number}).plain()

    @staticmethod
    def _seen(number: int) -> Any:
        """A step may also be turned to by its own button. Before the page is ready, it is only
        being built, and what it shows is not where the visitor was."""
        def seen(raw: Any, ready: bool) -> Any:
            same = read(raw).step == number
            return read({**read(raw).plain(), "step": number}).plain() if ready and not same \
                else gr.skip()

        return seen

    @staticmethod
    def _move(raw: Any) -> Any:
        return gr.Walkthrough(selected=read(raw).step)

    def _predicted(self, raw: Any, guess: int | None) -> tuple[Any, ...]:
        state = read(raw)
        said = texts(state.lang)
        if guess is None:
            return (gr.skip(), draw.notice(said, "choose_first"), gr.skip(), gr.skip(), gr.skip())
        state = answered(state, 0, guess, LOOK)
        lesson = said.lesson(state.lesson)
        return (state.plain(), "", self.page.revealed(said, lesson, state),
                draw.heading(said, lesson, finished(state)), lesson_list(said, state))

    def _answered(self, raw: Any, chosen: int | None) -> tuple[Any, ...]:
        state = read(raw)
        said = texts(state.lang)
        if chosen is None:
            return gr.skip(), draw.notice(said, "choose_first"), gr.skip(), gr.skip()
        state = answered(state, 1, chosen, state.step)
        lesson = said.lesson(state.lesson)
        return (state.plain(), draw.feedback(said, lesson.check, chosen, lesson.check_right,
                                             "wrong_keep"),
                draw.heading(said, lesson, finished(state)), lesson_list(said, state))
