"""Models and pictures that several test files share. All small, all on the CPU."""

from __future__ import annotations

import os
import sys
import tempfile
from types import SimpleNamespace
from typing import cast

os.environ["OMP_NUM_THREADS"] = "1"  # here and in what is started: tests run side by side
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may depend on the hub, or on what it left here
os.environ["HF_HUB_CACHE"] = os.path.join(tempfile.gettempdir(), "explorer-tests-no-hub")

import pytest
import torch
from helpers import CAPTIONS, Linear, grid_images, tiny_clip
from open_clip.tokenizer import SimpleTokenizer

from explorer.data.examples import load_examples
from explorer.data.pairs import Pairs, one_pair, open_image
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

keep_memory()
torch.set_num_threads(1)  # tiny models: on a busy machine a second thread costs 100 times its use


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process a core, and 4 GiB of memory for each with the apps and browser it starts."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if sys.platform == "win32":
        return cores
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**32
    return max(1, min(cores, room))


@pytest.fixture(scope="session")
def library() -> Library:
    return Library()


@pytest.fixture(scope="session")
def pocket(library: Library) -> DualEncoder:
    return library.load("pocket", "cpu")


@pytest.fixture(scope="session")
def cat(pocket: DualEncoder) -> Pairs:
    example = load_examples()["cat"]
    return one_pair(open_image(example.path), example.captions, example.true, pocket.size)


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


@pytest.fixture
def two(tiny: DualEncoder) -> Library:
    """A library of one tiny model under two names, standard and robust."""
    cards = {
        "plain": Card("plain", "plain", "standard", "none", "none", "none"),
        "hard": Card("hard", "hard", "robust", "none", "none", "none", base="plain"),
    }
    return cast(Library, SimpleNamespace(card=cards.__getitem__, load=lambda *_: tiny,
                                         loaded=list))
