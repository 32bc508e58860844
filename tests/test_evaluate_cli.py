"""`evaluate` over several sets and budgets, its formats, `compare`, and background work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from cli_fixtures import assert_refused
from PIL import Image
from test_evaluation import ATTACKS, numbers, plan, write_set

from explorer.actions import cli
from explorer.analysis.evaluation.plan import EvaluationPlan
from explorer.analysis.evaluation.work import carry_out, table_of, wish_of
from explorer.attacks.image.classic import PGD
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.registry import PHOTOS, UPLOAD
from explorer.jobs.threads import ThreadJobs
from explorer.models.library import Library
from explorer.ui.evaluate.form import EvaluateForm, absent, here

pytest_plugins = ["cli_fixtures"]


@pytest.fixture
def library(models_dir: Path) -> Library:
    return Library([models_dir])


# --- the command line ------------------------------------------


def test_several_sets_and_budgets(evaluate: Any, tmp_path: Path) -> None:
    other = write_set(tmp_path / "other")
    status, result, said = evaluate(data=f"{tmp_path / 'set'},{other}", eps="1/255,8/255",
                                    attacks="clean,image,text", text_attack="typo", models="one")
    assert status == 0
    assert [(r["data"], r["attack"], r["eps_255"]) for r in result["rows"]] == [
        (data, attack, eps) for data in ("set", "set.csv") for attack, eps in (
            ("clean", 0), ("image", 1), ("image", 8), ("text", 0))]
    assert list(result["attacks"]) == ["clean", "image 1/255", "image 8/255", "text"]
    assert [one["data"] for one in result["sets"]] == ["set", "set.csv"]
    assert result["drawn"] == 14 and result["skipped"] == 2
    assert said.out.splitlines()[2].split()[:4] == ["data", "model", "attack", "eps"]


def test_a_set_that_is_not_here_is_said_and_the_status_is_1(evaluate: Any, tmp_path: Path) -> None:
    status, result, said = evaluate(data=f"{tmp_path / 'set'},imagenet", data_root=tmp_path,
                                    models="one", attacks="clean")
    assert status == 1 and len(result["rows"]) == 1 and len(result["left_out"]) == 1
    assert f"left out: ImageNet cannot be read: it is not in {tmp_path / 'imagenet'}" in said.out


def test_a_set_of_the_catalogue_by_its_name(evaluate: Any, tmp_path: Path) -> None:
    for number, name in enumerate(("001.ak47", "002.american-flag", "257.clutter")):
        folder = tmp_path / "root" / "caltech256" / "256_ObjectCategories" / name
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "a.png")
    status, result, _ = evaluate(data="Caltech256", data_root=tmp_path / "root", models="one",
                                 attacks="clean")
    assert status == 0 and result["data"] == "Caltech-256" and result["drawn"] == 3


@pytest.mark.parametrize(("suffix", "start"), [
    (".csv", "evaluation,data,model,attack"), (".md", "| Data | Model | Clean |"),
    (".tex", "% needs \\usepackage{booktabs}"), (".JSON", "{\n \"task\"")])
def test_the_ending_says_the_format(evaluate: Any, tmp_path: Path, suffix: str, start: str,
                                    ) -> None:
    status, _, said = evaluate(out=tmp_path / f"out{suffix}", models="one", attacks="clean")
    assert (status, said.err) == (0, "")
    assert (tmp_path / f"out{suffix}").read_text("utf-8").startswith(start)


@pytest.mark.parametrize(("change", "word"), [
    ({"out": "table.xlsx"}, "--out must end in one of .csv, .json, .md, .tex"),
    ({"out": "table"}, "--out must end in one of"),
    ({"eps": "1/255,,2/255"}, "one comma between"), ({"eps": "1/255,1/255"}, "given twice"),
    ({"eps": "1/255,x"}, "eps must be a number"), ({"eps": "1/255,2"}, "L-inf eps above 1"),
    ({"data": "imagnet"}, "no file, folder or known set 'imagnet'"),
    ({"data": "a,,b"}, "--data must be names"), ({"batch": 0}, "batch"),
    ({"data": "flickr30k,coco", "task": "retrieval"}, "Flickr30k cannot be read"),
    ({"attacks": "clean,textattack:"}, "name a recipe of TextAttack"),
])
def test_evaluate_refuses(evaluate: Any, tmp_path: Path, change: Any, word: str,
                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPLORER_DATA", raising=False)
    assert_refused(evaluate(**change), word, tmp_path)


def test_a_kept_evaluation_goes_on(evaluate: Any, tmp_path: Path) -> None:
    first = evaluate(keep=tmp_path / "keep", models="one")[1]
    cells = list((tmp_path / "keep" / "cells").glob("*.json"))
    assert len(cells) == 2
    seen = {path: path.stat().st_mtime_ns for path in cells}
    more = evaluate(keep=tmp_path / "keep", models="one,two", eps="1/255,2/255")[1]
    assert {path: path.stat().st_mtime_ns for path in cells} == seen
    assert [r for r in more["rows"] if r["model"] == "one" and r["eps_255"] < 2] == first["rows"]


def test_the_estimate_writes_nothing(evaluate: Any, tmp_path: Path, models_dir: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["evaluate", f"--data={tmp_path / 'set'}", "--models=one", "--device=cpu",
                       f"--models-dir={models_dir}", f"--out={tmp_path / 'o.json'}", "--estimate"])
    said = capsys.readouterr()
    assert status == 0 and said.out.startswith("About ") and "2 numbers on 7 images" in said.out
    assert not (tmp_path / "o.json").exists()


def test_compare_lays_evaluations_side_by_side(evaluate: Any, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    for name, eps in (("weak", "1/255"), ("strong", "8/255")):
        evaluate(out=tmp_path / f"{name}.json", models="one", eps=eps)
    files = [str(tmp_path / "weak.json"), str(tmp_path / "strong.json")]
    assert cli.main(["compare", *files, f"--out={tmp_path / 'both.tex'}"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["evaluation", *["weak"] * 2, *["strong"] * 2]
    assert "Image 8/255" in (tmp_path / "both.tex").read_text("utf-8")
    assert cli.main(["compare", files[0], files[0]]) == 0  # the same twice, by their paths
    assert files[0] in capsys.readouterr().out
    for bad, word in (("nothing.json", "cannot read"), ("set/cat/0.png", "is not the JSON")):
        assert cli.main(["compare", str(tmp_path / bad)]) == 2
        assert word in capsys.readouterr().err


# --- background work ------------------------------------------


def test_background_work_stops_goes_on_and_shares_cells(library: Library, tmp_path: Path) -> None:
    path, seen = write_set(tmp_path / "set"), list[Progress]()

    def runner(work: Any) -> Any:
        for progress in carry_out(work, library):
            seen.append(progress)
            if progress.done >= 6 and len(works.list()) == 1 and not stops:
                stops.append(1)
                works.stop(work.id)
            yield progress

    stops: list[int] = []
    works = ThreadJobs(tmp_path / "works", {"evaluate": runner})
    wanted = plan(path, models=("one",), asked=ATTACKS[:3])
    one = works.submit("evaluate", "me", lambda _: ("mine", wish_of(wanted)))
    assert works.settle()
    stopped = works.get(one.id)
    assert stopped.state == "stopped" and 6 <= stopped.done < stopped.total == 21
    assert table_of(stopped).rows and not any(row.whole for row in table_of(stopped).rows)
    works.go_on(one.id)
    assert works.settle()
    done = works.get(one.id)
    table = table_of(done)
    assert done.state == "finished" and table.title == "mine" and len(table.rows) == 3
    assert all(row.whole for row in table.rows)
    two = works.submit("evaluate", "me", lambda _: ("again", wish_of(wanted)))
    seen.clear()
    assert works.settle()
    assert not any("step" in progress.text for progress in seen)  # nothing was attacked again
    assert numbers(table_of(works.get(two.id))) == numbers(table)


def test_background_work_says_why_it_failed(library: Library, tmp_path: Path) -> None:
    works = ThreadJobs(tmp_path / "works", {"evaluate": lambda w: carry_out(w, library)})
    one = works.submit("evaluate", "me", lambda _: ("gone", wish_of(plan(UPLOAD), "my.zip")))
    assert works.settle()
    assert works.get(one.id).text == ("The upload is not there any more: upload it again.")
    assert not table_of(works.get(one.id)).rows


# --- the form ------------------------------------------


@pytest.fixture
def form(library: Library) -> EvaluateForm:
    with gr.Blocks():
        return EvaluateForm(library, ("one", "two"), "")


def read(form: EvaluateForm, tmp_path: Path, **changes: Any,
         ) -> tuple[EvaluationPlan, str, list[str]]:
    names = ("task", "shipped", "here", "files", "answers", "models", "kinds", "budgets", "limit",
             "seed", "defences", "attacker", "detectors", "corruptions", "severities", "edits")
    values: list[Any] = [c.value for c in form.components()]
    values[:len(names)] = [changes.pop(name, value) for name, value in
                           zip(names, values, strict=False)]
    assert not changes
    return form.read(values, tmp_path)


def test_the_form_as_it_is_measures_the_example_photos(form: EvaluateForm, tmp_path: Path) -> None:
    wanted, upload, said = read(form, tmp_path)
    assert (wanted.sets, wanted.models, upload) == ((PHOTOS,), ("one", "two"), "")
    assert said[0] == "12 example photos: 12 pictures."
    assert said[1].startswith("12 different captions: “a photo of a cat”") and said[2:] == []
    assert [(one.name, round(one.eps * 255)) for one in wanted.asked] == [
        ("clean", 0), ("image", 1), ("image", 2), ("image", 4)]
    assert isinstance(wanted.asked[1].attack, PGD)
    assert EvaluationPlan.read(json.loads(json.dumps(wanted.as_dict()))) == wanted


def test_each_set_is_understood_before_it_is_measured(form: EvaluateForm, library: Library,
                                                       tmp_path: Path) -> None:
    _, _, said = read(form, tmp_path, shipped=["sample:emoji-kinds", PHOTOS])
    assert "1,513 emoji by kind: 100 of 1,513 pictures" in said[0] and "12 pictures" in said[2]
    (tmp_path / "dtd" / "images").mkdir(parents=True)  # a published set, without its pictures
    with gr.Blocks():
        other = EvaluateForm(library, ("one", "two"), str(tmp_path))
    _, _, said = read(other, tmp_path, here=["catalogue:dtd"])
    assert any(s.startswith("Describable Textures cannot be used: ") for s in said)
    with pytest.raises(InputError, match="damaged or incomplete"):
        read(other, tmp_path, shipped=[], here=["catalogue:dtd"])


def test_the_form_measures_captions_as_every_door_does(form: EvaluateForm, tmp_path: Path) -> None:
    wanted, _, _ = read(form, tmp_path, kinds=["text", "joint"], budgets="2")
    text, joint = (one.settings for one in wanted.asked)
    assert (text["name"], text["objective"], text["captions"]) == ("bert", "goal", "true")
    assert joint["name"] == "alternating" and joint["eps"] == pytest.approx(2 / 255)


def test_the_form_measures_beside_each_ticked_defence(form: EvaluateForm, tmp_path: Path) -> None:
    wanted, _, _ = read(form, tmp_path, defences=["jpeg", "ttc"], budgets="2")
    assert [one.line for one in wanted.asked] == ["clean", "image", *(
        f"{what} behind {name}{known}" for name in ("jpeg", "ttc") for what, known in
        (("clean", ""), ("image", ""), ("image", " (known)")))]
    assert EvaluationPlan.read(json.loads(json.dumps(wanted.as_dict()))) == wanted
    wanted, _, _ = read(form, tmp_path, defences=["jpeg"], attacker="aware", budgets="2")
    assert [one.line for one in wanted.asked[2:]] == ["clean behind jpeg",
                                                     "image behind jpeg (known)"]
    for wrong in ({"defences": ["jpg"]}, {"defences": ["jpeg"], "attacker": "perhaps"},
                  {"defences": ["noise-vote"], "kinds": ["text"]},
                  {"defences": ["jpeg"], "task": "retrieval"}):
        with pytest.raises(InputError):
            read(form, tmp_path, **wrong)


def test_an_upload_becomes_a_set(form: EvaluateForm, tmp_path: Path) -> None:
    pictures = []
    for i in range(2):
        pictures.append(tmp_path / f"{i}.png")
        Image.new("RGB", (9, 9), (i, i, i)).save(pictures[-1])
    (tmp_path / "out").mkdir()
    values = {"files": [str(p) for p in pictures], "answers": "a cat\na dog", "shipped": []}
    with_upload, name, _ = form.read(_values(form, **values), tmp_path / "out")
    assert with_upload.sets == (UPLOAD,) and name == "2 photos"
    assert (tmp_path / "out" / "data.zip").is_file()


def _values(form: EvaluateForm, **changes: Any) -> list[Any]:
    places = {"task": 0, "shipped": 1, "files": 3, "answers": 4}
    values: list[Any] = [c.value for c in form.components()]
    for name, value in changes.items():
        values[places[name]] = value
    return values


@pytest.mark.parametrize(("changes", "word"), [
    ({"shipped": []}, "choose an image set first"), ({"models": []}, "choose a model"),
    ({"kinds": []}, "choose an attack"), ({"kinds": ["all"]}, "choose what is attacked"),
    ({"budgets": ""}, "give a budget"), ({"budgets": "1, two"}, "must be a number"),
    ({"budgets": "300"}, "wider than the pixel range"),
    ({"limit": 0}, "choose 1 to 5,000 images"), ({"limit": 10**9}, "choose 1 to 5,000"),
    ({"limit": "many"}, "must be a number"), ({"limit": float("nan")}, "choose 1 to 5,000"),
    ({"here": ["server:../../etc"]}, "is not here any more"),
    ({"here": ["hf:somebody/set"]}, "is not here any more"),
    ({"seed": "x"}, "seed must be a whole number"), ({"seed": float("nan")}, "seed must be"),
    ({"seed": 2**40}, "seed must be"), ({"edits": 9}, "number of words"),
])
def test_the_form_refuses(form: EvaluateForm, tmp_path: Path, changes: Any, word: str) -> None:
    with pytest.raises(InputError, match=word):
        read(form, tmp_path, **changes)


def test_the_form_offers_what_is_here(tmp_path: Path) -> None:
    (tmp_path / "dtd").mkdir()
    (tmp_path / "mine.zip").write_bytes(b"x")
    offered = [title for title, _ in here(str(tmp_path))]
    assert offered == ["Describable Textures (1,880 images)", "mine.zip, in the data folder"]
    assert "18 published sets are not on this server" in absent(str(tmp_path))
    assert "put it into the folder cifar-10-batches-py" in absent(str(tmp_path))
