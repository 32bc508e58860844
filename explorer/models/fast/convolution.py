"""Depthwise convolutions whose gradient is as fast as their forward pass on a CPU, and batch norms
folded into convolutions.

The input gradient of a stride-1 depthwise convolution is itself a depthwise convolution with the
flipped kernel. oneDNN's forward kernel is several times faster than its backward kernel for this
shape, so we call the forward one. The result is the same gradient up to rounding.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight
from torch.nn.utils.fusion import fuse_conv_bn_eval


def _input_gradient(grad: Tensor, weight: Tensor, size: tuple[int, int], stride: int,
                    padding: int) -> Tensor:
    """Gradient of a depthwise convolution's input, (N, C, *size).

    With stride s the input splits into s x s phases; each is a stride-1 full convolution of
    `grad` with the kernel's taps of that phase.
    """
    n, channels, k = len(grad), weight.shape[0], weight.shape[-1]
    if stride == 1:
        return F.conv2d(grad, weight.flip(2, 3), None, 1, k - 1 - padding, 1, channels)
    full = [(g - 1) * stride + max(k, stride) for g in grad.shape[-2:]]
    full = [max(f, s + 2 * padding) for f, s in zip(full, size, strict=True)]
    out = torch.zeros((n, *full, channels), dtype=grad.dtype, device=grad.device)
    out = out.permute(0, 3, 1, 2)  # channels_last
    for a in range(min(stride, k)):
        for b in range(min(stride, k)):
            taps = weight[:, :, a::stride, b::stride].flip(2, 3)
            pad = (taps.shape[2] - 1, taps.shape[3] - 1)
            part = F.conv2d(grad, taps, None, 1, pad, 1, channels)
            place = out[:, :, a::stride, b::stride]
            place[:, :, : part.shape[2], : part.shape[3]] = part
    return out[:, :, padding : padding + size[0], padding : padding + size[1]]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int,
                padding: int, weight_share: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.weight_share = stride, padding, weight_share
        return F.conv2d(x, weight, bias, stride, padding, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        size, grad_x, grad_w, grad_b = tuple(x.shape[-2:]), None, None, None
        if ctx.needs_input_grad[0]:
            grad_x = _input_gradient(grad, weight, size, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            n = max(1, round(len(x) * ctx.weight_share))
            grad_w = conv2d_weight(
                x[:n], weight.shape, grad[:n], stride=ctx.stride, padding=ctx.padding,
                groups=weight.shape[0]) * (len(x) / n)
        if ctx.needs_input_grad[2]:
            grad_b = grad.sum((0, 2, 3))
        return grad_x, grad_w, grad_b, None, None, None


class DepthwiseConv2d(nn.Conv2d):
    """Same weights and output as the convolution it replaces; see `speed_up`."""

    weight_share: float = 1.0
    pads_to_same: bool = False

    def forward(self, x: Tensor) -> Tensor:
        k, s, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        if self.pads_to_same:
            over = [max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[-2:]]
            left, top = over[1] // 2, over[0] // 2
            x = F.pad(x, [left, over[1] - left, top, over[0] - top])
            padding = 0
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        with torch.autocast("cpu", enabled=False):
            y: Tensor = _Depthwise.apply(x, weight, bias, s, padding, self.weight_share)
        return y


def _replaceable(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == module.in_channels == module.out_channels > 1
        and module.kernel_size[0] == module.kernel_size[1]
        and module.stride[0] == module.stride[1]
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.padding[0] == module.padding[1] < module.kernel_size[0]
    )


def speed_up(model: nn.Module, weight_share: float = 1.0) -> nn.Module:
    """Swaps the depthwise convolutions of `model` in place and returns it.

    weight_share: the part of a batch, in (0, 1], from which their weight gradient is estimated
    (scaled back up, so unbiased for a shuffled batch). Only training below 1 is approximate.
    """
    for module in model.modules():
        if isinstance(module, DepthwiseConv2d):
            module.weight_share = weight_share
        elif _replaceable(module):
            same = type(module).__name__ == "Conv2dSame"
            module.__class__ = DepthwiseConv2d
            swapped = cast(DepthwiseConv2d, module)
            swapped.pads_to_same, swapped.weight_share = same, weight_share
    return model


def fold_norms(model: nn.Module, feature: Callable[[], Tensor]) -> int:
    """Folds batch norms of a model in eval mode into the convolutions before them, in place.

    Layers listed one behind the other nearly always run so; `feature`, which runs the model on some
    input, is compared before and after, and all is put back when it is not. Returns how many were
    folded. The features stay the same up to rounding; such a model is not to be trained further.
    """
    pairs = [(parent, name, conv, norm) for parent in model.modules()
             for (_, conv), (name, norm) in pairwise(parent.named_children())
             if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
             and norm.num_features == conv.out_channels and norm.running_mean is not None]
    if not pairs:
        return 0
    before = feature()
    kept = [(conv.weight, conv.bias) for _, _, conv, _ in pairs]
    for parent, name, conv, norm in pairs:
        fused = fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = fused.weight, fused.bias
        setattr(parent, name, getattr(norm, "act", nn.Identity()))  # timm's norms hold one
    if torch.allclose(feature(), before, atol=1e-4):
        return len(pairs)
    for (parent, name, conv, norm), (weight, bias) in zip(pairs, kept, strict=True):
        conv.weight, conv.bias = weight, bias
        setattr(parent, name, norm)
    return 0


def keep_memory() -> None:
    """Tells glibc's malloc to keep freed memory instead of returning it after every layer.

    On Linux a large tensor is otherwise mapped, zeroed and unmapped each time, which takes up to
    half of a step on a CPU. All threads share what is kept, so that a server whose visitors come on
    many threads does not keep it for each. Does nothing elsewhere. Call once, before the first
    model runs and before other threads start.
    """
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # M_* of <malloc.h>
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(trim_threshold, 1 << 30)
    mallopt(top_pad, 64 << 20)
    mallopt(mmap_max, 0)
    mallopt(arena_max, 1)
