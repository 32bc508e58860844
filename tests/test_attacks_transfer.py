"""Views that attacks look at: blurred gradients, darkened copies, shrunk and moved pictures, and
the mean over random ones."""

from __future__ import annotations

import pytest
import torch
from attack_helpers import finish, objective, parabola, parabola_slope, steps_of
from helpers import Linear, grid_images
from torch import Tensor

from explorer.attacks.image.classic import EOT, MIFGSM, PGD, Transfer
from explorer.attacks.image.transfer import gaussian_kernel, placed
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder

ONE = torch.ones(1)


@pytest.mark.parametrize("side", [1, 3, 5, 15])
def test_the_kernel_sums_to_one(side: int) -> None:
    kernel = gaussian_kernel(side)
    assert kernel.shape == (1, 1, side, side)
    torch.testing.assert_close(kernel.sum(), torch.tensor(1.0))
    assert torch.equal(kernel, kernel.flip(2)) and torch.equal(kernel, kernel.transpose(2, 3))
    if side > 1:  # the edge is at 3 standard deviations
        line = kernel[0, 0, side // 2]
        torch.testing.assert_close(line[0] / line[side // 2], torch.exp(torch.tensor(-4.5)))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_with_all_switched_off_it_is_mi_fgsm(norm: str, tiny: DualEncoder, four: Pairs) -> None:
    loss = objective(tiny, four)
    off = Transfer(4 / 255, norm, steps=4, diversity=0.0, scales=1, blur=1)
    plain = MIFGSM(4 / 255, norm, steps=4)
    for one, same in zip(steps_of(off, loss, four.images), steps_of(plain, loss, four.images),
                         strict=True):
        torch.testing.assert_close(one, same, atol=1e-6, rtol=0)


def test_darkened_copies_by_hand() -> None:
    """SI: the sum of the gradients at x, x/2 and x/4; the chain rule adds the factor."""
    x = grid_images(2, 4)
    seen: list[Tensor] = []

    def loss(p: Tensor) -> Tensor:
        seen.append(p.detach())
        return parabola(p)

    attack = Transfer(scales=3, diversity=0.0, blur=1)
    grad = attack._gradient(loss, x, PerImage(0, x))
    torch.testing.assert_close(torch.stack(seen), torch.stack([x, x / 2, x / 4]))
    want = sum((f * parabola_slope(f * x) for f in (1, 0.5, 0.25)), torch.zeros_like(x))
    torch.testing.assert_close(grad, want)


def test_the_gradient_is_blurred() -> None:
    """TI: a gradient of one pixel becomes the kernel around it, in each channel for itself."""
    x = torch.full((1, 3, 9, 9), 0.5)

    def spot(p: Tensor) -> Tensor:
        return p[:, 1, 4, 4]

    grad = Transfer(scales=1, diversity=0.0, blur=5)._gradient(spot, x, PerImage(0, x))
    want = torch.zeros(1, 3, 9, 9)
    want[0, 1, 2:7, 2:7] = gaussian_kernel(5)[0, 0]
    torch.testing.assert_close(grad, want)


def test_placing_by_hand() -> None:
    x = grid_images(1, 8)
    torch.testing.assert_close(placed(x, ONE, 0 * ONE, 0 * ONE), x)
    half = placed(x, ONE / 2, ONE / 2, -ONE / 2)  # half its size, in the bottom left corner
    assert not bool(half[:, :, :4].any()) and not bool(half[:, :, :, 4:].any())
    torch.testing.assert_close(half[:, :, 4:, :4], torch.nn.functional.interpolate(
        x, (4, 4), mode="bilinear"))
    moved = placed(x, ONE, ONE * 2 / 8, 0 * ONE)  # one pixel down
    torch.testing.assert_close(moved[:, :, 1:], x[:, :, :-1])
    assert not bool(moved[:, :, 0].any())


def test_input_diversity_shrinks_within_the_picture() -> None:
    """Always: black margins of at most a tenth, another place for each picture. Never: itself."""
    x = torch.ones(6, 3, 44, 44)
    seen = Transfer(diversity=1.0)._view(x, PerImage(2, grid_images(6, 44)))
    for picture in seen:
        inside = (picture[0] > 0.99).float()
        height, width = int(inside.amax(1).sum()), int(inside.amax(0).sum())
        assert 38 <= height <= 44 and 38 <= width <= 44, "1/1.1 of 44 is 40"
        assert int(inside.sum()) == height * width, "nothing was cut off"
    assert len({float(p.sum()) for p in seen}) == 6
    random = PerImage(2, grid_images(6, 44))
    kept = sum(int(torch.equal(p, o)) for _ in range(20)
               for p, o in zip(Transfer(diversity=0.3)._view(x, random), x, strict=True))
    assert 60 <= kept <= 105, "seven in ten of 120 views are the picture itself"


def test_a_transfer_attack_is_less_tied_to_its_model(linear: Linear) -> None:
    """On a linear score the sum of the views' gradients points where the blurred slope does."""
    x = grid_images(1, 4, low=100, high=150)
    slope = linear.weight[:1].view(1, 3, 4, 4)

    def score(p: Tensor) -> Tensor:
        return (p * slope).flatten(1).sum(1)

    best = finish(Transfer(8 / 255, steps=8, diversity=0.0, blur=3).iterate(
        score, x, PerImage(0, x)))
    blurred = torch.nn.functional.conv2d(slope, gaussian_kernel(3).expand(3, 1, 3, 3), padding=1,
                                         groups=3)
    torch.testing.assert_close(best, x + 8 / 255 * blurred.sign(), atol=5e-6, rtol=0)


# --- expectation over transformations --------------------------------------------------------


def test_without_strength_and_randomness_it_is_pgd(tiny: DualEncoder, four: Pairs) -> None:
    loss = objective(tiny, four)
    one = finish(EOT(4 / 255, step=1 / 255, steps=4, samples=1, strength=0.0).iterate(
        loss, four.images, PerImage(0, four.images)))
    same = finish(PGD(4 / 255, step=1 / 255, steps=4).iterate(
        loss, four.images, PerImage(0, four.images)))
    assert torch.equal(one, same)


def test_the_mean_of_a_random_defence() -> None:
    """A model that turns the gradient round in two of five answers: one sample a step goes astray,
    the mean of many does not."""
    x = grid_images(1, 4, low=100, high=150)
    coin = torch.Generator().manual_seed(1)
    slope = torch.linspace(-1, 1, 48).view(1, 3, 4, 4)

    def defended(p: Tensor) -> Tensor:
        sign = 1.0 if float(torch.rand((), generator=coin)) < 0.6 else -1.0
        return sign * (p * slope).flatten(1).sum(1)

    def last(samples: int) -> float:
        attack = EOT(8 / 255, step=2 / 255, steps=10, samples=samples, strength=0.0)
        *_, end = attack.iterate(defended, x, PerImage(0, x))
        return float(((end - x) * slope).sum() / slope.abs().sum() * 255 / 8)

    assert last(31) > 0.99
    assert sum(last(1) for _ in range(8)) / 8 < 0.9


def test_views_stay_pictures_and_differ() -> None:
    x = grid_images(3, 32)
    random = PerImage(0, x)
    attack = EOT(strength=1.0)
    views = [attack.view(x, random) for _ in range(4)]
    for view in views:
        assert view.shape == x.shape and float(view.min()) >= 0 and float(view.max()) <= 1
    assert not torch.equal(views[0], views[1])
    mild = (EOT(strength=0.1).view(x, PerImage(0, x)) - x).abs().mean()
    strong = (EOT(strength=1.0).view(x, PerImage(0, x)) - x).abs().mean()
    assert 0 < float(mild) < float(strong)
    assert torch.equal(EOT(strength=0.0).view(x, random), x)
