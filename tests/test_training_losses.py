"""Each loss against a computation by hand on tiny tensors, and recipes that say what is wrong."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer.base.errors import InputError
from explorer.training import losses
from explorer.training.attention import attention_map
from explorer.training.methods import METHODS
from explorer.training.recipe import Recipe
from explorer.training.schedule import follow, rate

ROOT = math.sqrt(0.5)
IMAGE = torch.tensor([[1.0, 0.0], [ROOT, ROOT], [0.0, 1.0]])
TEXT = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])  # the first and last caption are one
SCALE = torch.tensor(2.0)
GROUPS = torch.tensor([0, 1, 0])
SAME = GROUPS[:, None] == GROUPS[None]
OWN = torch.arange(3)


def log_softmax(row: list[float], at: int) -> float:
    return row[at] - math.log(sum(math.exp(v) for v in row))


def rows(a: Tensor, b: Tensor) -> list[list[float]]:
    return [[2.0 * sum(x * y for x, y in zip(r, c, strict=True)) for c in b.tolist()]
            for r in a.tolist()]


def test_the_papers_contrastive_term() -> None:
    by_hand = 0.0
    for logits in (rows(IMAGE, TEXT), rows(TEXT, IMAGE)):
        by_hand -= sum(log_softmax(row, i) for i, row in enumerate(logits)) / 3
    ours = losses.contrastive(IMAGE, TEXT, IMAGE, TEXT, SCALE, OWN, SAME)
    assert float(ours) == pytest.approx(by_hand, abs=1e-6)


def test_masked_targets_leave_the_same_caption_out() -> None:
    by_hand = 0.0
    for logits in (rows(IMAGE, TEXT), rows(TEXT, IMAGE)):
        for i, row in enumerate(logits):
            kept = [j for j in range(3) if j == i or not bool(SAME[i, j])]
            by_hand -= log_softmax([row[j] for j in kept], kept.index(i)) / 3
    ours = losses.contrastive(IMAGE, TEXT, IMAGE, TEXT, SCALE, OWN, SAME, "masked")
    assert float(ours) == pytest.approx(by_hand, abs=1e-6)


def test_soft_targets_share_among_the_same_caption() -> None:
    by_hand = 0.0
    for logits in (rows(IMAGE, TEXT), rows(TEXT, IMAGE)):
        for i, row in enumerate(logits):
            positive = [j for j in range(3) if bool(SAME[i, j])]
            by_hand -= sum(log_softmax(row, j) for j in positive) / len(positive) / 3
    ours = losses.contrastive(IMAGE, TEXT, IMAGE, TEXT, SCALE, OWN, SAME, "soft")
    assert float(ours) == pytest.approx(by_hand, abs=1e-6)


def test_all_targets_agree_where_captions_differ() -> None:
    apart = torch.eye(3, dtype=torch.bool)
    found = {float(losses.contrastive(IMAGE, TEXT, IMAGE, TEXT, SCALE, OWN, apart, t))
             for t in ("paper", "masked", "soft")}
    assert max(found) - min(found) < 1e-6


def test_tecoa_is_the_cross_entropy_over_all_captions() -> None:
    labels = torch.tensor([0, 1, 1])
    logits = rows(IMAGE, TEXT[:2])
    by_hand = -sum(log_softmax(row, int(y)) for row, y in zip(logits, labels, strict=True)) / 3
    assert float(losses.classify(IMAGE, TEXT[:2], labels, SCALE)) == pytest.approx(by_hand)


def test_fare_and_leaf_sum_over_the_embedding_and_average_over_rows() -> None:
    raw, frozen = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert float(losses.stay(raw, frozen)) == pytest.approx((1 + 4 + 1 + 4) / 2)


def test_the_unit_anchor_is_two_minus_two_cosines() -> None:
    by_hand = sum(2 - 2 * c for c in (1.0, ROOT, 0.0)) / 3
    assert float(losses.turn(IMAGE, TEXT)) == pytest.approx(by_hand, abs=1e-6)
    assert float(losses.turn(IMAGE, TEXT)) == pytest.approx(float(losses.stay(IMAGE, TEXT)),
                                                            abs=1e-6)


def test_the_divergence_points_from_the_model_to_its_guide() -> None:
    ours, guide = [0.0, math.log(3.0)], [0.0, 0.0]
    by_hand = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert float(losses.divergence(torch.tensor([ours]), torch.tensor([guide]))) == pytest.approx(
        by_hand, abs=1e-6)


def test_attention_maps_are_stretched_cosines_and_their_distance_a_length() -> None:
    patches = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]]])
    shown = attention_map(patches, torch.tensor([[1.0, 0.0]]), (2, 2), 2)
    by_hand = torch.tensor([[[1.0, 0.5], [0.0, (ROOT + 1) / 2]]])
    torch.testing.assert_close(shown, by_hand)
    assert float(losses.attention(shown, torch.zeros(1, 2, 2))) == pytest.approx(
        math.sqrt(1 + 0.25 + ((ROOT + 1) / 2) ** 2), abs=1e-6)


def test_the_gradient_of_equal_attention_is_zero_and_not_undefined() -> None:
    x = torch.ones(1, 2, 2, requires_grad=True)
    losses.attention(x, torch.ones(1, 2, 2)).backward()
    assert x.grad is not None and torch.equal(x.grad, torch.zeros(1, 2, 2))


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    seen = [rate(k, 100, 10) for k in range(101)]
    assert seen[0] == pytest.approx(1 / 11) and seen[10] == 1.0
    assert seen[55] == pytest.approx(0.5) and seen[100] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(seen[10:]))
    assert rate(1, 10, 50) == pytest.approx(2 / 3)  # warm-up takes a fifth of a short run


def test_the_average_forgets_its_start_and_follows() -> None:
    ours, now = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(ours.weight, 0.0)
    nn.init.constant_(now.weight, 1.0)
    follow(ours, now, 0.5, 0)  # d = 1 / 10
    assert float(ours.weight.detach()) == pytest.approx(0.9)
    follow(ours, now, 0.5, 100)  # d = 0.5
    assert float(ours.weight.detach()) == pytest.approx(0.95)


@pytest.mark.parametrize(("values", "said"), [
    ({"method": "magic"}, "method must be one of clip, tecoa"),
    ({"lr": 0}, "lr must be above 0"),
    ({"lr": float("nan")}, "lr must be a number"),
    ({"inner_steps": 2.5}, "inner_steps must be a whole number"),
    ({"inner_steps": 0}, "inner_steps must be from 1 to 100"),
    ({"eps": -1 / 255}, "eps must be from 0"),
    ({"eps": 2.0}, "wider than the pixel range"),
    ({"eps": "1/255"}, "eps must be a number"),
    ({"template": "a photo"}, "the template must have {}"),
    ({"freeze": "tail"}, "freeze takes image, text, scale, not 'tail'"),
    ({"method": "tecoa", "freeze": "image"}, "nothing is left to train"),
    ({"method": "tecoa", "attack_sides": "text"}, "attack_sides is a choice of mmcoa"),
    ({"lambda_img": 0, "lambda_txt": 0}, "with all weights at 0 there is no loss"),
    ({"random_start": 1}, "random_start must be on or off"),
    ({"batch": True}, "batch must be a whole number"),
])
def test_a_wrong_recipe_says_so(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("{", r"\{").replace("}", r"\}")):
        Recipe(**values)


def test_every_setting_describes_its_form() -> None:
    for field in dataclasses.fields(Recipe):
        form = field.metadata
        assert form["label"] and form["help"], field.name
        kind = str(field.type)
        if kind.startswith(("int", "float")):
            assert form["low"] < form["high"] and form["step"] > 0, field.name
        elif kind == "str":
            assert form.get("choices") or form.get("text"), field.name


def test_recipes_survive_json_and_count_their_steps() -> None:
    for method in METHODS:
        recipe = Recipe(method=method)
        assert Recipe(**recipe.as_dict()) == recipe and recipe.trained
    assert Recipe(batch=10, accumulation=2, epochs=3).total(100) == 15
    assert Recipe(steps=7).total(100) == 7
