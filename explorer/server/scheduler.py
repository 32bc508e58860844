"""Who may use the device next: one run at a time, visitors in rotation, every place visible.

A visitor who asks often waits behind everybody who asked once: the device goes round the visitors,
not down one line (round robin, as in Nagle 1987, RFC 970). A turn ends when its run does, when it
is left, when it takes too long, and when nobody has come back for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from explorer.base.errors import InputError

ABANDONED = 60.0  # seconds after which a waiting turn that nobody asks about is dropped


@dataclass(eq=False)
class Turn:
    """One run's place. seen: when its owner last asked; start: called when it gets the device,
    which must not take long; began, ended: when it got the device and gave it back, in seconds;
    slot: which of the turns that may run together it is, from 0."""

    visitor: str
    entered: float
    seen: float
    start: Callable[[Turn], object]
    began: float | None = field(default=None)
    ended: float | None = field(default=None)
    slot: int = field(default=0)


class Scheduler:
    """A pure scheduler, safe between threads; clock: seconds that need not be the wall's.

    at_once: turns that may run together; most: turns that may wait; each: turns of one visitor;
    run_seconds: the longest turn; stall_seconds: the longest silence of a running one.
    """

    def __init__(self, at_once: int = 1, most: int = 64, each: int = 4, run_seconds: float = 600,
                 stall_seconds: float = 900, clock: Callable[[], float] = time.monotonic) -> None:
        self.at_once, self.most, self.each = at_once, most, each
        self.run_seconds, self.stall_seconds, self.clock = run_seconds, stall_seconds, clock
        self._changed = threading.Condition()
        self._lines: dict[str, deque[Turn]] = {}  # in the order in which visitors are served
        self._running: list[Turn] = []

    def enter(self, visitor: str, start: Callable[[Turn], object] = lambda _: None) -> Turn:
        """A place at the end of the visitor's own line. Raises InputError when there is none."""
        with self._changed:
            self._drop_silent()
            waiting = self._count()
            if waiting >= self.most:
                raise InputError(f"{waiting} runs wait for the device already, which is all that "
                                 "this server takes: try again in a minute")
            own = len(self._lines.get(visitor, ())) + sum(
                t.visitor == visitor for t in self._running)
            if own >= self.each:
                raise InputError(f"you have {own} runs here already: stop one, or let one finish")
            now = self.clock()
            turn = Turn(visitor, now, now, start)
            self._lines.setdefault(visitor, deque()).append(turn)
            self._advance()
            return turn

    def wait(self, turn: Turn, seconds: float) -> int:
        """Blocks for at most `seconds` until it is this turn's; returns how many runs are before
        it, 0 when the device is its own. Raises InputError when the turn was dropped."""
        with self._changed:
            turn.seen = self.clock()
            self._drop_silent()
            self._changed.wait_for(lambda: not self._waits(turn), timeout=seconds)
            turn.seen = self.clock()
            if turn.began is not None:
                return 0
            if not self._waits(turn):
                raise InputError("the run lost its place in the queue: start it again")
            return self._place(turn)

    def check(self, turn: Turn) -> None:
        """To be called at each step of a run. Raises InputError when its time is over."""
        with self._changed:
            self._drop_silent(turn)
            if turn not in self._running or turn.began is None:
                raise InputError("the run stood still for too long and lost its turn: start it "
                                 "again")
            turn.seen = self.clock()
            if turn.seen - turn.began > self.run_seconds:
                raise InputError(f"the run took longer than {self.run_seconds:g} seconds, the most "
                                 "that this server gives one: use fewer steps or a smaller model")

    def leave(self, turn: Turn) -> None:
        """Ends a turn, waiting or running; once is enough, twice does no harm."""
        with self._changed:
            self._remove(turn)
            self._advance()

    def withdraw(self, turn: Turn) -> bool:
        """Ends a turn that has not begun; False where it has."""
        with self._changed:
            if turn.began is None:
                self._remove(turn)
            return turn.began is None

    def waiting(self) -> int:
        with self._changed:
            return self._count()

    def running(self) -> int:
        with self._changed:
            return len(self._running)

    def _count(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def _waits(self, turn: Turn) -> bool:
        return turn in self._lines.get(turn.visitor, ())

    def _remove(self, turn: Turn) -> None:
        if turn in self._running:
            self._running.remove(turn)
            turn.ended = self.clock()
            if turn.visitor in self._lines:  # behind all who came during the run
                self._lines[turn.visitor] = self._lines.pop(turn.visitor)
        if self._waits(turn):
            self._lines[turn.visitor].remove(turn)
            if not self._lines[turn.visitor]:
                del self._lines[turn.visitor]

    def _advance(self) -> None:
        while self._lines and len(self._running) < self.at_once:
            visitor = next(iter(self._lines))
            line = self._lines.pop(visitor)
            turn = line.popleft()
            if line:
                self._lines[visitor] = line
            turn.began = turn.seen = self.clock()
            turn.slot = min(set(range(self.at_once)) - {t.slot for t in self._running})
            self._running.append(turn)
            turn.start(turn)
        self._changed.notify_all()

    def _drop_silent(self, asking: Turn | None = None) -> None:
        """Drops turns whose owner has gone; `asking` is heard from just now."""
        now = self.clock()
        silent = [t for t in self._running
                  if t is not asking and now - t.seen > self.stall_seconds]
        silent += [t for line in self._lines.values() for t in line if now - t.seen > ABANDONED]
        for turn in silent:
            self._remove(turn)
        if silent:
            self._advance()

    def _place(self, turn: Turn) -> int:
        """How many runs go before a waiting one, the running ones included."""
        own = list(self._lines[turn.visitor]).index(turn)
        busy = {t.visitor for t in self._running}
        order = sorted(self._lines, key=lambda v: v in busy)
        mine = order.index(turn.visitor)
        before = sum(min(len(self._lines[v]), own + (k < mine)) for k, v in enumerate(order)
                     if v != turn.visitor)
        return before + own + len(self._running)


def place_words(before: int) -> str:
    """The place in the queue as one sentence."""
    runs = "1 run is" if before == 1 else f"{before} runs are"
    return f"Waiting for the device: {runs} before yours …"
