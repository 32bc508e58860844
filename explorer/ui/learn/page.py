"""What the Learn tab's components show for a visitor's progress."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from explorer.lessons import draw
from explorer.lessons.demos import PLANS
from explorer.lessons.texts import COUNT, Lesson, Texts, texts
from explorer.models.library import Library
from explorer.ui.learn.state import Standing, finished, kept, read, short_runs


class Page:
    """training: whether visitors may train here."""

    def __init__(self, library: Library, training: bool) -> None:
        self.library, self.training = library, training

    def all(self, raw: Any) -> list[Any]:
        """All of a lesson, in the order of the tab's components."""
        state = read(raw)
        said = texts(state.lang)
        ui, lesson, plan = said.ui, said.lesson(state.lesson), PLANS[state.lesson]
        guess, chosen = state.of(state.lesson)
        last = "all_done" if state.lesson == COUNT else "next_lesson"
        onward = [ui["next"], ui["check"], ui["next"], ui["next"], ui[last]]
        names = [*plan.options, *(plan.trains if self.training else ())]
        photos = [(name, key) for key, name in said.photos.items()]
        checked = "" if chosen is None else draw.feedback(
            said, lesson.check, chosen, lesson.check_right, "wrong_keep")
        return [
            gr.Radio(value=state.lang), lesson_list(said, state), draw.glossary(said),
            draw.heading(said, lesson, finished(state)), draw.idea(said, lesson),
            draw.ask(said, lesson.predict, kept(state.lesson)),
            _choices(ui["your_prediction"], lesson.predict.options, guess), "",
            self.revealed(said, lesson, state), self._about(said, lesson),
            gr.Dropdown(choices=photos, value=plan.photo, label=ui["photo"]),
            gr.Radio(choices=[(lesson.options[n], n) for n in names], value=names[0],
                     label=lesson.option),
            gr.Textbox(value="", label=ui["own_caption"], visible=plan.own_caption),
            gr.Button(ui["run"]), gr.Button(ui["stop"]), "", "", draw.keep(said, lesson),
            _choices(ui["check_yourself"], lesson.check.options, chosen), gr.Button(ui["check"]),
            checked, *[gr.Button(ui["back"])] * len(draw.STEPS), *[gr.Button(t) for t in onward]]

    def revealed(self, said: Texts, lesson: Lesson, state: Standing) -> str:
        record = kept(lesson.number)
        stale = any(self._weights(name) not in ("", value)
                    for name, value in record.weights.items())
        page = draw.reveal(said, lesson, record, state.of(lesson.number)[0], stale)
        return page + "".join(self._trainings(said, lesson))

    def _weights(self, name: str) -> str:
        card = self.library.cards().get(name)
        return (card.sha256 or "") if card else ""

    def _trainings(self, said: Texts, lesson: Lesson) -> Iterator[str]:
        runs = short_runs() if PLANS[lesson.number].trains else ()
        if runs:
            yield draw.page(said, draw.trained(said, runs))

    def _about(self, said: Texts, lesson: Lesson) -> str:
        extra = ""
        if PLANS[lesson.number].trains:
            extra = said.ui["training_on" if self.training else "training_off"]
        return draw.page(said, draw.paragraphs([lesson.live, *([extra] if extra else [])]))


def _choices(label: str, options: tuple[str, ...], value: int | None) -> Any:
    return gr.Radio(choices=[(text, k) for k, text in enumerate(options)], value=value,
                    label=label)


def lessons(said: Texts, state: Standing) -> list[tuple[str, int]]:
    """Numbers and titles, with a mark for what is finished."""
    return [(f"{entry.number}. {entry.title}{' ✓' if state.done(entry.number) else ''}",
             entry.number) for entry in said.lessons]


def lesson_list(said: Texts, state: Standing) -> Any:
    return gr.Radio(choices=lessons(said, state), value=state.lesson, label=said.ui["lessons"])
