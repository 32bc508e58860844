"""Maps of where the similarity comes from: against closed forms, on both kinds of tower."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
import pytest
import torch
from helpers import Linear, grid_images
from torch import Tensor

from explorer.analysis.embedding.figures import blend
from explorer.analysis.embedding.saliency import (
    METHODS,
    Saliency,
    gradient_map,
    ninths,
    occlusion_map,
    saliency,
)
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder


def end(progress: Generator[tuple[int, int], None, Tensor]) -> Tensor:
    while True:
        try:
            done, total = next(progress)
            assert 0 <= done < total
        except StopIteration as stop:
            found: Tensor = stop.value
            return found


@pytest.mark.parametrize("noisy", [0, 3])
def test_the_gradient_of_a_linear_model_is_its_weights(linear: Linear, noisy: int) -> None:
    text = torch.tensor([1.0, 0, 0, 0])
    found = end(gradient_map(linear, grid_images(1, 4)[0], text, noisy))
    assert torch.allclose(found, linear.weight[0].view(3, 4, 4).norm(dim=0), atol=1e-6)


def test_occlusion_of_a_linear_model_is_what_the_squares_hold(linear: Linear) -> None:
    """With squares of two pixels that move by one, the map is a mean of exact differences."""
    image, text = grid_images(1, 4, seed=3)[0], torch.tensor([0.0, 1, 0, 0])
    found = end(occlusion_map(linear, image, text, cells=2))
    part = (image - image.mean((1, 2))[:, None, None]) * linear.weight[1].view(3, 4, 4)
    drop, times = torch.zeros(4, 4), torch.zeros(4, 4)
    for y in range(3):
        for x in range(3):
            drop[y : y + 2, x : x + 2] += part[:, y : y + 2, x : x + 2].sum()
            times[y : y + 2, x : x + 2] += 1
    assert torch.allclose(found, drop / times, atol=1e-5)


@pytest.fixture(params=["transformer", "convolutional"])
def tower(request: pytest.FixtureRequest) -> Callable[[], tuple[DualEncoder, Tensor]]:
    def make() -> tuple[DualEncoder, Tensor]:
        if request.param == "transformer":
            return request.getfixturevalue("tiny"), grid_images(1, 32)[0]
        pairs: Pairs = request.getfixturevalue("cat")
        return request.getfixturevalue("pocket"), pairs.images[0]
    return make


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_both_kinds_of_tower_leave_no_trace(
    tower: Callable[[], tuple[DualEncoder, Tensor]], method: str,
) -> None:
    model, image = tower()
    before = image.clone()
    text = model.encode_text(["a photo of a cat"])[0]
    found = end(saliency(method, model, image, text))
    assert found.shape == image.shape[1:] and bool(torch.isfinite(found).all())
    assert float(found.abs().max()) > 0 and found.dtype == torch.float32
    assert torch.equal(found, end(saliency(method, model, image, text)))
    assert all(p.grad is None and not p.requires_grad for p in model.clip.parameters())
    assert not model.clip.training and torch.equal(image, before) and not found.requires_grad


def test_the_map_lies_where_the_picture_is(pocket: DualEncoder, cat: Pairs) -> None:
    """A small cat in one corner of a grey page: covering the page elsewhere changes little."""
    small = torch.nn.functional.interpolate(cat.images[:1], (80, 80), mode="area")[0]
    page = torch.full((3, 160, 160), 0.5)
    page[:, :80, 80:] = (small * 255).round() / 255
    text = pocket.encode_text(["a photo of a cat"])[0]
    found = end(occlusion_map(pocket, page, text, cells=4)).abs()
    quarters = torch.nn.functional.adaptive_avg_pool2d(found[None, None], 2)[0, 0]
    assert int(quarters.argmax()) == 1


@pytest.mark.parametrize(("image", "text", "words"), [
    (torch.zeros(3, 8, 8), torch.ones(4), "picture must be"),
    (torch.zeros(3, 4, 4), torch.ones(5), "4 finite numbers"),
    (torch.zeros(3, 4, 4), torch.full((4,), float("nan")), "finite"),
])
def test_wrong_shapes_are_refused_in_words(
    linear: Linear, image: Tensor, text: Tensor, words: str,
) -> None:
    for method in METHODS:
        with pytest.raises(InputError, match=words):
            end(saliency(method, linear, image, text))
    with pytest.raises(InputError, match="the method must be"):
        end(saliency("magic", linear, image, text))


def test_difference_agreement_and_ninths() -> None:
    a, b = torch.arange(81.0).view(9, 9), torch.arange(81.0).view(9, 9) * 2
    made = Saliency("m", "gradient", "c", a, b, (0.5, 0.1))
    assert torch.equal(made.difference, a) and made.agreement == pytest.approx(1, abs=1e-5)
    assert Saliency("m", "gradient", "c", a, torch.ones(9, 9), (0, 0)).agreement is None
    shares = ninths(a - 40)
    assert float(shares.sum()) == pytest.approx(1) and int(shares.argmax()) in (0, 2, 6, 8)
    assert not bool(ninths(torch.zeros(5, 5)).any())


def test_colours_of_a_map_are_ordered_and_the_sign_is_seen() -> None:
    picture = np.full((1, 5, 3), 120, np.uint8)
    values = np.linspace(-1, 1, 5)[None]
    signed = blend(picture, values, 1.0, True)
    assert signed.dtype == np.uint8 and signed[0, 0, 2] > signed[0, 0, 0]  # blue below zero
    assert signed[0, 4, 0] > signed[0, 4, 2]  # orange above
    light = blend(picture, np.linspace(0, 1, 5)[None], 1.0, False).astype(int).sum(2)[0]
    assert (np.diff(light) > 0).all()
    flat = blend(picture, np.zeros((1, 5)), 0.0, False)
    assert (flat == flat[0, 0]).all()
