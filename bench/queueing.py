"""A simulation of visitors before the device, with the server's own scheduler in it.

Visits arrive at random (or a fixed number of visitors stays); each presses Attack, waits for the
device by `explorer.server.scheduler.Turns`, holds it, reads the answer, and presses again.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import simpy

from bench.load_report import quantile
from explorer.base.errors import InputError
from explorer.server.scheduler import Scheduler, Turn

Events = Generator[simpy.Event, None, None]
WARM = 0.2  # of the time, before anything is counted


@dataclass(frozen=True)
class Habits:
    """What visitors do. runs: presses a visit; think_s: mean seconds between an answer and the
    next press; hold_s: draws the seconds of a run that begins as one of so many."""

    hold_s: Callable[[Random, int], float]
    runs: int = 8
    think_s: float = 20.0


@dataclass
class Seen:
    """What the visitors of one simulation saw, after the start. waits: seconds for the device;
    answers: seconds from press to answer; refused: presses that met a full queue."""

    seconds: float
    waits: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    refused: int = 0

    @property
    def rate(self) -> float:
        """Runs a second."""
        return len(self.answers) / self.seconds

    def wait(self, part: float) -> float:
        return quantile(self.waits, part)

    @property
    def mean_wait(self) -> float:
        return statistics.mean(self.waits)


class Server:
    """One server in simulated time."""

    def __init__(self, seconds: float, habits: Habits, waiting: int = 64, seed: int = 0,
                 at_once: int = 1) -> None:
        self.env, self.habits, self.random = simpy.Environment(), habits, Random(seed)
        self.turns = Scheduler(at_once, most=waiting, stall_seconds=1e9, run_seconds=1e9,
                           clock=self._now)
        self.end, self.begin = seconds, WARM * seconds
        self.seen = Seen(seconds - self.begin)
        self._ready: dict[Turn, simpy.Event] = {}

    def _now(self) -> float:
        return float(self.env.now)

    def _hand_on(self) -> None:
        """Wakes those whose turn has begun; the others go on asking, as open pages do."""
        for turn, ready in list(self._ready.items()):
            turn.seen = self._now()
            if turn.began is not None:
                del self._ready[turn]
                ready.succeed()

    def _press(self, visitor: str) -> Events:
        pressed = self._now()
        for turn in self._ready:
            turn.seen = pressed
        try:
            mine = self.turns.enter(visitor)
        except InputError:
            self.seen.refused += pressed >= self.begin
            return
        self._ready[mine] = self.env.event()
        ready = self._ready[mine]
        self._hand_on()
        yield ready
        waited = self._now() - pressed
        yield self.env.timeout(self.habits.hold_s(self.random, self.turns.running()))
        for turn in self._ready:
            turn.seen = self._now()
        self.turns.leave(mine)
        self._hand_on()
        if pressed >= self.begin:
            self.seen.waits.append(waited)
            self.seen.answers.append(self._now() - pressed)

    def _visit(self, visitor: str, runs: float) -> Events:
        while runs > 0:
            yield from self._press(visitor)
            runs -= 1
            think = self.habits.think_s
            yield self.env.timeout(self.random.expovariate(1 / think) if think else 0)

    def _arrivals(self, per_second: float) -> Events:
        number = 0
        while True:
            yield self.env.timeout(self.random.expovariate(per_second))
            number += 1
            self.env.process(self._visit(f"visitor {number}", self.habits.runs))

    def open(self, visits_per_hour: float) -> Seen:
        """Visits arrive at random."""
        self.env.process(self._arrivals(visits_per_hour / 3600))
        self.env.run(self.end)
        return self.seen

    def closed(self, visitors: int) -> Seen:
        """So many visitors who never leave, as in a load test."""
        for number in range(visitors):
            self.env.process(self._visit(f"visitor {number}", float("inf")))
        self.env.run(self.end)
        return self.seen


def capacity(habits: Habits, wait_s: float, part: float = 0.95, seconds: float = 4 * 3600.0,
             at_once: int = 1) -> float:
    """Most visits an hour at which `part` of the runs wait less than `wait_s` on one server."""
    def fits(visits: float) -> bool:
        seen = [Server(seconds, habits, seed=seed, at_once=at_once).open(visits)
                for seed in range(3)]
        return (not any(s.refused for s in seen)
                and statistics.mean(s.wait(part) for s in seen if s.waits) <= wait_s)

    low, high = 0.0, 8.0
    while fits(high):
        low, high = high, 2 * high
    while high - low > 0.02 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def drawn(*values: list[float]) -> Callable[[Random, int], float]:
    """One of the measured values, at random: of the first list for a run that is alone, of the
    second for one of two, of the last for one of more."""
    return lambda random, running: random.choice(values[min(running, len(values)) - 1])


def as_rows(rows: list[tuple[Any, ...]]) -> str:
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)
