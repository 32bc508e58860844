"""The gate every heavy event passes: its rate, its turn on the device, and what is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from explorer.errors import InputError
from explorer.memory import OutOfMemoryError, out_of_memory, release
from explorer.server.logs import say
from explorer.server.metrics import Meters
from explorer.server.rate import Rate
from explorer.server.turns import Turn, Turns
from explorer.settings import Settings

T = TypeVar("T")
TICK = 0.5  # seconds between two looks at a waiting visitor: is the tab open, was Stop pressed
VISITOR, REQUEST_ID, ADDRESS = "x-explorer-visitor", "x-request-id", "x-explorer-address"


def visitor_of(request: Any) -> str:
    """Who asks: the visitor the guard found, else the page's session. request: gr.Request."""
    headers = getattr(request, "headers", None)
    found = headers.get(VISITOR) if headers is not None else None
    return str(found or getattr(request, "session_hash", None) or "unknown")


class Gate:
    """One for all heavy events of a server."""

    def __init__(self, settings: Settings, meters: Meters | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.meters, self.clock = meters or Meters(), clock
        self.rate = Rate(settings.runs_per_minute, clock)
        self.turns = Turns(settings.at_once, settings.waiting, settings.waiting_each,
                           settings.run_seconds, settings.stall_seconds, clock)
        self.meters.waiting.set_function(self.turns.waiting)
        self.meters.running.set_function(self.turns.running)

    def pages(self, request: Any, work: Callable[[], Iterator[T]], waiting: Callable[[int], T],
              tick: float = TICK) -> Iterator[T]:
        """What `work()` yields, once it is this visitor's turn; before that `waiting(runs before
        this one)` at every tick, so that a closed tab or Stop gives the place back at once.

        Closing the iterator frees the device as soon as the step it is in has ended. Raises
        InputError: too many runs, the queue full, the time over, the device out of memory.
        """
        visitor, request_id = visitor_of(request), _request_id(request)
        self._hurry(visitor)
        try:
            turn = self.turns.enter(visitor)
        except InputError:
            self.meters.refused.labels("queue").inc()
            raise
        end, began, short = "stopped", 0.0, False
        try:
            while before := self.turns.wait(turn, tick):
                yield waiting(before)
            began = self.clock()
            self.meters.wait_seconds.observe(max(0.0, began - turn.entered))
            yield from self._steps(turn, work())
            end = "done"
        except Exception as error:
            short = out_of_memory(error)
            end = "failed" if short or not isinstance(error, InputError) else "refused"
            if end == "failed":
                self.meters.errors.labels(type(error).__name__).inc()
            if not short:
                raise
        finally:
            self.turns.leave(turn)
            seconds = max(0.0, self.clock() - began) if began else 0.0
            self.meters.runs.labels(end).inc()
            if began:
                self.meters.run_seconds.observe(seconds)
            say("run", request=request_id, end=end, seconds=round(seconds, 3))
        if short:  # out here nothing holds on to the tensors of the run any more
            release()
            raise OutOfMemoryError

    def _steps(self, turn: Turn, events: Iterator[T]) -> Iterator[T]:
        try:
            for event in events:
                self.turns.check(turn)
                yield event
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()

    def _hurry(self, visitor: str) -> None:
        seconds = self.rate.take(visitor)
        if seconds:
            self.meters.refused.labels("runs").inc()
            raise InputError(f"that is more than {self.rate.per_minute} runs in a minute: try "
                             f"again in {max(1, round(seconds))} s")


def _request_id(request: Any) -> str:
    headers = getattr(request, "headers", None)
    return str(headers.get(REQUEST_ID) or "") if headers is not None else ""
