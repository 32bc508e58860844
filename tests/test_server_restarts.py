"""A server that is killed, and a clock that goes back: what was said to be kept is there after."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import app
from training_helpers import write_parquet, write_tiny

from bench.page import Page
from explorer.jobs.job import LIVE
from explorer.jobs.processes import ProcessJobs
from explorer.models.library import Library
from explorer.models.loaders import CONFIG, SAFE
from explorer.server.visitors import GRACE, Visitors
from explorer.ui.train.form import OWN, PASSES

HOUR = 3600.0


def until(what: Callable[[], Any], seconds: float = 600) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.3)
    return found


def step(jobs: ProcessJobs, name: str) -> int:
    """The last step that a run has written down; 0 before the first."""
    return int((jobs.get(name).story.step or {"index": 0})["index"])


def runs_shown(page: Page) -> str:
    """The list of runs as a page that was just opened shows it."""
    event = next(e for e in page.events if page.named["tr-runs"] in e["outputs"]
                 and any(kind == "load" for _, kind in e["targets"]))
    (outputs,) = page.run(event)
    return str(outputs[event["outputs"].index(page.named["tr-runs"])])


def begin(page: Page, data: Path, base: Path) -> None:
    """Starts a run that is long enough to be met, of a model that is small enough to be quick."""
    page.fill("tr-data", OWN)
    page.fill("tr-file", page.upload(data.read_bytes(), data.name))
    for name, value in (("base", f"local-dir:{base}"), ("budget", PASSES), ("amount", 1000),
                        ("inner", 30), ("batch", 4), ("probe", 4)):
        page.fill(f"tr-{name}", value)
    said = page.press("tr-start")[0][0]
    assert "has started" in said, said


@pytest.mark.nightly
@pytest.mark.timeout(1500)
def test_a_server_killed_in_mid_training_finds_the_run_again(tmp_path: Path) -> None:
    base, runs = write_tiny(tmp_path / "models" / "tiny"), tmp_path / "runs"
    data = write_parquet(tmp_path / "pictures.parquet", 40)
    flags = ("--enable-training", "--runs-dir", str(runs), "--models-dir", str(base.parent))
    jobs = ProcessJobs(runs)
    try:
        with app(tmp_path / "log", *flags) as first:
            with Page(first.address) as page:
                own = {name: page.upload((base / file).read_bytes(), file) for name, file in (
                    ("tr-weights", SAFE[0]), ("tr-config", CONFIG))}
                for name, value in (*own.items(), ("tr-name", "own-tiny")):
                    page.fill(name, value)
                assert "own-tiny is in the lists of models now" in page.press("tr-bring")[0][0]
                begin(page, data, base)
            (job,) = jobs.list()
            until(lambda: step(jobs, job.id))
            first.kill()
        reached = step(jobs, job.id)
        with app(tmp_path / "log", *flags) as second, Page(second.address) as page:
            shown = runs_shown(page)
            assert job.title in shown and "running" in shown
            assert "own-tiny" in Library([jobs.models]).cards()
            until(lambda: step(jobs, job.id) > reached)  # it is a process of its own
            jobs.end(job.id)  # and now the worker dies, too
            until(lambda: jobs.get(job.id).state == "interrupted")
            assert "running" not in runs_shown(page)
            jobs.go_on(job.id)
            until(lambda: jobs.get(job.id).state == "running")
    finally:
        for left in jobs.list():
            if left.state in LIVE:
                jobs.end(left.id)


def test_runs_keep_their_order_when_the_clock_goes_back(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.write_text("pictures")
    jobs, real = ProcessJobs(tmp_path / "runs", ("sleep", "600")), time.time
    running = jobs.train({}, data)  # sleep takes no such flags and ends, but holds the first place
    monkeypatch.setattr(jobs, "settle", lambda: None)
    names = []
    for back in (0, 1, 2):
        monkeypatch.setattr(time, "time", lambda back=back: real() - back * HOUR)
        names.append(jobs.train({}, data))
    assert [job.id for job in jobs.waiting()] == names
    assert {job.id for job in jobs.list()} == {running, *names}


def test_uploads_go_when_their_visitor_has_gone(tmp_path: Path) -> None:
    now, files = [0.0], [tmp_path / name for name in ("own", "shared", "public")]
    for file in files:
        file.write_text("a picture")
    own, shared, public = map(str, files)
    visitors = Visitors(lambda: now[0], [public])
    visitors.sent([own, shared, public], "a")
    visitors.sent([shared], "b")
    for name in ("a", "b"):
        visitors.opened(name)
    visitors.closed("a")
    assert visitors.sweep() == 0, "a page that is loaded again has not gone"
    visitors.opened("a")
    now[0] += GRACE + 1
    assert visitors.sweep() == 0 and all(file.exists() for file in files)
    visitors.closed("a")
    now[0] += GRACE + 1
    assert visitors.sweep() == 1
    assert [file.exists() for file in files] == [False, True, True]
    assert visitors.may_use(shared, "b") and not visitors.may_use(shared, "a")
    visitors.closed("b")
    now[0] += GRACE + 1
    assert visitors.sweep() == 1 and [f.exists() for f in files] == [False, False, True]
