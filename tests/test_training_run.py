"""Runs from start to model folder: resumed, killed, paused, stopped, broken, full."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from training_helpers import SMALL, tiny_model, upper_case, write_parquet, write_tiny

from explorer.actions.cli import main
from explorer.analysis.metrics import evaluate
from explorer.base.errors import InputError
from explorer.data.sets import read_examples
from explorer.models.library import Library
from explorer.training import checkpoints
from explorer.training.data import open_training
from explorer.training.errors import TrainingError
from explorer.training.events import End, Event, Note, Probe, TrainingStep
from explorer.training.folder import RunFolder
from explorer.training.plan import TrainingPlan, plan_of
from explorer.training.recipe import Recipe
from explorer.training.run import run
from explorer.training.trainer import Trainer, make_accelerator

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "tiny")
    write_parquet(tmp_path / "set.parquet", 50)
    return tmp_path


def plan(place: Path, name: str = "out", method: str = "mmcoa", steps: int = 6, **more: Any,
         ) -> TrainingPlan:
    recipe = Recipe(**{**SMALL, "method": method, "steps": steps,
                       **{k: v for k, v in more.items() if k in Recipe.__dataclass_fields__}})
    rest = {k: v for k, v in more.items() if k not in Recipe.__dataclass_fields__}
    return TrainingPlan(recipe, str(place / "set.parquet"), f"local-dir:{place / 'tiny'}",
                        place / name, **{"save_every": 2, "probe_every": 3, "probe_images": 8,
                                         "cpu": True, **rest})


def drained(asked: TrainingPlan, resume: bool = False) -> list[Event]:
    return list(run(asked, resume, upper_case))


def losses(events: list[Event]) -> dict[int, dict[str, float]]:
    return {e.index: e.losses for e in events if isinstance(e, TrainingStep)}


def logged(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]


def test_a_run_ends_in_a_model_that_the_library_lists(place: Path) -> None:
    asked = plan(place, ema=0.9)
    events = drained(asked)
    kinds = [type(e).__name__ for e in events]
    three = ["TrainingStep"] * 3
    assert kinds == ["Note", "Probe", *three, "Probe", *three, "Probe", "End"]
    assert isinstance(events[0], Note) and events[0].text.startswith("set.parquet: 42 of ")
    library = Library([asked.out])
    card = library.card("out")
    assert card.kind == "robust" and card.base == f"local-dir:{place / 'tiny'}"
    last = [e for e in events if isinstance(e, Probe)][-1]
    assert card.numbers.keys() == {"set.parquet/clean", "set.parquet/pgd"}
    assert card.numbers["set.parquet/clean"]["accuracy"] == last.clean
    told = json.loads((asked.out / "model" / "card.json").read_text())
    assert told["method"]["name"] == "mmcoa" and told["seed"] == 0 and told["steps"] == 6
    assert told["data"]["pictures"] == 42 and told["hours"] >= 0
    model = library.load("out", "cpu")
    _, held = open_training(asked.data, asked.recipe.template, 8, 0)
    assert held is not None
    hits = torch.cat([h for _, h in evaluate(model, None, held.batches(32))])
    assert float(hits.float().mean()) == pytest.approx(last.clean)


def test_the_folder_tells_what_happened(place: Path) -> None:
    asked = plan(place, method="tecoa", steps=3, probe_every=2)
    drained(asked)
    told = logged(asked.out)
    assert [t["kind"] for t in told] == ["note", "probe", "step", "step", "probe", "step", "probe",
                                           "end"]
    step = told[2]
    assert step["index"] == 1 and step["total"] == 3 and step["losses"].keys() == {"image"}
    assert step["images_per_s"] > 0 and step["eta_s"] >= 0 and step["time"] > 1e9
    probe = told[4]
    assert 0 <= probe["robust"] <= probe["clean"] <= 1 and probe["n"] == 8
    assert len(probe["samples"]) == 3
    for sample in probe["samples"]:
        clean, attacked = (Image.open(asked.out / sample[k]) for k in ("clean", "attacked"))
        moved = [abs(a - b) for a, b in zip(clean.tobytes(), attacked.tobytes(), strict=True)]
        assert max(moved) <= 1 and clean.size == (32, 32)
        assert sample["truth"].startswith("a photo of a ")
    assert plan_of(json.loads((asked.out / "run.json").read_text()), asked.out) == asked


@pytest.mark.parametrize(("method", "more"), [
    ("mmcoa+", {"ema": 0.9, "accumulation": 2}), ("tecoa", {"norm_layers": "train"}),
])
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(
        place: Path, method: str, more: dict[str, Any]) -> None:
    whole = losses(drained(plan(place, "whole", method, **more)))
    stopped = plan(place, "parts", method, **more)
    events = run(stopped, False, upper_case)
    for event in events:
        if isinstance(event, TrainingStep) and event.index == 5:  # the checkpoint is of step 4
            break
    events.close()  # type: ignore[attr-defined]
    resumed = drained(stopped, resume=True)
    again = losses(resumed)
    assert list(again) == [5, 6] and [e for e in resumed if isinstance(e, Note)]
    assert all(again[k] == whole[k] for k in again)  # to the last bit
    one, two = (Library([place / name]).load(name, "cpu") for name in ("whole", "parts"))
    theirs = two.clip.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in one.clip.state_dict().items())


def command(place: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "explorer", "train", "--out", str(place / "out"), *flags]


def fresh(place: Path) -> list[str]:
    return command(
        place, "--data", str(place / "set.parquet"), "--base", f"local-dir:{place / 'tiny'}",
        "--method", "tecoa", "--steps", "400", "--batch", "8", "--lr", "0.001", "--device", "cpu",
        "--save-every", "2", "--probe-every", "1000", "--probe-images", "8", "--precision",
        "fp32")


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def wait_for(process: subprocess.Popen[bytes], folder: Path, step: int) -> None:
    began = time.monotonic()
    while not (folder / "log.jsonl").is_file() or not any(
            t["kind"] == "step" and t["index"] >= step for t in logged(folder)):
        assert process.poll() is None and time.monotonic() - began < 120
        time.sleep(0.02)


def test_kill_9_loses_the_steps_since_the_last_checkpoint_at_most(place: Path) -> None:
    process = subprocess.Popen(fresh(place), cwd=ROOT, env=environment(),
                               stdout=subprocess.DEVNULL)
    try:
        wait_for(process, place / "out", 5)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = {t["index"]: t["losses"] for t in logged(place / "out") if t["kind"] == "step"}
    state, _ = checkpoints.load_newest(place / "out" / "checkpoints")
    assert state is not None and max(before) - state["step"] <= 2
    (place / "out" / "log.jsonl").open("a").write('{"kind": "st')  # half a line, as a kill leaves
    (place / "out" / "control").write_text("stop")  # of before: not for the resumed run
    told = RunFolder(place / "out").started()
    assert told is not None
    events = run(plan_of(told, place / "out"), True)
    again = {}
    for event in events:
        if isinstance(event, TrainingStep):
            again[event.index] = {k: round(v, 6) for k, v in event.losses.items()}
            if event.index == state["step"] + 3:
                (place / "out" / "control").write_text("stop")
    assert min(again) == state["step"] + 1
    for index in again.keys() & before.keys():
        assert again[index] == before[index]
    assert Library([place / "out"]).card("out").id == "out"  # stopped, and kept


def test_pause_resume_and_stop_are_obeyed(place: Path) -> None:
    asked = plan(place, method="tecoa", steps=50, probe_every=100)
    control = asked.out / "control"
    said = []
    for event in run(asked):
        if isinstance(event, TrainingStep) and event.index == 2:
            control.write_text("pause\n")
        if isinstance(event, Note) and event.text.startswith(("paused", "going")):
            said.append(event.text)
            control.write_text("resume" if event.text.startswith("paused") else "stop")
        last = event
    assert said == ["paused after step 2", "going on"]
    assert isinstance(last, End) and last.reason == "stopped" and last.step == 3
    assert Library([asked.out]).load("out", "cpu").dim == 16
    told = json.loads((asked.out / "model" / "card.json").read_text())
    assert told["reason"] == "stopped" and told["steps"] == 3


def test_a_damaged_checkpoint_gives_way_to_the_one_before(place: Path) -> None:
    asked = plan(place, method="tecoa")
    drained(asked)
    newest, older = checkpoints.saved(asked.out / "checkpoints")
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 1
    newest.write_bytes(raw)
    state, notes = checkpoints.load_newest(asked.out / "checkpoints")
    assert state is not None and state["step"] == 4
    assert len(notes) == 1 and "step 6 is damaged" in notes[0]
    resumed = drained(asked, resume=True)
    assert losses(resumed).keys() == {5, 6}
    older.write_bytes(b"")
    for path in checkpoints.saved(asked.out / "checkpoints"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="all checkpoints in .* are damaged"):
        drained(asked, resume=True)


def test_checkpoints_load_without_running_code(place: Path) -> None:
    asked = plan(place, steps=2)
    drained(asked)
    (path,) = checkpoints.saved(asked.out / "checkpoints")
    state = torch.load(path, weights_only=True)
    assert {"model", "optimiser", "sampler", "rng", "recipe", "data", "attacker"} <= state.keys()


def test_a_full_disk_keeps_the_older_checkpoints(tmp_path: Path) -> None:
    """The system itself refuses the write, at a limit on the size of files."""
    checkpoints.save(tmp_path, 1, {"x": torch.zeros(10)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(OSError, match="File too large"):
            checkpoints.save(tmp_path, 2, {"x": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name[:13] for p in tmp_path.iterdir()] == ["step-00000001"]
    state, notes = checkpoints.load_newest(tmp_path)
    assert state is not None and not notes


def test_a_run_says_that_the_disk_is_full_and_goes_on(place: Path) -> None:
    asked = plan(place, method="tecoa", steps=4)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    said = []
    try:
        for event in run(asked):
            if isinstance(event, TrainingStep) and event.index == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
            if isinstance(event, Note) and "checkpoint" in event.text:
                said.append(event.text)
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert len(said) == 1 and said[0].startswith("the checkpoint of step 4 could not be written")
    assert [p.name[:13] for p in checkpoints.saved(asked.out / "checkpoints")] == ["step-00000002"]
    assert Library([asked.out]).card("out").id == "out"


def test_only_the_last_two_checkpoints_stay(tmp_path: Path) -> None:
    (tmp_path / "step-00000000.part").write_bytes(b"of a killed run")
    for step in (2, 10, 9):
        checkpoints.save(tmp_path, step, {"step": step})
    assert [p.name[5:13] for p in checkpoints.saved(tmp_path)] == ["00000010", "00000009"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_loss_that_is_not_finite_ends_the_training(place: Path) -> None:
    data, _ = open_training(str(place / "set.parquet"), "a photo of a {}")
    trainer = Trainer(plan(place, method="tecoa").recipe, tiny_model(), data,
                      make_accelerator(True))
    with pytest.raises(TrainingError, match="loss is no longer a finite number at step 3"):
        for event in trainer.steps():
            if event.index == 2:
                good = trainer.state()
                with torch.no_grad():
                    next(trainer.student.clip.visual.parameters()).fill_(float("nan"))
    assert trainer.step == good["step"] == 2


def test_a_run_whose_loss_is_not_finite_logs_it_and_keeps_what_was_good(place: Path) -> None:
    asked = plan(place, method="tecoa", steps=4, probe_every=10)
    for event in run(asked):
        if isinstance(event, TrainingStep) and event.index == 3:
            break
    (newest,) = checkpoints.saved(asked.out / "checkpoints")
    state = torch.load(newest, weights_only=True)
    state["model"]["visual.proj"][0, 0] = float("nan")
    newest.unlink()
    good = checkpoints.save(asked.out / "checkpoints", 2, state)
    with pytest.raises(TrainingError, match="no longer a finite number at step 3"):
        list(run(asked, True))
    assert logged(asked.out)[-1]["kind"] == "error" and logged(asked.out)[-1]["status"] == 1
    assert checkpoints.saved(asked.out / "checkpoints") == [good]
    assert not (asked.out / "model").exists()


def test_another_data_set_or_recipe_is_not_resumed(place: Path) -> None:
    asked = plan(place, method="tecoa", steps=2)
    drained(asked)
    with pytest.raises(InputError, match="recipe has changed"):
        drained(plan(place, method="tecoa", steps=2, lr=2e-3), resume=True)
    write_parquet(place / "set.parquet", 50, seed=1)
    with pytest.raises(InputError, match=r"set\.parquet has changed since the run was started"):
        drained(asked, resume=True)


def test_a_folder_with_a_run_is_not_overwritten(place: Path) -> None:
    asked = plan(place, method="tecoa", steps=1)
    drained(asked)
    with pytest.raises(InputError, match="already holds a run: add --resume"):
        drained(asked)


def test_eval_data_is_measured_and_nothing_is_held_out(place: Path) -> None:
    write_parquet(place / "other.parquet", 12, seed=4)
    asked = plan(place, method="tecoa", steps=1, eval_data=str(place / "other.parquet"))
    probes = [e for e in drained(asked) if isinstance(e, Probe)]
    assert probes[-1].n == 8 and set(probes[-1].numbers) == {
        "other.parquet/clean", "other.parquet/pgd"}
    assert json.loads((asked.out / "run.json").read_text())["pictures"] == 50
    assert len(read_examples(place / "other.parquet")) == 12


def test_training_against_the_attack_hardens_the_tiny_model(place: Path) -> None:
    """Not only the plumbing: robust accuracy on what it learns rises from chance."""
    asked = plan(place, method="tecoa", steps=100, eps=2 / 255, probe_every=100, augment="none",
                 eval_data=str(place / "set.parquet"), probe_images=24, save_every=100)
    probes = [e for e in drained(asked) if isinstance(e, Probe)]
    assert probes[-1].robust >= probes[0].robust + 0.3


def test_two_accumulated_batches_are_one_update(place: Path) -> None:
    data, _ = open_training(str(place / "set.parquet"), "a photo of a {}")
    trainers = []
    for batch, accumulation in ((8, 2), (16, 1)):
        recipe = Recipe(**{**SMALL, "method": "tecoa", "batch": batch, "augment": "none",
                           "accumulation": accumulation, "steps": 2, "random_start": False})
        trainer = Trainer(recipe, tiny_model(), data, make_accelerator(True))
        list(trainer.steps())
        trainers.append(trainer)
    one, two = (t.student.clip.state_dict() for t in trainers)
    assert trainers[0].loader.per_epoch == 6 and trainers[1].loader.per_epoch == 3
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=1e-3, atol=2e-4)


def test_the_command_line_trains_and_says_so(
        place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = command(
        place, "--data", str(place / "set.parquet"), "--base", f"local-dir:{place / 'tiny'}",
        "--method", "fare", "--steps", "1", "--batch", "8", "--lr", "1e-4", "--eps", "2/255",
        "--device", "cpu", "--probe-images", "8")[3:]
    assert main(flags) == 0
    said = capsys.readouterr().out
    assert "step 1/1: image" in said and "under PGD-10 at 2/255" in said
    assert main(command(place, "--resume", "--lr", "1e-3")[3:]) == 2
    assert capsys.readouterr().err.strip() == (
        f"error: the run in {place / 'out'} was started with lr 0.0001: resume it without --lr, "
        "or start a new one")


@pytest.mark.parametrize(("method", "more"), [
    ("mmcoa+", {"ema": 0.9, "accumulation": 2}), ("tecoa", {"norm_layers": "train"}),
])
def test_minutes_become_steps_and_leave_no_trace(
        place: Path, method: str, more: dict[str, Any]) -> None:
    """So few that it is the least number of steps; timing them changes nothing in the run."""
    asked = plan(place, "timed", method, steps=0, minutes=1e-4, **more)
    timed = drained(asked)
    notes = " ".join(e.text for e in timed if isinstance(e, Note))
    assert "timing 3 steps, to see how many fit into 0.0001 minutes" in notes
    assert "0.0001 minutes are too few here" in notes and "it is 10 steps" in notes
    kept = json.loads((asked.out / "run.json").read_text())
    assert kept["total"] == kept["recipe"]["steps"] == 10
    same = plan(place, "same", method, steps=10, warmup=kept["recipe"]["warmup"], **more)
    assert losses(timed) == losses(drained(same))  # to the last bit
    one, two = (Library([place / name]).load(name, "cpu") for name in ("timed", "same"))
    theirs = two.clip.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in one.clip.state_dict().items())
    again = drained(plan_of(kept, asked.out), resume=True)  # as --resume reads it
    assert "timing" not in " ".join(e.text for e in again if isinstance(e, Note))


def test_minutes_that_are_enough_are_kept_to(place: Path) -> None:
    began = time.monotonic()
    asked = plan(place, method="tecoa", steps=0, minutes=0.1, probe_every=0)
    done = max(losses(drained(asked)))
    took = time.monotonic() - began
    assert done > 10 and took < 30
    assert json.loads((asked.out / "run.json").read_text())["recipe"]["steps"] == done


def test_minutes_exclude_steps_and_have_bounds(
        place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*fresh(place)[3:], "--minutes", "1"]) == 2
    assert "give --minutes, or --steps or --epochs" in capsys.readouterr().err
    flags = command(place, "--data", str(place / "set.parquet"), "--minutes", "0")[3:]
    assert main(flags) == 2
    assert "more than 0 and at most 10,080 minutes" in capsys.readouterr().err
