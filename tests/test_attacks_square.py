"""Square: its schedule, its squares, and that it never asks for a gradient."""

from __future__ import annotations

import pytest
import torch
from attack_helpers import finish, objective, parabola, steps_of
from helpers import grid_images
from torch import Tensor

from explorer.attacks.image.classic import Square
from explorer.attacks.image.square import bump, hill, share_of, side_of
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder


def test_the_papers_schedule() -> None:
    """p is halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000 queries."""
    at = [0, 10, 11, 50, 51, 200, 201, 500, 501, 1000, 1001, 2000, 2001, 4000, 4001, 6000, 6001,
          8000, 8001, 9999]
    halvings = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]
    assert [share_of(q, 10_000, 0.8) for q in at] == [0.8 / 2**h for h in halvings]
    assert [share_of(q, 100, 0.8) for q in (0, 1, 5, 6, 99)] == [
        share_of(q, 10_000, 0.8) for q in (0, 100, 500, 600, 9900)]


def test_sides_of_squares() -> None:
    assert side_of(0.25, 100, "linf") == 50 and side_of(0.25, 100, "l2") == 51
    assert side_of(1e-9, 100, "linf") == 1 and side_of(1e-9, 100, "l2") == 3
    for size in (4, 5, 32):
        assert side_of(0.99, size, "linf") < size
        odd = side_of(0.99, size, "l2")
        assert odd <= size and odd % 2 == 1


def test_hills_by_hand() -> None:
    """In the middle 1 + 1/4 + 1/9; one pixel out 1/4 + 1/9; at the rim 1/9."""
    rim, ring, top = 1 / 9, 1 / 9 + 1 / 4, 1 / 9 + 1 / 4 + 1
    want = torch.tensor([[rim] * 5, [rim, ring, ring, ring, rim], [rim, ring, top, ring, rim],
                         [rim, ring, ring, ring, rim], [rim] * 5])
    torch.testing.assert_close(hill(5, 5), want)
    for side in (3, 5, 9, 31):
        both = bump(side)
        assert both.shape == (side, side) and abs(float(both.norm()) - 1) < 1e-5
        assert bool((both[: side // 2] > 0).all()) and bool((both[side // 2 :] < 0).all())


def test_the_first_query_is_stripes() -> None:
    x = grid_images(2, 8, low=50, high=200)
    (first, *_) = steps_of(Square(4 / 255, queries=20), parabola, x)
    moved = first - x
    torch.testing.assert_close(moved.abs(), torch.full_like(x, 4 / 255))
    assert torch.equal(moved.sign(), moved[:, :, :1].sign().expand_as(moved)), "one sign a column"
    assert 0.2 < float((moved > 0).float().mean()) < 0.8
    assert not torch.equal(moved[0].sign(), moved[1].sign())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_step_stays_inside_and_never_falls(norm: str) -> None:
    x = grid_images(2, 16, low=0, high=256)
    eps = {"linf": 8 / 255, "l2": 1.0}[norm]
    attack = Square(eps, norm, queries=60)
    path = steps_of(attack, parabola, x)
    assert len(path) == 60
    values = torch.stack([parabola(p) for p in path])
    assert bool((values[1:] >= values[:-1]).all())
    assert bool((values[-1] > values[0]).all()), "some squares must help"
    for p in path:
        assert bool((attack.ball.distance(p, x) <= eps + 1e-5).all())
        assert float(p.min()) >= 0 and float(p.max()) <= 1


def test_a_square_in_linf_is_one_colour_of_full_size() -> None:
    x = torch.full((1, 3, 16, 16), 0.5)
    attack = Square(4 / 255)
    draws = iter([0.5, 0.25, 0.1, 0.9, 0.1])  # where: top, left; signs of the three channels
    moved = attack._move(x[0], x[0], 4, lambda: next(draws)) - x[0]
    want = torch.zeros(3, 16, 16)
    want[:, 6:10, 3:7] = 4 / 255 * torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1)
    torch.testing.assert_close(moved, want)


def test_a_move_in_l2_keeps_the_length() -> None:
    """What window two gives up, and what was unused, goes to window one."""
    x = torch.full((1, 3, 17, 17), 0.5)
    attack = Square(0.5, "l2")
    start = attack._start(x, PerImage(1, x))
    torch.testing.assert_close((start - x).norm(), torch.tensor(0.5))
    draws = iter([0.0, 0.0, 0.9, 0.9, 0.1, 0.1, 0.9, 0.1])
    moved = attack._move(start[0], x[0], 5, lambda: next(draws)) - x[0]
    torch.testing.assert_close(moved.norm(), torch.tensor(0.5), atol=1e-4, rtol=0)
    assert not bool(moved[:, 11:16, 11:16].any()), "window two is empty"
    before = start[0] - x[0]
    for window, was in ((moved[:, :5, :5], before),):
        gained = window.square().sum((1, 2)) - was[:, :5, :5].square().sum((1, 2))
        torch.testing.assert_close(gained, was[:, 11:16, 11:16].square().sum((1, 2)),
                                   atol=1e-5, rtol=0)


@pytest.mark.parametrize("goal", ["classification", "similarity", "embedding"])
def test_no_gradient_is_ever_asked_for(goal: str, tiny: DualEncoder, four: Pairs,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a black box has no gradient")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    seen: list[bool] = []
    original = tiny.encode_image

    def watched(pixels: Tensor, fast: bool = False) -> Tensor:
        seen.append(torch.is_grad_enabled() or pixels.requires_grad)
        return original(pixels, fast)

    loss = objective(tiny, four, goal)
    monkeypatch.setattr(tiny, "encode_image", watched)
    list(Square(8 / 255, queries=20).iterate(loss, four.images, PerImage(0, four.images)))
    assert seen and not any(seen)


def test_it_stops_for_an_image_once_it_is_broken(tiny: DualEncoder, four: Pairs) -> None:
    with torch.no_grad():
        near = tiny.encode_image(four.images) @ tiny.encode_text(four.captions).T
    labels = near.argmax(1)
    labels[0] = near[0].argmin()  # wrong from the start: one question, and one as it is saved
    loss = objective(tiny, Pairs(four.images, four.captions, labels))
    attack = Square(1 / 255, queries=40)
    found = finish(attack.iterate(loss, four.images, PerImage(0, four.images)))
    asked = loss.counts.tolist()
    met = loss.reached(attack.ball.quantise(found, four.images)).tolist()
    assert asked[0] == 2 and met[0] and not all(met)
    assert [n < 40 for n in asked] == met
