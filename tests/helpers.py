"""What several test files build with: small pictures and random models, all on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.base.framing import Frame
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "layers": 2, "width": 32, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
CAPTIONS = ("a cat", "a dog", "a red car", "the sea")


def tiny_clip(seed: int = 0) -> open_clip.CLIP:
    """A random CLIP of 1.6 million weights, most of them the token table."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return open_clip.CLIP(**TINY)


def grid_images(n: int, size: int, seed: int = 0, low: int = 0, high: int = 256) -> Tensor:
    """(n, 3, size, size) random pixels on the 8-bit grid, blocky so that a network sees shapes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(low, high, (n, 3, max(1, size // 4), max(1, size // 4)),
                           generator=generator).float()
    return F.interpolate(coarse, (size, size), mode="nearest") / 255


class Linear(DualEncoder):
    """A dual encoder whose features are linear in the pixels (not normalised), so that every
    attack has a closed form. Images (N, 3, 4, 4); captions are basis vectors."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        self.card = Card("linear", "linear", "standard", "none", "none", "none")
        self.frame, self.scale, self.dim = Frame(4, 4), 10.0, 4
        self.device, self.fast_dtype = torch.device("cpu"), None
        self.weight = torch.randn(4, 48, generator=generator) / 7

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        return pixels.flatten(1) @ self.weight.T

    def encode_text(self, captions: Sequence[str], batch: int = 64,
                    fast: bool = False) -> Tensor:
        return torch.eye(4)[: len(captions)]
