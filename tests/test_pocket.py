"""The embedded pair: what its cards claim is measured again, and its floors hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from explorer.analysis.metrics import Measured
from explorer.attacks.text.classic import BertAttack
from explorer.base.paths import ASSETS
from explorer.models.library import Library
from tools.pocket.measure import (
    BOTH,
    EVERYWHERE,
    FOUND,
    FURTHER,
    ORDER,
    OTHERS,
    SETS,
    jobs,
    measure_all,
)
from tools.pocket.reach import counts

ROOT = ASSETS.parent
DATA = Path(os.environ.get("EXPLORER_DATA", ROOT.parent / "shared" / "data"))
FLOORS = [
    ("pocket", "tiny_imagenet_val", "clean", 0.62), ("pocket", "imagenet_sample", "clean", 0.52),
    ("pocket", "cifar10_test", "clean", 0.58),
    ("pocket-robust", "tiny_imagenet_val", "clean", 0.48),
    ("pocket-robust", "tiny_imagenet_val", "pgd", 0.30),
    ("pocket-robust", "cifar10_test", "pgd", 0.25),
]


@pytest.mark.parametrize(("name", "part", "kind", "floor"), FLOORS)
def test_cards_claim_at_least_the_floors(name: str, part: str, kind: str, floor: float) -> None:
    numbers = Library().card(name).numbers[f"{part}/{kind}"]
    assert numbers["accuracy"] >= floor and numbers["n"] >= 500
    low, high = numbers["ci95"]
    assert low <= numbers["accuracy"] <= high


def test_the_standard_model_breaks_at_one_grey_level() -> None:
    assert Library().card("pocket").numbers["tiny_imagenet_val/pgd"]["accuracy"] <= 0.05


def test_the_robust_model_hides_no_gradient_and_holds_more_words() -> None:
    """A far stronger attack takes at most 3 points more than PGD-10 on the same pictures."""
    robust, plain = (Library().card(name).numbers for name in ("pocket-robust", "pocket"))
    pgd, strong = (robust[f"tiny_imagenet_val/{kind}"] for kind in ("pgd, same images", "strong"))
    assert pgd["n"] == strong["n"] == BOTH
    assert pgd["accuracy"] - 0.03 <= strong["accuracy"] <= pgd["accuracy"]
    held, fell = (numbers["tiny_imagenet_val/text"]["accuracy"] for numbers in (robust, plain))
    assert held - fell >= 0.10
    assert robust["tiny_imagenet_val/joint"]["accuracy"] >= 0.15


def test_the_report_shows_the_cards_numbers() -> None:
    page = (ROOT / "docs" / "pocket.md").read_text(encoding="utf-8")
    for name in ("pocket", "pocket-robust"):
        claimed = Library().card(name).numbers
        first = "tiny_imagenet_val"
        assert set(claimed) == {  # all that is measured of these models
            *(f"{part}/{kind}" for kind in ("clean", "pgd")
              for part in (first, "imagenet_sample", "cifar10_test")),
            *(f"{first}/{kind}" for kind in OTHERS)}
        for key, numbers in claimed.items():
            assert f"{numbers['accuracy'] * 100:.1f} %" in page, (name, key)


def test_the_models_stay_small() -> None:
    files = [f for f in (ASSETS / "models").rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 120e6
    assert max(f.stat().st_size for f in files) < 60e6


def test_the_folders_name_no_machine() -> None:
    for file in (ASSETS / "models").rglob("*.json"):
        if file.name not in ("tokenizer.json",):
            text = json.dumps(json.loads(file.read_text(encoding="utf-8")))
            assert "/work" not in text and "/root" not in text and "/home" not in text


def test_a_stopped_measurement_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every entry of the card is measured once for these weights, the stop in the middle or not."""
    from tools.pocket import measure as module

    library, asked, stop = Library(), list[str](), [3]

    def measured(model: object, file: Path, attack: object, limit: int | None) -> Measured:
        if len(asked) == stop[0]:
            raise KeyboardInterrupt
        asked.append(f"{file.stem} {attack} {limit}")
        return Measured("pocket", "clean", 0.0, 8, 0.5, (0.2, 0.8), 1.0)

    monkeypatch.setattr(module, "measure", measured)
    monkeypatch.setattr(module, "retrieve", lambda model, file, attack, limit: {
        "text@1": measured(model, file, attack, limit)})
    monkeypatch.setattr(module, "_told", lambda model, key: {})
    with pytest.raises(KeyboardInterrupt):
        measure_all(tmp_path, library, ("pocket",), tmp_path / "kept.json")
    assert len(asked) == 3
    stop[0] = -1
    found = measure_all(tmp_path, library, ("pocket",), tmp_path / "kept.json")["pocket"]
    names = [name for name, _ in jobs(library.load("pocket"), tmp_path)]
    sets = len(SETS) + len(FURTHER)
    assert len(asked) == len(set(asked)) == len(names) == (
        2 * sets + len(OTHERS) + len(EVERYWHERE) * (sets - 1) + 2 + len(ORDER))
    assert set(found) == {f"{n} text@1" if n.startswith(FOUND) else n for n in names}
    assert found["eurosat/clean"].ci95 == (0.2, 0.8)


