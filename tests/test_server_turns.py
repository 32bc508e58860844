"""Turns on the device, rates, and the gate every heavy event passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.settings import Settings
from explorer.results.outcome import Outcome
from explorer.server.gate import Gate
from explorer.server.rate import LockOut, Rate
from explorer.server.run import PACE
from explorer.server.scheduler import ABANDONED, Scheduler, Turn, place_words
from explorer.ui.attack.running import told_by


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def served(turns: Scheduler, waiting: list[tuple[str, Turn]]) -> list[str]:
    """Lets every turn run and leave; the names in the order in which the device went round."""
    order = []
    left = list(waiting)
    while left:
        name, turn = next((n, t) for n, t in left if turns.wait(t, 0) == 0)
        order.append(name)
        turns.leave(turn)
        left.remove((name, turn))
    return order


def test_the_device_goes_round_the_visitors() -> None:
    turns = Scheduler(each=9)
    asked = [(who, turns.enter(who)) for who in "aaaabcb"]
    assert served(turns, asked) == list("abcabaa")  # a asked four times before b came
    assert turns.waiting() == turns.running() == 0


def test_places_tell_how_many_runs_go_before() -> None:
    turns = Scheduler(each=9)
    asked = [(who, turns.enter(who)) for who in "aaabcb"]
    said = [turns.wait(turn, 0) for _, turn in asked]
    order = served(turns, asked)
    assert order == list("abcaba")
    # a runs; then its second run waits for b and c in front of it only if they came before it
    assert said == [0, 3, 5, 1, 2, 4]


def test_places_are_what_then_happens() -> None:
    """Every place that is told is the number of runs that really go before."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        turns = Scheduler(each=99)
        asked = [(f"{k}{who}", turns.enter(who)) for k, who in enumerate(
            "abcde"[int(i)] for i in torch.randint(0, 5, (9,), generator=generator))]
        told = {name: turns.wait(turn, 0) for name, turn in asked}
        order = served(turns, asked)
        assert [told[name] for name in order] == list(range(9))


def test_limits_are_said_in_a_sentence() -> None:
    turns = Scheduler(most=2, each=2)
    turns.enter("a")
    turns.enter("a")
    with pytest.raises(InputError, match="you have 2 runs here already"):
        turns.enter("a")
    turns.enter("b")
    with pytest.raises(InputError, match="2 runs wait for the device already"):
        turns.enter("c")
    assert place_words(1) == "Waiting for the device: 1 run is before yours …"


def test_a_run_that_takes_too_long_is_ended() -> None:
    clock = Clock()
    turns = Scheduler(run_seconds=30, clock=clock)
    turn, after = turns.enter("a"), turns.enter("b")
    clock.now += 29
    turns.check(turn)
    clock.now += 2
    with pytest.raises(InputError, match="longer than 30 seconds"):
        turns.check(turn)
    turns.leave(turn)
    assert turns.wait(after, 0) == 0


def test_turns_that_nobody_comes_back_for_are_dropped() -> None:
    clock = Clock()
    turns = Scheduler(stall_seconds=500, clock=clock)
    stuck, gone, here = turns.enter("a"), turns.enter("b"), turns.enter("c")
    clock.now += ABANDONED + 1
    here.seen = clock.now
    assert turns.wait(here, 0) == 1 and turns.waiting() == 1
    with pytest.raises(InputError, match="lost its place"):
        turns.wait(gone, 0)
    clock.now += 500
    here.seen = clock.now
    assert turns.wait(here, 0) == 0
    with pytest.raises(InputError, match="stood still"):
        turns.check(stuck)
    turns.leave(stuck)  # an old run that ends takes nothing from the new one
    turns.check(here)


def test_a_clock_that_goes_back_ends_nothing() -> None:
    clock = Clock()
    turns, rate, lock = Scheduler(clock=clock), Rate(2, clock), LockOut(2, 300, clock)
    turn = turns.enter("a")
    assert rate.take("a") == 0
    lock.failed("a")
    lock.failed("a")
    clock.now -= 10_000
    turns.check(turn)
    assert rate.take("a") == 0 and rate.take("a") > 0
    assert lock.remaining("a") == 0  # nobody stays shut out for the hours the clock went back


