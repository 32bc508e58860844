"""The queue of training runs, with real child processes that keep to the training's contract."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from training_helpers import write_parquet, write_tiny

from explorer.base.errors import InputError
from explorer.base.paths import ROOT
from explorer.jobs import processes as jobs_module
from explorer.jobs.processes import ProcessJobs
from explorer.jobs.runlog import MOST_STEPS, RunLog, tail
from explorer.models.library import Library
from explorer.training.plan import TrainingPlan
from explorer.training.recipe import Recipe

CHILD = '''
import argparse, json, os, sys, time
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--plan", type=Path); parser.add_argument("--out", type=Path)
parser.add_argument("--resume", action="store_true")
args = parser.parse_args()
plan = json.loads((args.plan or args.out / "plan.json").read_text())
args.steps, args.fail, args.data = plan.get("steps", 5), plan.get("fail", ""), Path(plan["data"])
args.gate = Path(plan["gate"]) if "gate" in plan else None
if args.fail == "crash":
    raise KeyError("lost")
if args.fail == "input":
    print("error: the batch must be at least 2", file=sys.stderr)
    sys.exit(2)
out = args.out
def say(kind, **more):
    with open(out / "log.jsonl", "a") as file:
        file.write(json.dumps({"kind": kind, "time": time.time(), **more}) + "\\n")
def word():
    try:
        return (out / "control").read_text().strip()
    except OSError:
        return ""
(out / "run.json").write_text(json.dumps({"nice": os.nice(0)}))
kept = out / "checkpoints" / "step"
first = int(kept.read_text()) if args.resume and kept.exists() else 0
print("data", args.data.read_text(), flush=True)
for index in range(first + 1, args.steps + 1):
    while word() == "pause" or (args.gate and not args.gate.exists() and word() != "stop"):
        time.sleep(0.02)
    if word() == "stop":
        break
    say("step", index=index, total=args.steps, losses={"total": 1 / index},
        images_per_s=10.0, eta_s=0.1)
    kept.parent.mkdir(exist_ok=True)
    (out / "aside").write_text(str(index))
    os.replace(out / "aside", kept)
    if args.fail == "loss" and index == 2:
        say("error", text="the loss is not finite")
        sys.exit(1)
    time.sleep(0.01)
model = out / "model"
model.mkdir(exist_ok=True)
card = {"id": out.name, "title": "tuned", "kind": "robust", "base": "pocket", "licence": "none",
        "about": "made by a test"}
(model / "card.json").write_text(json.dumps(card))
(model / "open_clip_config.json").write_text("{}")
say("end", text="done")
'''


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pictures.csv"
    path.write_text("the pictures")
    return path


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Runs given this path wait before each step until it exists."""
    return tmp_path / "gate"


@pytest.fixture
def jobs(tmp_path: Path) -> ProcessJobs:
    return make(tmp_path)


def make(tmp_path: Path) -> ProcessJobs:
    """What each start of the app makes."""
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    return ProcessJobs(tmp_path / "runs", (sys.executable, str(child)))


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def reach(jobs: ProcessJobs, name: str, state: str, seconds: float = 60.0) -> None:
    def there() -> bool:
        jobs.settle()
        return jobs.get(name).state == state

    try:
        until(there, seconds)
    except AssertionError:
        pytest.fail(f"{name} is {jobs.get(name).state}, not {state}: {jobs.output(name)}")
    jobs.settle()  # it may have ended after the look before


def test_a_run_starts_is_followed_and_its_model_listed(jobs: ProcessJobs, data: Path) -> None:
    library = Library(folders=[jobs.models])
    name = jobs.train({"steps": 4}, data, about={"title": "a run"})
    reach(jobs, name, "finished")
    job = jobs.get(name)
    assert [s["index"] for s in job.story.steps] == [1, 2, 3, 4] and job.starts == 1
    assert job.story.step is not None and job.story.step["losses"] == {"total": 0.25}
    assert job.wish["about"] == {"title": "a run"}
    assert "data the pictures" in jobs.output(name)
    assert json.loads((job.folder / "run.json").read_text())["nice"] == 10 + os.nice(0)
    assert library.cards()[name].base == "pocket"  # the same library, without a restart
    assert ("pocket", name) in library.pairs()


