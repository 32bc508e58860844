"""One run on the device: its events are made there, and handed to who asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from explorer.server.scheduler import Scheduler, Turn

T = TypeVar("T")
PACE = 0.25  # seconds between two events of a run, where the later one tells the earlier one too


class Slot:
    """A thread of the device's. A run that stands still in a step and was given up keeps its
    thread; the next one gets a new one."""

    def __init__(self, name: str) -> None:
        self.name, self._last = name, threading.Event()
        self._last.set()
        self._pool = ThreadPoolExecutor(1, name)

    def submit(self, run: Run[Any], turn: Turn) -> Future[None]:
        """Makes the run's events. Raises RuntimeError when the slot was shut."""
        if not self._last.is_set():
            self._pool.shutdown(wait=False)
            self._pool = ThreadPoolExecutor(1, self.name)
        self._last = run.leaving
        return self._pool.submit(run.make, turn)

    def shut(self) -> None:
        self._last.set()  # from now on nothing is taken
        self._pool.shutdown(wait=False, cancel_futures=True)


class Run(Generic[T]):
    """Begins on a thread of the device's the moment its turn comes, and waits neither for who asked
    nor for who draws. goes_on: asked before each step, may raise."""

    def __init__(self, work: Callable[[], Iterator[T]], slots: Sequence[Slot], turns: Scheduler,
                 goes_on: Callable[[Turn], bool]) -> None:
        self.work, self.slots, self.turns, self.goes_on = work, slots, turns, goes_on
        self._context = copy_context()
        self._made: SimpleQueue[tuple[T, ...]] = SimpleQueue()  # () comes last
        self._failed: list[BaseException] = []
        self._gone, self._ended = threading.Event(), threading.Event()
        self.leaving = threading.Event()  # it has made its last event

    def start(self, turn: Turn) -> None:
        """Called by whoever makes room for it, so it only hands itself over."""
        def cancelled(future: Future[None]) -> None:
            if future.cancelled():  # the server stops
                self._finish(turn)

        try:
            self.slots[turn.slot].submit(self, turn).add_done_callback(cancelled)
        except RuntimeError as error:
            self._failed.append(error)
            self._finish(turn)

    def make(self, turn: Turn) -> None:
        """On the device's thread, in the context of who asked."""
        self._context.run(self._make, turn)

    def _make(self, turn: Turn) -> None:
        try:
            going, events = self.goes_on(turn), self.work()
            try:
                while going and not self._gone.is_set():
                    event = next(events)
                    going = self.goes_on(turn)
                    self._made.put((event,))
            except StopIteration:
                pass
            finally:
                close = getattr(events, "close", None)
                if close is not None:
                    with suppress(Exception):
                        close()
        except BaseException as error:  # noqa: BLE001 -- raised where it is waited for
            self._failed.append(error)
        finally:
            self._finish(turn)

    def _finish(self, turn: Turn) -> None:
        self.leaving.set()
        self.turns.leave(turn)
        self._made.put(())
        self._ended.set()

    def events(self, told_by: Callable[[T, T], bool] | None) -> Iterator[T]:
        """What the run makes, and then what it raised. told_by: whether an event may be left out,
        since the newer one, there already or soon, tells it too."""
        found, free = self._made.get(), 0.0  # free: when the next event may be told
        while found:
            newer = self._within(free - time.monotonic()) if told_by else None
            if not (newer and told_by and told_by(found[0], newer[0])):
                yield found[0]
                free = time.monotonic() + PACE
            found = self._made.get() if newer is None else newer
        if self._failed:
            raise self._failed.pop()

    def _within(self, seconds: float) -> tuple[T, ...] | None:
        """What comes in so many seconds, if anything does."""
        try:
            return self._made.get(timeout=seconds) if seconds > 0 else self._made.get_nowait()
        except Empty:
            return None

    def end(self, turn: Turn) -> None:
        """Gives the place back; where the run has begun, once the step that it is in has ended."""
        self._gone.set()
        if not self.turns.withdraw(turn):
            self._ended.wait()