def test_threads_share_the_device_one_at_a_time() -> None:
    turns = Scheduler(most=64)
    busy, most, done = [0], [0], []
    lock = threading.Lock()

    def visitor(name: str) -> None:
        turn = turns.enter(name)
        while turns.wait(turn, 0.05):
            pass
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        for _ in range(3):
            turns.check(turn)
            time.sleep(0.002)
        with lock:
            busy[0] -= 1
            done.append(name)
        turns.leave(turn)

    threads = [threading.Thread(target=visitor, args=(str(k),)) for k in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 30 and most == [1] and turns.running() == 0


def test_rates_refill_with_time() -> None:
    clock = Clock()
    rate = Rate(3, clock)
    assert [rate.take("a") for _ in range(3)] == [0, 0, 0]
    assert rate.take("a") == pytest.approx(20) and rate.take("b") == 0
    clock.now += 20
    assert rate.take("a") == 0 and rate.take("a") > 0
    clock.now += 600
    assert [rate.take("a") for _ in range(4)][:3] == [0, 0, 0]


def test_lock_out_ends_and_is_forgiven() -> None:
    clock = Clock()
    lock = LockOut(3, 60, clock)
    for _ in range(3):
        assert lock.remaining("a") == 0
        lock.failed("a")
    assert lock.remaining("a") == 60 and lock.remaining("b") == 0
    clock.now += 61
    assert lock.remaining("a") == 0
    lock.failed("a")
    lock.succeeded("a")
    lock.failed("a")
    assert lock.remaining("a") == 0


def visitor(name: str) -> Any:
    return SimpleNamespace(headers={"x-explorer-visitor": name, "x-request-id": "r1"},
                           session_hash="s")


def counted(gate: Gate, end: str) -> float:
    return float(gate.meters.registry.get_sample_value("explorer_runs_total", {"end": end}) or 0)


def test_the_gate_says_the_place_and_then_runs() -> None:
    gate, go_on = Gate(Settings(at_once=1)), threading.Event()

    def work() -> Iterator[str]:
        yield "one"
        go_on.wait(20)
        yield "two"

    first = gate.pages(visitor("a"), work, lambda n: f"wait {n}", 0.01)
    second = gate.pages(visitor("b"), lambda: iter(["three"]), lambda n: f"wait {n}", 0.01)
    assert next(first) == "one"
    assert next(second) == "wait 1" == next(second)
    assert gate.meters.registry.get_sample_value("explorer_waiting_runs") == 1
    go_on.set()
    assert list(first) == ["two"] and list(second) == ["three"]
    assert counted(gate, "done") == 2


def test_closing_a_run_frees_the_device_within_one_step() -> None:
    gate = Gate(Settings(at_once=1))
    steps: list[int] = []

    def work() -> Iterator[int]:
        try:
            for k in range(1000):
                time.sleep(0.02)
                steps.append(k)
                yield k
        finally:
            steps.append(-1)  # the attack itself was told

    running = gate.pages(visitor("a"), work, lambda n: -n, 0.01)
    waiting = gate.pages(visitor("b"), lambda: iter([7]), lambda n: -n, 0.01)
    gone = gate.pages(visitor("c"), lambda: iter([8]), lambda n: -n, 0.01)
    assert [next(running), next(waiting), next(gone)] == [0, -1, -2]
    gone.close()  # type: ignore[attr-defined]
    assert gate.turns.waiting() == 1
    done = len(steps)
    running.close()  # type: ignore[attr-defined]
    assert steps[-1] == -1 and len(steps) <= done + 3
    assert next(waiting) == 7 and counted(gate, "stopped") == 2


@pytest.mark.parametrize(("error", "words", "end"), [
    (MemoryError(), "out of memory", "failed"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory",
     "failed"),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
     "out of memory", "failed"),
    (InputError("give at least one caption"), "at least one", "refused"),
])
def test_a_run_that_fails_frees_the_device(error: Exception, words: str, end: str) -> None:
    gate = Gate(Settings(at_once=1))

    def work() -> Iterator[int]:
        yield 1
        raise error

    with pytest.raises(InputError, match=words):
        list(gate.pages(visitor("a"), work, lambda n: n))
    assert counted(gate, end) == 1 and gate.turns.running() == 0
    assert list(gate.pages(visitor("b"), lambda: iter([2]), lambda n: n)) == [2]


