"""What the first edition left on disk still opens: a bundle, a hunt, an evaluation, two runs."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
from training_helpers import write_tiny

from explorer.analysis.evaluation import cells
from explorer.analysis.evaluation.exports import as_csv
from explorer.analysis.evaluation.work import carry_out, table_of
from explorer.analysis.failures.examples import bundle, result_of
from explorer.analysis.failures.hunt import HuntPlan, hunt
from explorer.analysis.failures.slices import read_hunt
from explorer.attacks.registry import attack_of
from explorer.base.settings import Settings
from explorer.data.pairs import to_pixels
from explorer.jobs.processes import ProcessJobs
from explorer.jobs.threads import ThreadJobs
from explorer.models.library import Library
from explorer.results.bundle import read_bundle
from explorer.results.replay import replay, restored
from explorer.server.gate import Gate
from explorer.ui.evaluate.look import EvaluateLook
from explorer.ui.failures.hunts import Hunts
from explorer.ui.failures.look import Look
from explorer.ui.failures.tab import FIRST
from explorer.ui.shared.choice import AttackChoice
from explorer.ui.train.views import gallery, panel, run_list

SAVED = Path(__file__).parent / "saved"
HUNT, EVALUATION = "20261128-202020-178d3bf2", "20261128-202020-967d6c49"
FINISHED, KILLED = "20261128-202021-878b", "20261128-202107-74aa"
SOMEBODY = cast(gr.Request, SimpleNamespace(session_hash="somebody", headers={}))


@pytest.fixture
def works(tmp_path: Path) -> ThreadJobs:
    """A copy of the works, whose owner is whoever asks as SOMEBODY."""
    shutil.copytree(SAVED / "works", tmp_path / "works")
    owner = hashlib.sha256(b"somebody").hexdigest()[:32]
    for path in (tmp_path / "works").glob("*/work.json"):
        path.write_text(path.read_text().replace('"somebody"', f'"{owner}"'))
    return ThreadJobs(tmp_path / "works", {})


def test_a_bundle_replays(two: Library) -> None:
    saved = read_bundle(SAVED / "bundle.zip")
    checks = list(replay(saved, two, rerun=True))
    assert len(checks) == 10 and all(check.holds for check in checks), checks
    result = restored(saved, two)[0]
    assert result.captions == ("a cat", "a dog", "a red car") and int(result.linf_255[0]) == 8


def test_a_hunt_opens_with_all_its_pictures(two: Library, works: ThreadJobs) -> None:
    folder = works.folder / HUNT
    plan, found = HuntPlan.read(works.get(HUNT).wish["study"]), read_hunt(folder)
    assert "controls" in works.get(HUNT).wish["study"] and len(found.cases) == 3
    for case in found.cases:
        result = result_of(folder, plan, found, case, 0, two.load("plain"))
        assert int(result.adversarial.prediction[0]) == case.sides[0].now
        assert int(result.linf_255[0]) == case.sides[0].linf == 8
    assert read_bundle(bundle(folder, plan, found, found.cases[0], two)).captions == found.captions
    before = (folder / "rows.jsonl").read_text()
    (folder / "rows.jsonl").write_text("".join(before.splitlines(True)[:1]))
    list(hunt(plan, folder, two))  # goes on, and finds the same again
    assert [(c.place, [s.now for s in c.sides]) for c in read_hunt(folder).cases] == [
        (c.place, [s.now for s in c.sides]) for c in found.cases]


def test_a_hunts_picture_sets_the_attack_tab_by_name(two: Library, works: ThreadJobs) -> None:
    with gr.Blocks():
        choice = AttackChoice()
        choice.what()
        choice.budgets()
        choice.more()
    hunts = Hunts(two, works, Gate(Settings()), choice)
    pressed = cast(gr.EventData, SimpleNamespace(_data={"id": "1"}))
    image, _, captions, *rest = hunts.open(json.dumps({"hunt": HUNT}), pressed, SOMEBODY)
    assert to_pixels(image, 32).shape == (3, 32, 32) and captions == ["a cat", "a dog",
                                                                      "a red car"]
    assert rest[4:7] == ["plain", "hard", 7] and rest[2] == "1.png"
    values = [given if not isinstance(given, dict) or "__type__" not in given else shown.value
              for given, shown in zip(rest[8:], choice.components(), strict=True)]
    plan = HuntPlan.read(works.get(HUNT).wish["study"])
    assert choice.build(values) == attack_of(plan.kind, plan.attack, plan.settings)
    view = (FIRST, "any", "place", False, "", "", "cards", "models")
    drawn = Look(hunts).draw(SOMEBODY, HUNT, True, "", [], *view)
    assert HUNT in drawn[0] and drawn[4].count('class="fx-card"') == 3


def test_an_evaluation_opens_and_its_numbers_are_not_measured_again(
    two: Library, works: ThreadJobs, monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = works.get(EVALUATION)
    table = table_of(work)
    assert [(row.model, row.attack) for row in table.rows] == [("tiny", "clean"), ("tiny", "pgd")]
    assert "three pictures" in as_csv([table]).decode()
    monkeypatch.delattr(cells.Cells, "_batch")  # nothing is left to measure
    (work.folder / "table.json").unlink()
    last = list(carry_out(work, two))[-1]
    assert last.done == last.total and table_of(work).rows == table.rows
    drawn = EvaluateLook(works).draw(SOMEBODY, EVALUATION, True, {}, [])
    assert EVALUATION in drawn[0] and "pgd" in drawn[2]


@pytest.fixture
def jobs(tmp_path: Path) -> ProcessJobs:
    """A copy of the runs, the killed one with the end in sight."""
    shutil.copytree(SAVED / "training", tmp_path / "runs")
    tiny = write_tiny(tmp_path / "tiny")
    for name in ("job.json", "run.json"):
        path = tmp_path / "runs" / KILLED / name
        text = path.read_text().replace("/tmp/saved/tiny", str(tiny)).replace(
            "/tmp/saved/runs", str(tmp_path / "runs"))
        path.write_text(text.replace('"200"', '"1"').replace('"epochs": 200.0', '"epochs": 1.0'))
    return ProcessJobs(tmp_path / "runs")


def test_a_finished_run_is_shown_and_its_model_listed(jobs: ProcessJobs) -> None:
    jobs.settle()
    job = jobs.get(FINISHED)
    assert job.state == "finished" and [s["index"] for s in job.story.steps] == [1, 2, 3, 4, 5]
    page = panel(job)
    assert "tecoa" in page and "2 passes over the data" in page
    assert gallery(job).count("data:image/png") >= 3 and "data:," not in gallery(job)
    assert FINISHED in run_list(jobs.list(), [], FINISHED) and "step 5" in jobs.output(FINISHED)
    name = job.title
    assert Library(folders=[jobs.models]).card(name).kind == "robust"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("began", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_a_killed_run_goes_on(jobs: ProcessJobs, began: bool) -> None:
    """began: whether it had come to write down what was asked for; else its flags still say so."""
    if not began:
        for name in ("run.json", "log.jsonl"):
            (jobs.folder / KILLED / name).unlink()
    assert jobs.get(KILLED).state == "interrupted"
    jobs.go_on(KILLED)
    deadline = time.monotonic() + 240
    while (state := jobs.get(KILLED).state) != "finished":
        assert state == "running" and time.monotonic() < deadline, jobs.output(KILLED)
        time.sleep(0.2)
    story: Any = jobs.get(KILLED).story
    assert any("no checkpoint yet" in note["text"] for note in story.notes) == began
    assert (jobs.folder / KILLED / "model" / "card.json").is_file()
