"""What is done with a run that is there: names, notes, its model as a file, its end, two curves."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from test_train_tab import job

from explorer.base.errors import InputError
from explorer.jobs.processes import ProcessJobs
from explorer.ui.train.keep import Keep, pack
from explorer.ui.train.views import panel


@pytest.fixture
def jobs(tmp_path: Path) -> ProcessJobs:
    return ProcessJobs(tmp_path / "runs", (sys.executable, "-c", ""))


def run(jobs: ProcessJobs, tmp_path: Path) -> str:
    """A run that has ended, with a model."""
    name = jobs.train({}, tmp_path, about={"model": "pocket-tecoa-1"})
    for child in jobs._children:
        child.wait()
    model = jobs.folder / name / "model"
    model.mkdir()
    (model / "open_clip_config.json").write_text("{}")
    (model / "card.json").write_text(json.dumps({"id": "pocket-tecoa-1", "title": "old"}))
    (jobs.folder / name / "log.jsonl").write_text(json.dumps({"kind": "end"}) + "\n")
    jobs.settle()
    return name


def test_a_name_and_a_note_stay_and_the_model_is_called_so(
    jobs: ProcessJobs, tmp_path: Path,
) -> None:
    name = run(jobs, tmp_path)
    jobs.label(name, "  emoji,\n eps 2 ", " first try ")
    again = ProcessJobs(jobs.folder, jobs.command).get(name)
    assert (again.title, again.note, again.state) == ("emoji, eps 2", "first try", "finished")
    card = json.loads((jobs.folder / name / "model" / "card.json").read_text())
    assert card == {"id": "pocket-tecoa-1", "title": "emoji, eps 2"}
    with pytest.raises(InputError, match="give it a name"):
        jobs.label(name, "  ", "")
    with pytest.raises(InputError, match="no job"):
        jobs.label("20260101-000000-0000", "x", "")


def test_a_running_run_keeps_running_under_its_new_name(tmp_path: Path) -> None:
    jobs = ProcessJobs(tmp_path / "runs", (sys.executable, "-c", "import time; time.sleep(60)"))
    name = jobs.train({}, tmp_path)
    jobs.label(name, "renamed", "")
    try:
        assert (jobs.get(name).title, jobs.get(name).state) == ("renamed", "running")
        with pytest.raises(InputError, match="stop it first"):
            jobs.delete(name)
    finally:
        jobs.end(name)


def test_a_deleted_run_takes_its_model_out_of_the_list(jobs: ProcessJobs, tmp_path: Path) -> None:
    name = run(jobs, tmp_path)
    assert (jobs.models / name).is_symlink()
    jobs.delete(name)
    assert not (jobs.folder / name).exists() and not (jobs.models / name).is_symlink()


def test_the_model_is_packed_once_and_whole(jobs: ProcessJobs, tmp_path: Path) -> None:
    name = run(jobs, tmp_path)
    made = pack(jobs.get(name))
    with zipfile.ZipFile(made) as archive:
        assert {"open_clip_config.json", "card.json"} <= set(archive.namelist())
    at = made.stat().st_mtime_ns
    assert pack(jobs.get(name)).stat().st_mtime_ns == at
    bare = jobs.train({}, tmp_path)
    with pytest.raises(InputError, match="no model yet"):
        pack(jobs.get(bare))


def test_the_controls_are_those_of_the_run_that_is_shown(jobs: ProcessJobs) -> None:
    def values(updates: list[Any]) -> list[Any]:
        return [update.get("value") for update in updates]

    with gr.Blocks():
        keep = Keep(jobs)
    one, other = job(note="mine"), job(folder=Path("b"))
    found = keep.shown(one, [other], "")
    assert values(found)[:4] == ["", None, one.title, "mine"] and found[1]["visible"]
    assert keep.shown(one, [other], other.id)[0]["value"] == other.id
    assert keep.shown(one, [], other.id)[0] == gr.update(
        choices=[("no other run", "")], value="", visible=False)
    assert not keep.shown(job(owner="example"), [], "")[1]["visible"]


def test_two_runs_share_their_charts() -> None:
    one, other = job(note="a <b>"), job()
    page = panel(one, 0, other)
    assert page.count("<svg viewBox") == 2 and page.count('class="tr-key"') == 8
    assert "under attack, pocket-&lt;b&gt;" in page and "a &lt;b&gt;" in page
    assert "under attack, " not in panel(one)
