"""A run of the Attack tab on the server: its ticket, its turn on the device, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from explorer.actions.attack import attack_both
from explorer.attacks.request import Request
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.settings import Settings
from explorer.base.store import Store
from explorer.models.library import Library
from explorer.results.outcome import Outcome
from explorer.results.stage import draw
from explorer.results.views import inline
from explorer.server.gate import Gate, visitor_of
from explorer.server.kept import Kept
from explorer.ui.attack.cases import Cases
from explorer.ui.attack.masking import check_signs, draw_signs
from explorer.ui.shared.address import OWN, link
from explorer.ui.shared.asked import Asked
from explorer.ui.shared.runs import DONE, IDLE, STOPPED, Tickets, in_turn, status, told

NO_PHOTO = told("This link holds captions and settings, and no photo: choose one of yours, then "
                "press Attack.")
Drawn = Iterator[tuple[Any, Any]]  # what the status line and the result page become


def told_by(event: Any, newer: Any) -> bool:
    """Progress is told by later progress; an outcome only by a later one, which holds all of it."""
    return (isinstance(event, Progress) and isinstance(newer, Progress)
            and (event.outcome is None or newer.outcome is not None))


class Running:
    """The runs of all visitors. store: what each saw last; photos: a visitor's own, by the address
    of a case; kept: where the pages' pictures are, None where they are part of the pages."""

    def __init__(self, library: Library, gate: Gate, kept: Kept | None) -> None:
        self.library, self.gate, self.cases = library, gate, Cases(kept)
        self.keep = kept.put if kept else inline
        self.store: Store[Outcome] = Store()
        self.photos = Store[str](keep=256, seconds=Settings.keep_seconds)
        self.tickets = Tickets()

    def stop(self, request: gr.Request) -> Any:
        """Ends the visitor's run at its next step; the run itself says so. Gradio's own
        cancelling would let a late step write over that."""
        return gr.skip() if self.tickets.stop(request) else IDLE

    def show(self, request: gr.Request, asked: Asked) -> Drawn:
        """What a page opens on, or comes back to: at once where it was found before."""
        ticket = self.tickets.take(request)
        if not asked.request.pictures:
            self.tickets.done(request, ticket)
            yield NO_PHOTO, ""
            return
        known = self.cases.get(asked.key)
        if known is None:
            yield from self.attack(request, ticket, lambda: asked.request, asked.key)
            return
        self.store.put(str(request.session_hash), known[1])
        self.tickets.done(request, ticket)
        yield DONE, known[0]

    def while_held(self, request: gr.Request, ticket: int, work: Callable[[], Iterator[Any]],
                   drawn: Callable[[Any], tuple[Any, Any]], left: Callable[[], Any] = gr.skip,
                   told_by: Callable[[Any, Any], bool] | None = None) -> Drawn:
        """What `work` finds in the visitor's turn on the device, drawn, until the ticket is gone.
        left: what is to be seen of a run that did not come to its end."""
        def row(line: str) -> tuple[Any, Any]:
            return line, left()

        yield from self.tickets.held(request, ticket, in_turn(
            self.gate, request, work, drawn, row, told_by), lambda: row(STOPPED))

    def attack(self, request: gr.Request, ticket: int, asked: Callable[[], Request],
                  key: str = "") -> Drawn:
        """The status line and the page after each step of a run. key: as Asked has it."""
        last: Outcome | None = None
        address = ""

        def work() -> Iterator[Progress]:
            nonlocal address, key
            wanted = asked()
            address = link(wanted)
            if f"image={OWN}" not in address:
                key = address
            elif isinstance(wanted.pictures[0], str):  # and not plain grey
                self.photos.put(f"{visitor_of(request)} {address}", str(wanted.pictures[0]))
            yield from attack_both(self.library, wanted)

        def drawn(progress: Progress) -> tuple[Any, Any]:
            nonlocal last
            said = status(progress, "step ")
            if progress.outcome is None:
                return said, gr.skip()
            last = progress.outcome
            last.link = address
            self.store.put(str(request.session_hash), last.light())
            page = draw(last if last.bundle else last.sketch(), self.keep)
            if last.bundle is not None and key:  # complete
                self.cases.put(key, page, last.light())
            return said, page

        yield from self.while_held(
            request, ticket, work, drawn,
            lambda: gr.skip() if last is None else draw(last, self.keep), told_by)

    def signs(self, request: gr.Request, ticket: int) -> Drawn:
        """Signs of gradient masking for the visitor's last case."""
        def looked() -> Iterator[Any]:
            outcome = self.store.last(str(request.session_hash))
            if outcome is None:
                raise InputError("run an attack first: there is nothing to check yet")
            yield from check_signs(self.library, outcome)

        def drawn(event: Any) -> tuple[Any, Any]:
            if isinstance(event, list):
                return DONE, draw_signs(event)
            model, step = event
            return status(Progress(f"Looking for signs of gradient masking in {model}",
                                   step.index, step.total), "step "), gr.skip()

        yield from self.while_held(request, ticket, looked, drawn)
