"""Live runs of the lessons: in their turn on the device, with progress, until they are stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import gradio as gr

from explorer.attacks.engine import Step
from explorer.base.errors import OURS, InputError
from explorer.jobs.processes import ProcessJobs
from explorer.lessons import draw
from explorer.lessons.bench import Asked, Bench, photo
from explorer.lessons.demos import PLANS, demo
from explorer.lessons.learning import train
from explorer.lessons.record import Record
from explorer.lessons.texts import Texts, texts
from explorer.models.library import Library
from explorer.server.gate import Gate
from explorer.ui.learn.state import read
from explorer.ui.shared.runs import Tickets, guarded

Event = Step | Record | int  # int: runs that go before
Drawn = Iterator[tuple[Any, Any]]


class LiveRuns:
    """jobs: None where training is off."""

    def __init__(self, library: Library, gate: Gate, jobs: ProcessJobs | None) -> None:
        self.library, self.gate, self.jobs = library, gate, jobs
        self.tickets = Tickets()

    def halt(self, raw: Any, request: gr.Request) -> Any:
        """Takes the ticket back; the run says by itself that it was stopped."""
        said = texts(read(raw).lang)
        return gr.skip() if self.tickets.stop(request) else draw.status(said, said.ui["nothing"])

    def go(self, request: gr.Request, ticket: int, raw: Any, pair: Any, name: str, option: str,
           own: str) -> Drawn:
        """The status line and the results of one press of the button."""
        state = read(raw)
        said = texts(state.lang)

        def failed(why: str) -> tuple[Any, Any]:
            why = said.ui["failed"] if why == OURS else why
            return draw.status(said, why, error=True), gr.skip()

        def drawn() -> Drawn:
            yield draw.status(said, said.ui["opening"]), gr.skip()
            events = self._events(request, state.lesson, pair, Asked(name, option, own or ""))
            with closing(cast(Any, events)):
                for event in events:
                    yield self._told(said, state.lesson, event)

        yield from self.tickets.held(request, ticket, guarded(drawn(), failed), lambda: (
            draw.status(said, said.ui["stopped"]), gr.skip()))

    def _events(self, request: gr.Request, lesson: int, pair: Any, asked: Asked,
                ) -> Iterator[Event]:
        plan = PLANS[lesson]
        own = asked if plan.own_caption else Asked(asked.photo, asked.option)
        bench = Bench(self.library, (str(pair[0]), str(pair[1])))
        if own.option not in plan.trains:
            return self._measured(request, lambda: demo(lesson, bench, own))
        if self.jobs is None:
            raise InputError("training is switched off on this server")
        photo(own.photo)
        method = own.option.removeprefix("train-")
        return train(bench, self.jobs, method, self.jobs.folder / "samples", own)

    def _measured(self, request: gr.Request, work: Callable[[], Iterator[Event]],
                  ) -> Iterator[Event]:
        """In its turn. What trains is a process of its own, with its own queue."""
        return self.gate.pages(request, work, lambda before: before)

    @staticmethod
    def _told(said: Texts, lesson: int, event: Event) -> tuple[Any, Any]:
        if isinstance(event, Record):
            return draw.status(said, said.ui["done"]), draw.live(said, said.lesson(lesson), event)
        if isinstance(event, Step):
            text = said.ui["running"].format(n=event.index, total=event.total)
            return draw.status(said, text, event.index, event.total), gr.skip()
        return draw.status(said, said.ui["waiting"].format(n=event)), gr.skip()
