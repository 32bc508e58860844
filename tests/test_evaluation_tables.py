"""Tables of evaluations: files in four formats, curves, the page's view of them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from explorer.analysis.evaluation.curve import curves, figure, summary
from explorer.analysis.evaluation.exports import FORMATS, describe, export, grid
from explorer.analysis.evaluation.rows import Row, Score, Table, load_table, read_row, read_table
from explorer.base.errors import InputError
from explorer.base.intervals import wilson
from explorer.jobs.job import Job
from explorer.ui.evaluate import views

ODD = "a_b & 50 % {x}|$y$ <i>#~^\\"


def row(attack: str = "clean", kind: str = "clean", level: float = 0, hits: int = 8,
        **more: Any) -> Row:
    given = {"data": "photos", "model": "plain", "eps": level / 255,
             "norm": "linf" if kind in ("image", "joint") else "", "n": 10, "drawn": 11,
             "scores": {"accuracy": Score(hits, more.get("n", 10))}, "seconds": 1.5, **more}
    return Row(attack=attack, kind=kind, **given)


def table(*rows: Row, title: str = "first", **more: Any) -> Table:
    about = {"attacks": {"clean": {}, "image 1/255": {"name": "pgd", "steps": 10}}, "seed": 3}
    return Table(rows=list(rows), title=title, about=about,
                 sets=[{"data": "photos", "drawn": 11, "captions": 4, "left_out": []}], **more)


@pytest.fixture
def small() -> Table:
    return table(row(), row("image", "image", 1, 5), row("image", "image", 2, 2),
                 row("text", "text", 0, 6), row(model="hard", hits=7),
                 row("image", "image", 1, 7, model="hard"))


def retrieval() -> Table:
    one = {"direction": "text", "k": 1, "hits": 3, "n": 4, "recall": 0.75, "ci95": [0.3, 0.95]}
    lost = {"direction": "text", "k": 1, "wrong": 1, "n": 4, "rate": 0.25, "ci95": [0.05, 0.7]}
    raw = {"data": "pairs", "model": "plain", "attack": "image", "kind": "image", "norm": "linf",
           "eps_255": 2.0, "drawn": 4, "images": 4, "captions": 8, "skipped": 0, "clean": [one],
           "attacked": [{**one, "hits": 2}], "success": [lost], "seconds": 2.0}
    return Table("retrieval", [read_row(raw)], title="r", about={"seed": 0}, sets=[
        {"data": "pairs", "drawn": 4, "captions": 8, "left_out": []}])


# --- files ------------------------------------------


def test_csv_has_every_number_and_its_interval(small: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(export([small], ".csv").decode())))
    assert len(lines) == 6
    attacked = lines[1]
    assert [attacked[key] for key in ("attack", "eps_255", "accuracy")] == ["image", "1.0", "0.5"]
    low, high = wilson(5, 10)
    assert float(attacked["accuracy low"]) == pytest.approx(low, abs=1e-6)
    assert float(attacked["accuracy high"]) == pytest.approx(high, abs=1e-6)
    formula = table(row(data="=cmd()", model="@x"))
    first = next(csv.DictReader(io.StringIO(export([formula], ".csv").decode())))
    assert (first["data"], first["model"]) == ("'=cmd()", "'@x")


def test_json_comes_back_as_it_was(small: Table, tmp_path: Path) -> None:
    for one in (small, retrieval()):
        (tmp_path / "t.json").write_bytes(export([one], ".json"))
        again = load_table(tmp_path / "t.json")
        assert again.as_dict() == one.as_dict() and again.rows == one.rows
    two = json.loads(export([small, dataclasses.replace(small, title="second")], ".json"))
    assert [one["title"] for one in two["evaluations"]] == ["first", "second"]


def test_markdown_looks_as_papers_do(small: Table) -> None:
    lines = export([small], ".md").decode().splitlines()
    assert lines[0] == "| Data | Model | Clean | Image 1/255 | Image 2/255 | Text |"
    low, high = wilson(5, 10)
    assert f"50.0 ({low * 100:.1f}–{high * 100:.1f})" in lines[2]
    assert lines[3].endswith("| – | – |")  # the other model has no such numbers
    assert "Seed 3" in lines[-1] and "95 % Wilson interval" in lines[-1]
    assert "Attacks: image is pgd, 10 steps." in lines[-1]


def tex_words(text: str) -> str:
    return re.sub(r"(?m)(?<!\\)%.*$", "", text)


def test_latex_escapes_all_that_it_must() -> None:
    odd = table(row(data=ODD, model=ODD), row("image", "image", 1, 5, data=ODD, model=ODD),
                title=ODD)
    odd.sets[0]["data"] = ODD
    odd.left_out.append("no\nset _here_ 5 %")
    text = export([odd], ".tex").decode()
    bare = tex_words(text)
    assert "% Left out: no set _here_ 5 %." in text  # as a comment of one line
    for mark in "_#&":
        outside = [m for m in re.finditer(re.escape(mark), bare) if bare[m.start() - 1] != "\\"]
        columns = 3 * 3 if mark == "&" else 0  # three columns apart, in the head and one line
        assert len(outside) == (2 * 3 if columns else 0), mark
    stripped = re.sub(r"\\[{}]", "", bare)
    assert stripped.count("{") == stripped.count("}")
    assert re.findall(r"\\begin{(\w+)}", bare) == ["table", "tabular"]
    assert re.findall(r"\\end{(\w+)}", bare) == ["tabular", "table"]
    assert r"\toprule" in bare and r"80.0 {\scriptsize(" in bare
    assert r"a\_b \& 50 \% \{x\}|\$y\$ <i>\#\textasciitilde{}\textasciicircum{}" in bare


@pytest.mark.parametrize("suffix", FORMATS)
def test_two_evaluations_lie_side_by_side(small: Table, suffix: str) -> None:
    other = table(row(hits=9), row("image", "image", 4, 1), title="second")
    text = export([small, other], suffix).decode()
    assert "first" in text and "second" in text
    shown = grid([small, other])
    assert shown.head == ["Evaluation", "Data", "Model", "Clean", "Image 1/255", "Image 2/255",
                          "Text", "Image 4/255"]
    assert [line[:3] for line in shown.lines] == [
        ["first", "photos", "plain"], ["first", "photos", "hard"], ["second", "photos", "plain"]]
    assert shown.lines[2][3:] == [Score(9, 10), None, None, None, Score(1, 10)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_retrieval_in_every_format(suffix: str) -> None:
    text = export([retrieval()], suffix).decode()
    assert "success" in text and "pairs" in text
    if suffix != ".json":
        assert ("2/255" in text or "2.0" in text) and "TR R@1" in text


def test_what_makes_no_table_is_refused(small: Table) -> None:
    with pytest.raises(InputError, match="no numbers in it yet"):
        export([table()], ".md")
    with pytest.raises(InputError, match="do not go into one table"):
        export([small, retrieval()], ".csv")
    with pytest.raises(InputError, match=r"written as \.csv, \.json, \.md, \.tex, not as '\.xls'"):
        export([small], ".xls")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"task": "classification"}', b"\xff\xfe",
                                 b'{"task": "classification", "rows": [{"data": 1}], "sets": [], '
                                 b'"left_out": [], "title": ""}'])
def test_other_files_are_no_evaluations(raw: bytes) -> None:
    with pytest.raises(InputError, match=r"x\.json is not the JSON of an evaluation"):
        read_table(raw, "x.json")


@pytest.mark.parametrize(("settings", "words"), [
    ({}, "no change"), ({"name": "pgd", "steps": 10, "restarts": 1}, "pgd, 10 steps"),
    ({"name": "bert", "words": 1}, "bert, 1 word"),
    ({"name": "separate", "image_attack": "pgd", "text_attack": "bert", "steps": 1, "norm": "l2"},
     "separate of pgd and bert, 1 step, ε in L2")])
def test_attacks_in_words(settings: dict[str, Any], words: str) -> None:
    assert describe(settings) == words


# --- curves ------------------------------------------


def test_curves_start_at_the_clean_number(small: Table) -> None:
    (panel, lines), = curves([small]).items()
    assert panel == ("photos", "linf")
    assert [(round(eps * 255, 6), s.hits) for eps, s in lines["", "plain", "image"]] == [
        (0, 8), (1, 5), (2, 2)]
    drawn = figure([small])
    assert drawn is not None
    checked = go.Figure({"data": drawn["data"], "layout": drawn["layout"]})  # Plotly's own rules
    assert [list(trace.x) for trace in checked.data] == [[0, 1, 2], [0, 1]]
    assert list(checked.data[0].y) == [80, 50, 20]
    low, high = wilson(5, 10)
    assert checked.data[0].error_y.array[1] == pytest.approx(high * 100 - 50, abs=0.02)
    assert checked.data[0].error_y.arrayminus[1] == pytest.approx(50 - low * 100, abs=0.02)
    assert checked.layout.xaxis.tickvals == (0, 1, 2)


def test_one_panel_for_each_set_and_norm() -> None:
    many = table(row(), row("image", "image", 1, 5), row(data="<b>other</b>"),
                 row("image", "image", 0.5 * 255, 3, data="<b>other</b>", norm="l2"))
    drawn = figure([many])
    assert drawn is not None
    assert [note["text"] for note in drawn["layout"]["annotations"]] == [
        "photos", "&lt;b&gt;other&lt;/b&gt;"]
    assert "L2" in drawn["layout"]["xaxis2"]["title"]["text"]
    assert drawn["data"][1]["x"] == [0, 0.5] and drawn["data"][1]["xaxis"] == "x2"


def test_no_budget_no_curve() -> None:
    assert figure([table(row(), row("text", "text", 0, 3))]) is None
    assert views.curve([table(row())]) == ""
    assert views.curve([table(row("image", "image", 1), row("image", "image", 2)),
                        retrieval()]) == ""


def test_the_summary_names_the_worst(small: Table) -> None:
    assert summary(small) == (
        "On photos, plain reads 80 % of the images rightly, and 20 % with the photo attacked at "
        "ε = 2/255; hard reads 70 % of the images rightly, and 70 % with the photo attacked at "
        "ε = 1/255.")
    assert summary(table()) == ""
    assert "75 %" not in summary(retrieval()) and "50 %" in summary(retrieval())


# --- the page ------------------------------------------


def work(state: str = "finished", **more: Any) -> Job:
    return Job("20260101-000000-0123abcd", "evaluate", "me", more.pop("title", "photos"), 0.0,
                Path(), state=state, **more)


def test_the_page_escapes_what_people_named() -> None:
    odd = table(row(data=ODD, model=ODD), row("image", "image", 1, 5, data=ODD, model=ODD),
                title=ODD)
    odd.left_out.append("<script>alert(1)</script>")
    for html in (views.table([odd]), views.state(work(title=ODD), odd, 0),
                 views.listing([work(title=ODD)], "", {}), json.loads(views.curve([odd]))["words"]):
        assert "<i>" not in html and "<script>" not in html


def test_the_table_has_files_and_intervals(small: Table) -> None:
    html = views.table([small])
    for suffix in FORMATS:
        assert f'download="first{suffix}"' in html
    low, high = wilson(5, 10)
    assert f"<b>50.0</b> <small>({low * 100:.1f}–{high * 100:.1f})</small>" in html
    assert 'title="5 of 10"' in html and "Numbers so far" not in html
    small.rows[0] = dataclasses.replace(small.rows[0], whole=False)
    assert "Numbers so far" in views.table([small])
    assert views.table([table()]) == ""
    assert "do not go into one table" in views.table([small, retrieval()])


@pytest.mark.parametrize(("one", "words"), [
    (work("waiting"), "Waiting: it is the next."),
    (work("running", done=5, total=20, text="plain on photos"), "Running, 25 %. plain on photos"),
    (work("finished"), "Finished."), (work("stopped", done=1, total=4), "Stopped at 25 %. Go on"),
    (work("failed", text="The set is gone."), "It could not go on. The set is gone."),
])
def test_every_state_is_a_sentence(one: Job, words: str) -> None:
    assert words in views.state(one, table(), 0)
    assert views.state(None, table(), 0) == views.NONE
