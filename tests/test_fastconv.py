"""The fast depthwise convolution is the ordinary one: same output, same gradients."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from helpers import tiny_clip
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import DepthwiseConv2d, fold_norms, keep_memory, speed_up
from explorer.models.loaders import open_model

SHAPES = [(k, s, p) for k in (1, 2, 3, 5, 7) for s in (1, 2, 3, 4) for p in range(0, min(k, 4))]


def both_gradients(conv: nn.Module, x: Tensor, pull: Tensor | None = None) -> list[Tensor]:
    """Output, and the gradients of a random linear score with respect to input and weights."""
    x = x.clone().requires_grad_(True)
    y = conv(x)
    if pull is None:
        pull = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad((y * pull).sum(), [x, *conv.parameters()])]


def pictures(n: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randn(n, channels, height, width, generator=torch.Generator().manual_seed(0))


def same(got: list[Tensor], want: list[Tensor]) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
def test_equals_the_ordinary_convolution(kernel: int, stride: int, padding: int) -> None:
    for height, width in ((7, 7), (8, 8), (9, 12), (13, 8)):
        plain = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=kernel % 2 == 1)
        fast = speed_up(copy.deepcopy(plain))
        assert isinstance(fast, DepthwiseConv2d)
        x = pictures(3, 6, height, width)
        same(both_gradients(fast, x), both_gradients(plain, x))


@pytest.mark.parametrize("size", [7, 8, 15, 16, 33])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 4), (2, 2)])
def test_equals_timms_same_padding(kernel: int, stride: int, size: int) -> None:
    plain = Conv2dSame(4, 4, kernel, stride, groups=4, bias=False)
    fast = speed_up(copy.deepcopy(plain))
    assert isinstance(fast, DepthwiseConv2d)
    x = pictures(2, 4, size, size + 1)
    same(both_gradients(fast, x), both_gradients(plain, x))


def test_channels_last_and_low_precision() -> None:
    plain = nn.Conv2d(8, 8, 3, 2, 1, groups=8)
    fast = speed_up(copy.deepcopy(plain))
    x = pictures(2, 8, 16, 16).contiguous(memory_format=torch.channels_last)
    same(both_gradients(fast, x), both_gradients(plain, x))
    with torch.autocast("cpu", torch.bfloat16):
        low, want = fast(x), plain(x)
    assert low.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(low, want, atol=0.03, rtol=0.03)


def test_a_share_of_the_weight_gradient() -> None:
    """The whole share is exact; for equal samples any share is; otherwise it is the scaled mean."""
    plain = nn.Conv2d(4, 4, 3, 1, 1, groups=4, bias=False)
    alike = pictures(1, 4, 9, 9).repeat(8, 1, 1, 1)
    pull = pictures(1, 4, 9, 9).repeat(8, 1, 1, 1)
    whole = both_gradients(plain, alike, pull)
    for share in (1.0, 0.5, 0.25, 0.01):
        fast = speed_up(copy.deepcopy(plain), share)
        same(both_gradients(fast, alike, pull), whole)
    x, pull = pictures(8, 4, 9, 9), pictures(8, 4, 9, 9).flip(0)
    half = both_gradients(speed_up(copy.deepcopy(plain), 0.5), x, pull)
    first = both_gradients(plain, x[:4], pull[:4])
    torch.testing.assert_close(half[2], 2 * first[2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(half[1], both_gradients(plain, x, pull)[1], atol=1e-4, rtol=1e-4)


def test_frozen_weights_get_no_gradient() -> None:
    fast = speed_up(nn.Conv2d(4, 4, 3, 1, 1, groups=4)).requires_grad_(False)
    x = pictures(1, 4, 5, 5).requires_grad_(True)
    (slope,) = torch.autograd.grad(fast(x).sum(), x)
    assert slope.shape == x.shape and all(p.grad is None for p in fast.parameters())


@pytest.mark.parametrize("conv", [
    nn.Conv2d(4, 8, 3), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 8, 3, groups=4),
    nn.Conv2d(1, 1, 3), nn.Conv2d(4, 4, (3, 5), groups=4), nn.Conv2d(4, 4, 3, (1, 2), groups=4),
    nn.Conv2d(4, 4, 3, dilation=2, groups=4), nn.Conv2d(4, 4, 3, padding="same", groups=4),
    nn.Conv2d(4, 4, 3, padding=(0, 1), groups=4), nn.Conv2d(4, 4, 3, padding=4, groups=4),
    nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", groups=4), nn.Conv1d(4, 4, 3, groups=4),
], ids=str)
def test_other_convolutions_are_left_alone(conv: nn.Module) -> None:
    kind = type(conv)
    assert type(speed_up(conv)) is kind


def test_a_whole_network_keeps_its_weights_and_answers() -> None:
    plain = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    fast = speed_up(copy.deepcopy(plain))
    assert sum(isinstance(m, DepthwiseConv2d) for m in fast.modules()) == 16
    before, after = plain.state_dict(), fast.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[k], after[k]) for k in before)
    x = pictures(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), plain(x), atol=1e-4, rtol=1e-3)
    plain.load_state_dict(after)


def test_a_vit_is_untouched(tiny: DualEncoder) -> None:
    clip = tiny_clip()
    kinds = [type(m) for m in clip.modules()]
    speed_up(clip)
    assert [type(m) for m in clip.modules()] == kinds
    assert not any(isinstance(m, DepthwiseConv2d) for m in tiny.clip.modules())


def test_speeding_up_twice_sets_the_share() -> None:
    fast = speed_up(nn.Conv2d(4, 4, 3, groups=4))
    assert speed_up(fast, 0.5) is fast and fast.weight_share == 0.5


def test_keep_memory_may_be_called_again() -> None:
    keep_memory()
    assert torch.zeros(1000, 1000).sum() == 0


THREADS = """
import threading
from pathlib import Path