def test_a_fault_of_ours_is_counted_by_its_kind_and_passed_on() -> None:
    gate = Gate(Settings(at_once=1))

    def work() -> Iterator[int]:
        yield 1
        raise KeyError("ours")

    with pytest.raises(KeyError):
        list(gate.pages(visitor("a"), work, lambda n: n))
    assert b'explorer_errors_total{kind="KeyError"} 1.0' in gate.meters.text()
    assert gate.turns.running() == 0


def test_a_visitor_who_hurries_waits() -> None:
    gate = Gate(Settings(runs_per_minute=2))
    for _ in range(2):
        list(gate.pages(visitor("a"), lambda: iter([1]), lambda n: n))
    with pytest.raises(InputError, match="more than 2 runs in a minute: try again in"):
        list(gate.pages(visitor("a"), lambda: iter([1]), lambda n: n))
    assert list(gate.pages(visitor("b"), lambda: iter([1]), lambda n: n)) == [1]


def test_the_device_does_not_wait_for_who_draws_and_old_news_are_left_out() -> None:
    gate, made = Gate(Settings(at_once=1)), list[str]()

    def work() -> Iterator[str]:
        for word in ("a1", "a2", "a3", "picture", "b1", "b2"):
            made.append(word)
            yield word

    found = gate.pages(visitor("a"), work, lambda n: f"wait {n}", 0.01,
                       told_by=lambda word, newer: word != "picture")
    first = next(found)
    deadline = time.monotonic() + 20
    while gate.turns.running():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(made) == 6  # nobody has asked for more than the first
    assert [first, *found][-2:] == ["picture", "b2"]


def test_events_that_later_ones_tell_are_paced() -> None:
    """Each costs the page and the server more than a step does; the last is always told."""
    gate = Gate(Settings(at_once=1))

    def work() -> Iterator[int]:
        for number in range(20):
            time.sleep(0.02)
            yield number

    began = time.monotonic()
    told = list(gate.pages(visitor("a"), work, lambda n: -n, 0.01, told_by=lambda a, b: True))
    assert told[-1] == 19 and told == sorted(told)
    assert len(told) <= (time.monotonic() - began) / PACE + 2  # 20 in 0.4 s without the pause


def test_finished_pictures_are_drawn_though_the_run_goes_on() -> None:
    """Else Stop would find nothing below it."""
    outcome = Outcome("alt", [])
    plain, shown = Progress("step", 1, 2), Progress("Attacked", outcome=outcome)
    assert told_by(plain, plain) and told_by(plain, shown) and told_by(shown, shown)
    assert not told_by(shown, plain) and not told_by(("a", 1), plain)


def test_a_run_that_stands_still_does_not_stop_the_next() -> None:
    gate, go_on = Gate(Settings(at_once=1, stall_seconds=1)), threading.Event()

    def stuck() -> Iterator[str]:
        yield "one"
        go_on.wait(60)
        yield "two"

    first = gate.pages(visitor("a"), stuck, str, 0.05)
    assert next(first) == "one"
    assert list(gate.pages(visitor("b"), lambda: iter(["three"]), str, 0.05))[-1] == "three"
    go_on.set()
    with pytest.raises(InputError, match="stood still for too long"):
        list(first)
    assert list(gate.pages(visitor("c"), lambda: iter(["four"]), str, 0.05)) == ["four"]


def test_two_runs_share_the_cores() -> None:
    gate, both, threads = Gate(Settings(at_once=2)), threading.Barrier(2, timeout=20), list[int]()
    gate.cores = 2
    kept = torch.get_num_threads()

    def work() -> Iterator[int]:
        both.wait()
        yield 0
        threads.append(torch.get_num_threads())
        both.wait()
        yield 1

    try:
        runs = [gate.pages(visitor(name), work, lambda n: -n, 0.01) for name in "ab"]
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(list, runs)) == [[0, 1], [0, 1]]
    finally:
        torch.set_num_threads(kept)
    assert threads == [1, 1]


def test_a_server_that_stops_waits_for_no_run() -> None:
    """The threads of the device outlive their callers: they must end by themselves."""
    gate, ended = Gate(Settings(at_once=1)), threading.Event()

    def work() -> Iterator[int]:
        try:
            for k in range(10_000):
                time.sleep(0.01)
                yield k
        finally:
            ended.set()

    running = gate.pages(visitor("a"), work, lambda n: -n, 0.01)
    assert next(running) == 0
    gate.close()
    assert ended.wait(30)
