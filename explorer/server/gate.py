"""The gate every heavy event passes: its rate, its turn on the device, and what is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from explorer.base.errors import InputError
from explorer.base.memory import OutOfMemoryError, out_of_memory, release
from explorer.base.settings import Settings
from explorer.server.logs import say
from explorer.server.metrics import Meters
from explorer.server.rate import Rate
from explorer.server.run import Run, Slot
from explorer.server.scheduler import Scheduler, Turn

T = TypeVar("T")
TICK = 0.5  # seconds between two looks at a waiting visitor: is the tab open, was Stop pressed
FAR = 4  # runs before a visitor's for each further tick between two looks, of at most FAR ticks
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
        self.cores = 0 if torch.cuda.is_available() else torch.get_num_threads()
        self.at_once = settings.at_once or (2 if self.cores > 1 else 1)
        self.turns = Scheduler(self.at_once, settings.waiting, settings.waiting_each,
                           settings.run_seconds, settings.stall_seconds, clock)
        # Steps run on threads of their own, one for each slot: OpenMP keeps helpers by thread, and
        # with more helpers than cores, as when each step comes on another thread, all slow down.
        self.slots = [Slot(f"device-{k}") for k in range(self.at_once)]
        self._over = threading.Event()
        self.meters.waiting.set_function(self.turns.waiting)
        self.meters.running.set_function(self.turns.running)

    def pages(self, request: Any, work: Callable[[], Iterator[T]], waiting: Callable[[int], T],
              tick: float = TICK, told_by: Callable[[T, T], bool] | None = None) -> Iterator[T]:
        """What `work()` yields, once it is this visitor's turn; before that `waiting(runs before
        this one)` every few ticks, so that a closed tab or Stop gives the place back soon.

        The device goes on while events are drawn and sent, and is free for others when the last is
        made. told_by: whether an event may be left out, since the newer one tells it too. Closing
        the iterator frees the device as soon as its step has ended.
        Raises InputError: too many runs, the queue full, the time over, the device out of memory.
        """
        visitor, request_id = visitor_of(request), _request_id(request)
        self._hurry(visitor)
        run = Run(work, self.slots, self.turns, self._goes_on)
        try:
            turn = self.turns.enter(visitor, run.start)
        except InputError:
            self.meters.refused.labels("queue").inc()
            raise
        end, short = "stopped", False
        try:
            before = 0
            while before := self.turns.wait(turn, tick * min(FAR, 1 + before // FAR)):
                yield waiting(before)
            self.meters.wait_seconds.observe(max(0.0, (turn.began or 0.0) - turn.entered))
            for event in run.events(told_by):
                if self.cores:
                    _take(1)  # drawing needs no helpers, which would crowd the device's
                yield event
            end = "done"
        except Exception as error:
            short = out_of_memory(error)
            end = "failed" if short or not isinstance(error, InputError) else "refused"
            if end == "failed":
                self.meters.errors.labels(type(error).__name__).inc()
            if not short:
                raise
        finally:
            run.end(turn)
            seconds = max(0.0, (turn.ended or self.clock()) - turn.began) if turn.began else 0.0
            self.meters.runs.labels(end).inc()
            if turn.began:
                self.meters.run_seconds.observe(seconds)
            say("run", request=request_id, end=end, seconds=round(seconds, 3))
        if short:  # out here nothing holds on to the tensors of the run any more
            release()
            raise OutOfMemoryError

    def close(self) -> None:
        """Ends every run at its next step: the server stops."""
        self._over.set()
        for slot in self.slots:
            slot.shut()

    def _goes_on(self, turn: Turn) -> bool:
        """Whether a run may take its next step, with its part of the cores: small batches do not
        keep two cores busy together. Raises InputError when its time is over."""
        self.turns.check(turn)
        if self.cores:
            alone = turn.slot == 0 and self.turns.running() == 1  # others never get helpers for all
            _take(max(1, self.cores // (1 if alone else self.at_once)))
        return not self._over.is_set()

    def _hurry(self, visitor: str) -> None:
        seconds = self.rate.take(visitor)
        if seconds:
            self.meters.refused.labels("runs").inc()
            raise InputError(f"that is more than {self.rate.per_minute} runs in a minute: try "
                             f"again in {max(1, round(seconds))} s")


def _take(threads: int) -> None:
    """Sets how many threads this one may use. Setting them anew makes PyTorch forget what oneDNN
    has compiled, so only where they differ."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _request_id(request: Any) -> str:
    headers = getattr(request, "headers", None)
    return str(headers.get(REQUEST_ID) or "") if headers is not None else ""
