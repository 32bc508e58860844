"""The classic attacks' own formulas, each step worked out by hand."""

from __future__ import annotations

import dataclasses

import torch
from attack_helpers import finish, parabola, parabola_slope, steps_of
from helpers import Linear, grid_images
from torch import Tensor

from explorer.attacks.budgets import Ball
from explorer.attacks.image.classic import APGD, MIFGSM, PGD, Noise, apgd_checkpoints, gradient
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs


def test_the_gradient_is_of_the_input_only(linear: Linear) -> None:
    x = grid_images(2, 4)
    value, slope = gradient(parabola, x)
    torch.testing.assert_close(value, parabola(x))
    torch.testing.assert_close(slope, parabola_slope(x))
    assert x.grad is None and not x.requires_grad and not value.requires_grad


def test_pgd_two_steps_by_hand() -> None:
    x = grid_images(2, 4, low=60, high=200)
    eps, step = 3 / 255, 2 / 255
    first, second = steps_of(PGD(eps, "linf", step, 2, False), parabola, x)
    torch.testing.assert_close(first, x + step * parabola_slope(x).sign())
    torch.testing.assert_close(second, x + eps * parabola_slope(x).sign())  # cut at eps

    first, second = steps_of(PGD(0.3, "l2", 0.2, 2, False), parabola, x)
    slope = parabola_slope(x)
    by_hand = x + 0.2 * slope / slope.flatten(1).norm(dim=1).view(2, 1, 1, 1)
    torch.testing.assert_close(first, by_hand)
    slope = parabola_slope(by_hand)
    moved = by_hand + 0.2 * slope / slope.flatten(1).norm(dim=1).view(2, 1, 1, 1) - x
    size = moved.flatten(1).norm(dim=1).view(2, 1, 1, 1)
    assert bool((size > 0.3).all()), "the case must reach the projection"
    torch.testing.assert_close(second, x + moved * 0.3 / size)


def test_pgd_returns_its_best_step() -> None:
    """On a narrow hill the last of too large steps is worse than an earlier one."""
    x = torch.full((1, 3, 4, 4), 100 / 255)
    attack = PGD(10 / 255, "linf", 4 / 255, 4, False)

    def hill(p: Tensor) -> Tensor:
        return -((p - 107 / 255) ** 2).flatten(1).sum(1)

    path = steps_of(attack, hill, x)  # 104, 108, 104, 108
    values = [float(hill(p)) for p in [x, *path]]
    assert float(hill(finish(attack.iterate(hill, x, PerImage(0, x))))) == max(values)
    odd = dataclasses.replace(attack, steps=3)
    torch.testing.assert_close(finish(odd.iterate(hill, x, PerImage(0, x))), x + 8 / 255)


def test_mi_fgsm_two_steps_of_momentum_by_hand() -> None:
    """g1 = d1 / |d1|; x1 = x + eps/2 sign g1; g2 = mu g1 + d2 / |d2|; x2 = x1 + eps/2 sign g2,
    on two pixels where the gradient turns round and only the momentum decides."""
    x = torch.full((1, 1, 1, 2), 0.5)
    slopes = [torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([[[[-1.0, -1.5]]]])]
    seen: list[Tensor] = []

    def loss(p: Tensor) -> Tensor:
        seen.append(p.detach())
        return (p * slopes[(len(seen) - 1) % 2]).flatten(1).sum(1)

    eps = 0.1
    g1 = torch.tensor([[[[3.0, 1.0]]]]) / 2  # mean absolute value 2
    g2 = torch.tensor([[[[-1.0, -1.5]]]]) / 1.25
    for mu in (0.0, 0.9):
        first, second = steps_of(MIFGSM(eps, "linf", 2, mu), loss, x)
        torch.testing.assert_close(first, x + eps / 2 * g1.sign())
        torch.testing.assert_close(second, first + eps / 2 * (mu * g1 + g2).sign())
    kept = (0.9 * g1 + g2).sign().flatten().tolist()
    assert kept == [1.0, -1.0], "with momentum the first pixel goes on, the second turns"


def test_apgd_checkpoints_are_the_papers() -> None:
    """w_j = ceil(p_j N): p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99."""
    assert apgd_checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert apgd_checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]
    assert apgd_checkpoints(1000)[:3] == [220, 410, 570]


def test_apgd_halves_its_step_on_a_plateau() -> None:
    """A score that never grows: after each checkpoint the next step is half as long, and it
    starts from the best point, the random start."""
    x = torch.full((1, 3, 4, 4), 128 / 255)
    eps, attack = 8 / 255, APGD(8 / 255, "l2", steps=20)
    calls: list[Tensor] = []

    def falling(p: Tensor) -> Tensor:
        calls.append(p.detach())
        return 1e-9 * p.flatten(1).sum(1) - float(len(calls))

    steps_of(attack, falling, x)
    start, checks = calls[0], apgd_checkpoints(20)
    assert checks[:3] == [5, 9, 12]
    ball, up = Ball("l2", eps), torch.full_like(x, 48**-0.5)
    size = 2 * eps
    for number, k in enumerate(checks[:-1]):
        size = size / 2
        ahead = ball.project(start + size * up, x)
        torch.testing.assert_close(calls[k + 1], start + 0.75 * (ahead - start),
                                   msg=f"after checkpoint {number + 1}")


def test_noise_has_full_size(four: Pairs) -> None:
    """Away from the box every value moves by eps; in L2 the whole change is eps long."""
    x = grid_images(2, 16, low=50, high=200)
    (linf,) = steps_of(Noise(4 / 255), parabola, x)
    torch.testing.assert_close((linf - x).abs(), torch.full_like(x, 4 / 255))
    share = float((linf > x).float().mean())
    assert 0.4 < share < 0.6
    (l2,) = steps_of(Noise(0.5, "l2"), parabola, x)
    torch.testing.assert_close((l2 - x).flatten(1).norm(dim=1), torch.tensor([0.5, 0.5]))


def test_random_numbers_follow_the_picture(four: Pairs) -> None:
    whole, part = PerImage(9, four.images), PerImage(9, four.images[2:3])
    assert torch.equal(whole.uniform()[2:3], part.uniform())
    assert torch.equal(whole.normal()[2:3], part.normal())
    assert torch.equal(whole.scalar()[2:3], part.scalar())
    assert not torch.equal(PerImage(8, four.images).uniform(), PerImage(9, four.images).uniform())
    rows = PerImage(9, four.images).uniform()
    assert not torch.equal(rows[0], rows[1])
