"""Patch embeddings as products, and weights cast once: the same numbers, sooner."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import CAPTIONS, grid_images, tiny_clip
from torch import Tensor, nn
from training_helpers import tiny_model

from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.data.pairs import Pairs
from explorer.models.fast.casting import CastTower
from explorer.models.fast.patches import PatchConv2d, speed_up


def answers(tower: nn.Module, x: Tensor) -> list[Tensor]:
    """Features in low precision, and the gradient of the pixels."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = tower(x)
    return [y.detach(), *torch.autograd.grad(y[:, 0].float().sum(), x)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 48), (35, 47)])
def test_patches_side_by_side_are_one_product(bias: bool, height: int, width: int) -> None:
    torch.manual_seed(1)
    conv = nn.Sequential(nn.Conv2d(3, 20, 16, 16, bias=bias)).double()
    fast = copy.deepcopy(conv)
    speed_up(fast)
    assert type(fast[0]) is PatchConv2d and fast.state_dict().keys() == conv.state_dict().keys()
    x = torch.rand(2, 3, height, width, dtype=torch.double)
    weight = [next(tower.parameters()) for tower in (conv, fast)]
    found = []
    for tower, own in zip((conv, fast), weight, strict=True):
        for memory in (torch.contiguous_format, torch.channels_last):
            y = tower.to(memory_format=memory)(z := x.to(memory_format=memory).requires_grad_())
            found.append((y.detach(), *torch.autograd.grad((y ** 2).sum(), (z, own))))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two)


def test_only_patch_embeddings_are_swapped() -> None:
    others = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Conv2d(3, 8, 16, 8), nn.Conv2d(4, 8, 8, 8,
                           groups=2), nn.Conv2d(3, 8, 8, 8, padding=1), nn.Conv2d(3, 8, (8, 16), 8))
    speed_up(others)
    assert not any(isinstance(part, PatchConv2d) for part in others)
    assert isinstance(tiny_model().clip.visual.conv1, PatchConv2d)  # type: ignore[union-attr]


def test_weights_cast_once_give_the_same_bits_to_a_step() -> None:
    tower = tiny_clip(3).eval().requires_grad_(False).visual
    speed_up(tower)
    twin = CastTower(0).of(tower, torch.bfloat16)
    assert twin is not None
    x = grid_images(3, 32)
    for one, two in zip(answers(tower, x), answers(twin, x), strict=True):
        assert torch.equal(one, two)
    cast = {name for name, p in twin.named_parameters() if p.dtype == torch.bfloat16}
    assert {"proj", "conv1.weight", "transformer.resblocks.0.attn.in_proj_weight",
            "transformer.resblocks.0.attn.out_proj.weight"} <= cast
    assert twin.positional_embedding is tower.positional_embedding  # shared, not copied
    assert all(p.dtype == torch.float32 for p in tower.parameters())


def test_the_second_tower_follows_its_weights_and_stays_away_from_training() -> None:
    tower = tiny_clip(3).eval().requires_grad_(False).visual
    cast = CastTower(0)
    first = cast.of(tower, torch.bfloat16)
    assert first is cast.of(tower, torch.bfloat16) and cast.weights_bytes > 0
    with torch.no_grad():
        tower.proj.add_(1)
    second = cast.of(tower, torch.bfloat16)
    assert second is not None and second is not first
    assert torch.equal(second.proj, tower.proj.bfloat16())  # type: ignore[arg-type]
    tower.proj.requires_grad_(True)
    assert cast.of(tower, torch.bfloat16) is None
    assert CastTower().of(tower.requires_grad_(False), torch.bfloat16) is None  # too small to pay


def test_an_attack_is_the_same_to_the_bit_with_weights_cast_once() -> None:
    pairs = Pairs(grid_images(3, 32), CAPTIONS, torch.tensor([0, 1, 2]))
    found = []
    for least in (0, 10**9):
        model = tiny_model()
        model.fast_dtype, model._cast = torch.bfloat16, CastTower(least)
        found.append(run(PGD(8 / 255), model, pairs, seed=1))
        assert (model._cast.weights_bytes > 0) == (least == 0)
    assert torch.equal(found[0].adversarial_images, found[1].adversarial_images)
    assert torch.equal(found[0].adversarial.features, found[1].adversarial.features)
