"""The patch and the written word: their area, place and print."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest
import torch
from attack_helpers import check
from helpers import CAPTIONS, grid_images
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_evaluation import finish, write_set

from explorer.actions.attack import attack_both
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan, spread
from explorer.analysis.evaluation.run import Evaluation
from explorer.attacks.image.area import Area
from explorer.attacks.image.classic import ImageAttack
from explorer.attacks.image.patch import PLACES, Patch, mask_of, printable, side_of
from explorer.attacks.image.typographic import LINES, Typographic
from explorer.attacks.registry import VISIBLE_ATTACKS, make_attack
from explorer.attacks.request import Request
from explorer.attacks.run import run
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.data.examples import FOLDER
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.stage import draw
from explorer.ui.attack.place import share_of
from explorer.ui.shared.forms import AttackForm

pytest_plugins = ["cli_fixtures"]
ALL: list[ImageAttack] = [
    Patch(0.1, steps=3), Patch(0.1, steps=3, disc=True, place="centre"),
    Patch(0.1, steps=3, strength=0.0), Typographic(word="dog"),
    Typographic(word="dog", paper=False, place="top")]


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_the_side_fits_the_area(share: float, high: int, wide: int, disc: bool) -> None:
    side = side_of(share, high, wide, disc)
    assert 0 <= side <= min(high, wide)
    assert float(mask_of(side, disc).sum()) <= share * high * wide + 1e-6
    if side < min(high, wide):  # the next one does not fit, or hardly
        assert float(mask_of(side + 2, disc).sum()) > share * high * wide or side + 2 > min(
            high, wide)


def test_sides_by_hand() -> None:
    assert side_of(0.25, 20, 20, False) == 10 and side_of(0.0, 20, 20, False) == 0
    assert side_of(1.0, 7, 9, False) == 7 and mask_of(2, True).sum() == 4


@pytest.mark.parametrize("attack", ALL, ids=repr)
def test_area_seed_and_halves(attack: ImageAttack, tiny: DualEncoder, four: Pairs) -> None:
    result = run(attack, tiny, four, seed=2, record=True)
    check(result, attack.ball)
    covered = attack.ball.distance(result.adversarial_images, result.images)
    assert bool((covered <= attack.eps + 1e-6).all()) and bool((covered > 0).any())
    again = run(attack, tiny, four, seed=2)
    assert torch.equal(result.adversarial_images, again.adversarial_images)
    alone = [run(attack, tiny, Pairs(four.images[k : k + 1], CAPTIONS, four.labels[k : k + 1]),
                 seed=2) for k in range(4)]
    for k, one in enumerate(alone):
        near = (one.adversarial_images[0] - result.adversarial_images[k]).abs()
        assert float((near > 0.03).float().mean()) < 0.02  # a sign near zero may turn over


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.5), st.integers(0, 2**20), st.booleans(), st.sampled_from(PLACES),
       st.integers(2, 20))
def test_any_patch_stays_in_its_area(eps: float, seed: int, disc: bool, place: str, size: int,
                                     ) -> None:
    clean = grid_images(2, size, seed)
    attack = Patch(eps, steps=2, disc=disc, place=place)
    steps = list(attack.iterate(lambda x: (x * x).sum((1, 2, 3)), clean, PerImage(seed, clean)))
    assert len(steps) == 2
    for step in steps:
        saved = attack.ball.quantise(step, clean)
        assert bool((Area("area", eps).distance(saved, clean) <= eps + 1e-6).all())
        assert 0 <= float(saved.min()) <= float(saved.max()) <= 1


def test_a_patch_finds_the_brightest_colour() -> None:
    """On a score that is the mean, the best patch is white."""
    clean = torch.zeros(1, 3, 16, 16)
    attack = Patch(0.25, steps=60, strength=0.0, place="top left")
    *_, last = attack.iterate(lambda x: x.sum((1, 2, 3)), clean, PerImage(0, clean))
    assert torch.equal(last[..., :8, :8], torch.ones(1, 3, 8, 8)) and float(last.sum()) == 3 * 64


def test_a_larger_patch_does_more_harm(pocket: DualEncoder, cat: Pairs) -> None:
    label = int(cat.labels[0])
    found = [float(run(Patch(eps, steps=12, views=1), pocket, cat).adversarial.probabilities[
        0, label]) for eps in (0.0, 0.15)]
    assert found[1] < found[0]


def test_the_print_has_300_dpi() -> None:
    clean = torch.full((3, 40, 40), 0.5)
    attacked = clean.clone()
    attacked[:, 10:20, 4:14] = torch.rand(3, 10, 10, generator=torch.Generator().manual_seed(0))
    attacked = (attacked * 255).round() / 255
    opened = Image.open(io.BytesIO(printable(clean, attacked, 2.54)))
    assert opened.size == (300, 300) and round(opened.info["dpi"][0]) == 300
    with pytest.raises(InputError, match="nothing to print"):
        printable(clean, clean)


@pytest.mark.parametrize("place", LINES)
def test_a_word_is_written_where_it_should_be(place: str) -> None:
    clean = torch.full((1, 3, 60, 60), 0.5)
    (seen,) = Typographic(word="cat", place=place).iterate(
        lambda x: x.sum((1, 2, 3)), clean, PerImage(0, clean))
    rows = (seen != clean).any(1)[0].any(1).nonzero()[:, 0]
    middle = float(rows.float().mean())
    assert {"top": middle < 20, "middle": 25 < middle < 35, "bottom": middle > 40}[place]
    assert float(seen.max()) == 1 and float(seen.min()) == 0  # black on white


def test_a_long_word_is_made_to_fit(tiny: DualEncoder, four: Pairs) -> None:
    found = run(Typographic(0.5, word="a very long word indeed"), tiny, four)
    check(found, Area("area", 0.5))
    assert not bool(run(Typographic(0.0), tiny, four).changed.any())


@pytest.mark.parametrize(("make", "say"), [
    (lambda: Patch(1.5), "nothing larger than the photo"), (lambda: Patch(-0.1), "share"),
    (lambda: Patch(float("nan")), "share"), (lambda: Patch(norm="linf"), "measured by area"),
    (lambda: Patch(place="moon"), "place must be"), (lambda: Patch(across=1.5), "across must be"),
    (lambda: Patch(down=float("nan")), "down must be"), (lambda: Patch(strength=2.0), "spread"),
    (lambda: Patch(steps=0), "steps"), (lambda: Patch(views=0), "views"),
    (lambda: Typographic(word=""), "empty"), (lambda: Typographic(word="   "), "empty"),
    (lambda: Typographic(word="x" * 61), "60"), (lambda: Typographic(word="a\nb"), "one line"),
    (lambda: Typographic(place="left"), "place"), (lambda: Typographic(size=0.0), "letters"),
])
def test_what_is_wrong_is_said(make: Callable[[], Any], say: str) -> None:
    with pytest.raises(InputError, match=say):
        make()


def test_the_doors(attack: Any, tmp_path: Path, models_dir: Path) -> None:
    status, result, said = attack(attack="patch", area=0.1, steps=2, models="one", eps="1/255",
                                  point="0.1,0.9")
    assert status == 0 and "of the area" in said.out
    assert (tmp_path / "out" / "one-patch-300dpi.png").exists()
    run_ = result["runs"][0]
    assert run_["attack"]["norm"] == "area" and run_["attack"]["eps"] == 0.1
    assert (run_["attack"]["place"], run_["attack"]["down"]) == ("point", 0.9)
    status, _, said = attack(attack="typographic", word="dog", models="one")
    assert status == 0
    for flags in ({"attack": "patch", "area": 2}, {"attack": "typographic", "word": ""},
                  {"attack": "patch", "point": "here"}, {"attack": "patch", "point": "2,0"}):
        status, _, said = attack(models="one", **flags)
        assert status == 2 and said.err.startswith("error: ")
    asked = (Asked("clean"), *spread("patch", Patch(0.1, steps=2), [1 / 255, 4 / 255]))
    assert len(asked) == 2
    table = finish(Evaluation(EvaluationPlan((write_set(tmp_path / "set"),), ("one",), asked),
                              Library([models_dir]), device="cpu"))
    assert table.rows[1].column == "patch 10.0% of the area"



def test_a_patch_lies_where_it_was_put() -> None:
    clean = torch.zeros(1, 3, 40, 40)
    for across, down, corner in ((0.5, 0.25, (5, 15)), (0.0, 1.0, (30, 0)), (1.0, 0.0, (0, 30))):
        attack = Patch(100 / 1600, steps=1, strength=0.0, place="point", across=across, down=down)
        *_, last = attack.iterate(lambda x: x.sum((1, 2, 3)), clean, PerImage(0, clean))
        rows, columns = last[0].sum(0).nonzero().T
        assert (int(rows.min()), int(columns.min())) == corner
        assert (int(rows.max()), int(columns.max())) == (corner[0] + 9, corner[1] + 9)


def test_a_click_is_a_share_of_what_the_model_sees() -> None:
    assert share_of((50, 50), (100, 100)) == (0.5, 0.5)
    assert share_of((100, 25), (200, 50)) == (0.5, 0.5)  # the sides are cut off
    assert share_of((0, 25), (200, 50)) == (0.0, 0.5)
    assert share_of((25, 99), (50, 100)) == (0.5, 1.0)
    assert share_of((85, 10), (200, 50)) == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize("name", VISIBLE_ATTACKS)
def test_the_form_measures_them_by_area(name: str) -> None:
    with gr.Blocks():
        form = AttackForm()
    values = [name, *(cast(Any, c).value for c in form.components()[1:])]
    assert form.build(1, list(values)) == VISIBLE_ATTACKS[name]()
    made = make_attack("image", name, {"eps": 0.1})
    shown = form.show(name, {**vars(made)})
    kept = [old if isinstance(new, dict) else new for old, new in zip(values, shown, strict=True)]
    assert form.build(1, kept) == made
    if name == "typographic":
        place = form.components().index(form.choices.own[name][1])
        with pytest.raises(InputError, match="write a word"):
            form.build(1, [*values[:place], "", *values[place + 1:]])


def test_the_whole_case_without_a_control_of_noise(two: Library) -> None:
    asked = Request((FOLDER / "cat.jpg",), CAPTIONS, (0,), Patch(0.1, steps=2),
                    models=("plain", "hard"))
    *_, last = attack_both(two, asked)
    assert last.outcome is not None
    page = draw(last.outcome)
    assert "of the area" in page and "Patch to print" in page and "rx-noise" not in page
