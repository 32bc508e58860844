"""Corruptions: each by hand or by what must hold for all, and as an axis of evaluations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_fixtures import assert_refused
from helpers import grid_images
from test_evaluation import finish, write_set

from explorer.actions.arguments import CORRUPTION_NAMES
from explorer.actions.evaluate import MOST_COLUMNS, measure
from explorer.actions.notebook import evaluate as evaluate_here
from explorer.actions.service import Service
from explorer.analysis import metrics
from explorer.analysis.evaluation import harm
from explorer.analysis.evaluation.cost import Cost, estimate
from explorer.analysis.evaluation.curve import summary
from explorer.analysis.evaluation.exports import export
from explorer.analysis.evaluation.guards import Guards
from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan, harmed, spread
from explorer.analysis.evaluation.rows import Row, Score, Table, read_table
from explorer.analysis.evaluation.run import Evaluation
from explorer.attacks.corruptions.base import dragged, gaussian, zoomed
from explorer.attacks.corruptions.blur import disc, shuffled
from explorer.attacks.corruptions.registry import CORRUPTIONS, corruption_of, corruptions_named
from explorer.attacks.corruptions.weather import plasma
from explorer.attacks.defences.pixels import Blur
from explorer.attacks.image.classic import PGD
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.data.sets import read_examples
from explorer.models.library import Library

pytest_plugins = ["cli_fixtures"]
SHAPES = ((1, 1), (2, 3), (20, 300), (300, 20))
# Their severities trade one thing for another, as the authors have them: the ends are compared.
TURNS = {"glass-blur", "snow", "frost", "fog", "elastic-transform"}
RANDOM = set(CORRUPTIONS) - {"defocus-blur", "zoom-blur", "brightness", "contrast", "pixelate",
                             "jpeg-compression"}


@pytest.fixture
def library(models_dir: Path) -> Library:
    return Library([models_dir])


def photos() -> torch.Tensor:
    """(3, 3, 64, 64): smooth, as photos are, with grain."""
    soft = torch.stack([gaussian(x, 4) for x in grid_images(3, 64, seed=2)])
    spread = (soft - soft.mean()) / soft.std() * 0.2 + 0.45
    return ((spread.clamp(0, 1)) * 255).round() / 255


# --- every corruption -------------------------------------------------------------------------


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption(name: str) -> None:
    x, own = photos(), corruption_of(name, 4)
    before = x.clone()
    found = own.change(x, 5)
    assert torch.equal(x, before), "the input was written to"
    assert found.shape == x.shape and own.title and type(own).__doc__ and len(own.strengths) == 5
    assert bool(((found >= 0) & (found <= 1)).all()) and not torch.equal(found, x)
    torch.testing.assert_close(found * 255, (found * 255).round())
    halves = torch.cat([own.change(x[:1], 5), own.change(x[1:], 5)])
    assert torch.equal(found, halves), "the batch changes it"
    assert torch.equal(found, own.change(x, 6)) == (name not in RANDOM)
    assert len(own.change(x[:0])) == 0


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_goes_further(name: str) -> None:
    x = photos()
    far = [float((corruption_of(name, level).change(x) - x).flatten(1).norm(dim=1).mean())
           for level in range(1, 6)]
    if name in TURNS:
        far = far[3:] if name == "elastic-transform" else [far[0], far[4]]
    assert far == sorted(far) and far[0] > 0, far


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_photos_of_odd_sizes(name: str, shape: tuple[int, int]) -> None:
    x = (torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    for level in (1, 5):
        found = corruption_of(name, level).change(x)
        assert found.shape == x.shape and bool(((found >= 0) & (found <= 1)).all())


# --- by hand ----------------------------------------------------------------------------------


def flat(level: float, side: int = 224) -> torch.Tensor:
    return torch.full((1, 3, side, side), level)


def test_noise_has_the_strength_that_is_written_down() -> None:
    grey = flat(128 / 255)
    noise = corruption_of("gaussian-noise", 1).change(grey) - grey
    assert float(noise.std()) == pytest.approx(0.08, abs=0.002)
    assert abs(float(noise.mean())) < 0.002
    shot = corruption_of("shot-noise", 1).change(grey)
    assert float(shot.var()) == pytest.approx(0.5 / 60, rel=0.03)  # its variance is its mean
    broken = corruption_of("impulse-noise", 5).change(grey)
    assert float((broken != grey).float().mean()) == pytest.approx(0.27, abs=0.01)
    assert float((broken == 1).float().mean()) == pytest.approx(0.135, abs=0.01)
    assert set(broken.unique().tolist()) == {0.0, float(grey[0, 0, 0, 0]), 1.0}


def test_light_and_contrast_by_hand() -> None:
    x = torch.tensor([[51.0, 102, 153], [0, 0, 0]]).T.reshape(1, 3, 1, 2) / 255
    bright = corruption_of("brightness", 2).change(x) * 255  # the largest value, 153, becomes 204
    assert bright[0, :, 0, 0].tolist() == pytest.approx([68, 136, 204], abs=1e-3)
    assert bright[0, :, 0, 1].tolist() == pytest.approx([51, 51, 51], abs=1e-3)
    weak = corruption_of("contrast", 4).change(x) * 255
    assert weak[0, 0, 0].tolist() == pytest.approx([28, 23], abs=1e-3)  # 25.5 +- 2.55


def test_blur_by_hand() -> None:
    kernel = disc(3)
    assert float(kernel.sum()) == pytest.approx(1)
    assert kernel[4, 4] == kernel[4, 1] > kernel[4, 0] and kernel.T.equal(kernel)
    dot = torch.zeros(1, 9, 9)
    dot[0, 4, 4] = 1
    moved = dragged(dot, 2, 1e6, 0)  # five copies, as heavy each: the dot is drawn to the left
    assert moved[0, 4].tolist() == pytest.approx([0.2] * 5 + [0] * 4, abs=1e-5)
    line = gaussian(dot, 1)[0, 4]
    assert float(line[4] / line[5]) == pytest.approx(torch.e ** 0.5, rel=1e-3)
    assert float(gaussian(dot, 30).std()) < 1e-3 and float(gaussian(dot, 30).mean()) == (
        pytest.approx(1 / 81, rel=1e-3))  # mirrored: nothing is lost at the edge
    large = zoomed(torch.arange(5.0).expand(1, 5, 5), 2)[0, 2]
    assert large.tolist() == pytest.approx([1, 1.5, 2, 2.5, 3], abs=1e-5)


def test_glass_moves_pixels_to_near_places() -> None:
    order = shuffled(12, 10, 2, 1, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(120)), "pixels are lost"
    home = torch.arange(120)
    assert int((order != home).sum()) > 20
    assert bool((order // 10 == home // 10)[:1].all())
    untouched = shuffled(2, 2, 3, 1, torch.Generator().manual_seed(0))
    assert untouched.tolist() == [0, 1, 2, 3]


def test_what_files_do_by_hand() -> None:
    board = (torch.arange(8).view(8, 1) + torch.arange(8)).remainder(2).float()
    x = board.expand(1, 3, 8, 8)
    small = corruption_of("pixelate", 2).change(x)  # half the side: each square is a mean
    assert float((small - 0.5).abs().max()) < 0.01
    ramp = torch.linspace(0, 1, 64).mul(255).round().div(255).expand(1, 3, 64, 64)
    assert float((corruption_of("jpeg-compression", 5).change(ramp) - ramp).abs().mean()) < 0.1


def test_weather_by_hand() -> None:
    x = flat(0.2, 96)
    fog = corruption_of("fog", 1).change(x)  # (0.2 + 1.5 p) * 0.2 / 1.7, with p from 0 to 1
    assert 0.2 * 0.2 / 1.7 - 0.003 <= float(fog.min()) < float(fog.max()) <= 0.2 + 0.003
    for name in ("snow", "frost"):
        assert float(corruption_of(name, 3).change(x).mean()) > 0.3, "ice is bright"
    cloud = plasma(2, torch.Generator().manual_seed(3))
    assert (float(cloud.min()), float(cloud.max())) == (0, 1)
    near = float((cloud - cloud.roll(1, 0)).abs().mean())
    assert near < float((cloud - cloud.roll(60, 0)).abs().mean()) / 4, "fog is smooth"


def test_elastic_moves_and_keeps_colours() -> None:
    x = photos()
    found = corruption_of("elastic-transform", 2).change(x)
    low, high = float(found.min()), float(found.max())
    assert float(x.min()) - 0.01 <= low <= high <= float(x.max()) + 0.01
    assert torch.equal(corruption_of("elastic-transform", 1).change(flat(0.4, 32)),
                       (flat(0.4, 32) * 255).round() / 255)


# --- names ------------------------------------------------------------------------------------


def test_names() -> None:
    assert len(CORRUPTIONS) == 15 and list(CORRUPTIONS) == CORRUPTION_NAMES.split(", ")
    assert len(corruptions_named(["all"])) == 75
    assert [one.severity for one in corruptions_named(["fog"], [5, 1])] == [1, 5]
    assert corruptions_named([], []) == []
    for names, levels in ((["fogg"], [1]), (["fog", "fog"], [1]), (["fog"], [1, 1]), (["fog"], []),
                          (["fog"], [0]), (["fog"], [6]), (["fog"], [True]), (["fog"], [1.5])):
        with pytest.raises(InputError):
            corruptions_named(names, levels)  # type: ignore[arg-type]


# --- evaluations ------------------------------------------------------------------------------

HARM = harmed(corruptions_named(["fog", "contrast"], [1, 5]))
ASKED = Guards((None, Blur(1.0)), (False,)).columns(
    [Asked("clean"), *spread("image", PGD(steps=2), [8 / 255]), *HARM])


def evaluated(library: Library, path: str, **more: Any) -> Table:
    return finish(Evaluation(EvaluationPlan((path,), ("one",), ASKED, batch=3), library,
                             device="cpu", **more))


def test_the_numbers_are_those_of_corrupted_pictures(library: Library, tmp_path: Path) -> None:
    path = write_set(tmp_path / "set")
    table = evaluated(library, path)
    model = library.load("one", "cpu")
    (pairs,) = read_examples(path).batches(32, 32)
    assert [row.line for row in table.rows] == [one.line for one in ASKED]
    assert [row.line for row in table.rows[2:6]] == ["fog 1", "fog 5", "contrast 1", "contrast 5"]
    for row, one in zip(table.rows[2:6], HARM, strict=True):
        assert one.corruption is not None and (row.kind, row.severity) == (
            "corruption", one.severity)
        changed = Pairs(one.corruption.change(pairs.images, 0), pairs.captions, pairs.labels)
        assert row.scores["accuracy"].hits == int(metrics.right(model, changed).sum())
    assert Asked.read(json.loads(json.dumps(ASKED[-1].as_dict()))) == ASKED[-1]
    kept = Store(tmp_path / "keep")
    first, again = (evaluated(library, path, store=kept) for _ in range(2))
    assert [(r.line, r.scores) for r in first.rows] == [(r.line, r.scores) for r in again.rows]
    assert len(list((tmp_path / "keep" / "cells").glob("*.json"))) == len(ASKED)


def test_a_plan_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        EvaluationPlan(("s",), ("m",), tuple(HARM), task="retrieval")
    with pytest.raises(InputError):
        EvaluationPlan(("s",), ("m",), (*HARM, HARM[0]))


def row(name: str, severity: int, hits: int, model: str = "m", defence: str = "") -> Row:
    return Row("set", model, name, "corruption" if severity else "clean", 0, "", 10, 10,
               {"accuracy": Score(hits, 10)}, 1.0, severity=severity, defence=defence)


def test_the_table_of_corruptions_by_hand() -> None:
    made = Table(rows=[row("clean", 0, 9), row("fog", 1, 8), row("fog", 5, 2), row("snow", 1, 6),
                       row("fog", 5, 1, defence="jpeg")], sets=[
                           {"data": "set", "drawn": 10, "captions": 3, "left_out": []}])
    assert harm.table([made]) == [
        ["Data", "Model", "Corruption", "Severity 1", "Severity 5", "Mean"],
        ["set", "m", "fog", "80.0", "20.0", "50.0"], ["set", "m", "snow", "60.0", "–", "60.0"],
        ["set", "m", "mean of 2", "70.0", "20.0", "55.0"],
        ["set", "m", "fog behind jpeg", "–", "10.0", "10.0"],
        ["set", "m", "mean of 1 behind jpeg", "–", "10.0", "10.0"]]
    assert summary(made).startswith("On set, m reads 90 % of the images rightly, and 55 % on "
                                    "average under corruptions")
    head, *lines = export([made], ".csv").decode().splitlines()
    assert "attack,severity,defence" in head and "fog,5,jpeg,0,corruption" in lines[-1]
    shown = export([made], ".md").decode()
    assert "| Data | Model | Clean |" in shown and "| set | m | fog | 80.0 | 20.0 | 50.0 |" in shown
    assert r"\label{tab:corruptions}" in export([made], ".tex").decode()
    back = read_table(export([made], ".json"), "table.json")
    assert [r.line for r in back.rows] == [r.line for r in made.rows]
    alone = Table(rows=made.rows[1:3], sets=made.sets)
    assert "| Data | Model |\n" not in export([alone], ".md").decode()
    assert "tab:robustness" not in export([alone], ".tex").decode()


def test_what_it_costs(library: Library, tmp_path: Path) -> None:
    plan = EvaluationPlan((write_set(tmp_path / "set"),), ("one",), tuple(HARM))
    *_, cost = estimate(plan, library, device="cpu")
    assert isinstance(cost, Cost) and (cost.cells, cost.measured) == (4, 2)


# --- doors ------------------------------------------------------------------------------------


def test_evaluate_takes_corruptions(evaluate: Any, tmp_path: Path) -> None:
    status, result, said = evaluate(models="one", attacks="clean", corruptions="fog,contrast",
                                    severities="1,5")
    assert status == 0 and "fog 5" in said.out
    assert [(r["attack"], r.get("severity")) for r in result["rows"]] == [
        ("clean", None), ("fog", 1), ("fog", 5), ("contrast", 1), ("contrast", 5)]
    assert result["corruptions"] == {"fog": [1, 5], "contrast": [1, 5]}
    (tmp_path / "out.json").unlink(missing_ok=True)


@pytest.mark.parametrize(("flags", "say"), [
    ({"corruptions": "fogg"}, "there is no corruption 'fogg'; known are all, gaussian-noise"),
    ({"corruptions": "fog", "severities": "0"}, "from 1 to 5, not 0"),
    ({"corruptions": "fog", "severities": "x"}, "--severities must be whole numbers"),
    ({"corruptions": "fog", "severities": "1,1"}, "--severities must be different"),
    ({"corruptions": "fog", "task": "retrieval"}, "measured in classification")])
def test_evaluate_says_what_is_wrong(evaluate: Any, tmp_path: Path, flags: dict[str, str],
                                     say: str) -> None:
    assert_refused(evaluate(models="one", **flags), say, tmp_path)


def test_notebooks_and_strangers_measure_corruptions() -> None:
    table = evaluate_here("sample:photos", "pocket", "clean", limit=3, corruptions="fog",
                          severities=[2])
    assert [line[:3] for line in table.lines()] == [["pocket", "clean", "–"],
                                                    ["pocket", "fog 2", "severity 2"]]
    asked = {"models": ["pocket"], "attacks": ["clean"], "limit": 3, "corruptions": ["fog"],
             "severities": [2]}
    *_, answer = Service(Library()).evaluate(asked)
    assert [r["accuracy"] for r in answer.data["rows"]] == [  # type: ignore[union-attr]
        r.accuracy for r in table.rows]
    for wrong in ({"corruptions": 3}, {"corruptions": ["fogg"]}, {"severities": 3},
                  {"severities": [9]}, {"severities": ["x"]}):
        with pytest.raises(InputError):
            list(Service(Library()).evaluate({**asked, **wrong}))


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    guards = Guards.named(["none", "blur"], "unaware")
    examples = read_examples(write_set(tmp_path / "set"))
    with pytest.raises(InputError, match=f"at most {MOST_COLUMNS}"):
        list(measure(Library(), ["pocket"], {"clean": None}, examples, guards=guards,
                     corruptions=corruptions_named(["all"])))
