"""Evaluations as a library: numbers, resuming, what cannot be read, budgets and costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import grid_images
from sets import write_folder

from explorer.analysis import metrics
from explorer.analysis.evaluation.cost import Cost, duration, estimate
from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan, read_budgets, spread, with_eps
from explorer.analysis.evaluation.rows import Row, Table
from explorer.analysis.evaluation.run import Evaluation
from explorer.analysis.evaluation.sets import digest_of, known_sets, open_all, split_names
from explorer.analysis.retrieval import evaluate_retrieval
from explorer.attacks.image.classic import FGSM, PGD
from explorer.attacks.joint import Separate
from explorer.attacks.text.classic import Typo
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.pairs import to_image
from explorer.data.sets import read_examples, read_retrieval
from explorer.models.library import Library

pytest_plugins = ["cli_fixtures"]
NAMES = ("cat", "dog", "red car")
ATTACKS = (Asked("clean"), *spread("image", PGD(steps=2), [4 / 255, 16 / 255]),
           Asked("text", Typo(objective="kl", captions="all")),
           Asked("joint", Separate(image=PGD(eps=8 / 255, steps=2), text=Typo())))


def write_set(folder: Path, n: int = 7, seed: int = 4) -> str:
    """n small pictures of three classes, one of them damaged -> the path of their CSV."""
    folder.mkdir(exist_ok=True)
    for i, pixels in enumerate(grid_images(n, 32, seed=seed)):
        to_image(pixels).save(folder / f"{i}.png")
    rows = [f"{i}.png,{NAMES[i % 3]}" for i in range(n)]
    write_folder(folder, {"4.png": b"damaged", "set.csv": "\n".join(
        ["image,label", *rows]).encode()})
    captions = [f"{i}.png,{word} {NAMES[i % 3]} {i}" for i in range(n) for word in ("one", "a")]
    write_folder(folder, {"pairs.csv": "\n".join(["image,caption", *captions]).encode()})
    return str(folder / "set.csv")


@pytest.fixture
def library(models_dir: Path) -> Library:
    return Library([models_dir])


def plan(*sets: str, **more: Any) -> EvaluationPlan:
    given = {"models": ("one", "two"), "asked": ATTACKS, "batch": 2, **more}
    return EvaluationPlan(tuple(sets), **given)


def finish(running: Evaluation) -> Table:
    for _ in running.steps():
        pass
    return running.table


def numbers(table: Table) -> list[tuple[Any, ...]]:
    return [(*row.place, row.n, row.drawn, dict(row.scores), row.whole) for row in table.rows]


# --- numbers ------------------------------------------


def test_the_numbers_are_those_of_the_plain_loop(library: Library, tmp_path: Path) -> None:
    path = write_set(tmp_path / "set")
    table = finish(Evaluation(plan(path), library, device="cpu"))
    assert [row.place[1:] for row in table.rows] == [
        (model, one.name, one.eps) for model in ("one", "two") for one in ATTACKS]
    for row, (model, one) in zip(table.rows, [(m, a) for m in ("one", "two") for a in ATTACKS],
                                 strict=True):
        encoder = library.load(model, "cpu")
        plain = metrics.evaluate_row(encoder, one.name, one.attack,
                                     read_examples(path).batches(encoder.size, 3))
        score = row.scores["accuracy"]
        assert (score.share, score.ci95, row.n) == (plain.accuracy, plain.ci95, plain.n)
        assert (row.drawn, row.whole, row.data) == (7, True, "set.csv")
    assert table.as_dict()["skipped"] == 1


def test_retrieval_is_that_of_the_plain_loop(library: Library, tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    path = str(tmp_path / "set" / "pairs.csv")
    table = finish(Evaluation(plan(path, models=("one",), task="retrieval"), library,
                              device="cpu"))
    for row, one in zip(table.rows, ATTACKS, strict=True):
        plain = evaluate_retrieval(library.load("one", "cpu"), one.attack, read_retrieval(path))
        assert row.detail["clean"][0]["hits"] == plain.clean[0].hits
        found = {(r.direction, r.k): (r.hits, r.n) for r in plain.attacked or plain.clean}
        assert {name: (s.hits, s.n) for name, s in row.scores.items() if "R@" in name} == {
            f"{'TR' if way == 'text' else 'IR'} R@{k}": hits for (way, k), hits in found.items()}
        assert ("success TR" in row.scores) == (one.name != "clean")


def test_unfinished_numbers_come_while_it_runs(library: Library, tmp_path: Path) -> None:
    running = Evaluation(plan(write_set(tmp_path / "set"), models=("one",)), library, device="cpu")
    events = list(running.steps())
    firsts = [e for e in events if isinstance(e, Row) and e.attack == "clean"]
    assert [(row.n, row.whole) for row in firsts] == [
        (2, False), (4, False), (5, False), (6, False), (6, True)]
    done = [e.done for e in events if isinstance(e, Progress)]
    assert done == sorted(done) and done[-1] == running.total == 7 * len(ATTACKS)


# --- stopping and going on ------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of an attack was asked for."""
    calls: list[int] = []
    plain = metrics.still_right

    def count(model: Any, attack: Any, pairs: Any, correct: Any, *rest: Any) -> Iterator[Any]:
        calls.append(len(pairs))
        return plain(model, attack, pairs, correct, *rest)

    monkeypatch.setattr(metrics, "still_right", count)
    return calls


