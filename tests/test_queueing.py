"""The simulated queue against what queueing theory knows exactly."""

from __future__ import annotations

import pytest

from bench.queueing import Habits, Server, capacity, drawn


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_single_runs_wait_as_theory_says(load: float) -> None:
    """M/D/1: the mean wait is load * service / (2 (1 - load)) (Pollaczek 1930, Khinchine 1932)."""
    habits = Habits(lambda *_: 1.0, runs=1)
    seen = Server(60_000, habits, waiting=10_000, seed=1).open(3600 * load)
    assert seen.mean_wait == pytest.approx(load / (2 * (1 - load)), rel=0.12)
    assert seen.rate == pytest.approx(load, rel=0.05) and seen.refused == 0


@pytest.mark.parametrize("load", [0.4, 0.7])
def test_two_at_once_wait_as_theory_says(load: float) -> None:
    """M/M/2 with service 1: the mean wait is load^2 / (1 - load^2) (Erlang 1917)."""
    habits = Habits(lambda random, _: random.expovariate(1), runs=1)
    seen = Server(60_000, habits, waiting=10_000, seed=1, at_once=2).open(2 * 3600 * load)
    assert seen.mean_wait == pytest.approx(load**2 / (1 - load**2), rel=0.12)
    assert seen.rate == pytest.approx(2 * load, rel=0.05)


def test_a_run_beside_another_takes_as_long_as_measured_beside_another() -> None:
    seen = Server(3_000, Habits(drawn([1.0], [1.6]), think_s=0), at_once=2).closed(30)
    assert seen.rate == pytest.approx(2 / 1.6, rel=0.05)


def test_visitors_who_never_pause_keep_the_device_busy() -> None:
    seen = Server(3_000, Habits(drawn([1.0, 2.0]), think_s=0)).closed(30)
    assert seen.rate == pytest.approx(1 / 1.5, rel=0.05)
    assert seen.wait(0.5) == pytest.approx(29 * 1.5, rel=0.1), "everybody goes before you, once"


def test_a_full_queue_refuses() -> None:
    assert Server(600, Habits(lambda *_: 10.0, think_s=1), waiting=3).closed(20).refused > 0


def test_more_visits_fit_a_faster_device() -> None:
    slow, fast = (capacity(Habits(drawn([s])), wait_s=5, seconds=3600) for s in (2.0, 1.0))
    assert 0 < slow < fast
    assert fast * 8 * 1.0 < 3600, "no device works more than all the time"
    seen = Server(3600, Habits(lambda *_: 1.0), seed=9).open(0.5 * fast)
    assert seen.wait(0.95) < 5