def test_one_runs_and_the_others_wait_in_order(jobs: ProcessJobs, data: Path, gate: Path) -> None:
    names = [jobs.train({"gate": str(gate)}, data) for _ in range(3)]
    reach(jobs, names[0], "running")
    assert [job.id for job in jobs.waiting()] == names[1:]
    assert [job.id for job in jobs.list()] == names[::-1]
    jobs.stop(names[1])
    assert jobs.get(names[1]).state == "stopped"
    assert [job.id for job in jobs.waiting()] == names[2:]
    jobs.go_on(names[1])  # to the end of the queue
    assert [job.id for job in jobs.waiting()] == [names[2], names[1]]
    gate.touch()
    for name in (names[0], names[2], names[1]):
        reach(jobs, name, "finished")
    times = [(jobs.get(n).story.steps[0]["time"], (jobs.get(n).story.last or {})["time"])
             for n in (names[0], names[2], names[1])]
    assert all(end <= start for (_, end), (start, _) in pairwise(times))


def test_the_queue_moves_with_nobody_looking(jobs: ProcessJobs, data: Path) -> None:
    first, second = (jobs.train({"steps": 2}, data) for _ in range(2))
    jobs.watch(0.05)
    until(lambda: jobs.get(second).state == "finished")
    assert jobs.get(first).state == "finished"


def test_pause_resume_and_stop_keep_the_model(jobs: ProcessJobs, data: Path) -> None:
    name = jobs.train({"steps": 100000}, data)
    until(lambda: jobs.get(name).story.step is not None)
    jobs.pause(name)
    assert jobs.get(name).state == "paused"
    time.sleep(0.3)
    before = jobs.get(name).story.step
    time.sleep(0.3)
    assert jobs.get(name).story.step == before
    with pytest.raises(InputError, match="only a running one"):
        jobs.pause(name)
    jobs.go_on(name)
    until(lambda: jobs.get(name).story.step != before)
    jobs.stop(name)
    reach(jobs, name, "finished")
    assert (jobs.models / name / "card.json").is_file()
    with pytest.raises(InputError, match="finished already"):
        jobs.stop(name)
    with pytest.raises(InputError, match="nothing to go on with"):
        jobs.go_on(name)


def test_a_killed_run_is_offered_again_and_goes_on(jobs: ProcessJobs, data: Path) -> None:
    name = jobs.train({"steps": 300}, data)
    until(lambda: len(jobs.get(name).story.steps) > 3)
    os.kill(jobs.get(name).pid, signal.SIGKILL)
    reach(jobs, name, "interrupted")
    reached = jobs.get(name).story.steps[-1]["index"]
    assert reached < 300
    jobs.go_on(name)
    reach(jobs, name, "finished")
    story = jobs.get(name).story
    assert [s["index"] for s in story.steps] == list(range(1, 301))
    assert jobs.get(name).starts == 2


def test_a_run_that_does_not_listen_can_be_ended(tmp_path: Path, data: Path) -> None:
    jobs = ProcessJobs(tmp_path / "runs", (sys.executable, "-c", "import time; time.sleep(600)"))
    name = jobs.train({}, data)
    assert jobs.get(name).state == "running"
    jobs.stop(name)
    assert jobs.get(name).state == "stopping"
    with pytest.raises(InputError, match="stopping already"):
        jobs.stop(name)
    jobs.end(name)
    reach(jobs, name, "interrupted")
    with pytest.raises(InputError, match="no process to end"):
        jobs.end(name)