def test_what_a_card_says_is_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    from tools.pocket import measure as module

    library, asked = Library(), list[str]()
    said = library.card("pocket").numbers
    for name in ("measure", "retrieve"):
        monkeypatch.setattr(module, name, lambda *given: asked.append(str(given)))
    jobs_ = [(key, job) for key, job in jobs(library.load("pocket"), tmp_path) if key in said]
    monkeypatch.setattr(module, "jobs", lambda model, data: iter(jobs_))
    found = measure_all(tmp_path, library, ("pocket",), tmp_path / "kept.json")["pocket"]
    assert not asked and found.keys() == {key for key, _ in jobs_}
    assert found["tiny_imagenet_val/clean"].accuracy == said["tiny_imagenet_val/clean"]["accuracy"]


CLAIMS = [key for key, _ in jobs(None, DATA)]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the image sets in {DATA} (EXPLORER_DATA)")
@pytest.mark.parametrize("key", CLAIMS)
@pytest.mark.parametrize("name", ["pocket", "pocket-robust"])
def test_the_cards_numbers_are_earned_again(name: str, key: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    library = Library()
    try:
        found = dict(jobs(library.load(name), DATA))[key]()
    finally:
        torch.set_num_threads(threads)
    for entry, row in found.items():
        claimed = library.card(name).numbers[entry]
        assert row.n == claimed["n"], entry
        assert row.accuracy == pytest.approx(claimed["accuracy"], abs=0.01), entry


def test_what_one_exchanged_word_can_do_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: the cat can become a dog, another's prompt; the fox's first word may become "cat",
    a name; with "pet", the cat and the dog share a prompt; the other words name nothing."""
    options = {"cat": [["dog", "pet"]], "dog": [["wet"]], "red fox": [["cat"], ["hen"]],
               "lamp": [["soft"]]}
    head: list[list[str]] = [[]] * 4  # "a photo of a"

    def proposals(self: BertAttack, captions: list[str], random: object) -> list[list[list[str]]]:
        assert all(c.startswith("a photo of a ") for c in captions)
        return [head + options[c.removeprefix("a photo of a ")] for c in captions]

    monkeypatch.setattr(BertAttack, "proposals", proposals)
    found = counts(["cat", "dog", "red fox", "lamp", "hen"], ["cat", "dog", "red fox", "lamp"])
    assert found == {"classes": 4, "one word": 3, "another": 1, "shared": 0, "named": 2, "none": 2}
    options["dog"] = [["pet"]]
    assert counts(["cat"], ["cat", "dog"])["shared"] == 2
