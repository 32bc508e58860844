"""One change for all photos, learnt as a job of the Attack tab: asked, stopped, taken up, used."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest

from explorer.actions.learning import ABOUT, KIND, STATE, Wish, carry_out
from explorer.attacks.image.perturbation import open_perturbation
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.settings import Settings
from explorer.data.registry import PHOTOS
from explorer.jobs.job import FINISHED, STOPPED
from explorer.jobs.threads import ThreadJobs
from explorer.models.library import Library
from explorer.server.gate import Gate
from explorer.ui.attack.learning import LearnForm, page
from explorer.ui.shared.works import kinds, owner_of

pytest_plugins = ["cli_fixtures"]


@pytest.fixture
def library(models_dir: Path) -> Library:
    return Library([models_dir])


@pytest.fixture
def works(library: Library, tmp_path: Path) -> ThreadJobs:
    return ThreadJobs(tmp_path / "works", {KIND: lambda work: carry_out(work, library)})


@pytest.fixture
def form(works: ThreadJobs) -> LearnForm:
    with gr.Blocks():
        return LearnForm(works, Gate(Settings()), "")


def visitor() -> gr.Request:
    return cast(gr.Request, SimpleNamespace(session_hash="me", headers={}, query_params={}))


def values(**changes: Any) -> list[Any]:
    asked = {"data": PHOTOS, "whose": "left", "eps": 8, "photos": 6, "passes": 3,
             "left": "one", "right": "two", "seed": 0, **changes}
    return list(asked.values())


def test_it_is_learnt_shown_and_used(form: LearnForm, works: ThreadJobs, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert page(None) == "" and "Learn one first" in form.used(visitor())[0]
    assert "Started" in form.start(visitor(), *values())
    assert form.look(visitor())[1].active
    works.settle()
    (job,) = works.list(owner_of(visitor()), KIND)
    assert job.state == FINISHED and (job.done, job.total) == (3, 3)
    about = json.loads((job.folder / ABOUT).read_text("utf-8"))
    assert [one["data"] for one in about["fooling"]] == ["learnt from", "example photos"]
    assert about["passes"] == 3 and not (job.folder / STATE).exists()
    shown, timer = form.look(visitor())
    assert shown.count("download=") == 3 and "another answer on" in shown and not timer.active
    said, kind, name, norm, eps, which = form.used(visitor())
    assert (kind, name, norm) == ("image", "universal", "linf") and "Press Attack" in said
    found = open_perturbation(which["value"]).change
    most = float(found.abs().max()) * 255
    assert 0 < most <= 8 + 1e-3 and eps - 0.5 < most <= eps + 1e-3


def test_a_stopped_one_goes_on_to_the_same_end(form: LearnForm, works: ThreadJobs,
                                               library: Library) -> None:
    form.start(visitor(), *values())
    works.settle()
    whole = open_perturbation(works.list()[0].folder / "perturbation.npy").change

    def until_a_pass(work: Any) -> Any:
        for event in carry_out(work, library):
            if isinstance(event, Progress) and event.done == 1:
                works.stop(work.id)
            yield event

    plain = works.runners[KIND]
    works.runners[KIND] = until_a_pass
    form.start(visitor(), *values())
    works.settle()
    job = works.list(owner_of(visitor()), KIND)[0]
    assert job.state == STOPPED and (job.folder / STATE).is_file()
    assert "Stopped after 1 of 3 passes" in form.look(visitor())[0]
    works.runners[KIND] = plain
    assert "goes on" in form.go_on(visitor())
    works.settle()
    job = works.get(job.id)
    assert job.state == FINISHED
    assert (open_perturbation(job.folder / "perturbation.npy").change == whole).all()
    assert "nothing to go on" in form.go_on(visitor())


@pytest.mark.parametrize(("change", "say"), [
    ({"data": "server:/etc"}, "Choose photos"), ({"whose": "none"}, "Choose which model"),
    ({"eps": 0}, "from 1 to 16"), ({"eps": float("nan")}, "from 1 to 16"),
    ({"photos": 0}, "Choose 1 to 1,000"), ({"photos": 2.5}, "whole number"),
    ({"seed": -1}, "whole number"), ({"data": ["x"]}, "Choose photos"),
    ({"photos": float("inf")}, "whole number"),
    ({"passes": 0}, "Passes must be"), ({"passes": None}, "must be a whole number")])
def test_what_cannot_be_asked(form: LearnForm, works: ThreadJobs, change: Any, say: str) -> None:
    said = form.start(visitor(), *values(**change))
    assert 'role="alert"' in said and say in said and not works.list()


def test_a_wish_survives_the_disk_and_the_app_knows_the_kind() -> None:
    wish = Wish(PHOTOS, ("one", "two"), 4 / 255, 5, 6, 7)
    assert Wish.read(json.loads(json.dumps(wish.as_dict()))) == wish
    with pytest.raises(InputError, match="choose a model"):
        Wish(PHOTOS, ())
    assert KIND in kinds(Library(), Settings())