def test_a_run_outlives_the_app_that_started_it(tmp_path: Path, data: Path, gate: Path) -> None:
    command = make(tmp_path).command
    code = (f"from pathlib import Path; from explorer.jobs.processes import ProcessJobs\n"
            f"jobs = ProcessJobs(Path({str(tmp_path / 'runs')!r}), {command!r})\n"
            f"print(jobs.train({{'gate': {str(gate)!r}}}, Path({str(data)!r})), "
            f"jobs.train({{}}, Path({str(data)!r})), flush=True)\n"
            f"import time; time.sleep(600)")
    app = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                           cwd=ROOT)
    assert app.stdout is not None
    first, second = app.stdout.readline().split()
    app.kill()
    app.wait()
    again = make(tmp_path)  # the app starts again
    assert again.get(first).state == "running"
    assert again.settle() is None and again.get(second).state == "waiting"
    gate.touch()
    reach(again, second, "finished")
    assert again.get(first).state == "finished"


def test_a_process_number_in_use_again_is_not_taken_for_ours(jobs: ProcessJobs, data: Path) -> None:
    name = jobs.train({"steps": 100000}, data)
    until(lambda: jobs.get(name).story.step is not None)
    os.kill(jobs.get(name).pid, signal.SIGKILL)
    reach(jobs, name, "interrupted")
    path = jobs.folder / name / "job.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "pid": os.getpid()}))  # alive, and somebody else's
    assert make(jobs.folder.parent).get(name).state == "interrupted"


def test_many_dispatchers_start_each_run_once(tmp_path: Path, data: Path) -> None:
    several = [make(tmp_path) for _ in range(4)]
    names = [several[0].train({"steps": 3}, data) for _ in range(5)]
    stop = threading.Event()

    def settle(jobs: ProcessJobs) -> None:
        while not stop.is_set():
            jobs.settle()

    threads = [threading.Thread(target=settle, args=(jobs,)) for jobs in several]
    for thread in threads:
        thread.start()
    try:
        until(lambda: all(several[0].get(n).state == "finished" for n in names))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for name in names:
        job = several[0].get(name)
        assert job.starts == 1 and len(job.story.steps) == 3
        assert several[0].output(name).count("data the pictures") == 1


def test_uploaded_data_survive_the_upload(jobs: ProcessJobs, data: Path, gate: Path) -> None:
    name = jobs.train({"gate": str(gate)}, data, copy=True)
    waiting = jobs.train({}, data, copy=True)
    data.unlink()
    gate.touch()
    reach(jobs, name, "finished")
    reach(jobs, waiting, "finished")
    assert "data the pictures" in jobs.output(waiting)


@pytest.mark.parametrize(("how", "reason"), [
    ("input", "the batch must be at least 2"), ("loss", "the loss is not finite"),
    ("crash", "KeyError: 'lost'"),
])
def test_a_failure_is_a_sentence_and_the_next_run_starts(
    jobs: ProcessJobs, data: Path, how: str, reason: str,
) -> None:
    bad, good = jobs.train({"fail": how}, data), jobs.train({}, data)
    reach(jobs, good, "finished")
    assert (jobs.get(bad).state, jobs.get(bad).text) == ("failed", reason)
    assert not (jobs.models / bad).exists()


def test_a_command_that_is_not_there_fails_its_run(tmp_path: Path, data: Path) -> None:
    jobs = ProcessJobs(tmp_path / "runs", (str(tmp_path / "nothing"),))
    name = jobs.train({}, data)
    assert jobs.get(name).state == "failed"
    assert "cannot start the training" in jobs.get(name).text


@pytest.mark.parametrize("name", ["", "..", "../runs", "models", "20260101-000000-00zz",
                                  "20260101-000000-0000", "20260101-000000-0000/../.."])
def test_only_ids_of_runs_name_runs(jobs: ProcessJobs, name: str) -> None:
    with pytest.raises(InputError, match="there is no job"):
        jobs.get(name)
    with pytest.raises(InputError, match="there is no job"):
        jobs.stop(name)
    with pytest.raises(InputError, match="there is no job"):
        jobs.output(name)


def test_a_damaged_folder_hides_no_other(jobs: ProcessJobs, data: Path) -> None:
    name = jobs.train({"steps": 1}, data)
    broken = jobs.folder / "20260101-000000-0000"
    broken.mkdir()
    (broken / "job.json").write_text('{"id": "2026')
    reach(jobs, name, "finished")
    assert [job.id for job in jobs.list()] == [name]


