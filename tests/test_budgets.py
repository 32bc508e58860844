"""Budgets as properties: projection and rounding, for any picture and any size."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import grid_images
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from explorer.attacks.amounts import NORMS, parse_eps
from explorer.attacks.budgets import Ball, norm_of
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage

QUICK = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 10_000)
norms = st.sampled_from(NORMS)
sizes = st.one_of(st.sampled_from([0.0, 0.5 / 255, 1 / 255, 1.7 / 255, 2 / 255, 8 / 255, 1.0]),
                  st.floats(0, 1))


def case(seed: int, spread: float) -> tuple[Tensor, Tensor]:
    """Clean pixels on the grid (black and white among them), and a point around them."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(-40, 296, (2, 3, 5, 5), generator=generator).clamp(0, 255).float()
    noise = torch.randn(levels.shape, generator=generator)
    return levels / 255, levels / 255 + spread * noise


@QUICK
@given(seeds, norms, sizes, sizes)
def test_projection(seed: int, norm: str, eps: float, spread: float) -> None:
    ball = Ball(norm, eps)
    clean, far = case(seed, spread)
    near = ball.project(far, clean)
    assert bool(((near >= 0) & (near <= 1)).all())
    assert bool((ball.distance(near, clean) <= eps + 1e-6).all())
    torch.testing.assert_close(ball.project(near, clean), near, atol=2e-7, rtol=0)
    inside = (ball.distance(far.clamp(0, 1), clean) <= eps * 0.999).view(-1, 1, 1, 1)
    kept = torch.where(inside, ball.project(far.clamp(0, 1), clean), far.clamp(0, 1))
    torch.testing.assert_close(kept, far.clamp(0, 1), atol=2e-7, rtol=0)


def test_the_l2_projection_is_the_nearest_point() -> None:
    clean = torch.full((1, 3, 2, 2), 0.5)
    far = clean + torch.linspace(0.1, 0.3, 12).view(1, 3, 2, 2)
    near = Ball("l2", 0.2).project(far, clean)
    torch.testing.assert_close(near - clean, (far - clean) * 0.2 / (far - clean).norm())


@QUICK
@given(seeds, norms, sizes, sizes)
@example(0, "linf", 0.0, 0.1)
@example(1, "l2", 1e-4, 0.1)
def test_quantise(seed: int, norm: str, eps: float, spread: float) -> None:
    ball = Ball(norm, eps)
    clean, far = case(seed, spread)
    near = ball.project(far, clean)
    grid = ball.quantise(near, clean)
    assert torch.equal((grid * 255).round() / 255, grid), "not on the 8-bit grid"
    assert bool(((grid >= 0) & (grid <= 1)).all())
    assert bool((norm_of(grid.double() - clean.double(), norm) <= eps + 1e-6).all())
    assert torch.equal(ball.quantise(grid, clean), grid), "whole levels must stay as they are"
    assert float((grid - near).abs().max()) < 1 / 255 + 1e-6


@QUICK
@given(seeds, sizes)
def test_quantise_takes_the_nearest_allowed_level_in_linf(seed: int, eps: float) -> None:
    """Against trying every level of every pixel."""
    ball = Ball("linf", eps)
    clean, far = case(seed, eps)
    near = ball.project(far, clean)
    levels = torch.arange(256).double() / 255
    error = (near.double().unsqueeze(-1) - levels).abs()
    own = (clean.double() * 255).round() / 255
    error[(levels - own.unsqueeze(-1)).abs() > eps + 4e-9] = math.inf
    chosen = (ball.quantise(near, clean).double() - near.double()).abs()
    torch.testing.assert_close(chosen, error.amin(-1), atol=1e-6, rtol=0)


def test_every_grey_level_survives() -> None:
    levels = (torch.arange(768).view(1, 3, 16, 16) % 256).float() / 255
    for norm in NORMS:
        assert torch.equal(Ball(norm, 0.0).quantise(levels, levels), levels)


