"""Detectors, their curves by hand, and the attacker who knows of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from attack_helpers import build
from cli_fixtures import spelled
from test_evaluation import finish, write_set
from torch import Tensor

from explorer.actions import cli
from explorer.actions.notebook import detect as detect_here
from explorer.analysis import metrics
from explorer.analysis.evaluation import detectors
from explorer.analysis.evaluation.cost import Cost, estimate
from explorer.analysis.evaluation.detection import (
    Detection,
    auc,
    auc_interval,
    roc,
)
from explorer.analysis.evaluation.exports import export
from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan
from explorer.analysis.evaluation.rows import Table, read_table
from explorer.analysis.evaluation.run import Evaluation
from explorer.analysis.evaluation.sets import opened
from explorer.analysis.evaluation.watched import Watched, watched
from explorer.attacks.defences.detect import (
    DETECTORS,
    Detector,
    Padding,
    Stability,
    detector_named,
    evade,
    scores,
)
from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.data.sets import read_examples
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.ui.evaluate import views

pytest_plugins = ["cli_fixtures"]


def test_the_curve_and_its_area_by_hand() -> None:
    clean, attacked = [0.1, 0.2, 0.3, 0.4], [0.35, 0.5, 0.6]
    assert roc(clean, attacked) == [
        (0, 0), (0, 1 / 3), (0, 2 / 3), (0.25, 2 / 3), (0.25, 1), (0.5, 1), (0.75, 1), (1, 1)]
    assert auc(clean, attacked) == pytest.approx(11 / 12)  # 12 pairs, one in the wrong order
    assert auc([1.0], [1.0]) == 0.5 and auc([2.0], [1.0]) == 0 and auc([1.0], [2.0]) == 1
    trapezoids = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(
        roc(clean, attacked), roc(clean, attacked)[1:], strict=False))
    assert trapezoids == pytest.approx(11 / 12)


def test_the_interval_of_hanley_and_mcneil() -> None:
    """Their example: an area of 0.893 with 51 and 58 cases has a standard error of 0.032."""
    low, high = auc_interval(0.893, 58, 51)
    assert (0.893 - low) / 1.959964 == pytest.approx(0.032, abs=0.001)
    assert high == pytest.approx(0.893 * 2 - low)
    assert auc_interval(1.0, 10, 10) == (1, 1)


def test_scores_by_hand() -> None:
    x = torch.full((1, 3, 80, 80), 0.5)

    def look(p: Tensor) -> Tensor:
        mean = p.mean((1, 2, 3))
        return torch.stack([mean, (1 - mean**2).sqrt()], 1)

    share = 1 / 1.25**2  # of the padded picture
    found = float(Padding(0.125).score(look, x, PerImage(0, x)))
    assert found == pytest.approx(1 - float((look(x) * look(x * share)).sum()), abs=1e-3)
    assert float(Stability(0.0).score(look, x, PerImage(0, x))) == 0
    assert float(Stability(0.1).score(look, x, PerImage(0, x))) < 0


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector(name: str, tiny: DualEncoder, four: Pairs) -> None:
    detector = detector_named(name)
    assert detector.title and detector.source
    whole = scores(detector, tiny, four.images, 3)
    halves = [scores(detector, tiny, four.images[k : k + 2], 3) for k in (0, 2)]
    assert whole.shape == (4,) and bool(whole.isfinite().all())
    torch.testing.assert_close(whole, torch.cat(halves), atol=1e-6, rtol=0)
    *_, found = evade(detector, build("pgd", "linf"), tiny, four)
    assert isinstance(found, Tensor) and float(((found - four.images) * 255).abs().max()) <= 4.001
    assert bool(((found * 255) - (found * 255).round()).abs().max() < 1e-3)


def table_of(ones: Library, path: str, *asked: Watched, **more: Any) -> Table:
    plan = EvaluationPlan((path,), ("one",), (Asked("clean"),), batch=3, watched=asked)
    return finish(Evaluation(plan, ones, device="cpu", **more))


WEAK = watched(["stability", "padding"], [PGD(16 / 255, steps=2)], [False, True])


@pytest.fixture
def ones(models_dir: Path) -> Library:
    return Library([models_dir])


def test_detections_are_those_of_a_plain_loop(ones: Library, tmp_path: Path) -> None:
    path = write_set(tmp_path / "set")
    table = table_of(ones, path, *WEAK)
    model, (pairs,) = ones.load("one", "cpu"), read_examples(path).batches(32)
    right = metrics.right(model, pairs)
    part = Pairs(pairs.images[right], pairs.captions, pairs.labels[right])
    assert [(one.detector, one.aware) for one in table.detections] == [
        (one.name, one.aware) for one in WEAK]
    for asked, found in zip(WEAK, table.detections, strict=True):
        if asked.aware:
            *_, pictures = evade(asked.detector, asked.attack, model, part)
        else:
            pictures = run(asked.attack, model, part).adversarial_images
        assert isinstance(pictures, Tensor)
        fooled = ~metrics.right(model, Pairs(pictures, part.captions, part.labels))
        assert found.clean == pytest.approx(scores(asked.detector, model, part.images).tolist(),
                                            abs=1e-5)
        assert len(found.attacked) == int(fooled.sum())
        if len(found.attacked):
            own = scores(asked.detector, model, pictures[fooled]).tolist()
            assert found.attacked == pytest.approx(own, abs=1e-4)
        assert found.model in found.sentence()


def test_what_is_kept_is_not_measured_again(ones: Library, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_set(tmp_path / "set")
    first = table_of(ones, path, *WEAK, store=Store(tmp_path / "keep"))
    module: Any = import_module("explorer.analysis.evaluation.watching")
    monkeypatch.setattr(module, "scores", None)
    again = table_of(ones, path, *WEAK, store=Store(tmp_path / "keep"))
    assert again.detections == first.detections
    back = read_table(export([first], ".json"), "t")
    assert back.detections == first.detections
    plan = EvaluationPlan((path,), ("one",), (Asked("clean"),), watched=WEAK)
    assert EvaluationPlan.read(json.loads(json.dumps(plan.as_dict()))) == plan
    assert len({plan.watch_key(one, "f", "d") for one in WEAK}) == len(WEAK)


def test_every_format_and_the_page_show_detectors(ones: Library, tmp_path: Path) -> None:
    table = table_of(ones, write_set(tmp_path / "set"), *WEAK)
    lines = detectors.lines(table.detections)
    assert all(len(line) == len(detectors.HEAD) for line in lines)
    for suffix in (".md", ".tex"):
        said = export([table], suffix).decode()
        assert "stability" in said and "aware" in said and lines[0][6] in said
    assert len(detectors.as_csv(table.detections).decode().splitlines()) == 1 + len(WEAK)
    assert "ev-detectors" in views.found([table]) and views.found([Table()]) == ""
    drawn = json.loads(views.roc([table]))
    told = [one for one in table.detections if one.attacked]
    assert told and len(drawn["data"]) == len(told) + 1  # and the line of guessing
    assert drawn["data"][0]["x"][0] == 0 and drawn["data"][0]["y"][-1] == 100
    assert "5 %: " in drawn["words"]


def test_their_cost_is_measured(ones: Library, tmp_path: Path) -> None:
    plan = EvaluationPlan((write_set(tmp_path / "set"),), ("one",), (Asked("clean"),), watched=WEAK)
    *_, cost = estimate(plan, ones, device="cpu")
    assert isinstance(cost, Cost) and cost.cells == cost.measured == 1 + len(WEAK)


def test_an_attacker_who_knows_lowers_the_score(pocket: DualEncoder, cat: Pairs) -> None:
    lower = []
    for name in DETECTORS:
        detector, attack = detector_named(name), PGD(4 / 255)
        blind = run(attack, pocket, cat).adversarial_images
        *_, aware = evade(detector, attack, pocket, cat)
        assert isinstance(aware, Tensor) and not metrics.right(
            pocket, Pairs(aware.cpu(), cat.captions, cat.labels)).any()
        lower.append(float(scores(detector, pocket, aware))
                     - float(scores(detector, pocket, blind)))
    assert max(lower) <= 0 and min(lower) < -0.01  # nothing to do where the score was low already


def test_in_a_notebook(tmp_path: Path) -> None:
    found = detect_here("sample:photos", "pocket", "padding", limit=3, steps=3, eps="4/255")
    assert [(one.detector, one.aware) for one in found.found] == [("padding", False),
                                                                   ("padding", True)]
    assert found["pocket", "padding", True].clean == found["pocket", "padding", False].clean
    assert "false alarms" in repr(found) and "<table" in found._repr_html_()
    found.save(tmp_path / "d.json")
    row = json.loads((tmp_path / "d.json").read_text("utf-8"))["rows"][0]
    assert len(row["clean_scores"]) == row["n_clean"] and row["auc"] == found.found[0].area
    for wrong in ({"detectors": "nose"}, {"attack": "bert"}, {"attacker": "some"},
                  {"attacker": 3}, {"limit": 0}):
        with pytest.raises(InputError):
            detect_here("sample:photos", "pocket", **wrong)
    with pytest.raises(InputError, match=".json or .csv"):
        found.save(tmp_path / "d.tex")


@pytest.mark.parametrize(("make", "say"), [
    (lambda: detector_named("nose"), "known are stability, padding"),
    (lambda: Padding(0.0), "border must be a number from 0.01"),
    (lambda: Stability(math.nan), "noise"),
])
def test_what_is_wrong_is_said(make: Callable[[], Detector], say: str) -> None:
    with pytest.raises(InputError, match=say):
        make()


def test_nothing_read_rightly(ones: Library, tmp_path: Path) -> None:
    path = write_set(tmp_path / "set")
    model, data = ones.load("one", "cpu"), read_examples(path)
    (pairs,) = data.batches(32)
    said = (model.encode_image(pairs.images) @ model.encode_text(pairs.captions).T).argmax(1)
    wrong = replace(data, labels=tuple((int(said[0]) + 1) % 3 for _ in data.labels))
    plan = EvaluationPlan((path,), ("one",), (Asked("clean"),), watched=WEAK[:1])
    table = finish(Evaluation(plan, ones, device="cpu", given=(opened(wrong),)))
    if any(int(s) == wrong.labels[0] for s in said):
        pytest.skip("the random model reads the pictures differently")
    assert not table.detections and "rightly, so there is nothing to detect" in table.left_out[0]
    none = Detection("set", "m", "padding", {"name": "pgd", "eps": 0, "norm": "linf"}, False,
                     (0.1,), ())
    assert "nothing to detect" in none.sentence() and "auc" not in none.as_dict()
    assert detectors.lines([none])[0][6] == "-" and detectors.figure([none]) is None
    assert Detection.read(none.as_dict()) == none


# --- the command ------------------------------------------------------------------------------


def detected(models_dir: Any, data: Any, out: Any, **flags: Any) -> int:
    given = {"data": data, "models": "one", "models_dir": models_dir, "out": out, "steps": 2,
             "eps": "16/255", "device": "cpu", **flags}
    return cli.main(["detect", *spelled(given)])


def test_the_command(models_dir: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_set(tmp_path / "set")
    assert detected(models_dir, path, tmp_path / "d.json") == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "d.json").read_text("utf-8"))
    rows = found["detections"]
    assert [(r["detector"], r["aware"]) for r in rows] == [
        ("stability", False), ("stability", True), ("padding", False), ("padding", True)]
    assert "stability" in said and "95 % interval" in said
    assert detected(models_dir, path, tmp_path / "d.csv", detectors="padding",
                    attacker="unaware") == 0
    assert len((tmp_path / "d.csv").read_text("utf-8").splitlines()) == 2
    for flags in ({"detectors": "nose"}, {"out": tmp_path / "d.tex"}, {"attack": "bert"},
                  {"attacker": "some"}, {"limit": 0}):
        assert detected(models_dir, path, flags.pop("out", tmp_path / "e.json"), **flags) == 2
        assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(InputError, match="choose an attack on the photo"):
        watched(["padding"], [None], [False])
