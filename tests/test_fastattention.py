"""Frozen attention layers: the same numbers, without copying the weight for each position."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import open_clip
import pytest
import torch
from helpers import CAPTIONS, grid_images, tiny_clip
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from explorer.models.encoder import DualEncoder
from explorer.models.fast.attention import speed_up


def frozen(faster: bool) -> open_clip.CLIP:
    clip = tiny_clip(4).eval().requires_grad_(False)
    if faster:
        speed_up(clip)
    return clip


@contextmanager
def copied() -> Iterator[set[tuple[int, ...]]]:
    """The shapes of all tensors that were copied or multiplied in batches meanwhile."""
    shapes: set[tuple[int, ...]] = set()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        yield shapes
    for event in seen.key_averages(group_by_input_shape=True):
        if event.key in ("aten::bmm", "aten::copy_"):
            shapes |= {tuple(s) for s in event.input_shapes if s}


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_features_and_gradients_stay(low: bool, grad: bool) -> None:
    tokens = open_clip.SimpleTokenizer(context_length=16)(list(CAPTIONS))
    found: list[list[Tensor]] = []
    for faster in (False, True):
        clip, x = frozen(faster), grid_images(3, 32).requires_grad_(grad)
        with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16, enabled=low):
            image, text = clip.encode_image(x), clip.encode_text(tokens)
        found.append([image.detach(), text.detach()])
        if grad:
            found[-1] += torch.autograd.grad(image[:, 0].float().sum(), x)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-2 if low else 1e-6, rtol=1e-5)


def test_no_weight_is_copied_for_each_position() -> None:
    x = grid_images(3, 32).requires_grad_()
    whole = (17, 32, 96)  # positions, width, three times the width: of the image tower
    for faster in (False, True):
        clip = frozen(faster)
        with copied() as shapes:
            clip.encode_image(x)
        assert (whole in shapes) is not faster


def test_three_different_inputs_and_none_in_batches() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval().requires_grad_(False)
    fast = copy.deepcopy(layer)
    speed_up(fast)
    q, k, v = (torch.randn(2, n, 8) for n in (3, 5, 5))
    for args in ((q, k, v), (q, k, k), (q, q, q), (q, k, q[:, :1].expand(2, 5, 8)),
                 (q[0], k[0], v[0])):
        torch.testing.assert_close(layer(*args)[0], fast(*args)[0])
    torch.testing.assert_close(layer(query=q, key=k, value=v)[0],
                               fast(query=q, key=k, value=v)[0])


def test_every_model_has_it_once(tiny: DualEncoder) -> None:
    speed_up(tiny.clip)
    layers = [m for m in tiny.clip.modules() if isinstance(m, nn.MultiheadAttention)]
    assert layers and all(len(m._forward_pre_hooks) == 1 for m in layers)
