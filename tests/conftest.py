"""Models and pictures that several test files share. All small, all on the CPU."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may depend on the hub, or on what it left here
os.environ["HF_HUB_CACHE"] = os.path.join(tempfile.gettempdir(), "explorer-tests-no-hub")

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from explorer.fastconv import keep_memory
from explorer.models import ASSETS, Card, DualEncoder, Library
from explorer.pairs import Pairs, one_pair, open_image

keep_memory()
torch.set_num_threads(1)  # tiny models: on a busy machine a second thread costs 100 times its use

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
        self.size, self.scale, self.dim = 4, 10.0, 4
        self.device, self.fast_dtype = torch.device("cpu"), None
        self.weight = torch.randn(4, 48, generator=generator) / 7

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        return pixels.flatten(1) @ self.weight.T

    def encode_text(self, captions: Sequence[str], batch: int = 64) -> Tensor:
        return torch.eye(4)[: len(captions)]


@pytest.fixture(scope="session")
def library() -> Library:
    return Library()


@pytest.fixture(scope="session")
def pocket(library: Library) -> DualEncoder:
    return library.load("pocket", "cpu")


@pytest.fixture(scope="session")
def cat(pocket: DualEncoder) -> Pairs:
    examples = json.loads((ASSETS / "examples" / "examples.json").read_text("utf-8"))
    example = next(e for e in examples if e["id"] == "cat")
    picture = open_image(ASSETS / "examples" / example["file"])
    return one_pair(picture, example["captions"], example["true"], pocket.size)


@pytest.fixture(scope="session")
def tiny() -> DualEncoder:
    """A random ViT on 32 x 32 pixels, always in float32."""
    card = Card("tiny", "tiny", "standard", "none", "none", "Random weights.")
    model = DualEncoder(tiny_clip(), SimpleTokenizer(context_length=16), card, 32,
                        (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "cpu")
    model.fast_dtype = None
    return model


@pytest.fixture(scope="session")
def four() -> Pairs:
    """Four 32 x 32 pictures against four captions, for `tiny`."""
    return Pairs(grid_images(4, 32), CAPTIONS, torch.tensor([0, 1, 2, 3]))


@pytest.fixture(scope="session")
def linear() -> Linear:
    return Linear()
