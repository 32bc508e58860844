"""What all tabs that start runs share: the status line, the turn on the device, a mistake in
words, tickets."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import gradio as gr

from explorer.base.errors import OURS, InputError, sentence
from explorer.base.progress import Progress
from explorer.results.views import progress_bar, status_line
from explorer.server.gate import Gate
from explorer.server.scheduler import place_words

LOG = logging.getLogger(__name__)
DEVICE = "device"  # who runs next is the gate's to say; here they only wait
WAIT = 64
PLAIN: dict[str, Any] = {"padding": False, "apply_default_css": False}
LIGHT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def heavy(lane: str) -> dict[str, Any]:
    """Of an event that takes its time. lane: those of one are counted together."""
    return {"concurrency_id": lane, "concurrency_limit": WAIT, "show_progress": "hidden",
            "api_visibility": "private"}


T = TypeVar("T")
E = TypeVar("E")


def status(progress: Progress, unit: str = "") -> str:
    """unit: of what is counted, with the space after it."""
    count = f" {unit}{progress.done:,} of {progress.total:,}" if progress.total else ""
    bar = progress_bar(progress.text, progress.done, progress.total) if count else ""
    return status_line(progress.text, bar + count)


def told(text: str) -> str:
    return status_line(text)


def error_line(sentence: str) -> str:
    return status_line(sentence, error=True)


def fresh() -> str:
    """Something invisible that was not there before, whose change others hear."""
    return f'<i data-at="{time.monotonic_ns()}"></i>'


DONE, IDLE = told("Done."), told("Nothing is running.")
STOPPED = told("Stopped. What was finished is still below.")


def in_line(before: int) -> str:
    """The visitor's place in the queue. before: runs that go before its own."""
    said = place_words(before)
    return status_line(said, progress_bar(said))


def guarded(events: Iterator[T], failed: Callable[[str], T]) -> Iterator[T]:
    """The events, and a mistake as one sentence: the visitor's own, or that it was ours."""
    try:
        yield from events
    except InputError as error:
        yield failed(sentence(error))
    except Exception:
        LOG.exception("what a visitor asked for failed")
        yield failed(OURS)


def obeyed(act: Callable[[], object], said: str = "") -> str:
    """The line after an order: what `said` is, or the mistake."""
    try:
        act()
    except InputError as error:
        return error_line(sentence(error))
    return said


@dataclass(frozen=True)
class _InLine:
    before: int


def in_turn(gate: Gate, request: gr.Request, work: Callable[[], Iterator[E]],
            draw: Callable[[E], T], row: Callable[[str], T],
            told_by: Callable[[Any, Any], bool] | None = None) -> Iterator[T]:
    """What `work()` yields, drawn, in the visitor's turn on the device. row: what the page becomes
    when a line alone is said, while it waits or after a mistake; told_by: as Gate.pages has it."""
    def drawn() -> Iterator[T]:
        pages: Any = gate.pages(request, cast(Any, work), _InLine, told_by=told_by)
        with closing(pages):
            for event in pages:
                yield row(in_line(event.before)) if isinstance(event, _InLine) else draw(event)

    yield from guarded(drawn(), lambda said: row(error_line(said)))


def lines(text: str) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


class Tickets:
    """Which run of a visitor may go on: that of the newest press, until it is stopped.

    A run, waiting or running, goes by the number it was given when the button was pressed.
    """

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def take(self, request: gr.Request) -> int:
        number = next(self._numbers)
        self._newest[str(request.session_hash)] = number
        return number

    def holds(self, request: gr.Request, number: int) -> bool:
        return self._newest.get(str(request.session_hash)) == number

    def replaced(self, request: gr.Request, number: int) -> bool:
        """Whether a newer one was taken, and not this one given back."""
        return self._newest.get(str(request.session_hash), number) != number

    def held(self, request: gr.Request, number: int, events: Iterator[T],
             stopped: Callable[[], T]) -> Iterator[T]:
        """The events to their end, or until the ticket is gone, and then what `stopped` says."""
        try:
            with closing(cast(Any, events)):
                if self.holds(request, number):
                    for event in events:
                        if not self.holds(request, number):
                            break
                        yield event
                    else:
                        return
            if not self.replaced(request, number):  # else the newer one is seen
                yield stopped()
        finally:
            self.done(request, number)

    def stop(self, request: gr.Request) -> bool:
        """Takes the visitor's ticket back; False when there is none."""
        return self._newest.pop(str(request.session_hash), None) is not None

    def done(self, request: gr.Request, number: int) -> None:
        if self.holds(request, number):
            self.stop(request)