def test_a_stopped_evaluation_goes_on_where_it_was(
        library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = plan(write_set(tmp_path / "set"), models=("one",), asked=ATTACKS[:2])
    whole = finish(Evaluation(wanted, library, device="cpu"))
    calls = counted(monkeypatch)
    steps = Evaluation(wanted, library, Store(tmp_path / "keep"), device="cpu").steps()
    for event in steps:
        if isinstance(event, Row) and event.attack == "image" and event.n == 4:
            break
    steps.close()  # type: ignore[attr-defined]
    assert calls == [2, 2] and not list((tmp_path / "keep" / "cells").iterdir())
    with open(tmp_path / "keep" / "parts-0.jsonl", "a") as file:
        file.write('{"cell": "x", "ba')  # as a killed process leaves it
    again = Evaluation(wanted, library, Store(tmp_path / "keep"), device="cpu")
    assert numbers(finish(again)) == numbers(whole)
    assert calls == [2, 2, 1, 1]  # the rest alone; one picture of the third batch is damaged
    assert len(list((tmp_path / "keep" / "cells").iterdir())) == 2
    assert not list((tmp_path / "keep").glob("parts-*"))


def test_finished_cells_are_never_computed_again(
        library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_set(tmp_path / "set")
    first = finish(Evaluation(plan(path, asked=ATTACKS[:2]), library, Store(tmp_path / "keep"),
                              device="cpu"))
    calls = counted(monkeypatch)
    again = finish(Evaluation(plan(path, asked=ATTACKS[:2]), library, Store(tmp_path / "keep"),
                              device="cpu"))
    assert not calls and numbers(again) == numbers(first)
    more = plan(path, asked=ATTACKS[:3], models=("one",))  # one more budget
    finish(Evaluation(more, library, Store(None, tmp_path / "keep"), device="cpu"))
    assert calls == [2, 2, 1, 1]
    other = plan(path, asked=ATTACKS[:2], models=("one",), seed=1)  # other random starts
    finish(Evaluation(other, library, Store(tmp_path / "keep"), device="cpu"))
    assert len(calls) == 8


@pytest.mark.parametrize("content", ["", "{", "[]", '{"row": {"hits": 9}}', '{"row": {"hits": 9, '
                                     '"n": 1}}'])
def test_a_damaged_cell_is_measured_again(library: Library, tmp_path: Path, content: str) -> None:
    wanted = plan(write_set(tmp_path / "set"), models=("one",), asked=ATTACKS[:2])
    first = finish(Evaluation(wanted, library, Store(tmp_path / "keep"), device="cpu"))
    for path in (tmp_path / "keep" / "cells").iterdir():
        path.write_text(content)
    again = finish(Evaluation(wanted, library, Store(tmp_path / "keep"), device="cpu"))
    assert numbers(again) == numbers(first)


def test_sets_with_the_same_labels_are_told_apart(tmp_path: Path) -> None:
    one, two = (read_examples(write_set(tmp_path / name, seed=seed))
                for name, seed in (("one", 1), ("two", 2)))
    assert one.labels == two.labels and digest_of(one) != digest_of(two)
    assert digest_of(one) == digest_of(read_examples(tmp_path / "one" / "set.csv"))


# --- what cannot be read ------------------------------------------


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(
        library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXPLORER_DATA", "HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    path = write_set(tmp_path / "set")
    blind = tmp_path / "blind"
    write_set(blind)
    for picture in blind.glob("*.png"):
        picture.write_bytes(b"no picture")
    real = library.load

    def load(name: str, device: str | None = None) -> Any:
        if name == "two":
            raise InputError("the hub is not reachable")
        return real(name, device)

    monkeypatch.setattr(library, "load", load)
    wanted = plan(path, "imagenet", str(blind / "set.csv"), asked=ATTACKS[:2])
    table = finish(Evaluation(wanted, library, device="cpu"))
    assert [(row.data, row.model) for row in table.rows] == [(f"set.csv ({path})", "one")] * 2
    assert len(table.left_out) == 3
    assert "ImageNet cannot be read" in table.left_out[0]
    assert "none of the 7 images of set.csv can be read" in table.left_out[1]
    assert table.left_out[2] == "two: the hub is not reachable"


def test_an_attack_that_cannot_run_leaves_the_others(
        library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = metrics.still_right

    def refuse(model: Any, attack: Any, *rest: Any) -> Any:
        if isinstance(attack, FGSM):
            raise InputError("it has no gradient")
        return plain(model, attack, *rest)

    monkeypatch.setattr(metrics, "still_right", refuse)
    asked = (Asked("clean"), Asked("fgsm", FGSM()), Asked("image", PGD(steps=1)))
    table = finish(Evaluation(plan(write_set(tmp_path / "set"), models=("one",), asked=asked),
                              library, device="cpu"))
    assert [row.attack for row in table.rows] == ["clean", "image"]
    assert table.left_out == ["the attack fgsm: it has no gradient"]


@pytest.mark.parametrize(("names", "word"), [
    (("nowhere/at/all",), "there is no file or folder nowhere/at/all"),
    (("cifar-10",), "no file, folder or known set 'cifar-10'; known are cifar10"),
    (("flickr30k", "imagenet"), "Flickr30k cannot be read"),
    (("sample:nothing",), "there is no data set 'sample:nothing'"),
])
def test_nothing_to_measure_is_one_sentence(names: tuple[str, ...], word: str,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPLORER_DATA", raising=False)
    with pytest.raises(InputError, match=word):
        open_all(plan(*names))


@pytest.mark.parametrize(("change", "word"), [
    ({"models": ()}, "choose a model"), ({"asked": ()}, "choose an attack"),
    ({"models": ("one", "one")}, "named twice"), ({"limit": 0}, "limit must be at least 1"),
    ({"limit": 1, "task": "retrieval"}, "limit must be at least 2"), ({"batch": 0}, "batch"),
    ({"task": "counting"}, "task must be"),
    ({"asked": tuple(Asked(f"a{k}") for k in range(1001))}, "at most 2,000"),
])
def test_a_plan_refuses(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        plan("set", **change)


# --- budgets, names, costs ------------------------------------------


@pytest.mark.parametrize(("text", "grey", "found"), [
    ("1/255,2/255", False, [1, 2]), ("1, 2.5 ,4", True, [1, 2.5, 4]), ("8/255; 1", True, [8, 1]),
    ("0", True, [0]),
])
def test_budgets_are_read(text: str, grey: bool, found: list[float]) -> None:
    assert [eps * 255 for eps in read_budgets(text, grey)] == pytest.approx(found)


@pytest.mark.parametrize(("text", "word"), [
    ("", "give a budget"), (" , ", "give a budget"), ("1,,2", "one comma between"),
    ("one", "must be a number"), ("-1", "at least 0"), ("nan", "finite"), ("1,1", "given twice"),
    (",".join(map(str, range(30))), "at most 20"), ("1/0", "number or a fraction"),
])
def test_budgets_that_are_none(text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        read_budgets(text, grey=True)


def test_a_larger_budget_gets_steps_that_cross_it() -> None:
    attack = PGD(eps=1 / 255, steps=10)
    assert with_eps(attack, 2 / 255) == PGD(eps=2 / 255, steps=10)
    wide = with_eps(attack, 16 / 255)
    assert isinstance(wide, PGD) and wide.step_size == pytest.approx(4 / 255)
    asked = with_eps(PGD(eps=1 / 255, step=0.5 / 255), 16 / 255)  # what was set stays
    assert isinstance(asked, PGD) and asked.step_size == 0.5 / 255
    both = with_eps(Separate(image=attack, text=Typo()), 3 / 255)
    assert isinstance(both, Separate) and both.image.eps == 3 / 255
    assert [one.attack for one in spread("text", Typo(), [1.0, 2.0])] == [Typo()]


def test_a_plan_survives_json() -> None:
    wanted = plan("a", "b", limit=5, seed=3)
    assert EvaluationPlan.read(json.loads(json.dumps(wanted.as_dict()))) == wanted


def test_names_with_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").mkdir()
    assert split_names("a,b") == ("a,b",) and split_names("a, c") == ("a", "c")
    with pytest.raises(InputError, match="one comma"):
        split_names("a,,c")


def test_known_sets_say_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub" / "uoft-cs___cifar100").mkdir(parents=True)
    (tmp_path / "cifar-10-batches-py").mkdir()
    found = {one.title: one for one in known_sets(tmp_path)}
    assert found["CIFAR-10"].how == "in the data folder" and found["CIFAR-10"].here
    assert found["CIFAR-100"].here and "stored here" in found["CIFAR-100"].how
    assert found["DTD" if "DTD" in found else "Describable Textures"].how == (
        "put it into the folder dtd")
    assert len(found) == 19 and sum(one.here for one in found.values()) == 2


def test_the_cost_is_measured_before_the_start(library: Library, tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", 40)
    told = list(estimate(plan(path, "imagenet", asked=ATTACKS[:3]), library, tmp_path,
                         device="cpu"))
    cost = told[-1]
    assert isinstance(cost, Cost) and all(isinstance(one, str) for one in told[:-1])
    assert cost.seconds > 0 and (cost.images, cost.cells, cost.measured) == (40, 6, 4)
    assert "ImageNet cannot be read" in cost.sentence() and "6 numbers on 40 images" in (
        cost.sentence())
    long = list(estimate(plan(path, asked=ATTACKS[:3]), library, device="cpu"))[-1]
    assert isinstance(long, Cost)
    pairs = str(tmp_path / "set" / "pairs.csv")
    both = list(estimate(plan(pairs, task="retrieval", models=("one",)), library, device="cpu"))
    assert isinstance(both[-1], Cost) and both[-1].measured == 4


@pytest.mark.parametrize(("seconds", "words"), [
    (0.2, "1 s"), (12.4, "12 s"), (83, "85 s"), (300, "5 min"), (9_000, "2.5 h"),
    (400_000, "5 days")])
def test_durations_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words