def test_the_queue_has_an_end(
    jobs: ProcessJobs, data: Path, gate: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs_module, "MOST_WAITING", 2)
    names = [jobs.train({"gate": str(gate)}, data) for _ in range(3)]
    with pytest.raises(InputError, match="waiting already"):
        jobs.train({}, data)
    gate.touch()
    reach(jobs, names[-1], "finished")


def test_a_copy_that_fails_leaves_nothing(jobs: ProcessJobs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot keep it on disk"):
        jobs.train({}, tmp_path / "vanished.zip", copy=True)
    assert jobs.list() == [] and not list(jobs.folder.glob("2*"))


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_real_training_is_killed_and_goes_on(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny")
    write_parquet(tmp_path / "set.parquet", 50)
    jobs = ProcessJobs(tmp_path / "runs")
    library = Library(folders=[jobs.models])
    name = jobs.train(
        TrainingPlan(Recipe("tecoa", inner_steps=1, steps=60, batch=8), "",
             f"local-dir:{tmp_path / 'tiny'}",
             Path(), save_every=2, probe_every=60, probe_images=8, cpu=True,
             name="hardened").told(),
        tmp_path / "set.parquet", copy=True)
    until(lambda: len(jobs.get(name).story.steps) > 4, 400)
    os.killpg(jobs.get(name).pid, signal.SIGKILL)
    reach(jobs, name, "interrupted")
    jobs.go_on(name)
    reach(jobs, name, "finished", 400)
    job = jobs.get(name)
    assert [s["index"] for s in job.story.steps] == list(range(1, 61))
    assert job.starts == 2 and any("going on after" in n["text"] for n in job.story.notes)
    assert [p["index"] for p in job.story.probes] == [0, 60]
    assert all((job.folder / s["attacked"]).is_file() for s in job.story.probes[-1]["samples"])
    assert library.card("hardened").kind == "robust"
    assert library.load("hardened", "cpu").size == 32
    failed = jobs.train({"recipe": {"batch": 1}, "base": "pocket", "folders": []},
                        tmp_path / "set.parquet")
    reach(jobs, failed, "failed", 200)
    assert "batch must be" in jobs.get(failed).text


def line(**event: object) -> str:
    return json.dumps(event) + "\n"


def test_a_log_is_read_on_and_damage_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = RunLog(path)
    assert log.read().kind == "" and log.read().step is None
    path.write_text(line(kind="step", index=1) + "no json\n[1]\n" + line(kind="magic")
                    + line(kind="step", index="x") + '{"kind": "st')
    assert [s["index"] for s in log.read().steps] == [1]
    with open(path, "a") as file:
        file.write('ep", "index": 2}\n' + line(kind="probe", index=2, clean=0.5))
    story = log.read()
    assert [s["index"] for s in story.steps] == [1, 2] and story.kind == "probe"
    with open(path, "a") as file:  # goes on from a checkpoint at step 1
        file.write(line(kind="step", index=2, again=True) + line(kind="end"))
    story = log.read()
    assert story.steps[-1] == {"kind": "step", "index": 2, "again": True} and story.kind == "end"
    path.write_text(line(kind="step", index=7))
    assert [s["index"] for s in log.read().steps] == [7]


def test_a_long_log_is_thinned_and_keeps_its_newest_step(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line(kind="step", index=i) for i in range(1, 10_002)))
    steps = [s["index"] for s in RunLog(path).read().steps]
    assert MOST_STEPS / 2 <= len(steps) <= MOST_STEPS + 1 and steps[-1] == 10_001
    gaps = {b - a for a, b in pairwise(steps[:-1])}
    assert len(gaps) == 1


def test_the_tail_of_an_output(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    assert tail(path) == ""
    path.write_bytes(b"first\n10 %\r50 %\rdone\nlast \xff\n")
    assert tail(path) == "first\ndone\nlast \N{REPLACEMENT CHARACTER}"
    assert tail(path, 1) == "last \N{REPLACEMENT CHARACTER}"
    assert tail(path, start=6).startswith("done")
