"""Defences at every door: evaluations, the command line, the calls, bundles."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from cli_fixtures import assert_refused
from PIL import Image
from test_evaluation import finish, write_set

from explorer.actions import cli
from explorer.actions.evaluate import measure, named_attacks
from explorer.actions.notebook import evaluate as evaluate_here
from explorer.actions.service import Service
from explorer.analysis import metrics
from explorer.analysis.evaluation.cost import Cost, estimate
from explorer.analysis.evaluation.curve import figure, summary
from explorer.analysis.evaluation.exports import export
from explorer.analysis.evaluation.guards import Guards
from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan, spread
from explorer.analysis.evaluation.rows import Table, clean_of, read_table
from explorer.analysis.evaluation.run import Evaluation
from explorer.attacks.defences.guard import run_against
from explorer.attacks.defences.model import Defended
from explorer.attacks.defences.pixels import BitDepth, Blur
from explorer.attacks.defences.registry import parse_defences
from explorer.attacks.defences.vote import NoiseVote
from explorer.attacks.image.classic import FGSM, PGD
from explorer.attacks.run import run
from explorer.attacks.text.classic import Typo
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.data.sets import read_examples
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.bundle import bundle_bytes, read_bundle
from explorer.results.replay import replay, restored

pytest_plugins = ["cli_fixtures"]
BARE = [Asked("clean"), *spread("image", PGD(steps=2), [4 / 255, 16 / 255])]
ASKED = Guards((None, BitDepth(2), Blur(1.0)), (False, True)).columns(BARE)


@pytest.fixture
def library(models_dir: Path) -> Library:
    return Library([models_dir])


def evaluated(library: Library, path: str, **more: Any) -> Table:
    plan = EvaluationPlan((path,), ("one",), ASKED, batch=3)
    return finish(Evaluation(plan, library, device="cpu", **more))


def test_columns_are_made_for_each_defence_and_attacker() -> None:
    assert [one.line for one in ASKED[:3]] == ["clean", "image", "image"]
    assert [one.line for one in ASKED[3:8]] == [
        "clean behind bit-depth:bits=2", "image behind bit-depth:bits=2",
        "image behind bit-depth:bits=2 (known)", "image behind bit-depth:bits=2",
        "image behind bit-depth:bits=2 (known)"]
    assert all(Asked.read(json.loads(json.dumps(one.as_dict()))) == one for one in ASKED)
    for make in (lambda: Asked("clean", None, Blur(), True), lambda: Asked("a", FGSM(), None, True),
                 lambda: Asked("t", Typo(), NoiseVote()),
                 lambda: EvaluationPlan(("s",), ("m",), ASKED, task="retrieval")):
        with pytest.raises(InputError):
            make()


def test_the_numbers_are_those_of_the_plain_loop(library: Library, tmp_path: Path) -> None:
    path = write_set(tmp_path / "set")
    table = evaluated(library, path)
    model = library.load("one", "cpu")
    batches = list(read_examples(path).batches(32, 3))
    assert len(table.rows) == len(ASKED)
    for asked, row in zip(ASKED, table.rows, strict=True):
        guard = model if asked.defence is None else Defended(model, asked.defence)
        hits = torch.cat([h for _, h in metrics.evaluate(guard, asked.attack, batches,
                                                         aware=asked.aware)])
        score = row.scores["accuracy"]
        assert (score.hits, score.n) == (int(hits.sum()), len(hits)), row.column
        assert (row.defence, row.aware) == (asked.behind, asked.aware)


def test_one_attack_serves_all_defences_that_it_does_not_know(
        library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = import_module("explorer.analysis.evaluation.behind")
    calls: list[int] = []
    plain = module.stream

    def count(attack: Any, model: Any, pairs: Any, **more: Any) -> Any:
        calls.append(len(pairs))
        return plain(attack, model, pairs, **more)

    monkeypatch.setattr(module, "stream", count)
    evaluated(library, write_set(tmp_path / "set"))
    assert len(calls) in (2, 4, 6)  # budgets times the batches in which anything is right


def test_it_goes_on_from_what_is_kept_and_tells_defences_apart(library: Library,
                                                               tmp_path: Path) -> None:
    path = write_set(tmp_path / "set")
    first = evaluated(library, path, store=Store(tmp_path / "keep"))
    again = evaluated(library, path, store=Store(tmp_path / "keep"))
    assert [(r.place, r.scores) for r in again.rows] == [(r.place, r.scores) for r in first.rows]
    keys = {EvaluationPlan((path,), ("one",), ASKED).key(one, "f", "d") for one in ASKED}
    assert len(keys) == len(ASKED)
    bare = EvaluationPlan((path,), ("one",), tuple(BARE))
    assert bare.key(BARE[1], "f", "d") in keys  # what was kept before there were defences holds


def test_every_format_tells_the_defence(library: Library, tmp_path: Path) -> None:
    table = evaluated(library, write_set(tmp_path / "set"))
    back = read_table(export([table], ".json"), "t")
    assert [r.column for r in back.rows] == [r.column for r in table.rows]
    head, *lines = export([table], ".csv").decode().splitlines()
    assert "attack,defence,aware,kind" in head and ",blur,1,image," in "\n".join(lines)
    shown = export([table], ".md").decode()
    assert "Image 4/255 behind blur (known)" in shown and "blur is sigma 1" in shown
    assert "Known: the attacker knows of the defence" in shown
    assert "behind blur (known)" in export([table], ".tex").decode()
    names = [line["name"] for line in (figure([table]) or {})["data"]]
    assert "one · image behind blur (known)" in names
    row = next(r for r in table.rows if r.defence == "blur" and r.aware)
    clean = clean_of(table.rows, row)
    assert clean is not None and (clean.kind, clean.defence) == ("clean", "blur")
    assert "behind" not in summary(table)


def test_what_it_costs_is_measured_behind_each_defence(library: Library, tmp_path: Path) -> None:
    plan = EvaluationPlan((write_set(tmp_path / "set"),), ("one",), ASKED)
    *_, cost = estimate(plan, library, device="cpu")
    assert isinstance(cost, Cost) and cost.cells == len(ASKED)
    columns = {(one.name, one.behind, one.aware) for one in ASKED}
    assert cost.measured == len(columns) == 8  # budgets of one column are measured once


def test_some_images_of_a_result(tiny: DualEncoder, four: Pairs) -> None:
    result = run(Typo(captions="all"), tiny, four)
    rows = torch.tensor([3, 1])
    some = result.some(rows)
    for name in ("labels", "images", "adversarial_images", "success", "l2", "correct_after"):
        assert torch.equal(getattr(some, name), getattr(result, name)[rows]), name
    assert some.adversarial_captions == tuple(result.adversarial_captions[k] for k in (3, 1))
    assert torch.equal(some.adversarial.cosines, result.adversarial.cosines[rows])


# --- the command line -------------------------------------------------------------------------


def test_evaluate_takes_defences(evaluate: Any) -> None:
    status, result, said = evaluate(models="one", attacks="clean,image",
                                    defence="none,blur:sigma=2", attacker="both")
    assert status == 0
    assert [(r["attack"], r.get("defence"), r.get("aware")) for r in result["rows"]] == [
        ("clean", None, None), ("image", None, None), ("clean", "blur:sigma=2", False),
        ("image", "blur:sigma=2", False), ("image", "blur:sigma=2", True)]
    assert result["defences"] == {"blur:sigma=2": {"name": "blur", "sigma": 2}}
    assert "image behind blur:sigma=2 (known)" in said.out


@pytest.mark.parametrize(("flags", "say"), [
    ({"defence": "jpg"}, "there is no defence 'jpg'"),
    ({"defence": "jpeg:quality=0"}, "from 1 to 100, not 0"),
    ({"defence": "blur,blur:sigma=1"}, "each defence once"),
    ({"attacker": "aware"}, "only know of a defence where there is one"),
    ({"attacker": "some"}, "invalid choice"),
    ({"defence": "jpeg", "task": "retrieval"}, "measured in classification")])
def test_evaluate_says_what_is_wrong(evaluate: Any, capsys: pytest.CaptureFixture[str],
                                     flags: dict[str, str], say: str) -> None:
    status, _, said = evaluate(models="one", **flags)
    assert status == 2 and said.err.startswith("error: ") and say in said.err




# --- calls, bundles ---------------------------------------------------------------------------


def test_the_calls_measure_behind_defences(two: Library, tmp_path: Path) -> None:
    examples = read_examples(write_set(tmp_path / "set"))
    attacks = named_attacks(["clean", "pgd"], {"steps": 2, "eps": "8/255"})
    guards = Guards.named(["none", "blur"], "both")
    *_, found = measure(two, ["plain"], attacks, examples, 0, guards=guards)
    assert [row.attack for row in found.rows] == [  # type: ignore[union-attr]
        "clean", "pgd", "clean behind blur", "pgd behind blur", "pgd behind blur (known)"]
    assert " clean behind blur, " in found.sentence()  # type: ignore[union-attr]
    for names, attacker in ((["blur", "blur"], "both"), (["none"], "aware"), (["blur"], "no")):
        with pytest.raises(InputError):
            Guards.named(names, attacker)
    assert parse_defences(["none"]) == [None]


def test_a_notebook_and_strangers_measure_behind_a_defence() -> None:
    table = evaluate_here("sample:photos", "pocket", "pgd", limit=2, steps=2,
                          defences=["bit-depth:bits=3"], attacker="both")
    names = ["pgd behind bit-depth:bits=3", "pgd behind bit-depth:bits=3 (known)"]
    assert [row.attack for row in table.rows] == names
    asked = {"models": ["pocket"], "attacks": ["pgd"], "limit": 2, "settings": {"steps": 2},
             "defences": ["bit-depth:bits=3"], "attacker": "both"}
    *_, answer = Service(Library()).evaluate(asked)
    assert [row["accuracy"] for row in answer.data["rows"]] == [  # type: ignore[union-attr]
        row.accuracy for row in table.rows]
    for wrong in ({"defences": ["jpg"]}, {"defences": 3}, {"attacker": 1}, {"attacker": "aware"}):
        with pytest.raises(InputError):
            list(Service(Library()).evaluate({**asked, "defences": [], "attacker": "unaware",
                                              **wrong}))


def test_strangers_attack_behind_a_defence() -> None:
    service = Service(Library())
    values = {"models": ["pocket"], "settings": {"steps": 2}, "defence": "blur", "aware": True}
    *_, answer = service.attack(values)
    (run,) = answer.data["runs"]  # type: ignore[union-attr]
    assert run["defence"] == {"name": "blur", "sigma": 1.0} and run["aware"] is True
    assert run["sentence"].startswith("pocket behind blur (the attacker knows it): ")
    for wrong in ({"defence": "blurr"}, {"defence": 3}, {"aware": True}, {"aware": "yes"},
                  {"defence": "noise-vote", "kind": "joint"}):
        with pytest.raises(InputError):
            list(service.attack({"models": ["pocket"], **wrong}))


@pytest.mark.parametrize("aware", [False, True])
def test_a_case_behind_a_defence_replays(tiny: DualEncoder, four: Pairs, aware: bool) -> None:
    library = cast(Library, SimpleNamespace(load=lambda name, device=None: tiny))
    one = Pairs(four.images[:1], four.captions, four.labels[:1])
    result = run_against(PGD(8 / 255, steps=2), Defended(tiny, BitDepth(3)), one, aware=aware)
    raw = bundle_bytes([result], {result.model: tiny.fingerprint})
    bundle = read_bundle(raw)
    checks = list(replay(bundle, library, rerun=True))
    assert all(check.holds for check in checks), checks
    (back,) = restored(bundle, library)
    assert back.defence == result.defence and back.aware is aware
    torch.testing.assert_close(back.adversarial.cosines, result.adversarial.cosines)


def test_attack_on_the_command_line(attack: Any, tmp_path: Path, models_dir: Path) -> None:
    status, result, said = attack(models="one", steps=2, defence="jpeg:quality=50",
                                  attacker="aware")
    assert status == 0 and "one behind jpeg (the attacker knows it): " in said.out
    assert result["runs"][0]["defence"] == {"name": "jpeg", "quality": 50}
    assert cli.main(["replay", str(tmp_path / "out" / "bundle.zip"), "--rerun", "--models-dir",
                     str(models_dir)]) == 0


def test_attack_says_what_is_wrong(attack: Any, tmp_path: Path) -> None:
    assert_refused(attack(attacker="aware"), "only know of a defence", tmp_path)
    assert_refused(attack(defence="jpeg:quality=101"), "not 101", tmp_path)
    assert_refused(attack(defence="noise-vote", kind="text"), "counts votes", tmp_path)


@pytest.mark.parametrize("size", [(1, 1), (3000, 20)])
def test_photos_of_odd_sizes(attack: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.effect_noise(size, 90).convert("RGB").save(tmp_path / "odd.png")
    for flags in ({"defence": "jpeg", "attacker": "aware"}, {"defence": "ttc"},
                  {"attack": "patch", "area": 0.1}, {"attack": "universal"},
                  {"attack": "typographic"}):
        status, result, _ = attack(image=tmp_path / "odd.png", models="one", steps=1, **flags)
        assert status == 0 and len(result["runs"]) == 1, flags