import torch

from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library
from explorer.data.pairs import Pairs

keep_memory()
model, held, stay = Library().load("pocket"), [], threading.Event()
grey = torch.randint(0, 256, (1, 3, model.size, model.size)) / 255

def visit():
    run(PGD(steps=2), model, Pairs(grey, ("a cat", "a dog"), torch.tensor([0])))
    held.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 1_000_000)
    stay.wait()

threads = [threading.Thread(target=visit) for _ in range(6)]
for k, thread in enumerate(threads):
    thread.start()
    while len(held) <= k:
        stay.wait(0.01)
stay.set()
print(held[0], held[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's malloc is told")
def test_threads_share_the_memory_that_is_kept() -> None:
    """Without that, each thread that attacks keeps over 60 MB of its own."""
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True,
                          check=True, cwd=Path(__file__).resolve().parent.parent)
    first, last = map(int, done.stdout.split())
    assert last - first < 90, f"{first} MB after one thread, {last} MB after six"


def lively(net: nn.Module) -> nn.Module:
    """Batch norms as after training: every number of their own."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(value, 0.5, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "densenet121"])
def test_folded_norms_change_nothing(name: str) -> None:
    net = speed_up(lively(timm.create_model(name, num_classes=8)))
    x = pictures(2, 3, 64, 64)
    want = net(x)
    count = sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert 0.4 * count < fold_norms(net, lambda: net(x)) <= count
    torch.testing.assert_close(net(x), want, atol=1e-4, rtol=1e-3)


class Crossed(nn.Module):
    """A norm that is listed behind a convolution and runs before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.norm(x).relu())
        return y


def test_norms_that_run_elsewhere_are_left_alone() -> None:
    net, x = lively(Crossed()), pictures(2, 4, 8, 8)
    kept, want = copy.deepcopy(net.state_dict()), net(x)
    assert fold_norms(net, lambda: net(x)) == 0 and torch.equal(net(x), want)
    assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())


def test_a_folded_model_keeps_its_fingerprint(pocket: DualEncoder) -> None:
    """It names the weights on disk, which results are made on."""
    assert not any(isinstance(m, nn.BatchNorm2d) for m in pocket.clip.modules())
    assert pocket.fingerprint == open_model(pocket.card, "cpu").fingerprint