def test_l2_rounding_uses_most_of_the_budget() -> None:
    clean = grid_images(2, 16, low=60, high=190)
    far = Ball("l2", 0.5).start(clean, PerImage(0, clean))
    far = Ball("l2", 0.5).project(clean + 100 * (far - clean), clean)
    kept = Ball("l2", 0.5).distance(Ball("l2", 0.5).quantise(far, clean), clean)
    assert bool(((kept > 0.49) & (kept <= 0.5 + 1e-6)).all())


@pytest.mark.parametrize("norm", NORMS)
def test_the_random_start_fills_the_ball(norm: str) -> None:
    clean = torch.full((200, 3, 2, 2), 0.5) + torch.arange(200).view(-1, 1, 1, 1) * 1e-4
    ball = Ball(norm, 0.1)
    size = ball.distance(ball.start(clean, PerImage(1, clean)), clean)
    assert bool((size <= 0.1 + 1e-6).all())
    # twelve dimensions: the median radius of a uniform point is 0.5 ** (1/12) of the ball's
    assert float(size.median()) == pytest.approx(0.1 * 0.5 ** (1 / 12), rel=0.02)
    assert float(size.min()) < 0.09


@pytest.mark.parametrize("norm", NORMS)
def test_direction(norm: str) -> None:
    slope = torch.tensor([3.0, -4.0, 0.0]).view(1, 3, 1, 1).repeat(2, 1, 1, 1)
    slope[1] = 0
    want = [1.0, -1.0, 0.0] if norm == "linf" else [0.6, -0.8, 0.0]
    got = Ball(norm, 0.1).direction(slope)
    torch.testing.assert_close(got[0].flatten(), torch.tensor(want))
    assert not bool(got[1].any()), "no direction where the gradient is zero"


@pytest.mark.parametrize(("text", "value"), [
    ("1/255", 1 / 255), ("8/255", 8 / 255), ("0.5/255", 0.5 / 255), ("0", 0.0), ("0.004", 0.004),
    (" 1 / 2 ", 0.5), ("1e-3", 0.001), (0.25, 0.25), (0, 0.0),
])
def test_parse_eps(text: str | float, value: float) -> None:
    assert parse_eps(text) == pytest.approx(value, abs=0)


@pytest.mark.parametrize("text", [
    "1/0", "0/0", "nan", "inf", "-inf", "-1/255", "1/-255", "-0.1", "four", "", "/", "1/", "/255",
    "1/2/3", "1e400", "nan/1", "1,5", "0x10", float("nan"), float("inf"), -1.0, None, 10**400,
])
def test_parse_eps_refuses(text: str) -> None:
    with pytest.raises(InputError, match="^eps must be a (finite )?number.*not '"):
        parse_eps(text)


@QUICK
@given(st.text(max_size=12))
def test_parse_eps_takes_any_text(text: str) -> None:
    try:
        value = parse_eps(text)
    except InputError as error:
        assert str(error).startswith("eps must be")
    else:
        assert value >= 0 and math.isfinite(value)


@pytest.mark.parametrize("eps", [0, 1 / 255, 1.5 / 255, 4 / 255, 0.03, 1.0])
def test_rounding_in_float32_is_rounding_in_double_to_the_bit(eps: float) -> None:
    levels = torch.arange(256)
    assert torch.equal((levels.double() / 255).float(), levels.float() / 255)
    random = torch.Generator().manual_seed(5)
    clean = torch.randint(0, 256, (6, 3, 40, 40), generator=random).float() / 255
    x = (clean + eps * (2 * torch.rand(clean.shape, generator=random) - 1)).clamp(0, 1)
    x[1], x[2] = clean[1], (clean[2] + 0.5 / 255).clamp(0, 1)  # nothing, and halves
    x[3] = (clean[3] - eps).clamp(0, 1)
    kept = x.clone(), clean.clone()
    change = ((x - clean) * 255).double()
    size = change.abs()
    most = math.floor(eps * 255 + 1e-6)
    whole = (size.floor() + (size - size.floor() >= 0.5)).clamp(max=most) * change.sign()
    exact = (((clean.double() * 255).round() + whole).clamp(0, 255) / 255).float()
    assert torch.equal(Ball("linf", eps).quantise(x, clean), exact)
    assert torch.equal(x, kept[0]) and torch.equal(clean, kept[1])
