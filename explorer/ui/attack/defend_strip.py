"""The strip "Try a defence" below a result: a component, its orders, and what comes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.store import Store
from explorer.results.outcome import Outcome
from explorer.ui.attack.defend import ASK, Bench, draw_bench, know, try_all
from explorer.ui.shared.runs import DEVICE, DONE, LIGHT, PLAIN, heavy, status

if TYPE_CHECKING:
    from explorer.ui.attack.tab import AttackTab


class DefendStrip:
    """Sits below the stage of an AttackTab, whose tickets, device and case it shares; the tab puts
    the offer back after each run."""

    def __init__(self) -> None:
        self.benches: Store[tuple[Outcome, Bench]] = Store()
        self.page = gr.HTML("", elem_id="rx-defend", js_on_load=ASK, **PLAIN)
        self.order = gr.State(("", ""))

    def wire(self, tab: AttackTab) -> None:
        """Listens to presses."""
        self.running = tab.running
        self.page.click(self._ask, None, [tab.ticket, self.order], **LIGHT).then(
            self._work, [tab.ticket, self.order], [tab.status, self.page], trigger_mode="multiple",
            **heavy(DEVICE))
        tab.photo.input(lambda: "", None, self.page, **LIGHT)  # it is of another photo

    def _ask(self, event: gr.EventData, request: gr.Request) -> tuple[int, tuple[str, str]]:
        told = event._data if isinstance(event._data, dict) else {}
        return self.running.tickets.take(request), (str(told.get("order")), str(told.get("name")))

    def _work(self, request: gr.Request, ticket: int, order: tuple[str, str],
              ) -> Iterator[tuple[Any, Any]]:
        session = str(request.session_hash)
        outcome = self.running.store.last(session)

        def drawn(event: Progress | Bench) -> tuple[Any, Any]:
            if isinstance(event, Progress):
                return status(event), gr.skip()
            assert outcome is not None
            self.benches.put(session, (outcome, event))
            return DONE, draw_bench(event, outcome, self.running.keep)

        yield from self.running.while_held(
            request, ticket, lambda: self._found(session, outcome, *order), drawn)

    def _found(self, session: str, outcome: Outcome | None, order: str, name: str,
               ) -> Iterator[Progress | Bench]:
        kept = self.benches.last(session)
        bench = kept[1] if kept is not None and kept[0] is outcome else Bench()
        if order == "all":
            yield from try_all(self.running.library, outcome)
        elif order == "know":
            yield from know(self.running.library, outcome, bench, name)
        elif order == "open" and name in bench.tried:
            yield Bench(bench.tried, bench.known, name)
        else:
            raise InputError("try the defences first")
