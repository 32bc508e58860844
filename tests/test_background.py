"""Long work behind the page: its queue, its turns, and what is left of it after a crash."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.settings import Settings
from explorer.jobs.job import FAILED, FINISHED, RUNNING, STOPPED, WAITING, Job, write_job
from explorer.jobs.threads import EACH, ThreadJobs
from explorer.models.library import Library
from explorer.server.gate import Gate
from explorer.ui.shared.works import open_works, turn


def counting(work: Job) -> Iterator[Progress]:
    """Writes a line a step, and goes on after those that are there."""
    path = work.folder / "lines"
    held = path.read_text().split() if path.exists() else []
    for number in range(len(held), 4):
        path.write_text(" ".join([*held, str(number)]))
        held = path.read_text().split()
        yield Progress(f"line {number}", number + 1, 4)


def failing(work: Job) -> Iterator[Progress]:
    yield Progress("", 0, 2)
    raise {"input": InputError("there is no such thing"), "bug": KeyError("x")}[work.title]


def works(folder: Path, **runners: Callable[[Job], Iterator[Progress]]) -> ThreadJobs:
    return ThreadJobs(folder, {"count": counting, "fail": failing, **runners})


def titled(title: str = "one") -> Callable[[Path], tuple[str, dict[str, Any]]]:
    return lambda folder: (title, {"n": 4})


def test_work_is_done_in_order_and_its_end_is_kept(tmp_path: Path) -> None:
    found = works(tmp_path)
    first = found.submit("count", "me", titled("first"))
    second = found.submit("count", "me", titled("second"))
    assert found.ahead(first) == 0 and found.ahead(second) == 1
    assert found.settle()
    assert [w.state for w in found.list()] == [WAITING, FINISHED]
    assert found.settle() and not found.settle()
    after = works(tmp_path).get(first.id)
    assert (after.state, after.done, after.total) == (FINISHED, 4, 4)
    assert (first.folder / "lines").read_text() == "0 1 2 3"


def test_another_owner_finds_nothing(tmp_path: Path) -> None:
    found = works(tmp_path)
    work = found.submit("count", "me", titled())
    assert found.list("you") == []
    for act in (found.get, found.stop, found.go_on, found.delete):
        with pytest.raises(InputError, match="there is no job"):
            act(work.id, "you")
    for name in ("..", "", f"{work.id}/..", "20200101-000000-00000000"):
        with pytest.raises(InputError, match="there is no job"):
            found.get(name)


def test_stop_and_go_on(tmp_path: Path) -> None:
    def stopping(work: Job) -> Iterator[Progress]:
        for progress in counting(work):
            if progress.done == 2:
                found.stop(work.id, "me")
            yield progress

    found = works(tmp_path, slow=stopping)
    work = found.submit("slow", "me", titled())
    found.settle()
    assert (found.get(work.id).state, found.get(work.id).done) == (STOPPED, 2)
    found.go_on(work.id, "me")
    found.settle()
    assert (found.get(work.id).state, found.get(work.id).done) == (FINISHED, 4)
    assert (work.folder / "lines").read_text() == "0 1 2 3"
    with pytest.raises(InputError, match="finished already"):
        found.stop(work.id)
    found.delete(work.id, "me")
    assert not work.folder.exists()


def test_a_waiting_one_is_stopped_at_once(tmp_path: Path) -> None:
    found = works(tmp_path)
    work = found.submit("count", "me", titled())
    found.stop(work.id)
    assert found.get(work.id).state == STOPPED and not found.settle()


def test_failures_are_told_in_a_sentence(tmp_path: Path) -> None:
    found = works(tmp_path)
    mistake = found.submit("fail", "me", titled("input"))
    bug = found.submit("fail", "me", titled("bug"))
    found.settle()
    found.settle()
    assert (found.get(mistake.id).state, found.get(mistake.id).text) == (
        FAILED, "There is no such thing.")
    assert found.get(bug.id).text.startswith("Something failed on our side")


def test_what_cannot_be_filled_leaves_nothing(tmp_path: Path) -> None:
    def refuse(folder: Path) -> tuple[str, dict[str, Any]]:
        (folder / "half").touch()
        raise InputError("choose pictures first")

    found = works(tmp_path)
    with pytest.raises(InputError, match="choose pictures first"):
        found.submit("count", "me", refuse)
    assert list(tmp_path.iterdir()) == []


def test_one_owner_keeps_so_many(tmp_path: Path) -> None:
    found = works(tmp_path)
    for _ in range(EACH):
        found.submit("count", "me", titled())
    with pytest.raises(InputError, match=f"{EACH} of these waiting"):
        found.submit("count", "me", titled())
    found.submit("count", "you", titled())
    while found.settle():
        pass
    found.submit("count", "me", titled("new"))
    assert len(found.list("me")) == EACH and found.list("me")[0].title == "new"


def test_a_killed_server_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    first = works(tmp_path)
    work = first.submit("count", "me", titled())
    steps = counting(work)
    next(steps)
    write_job(Job(**{**work.__dict__, "state": RUNNING, "done": 1}))
    second = works(tmp_path)
    thread = second.watch()
    wait_until(lambda: second.get(work.id).state == FINISHED)
    assert (work.folder / "lines").read_text() == "0 1 2 3"
    second.close()
    thread.join(60)
    assert not thread.is_alive()


def test_only_one_server_computes(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    one, two = works(tmp_path), works(tmp_path)
    threads = [one.watch(), two.watch()]
    made = [two.submit("count", "me", titled()) for _ in range(3)]
    wait_until(lambda: all(one.get(w.id).state == FINISHED for w in made))
    assert all((w.folder / "lines").read_text() == "0 1 2 3" for w in made)
    for background, thread in zip((one, two), threads, strict=True):
        background.close()
        thread.join(60)


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_step_holds_the_device(tmp_path: Path) -> None:
    held: list[str] = []

    @contextmanager
    def taking(name: str) -> Iterator[None]:
        held.append(name)
        yield

    found = ThreadJobs(tmp_path, {"count": counting}, taking)
    work = found.submit("count", "me", titled())
    found.settle()
    assert held == [work.id] * 5  # four steps, and the look that finds no more


def test_works_and_visitors_take_turns() -> None:
    gate = Gate(Settings(at_once=1))
    with turn(gate, "one"):
        assert gate.turns.running() == 1
        visitor = gate.turns.enter("somebody")
        assert gate.turns.wait(visitor, 0) == 1
    assert gate.turns.wait(visitor, 0) == 0  # the visitor's, since the work has let go
    order: list[str] = []

    def work() -> None:
        with turn(gate, "one"):
            order.append("work")

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: gate.turns.waiting() == 1)
    order.append("visitor")
    gate.turns.leave(visitor)
    thread.join(60)
    assert order == ["visitor", "work"] and gate.turns.running() == 0


def test_a_full_queue_is_waited_for() -> None:
    gate = Gate(Settings(waiting=1, at_once=1))
    running, waiting = gate.turns.enter("a"), gate.turns.enter("b")
    done = threading.Event()

    def work() -> None:
        with turn(gate, "one"):
            done.set()

    threading.Thread(target=work, daemon=True).start()
    assert not done.wait(0.3)
    gate.turns.leave(running)
    gate.turns.leave(waiting)
    assert done.wait(60)


def test_where_works_are_kept(tmp_path: Path) -> None:
    gate = Gate(Settings(at_once=1))
    kept = open_works(Library(), gate, Settings(runs=str(tmp_path)))
    assert kept.folder == (tmp_path / "works").resolve()
    (tmp_path / "file").touch()
    aside = open_works(Library(), gate, Settings(runs=str(tmp_path / "file")))
    assert aside.folder.name.startswith("clip-explorer-") and aside.folder.is_dir()
    for opened in (kept, aside):
        opened.close()
