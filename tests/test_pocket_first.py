"""The first edition read back as it was written, and what the stages are chosen by, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from tools.pocket import choose, first
from tools.pocket.base import FIRST, SECOND, ImageTower
from tools.pocket.choose import Task, look, recall
from tools.pocket.data import upscale
from tools.pocket.export import image_weights


@pytest.fixture(autouse=True)
def random_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """The true layout without the package that holds the weights."""
    for module in (first, choose):
        monkeypatch.setattr(module, "classifier", classifier)


def classifier() -> torch.nn.Module:
    network: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    return network.eval()


def test_the_image_tower_is_read_back_as_it_was_written() -> None:
    tower = ImageTower(classifier(), FIRST).eval()
    again = first.image_tower(image_weights(tower.state_dict()))
    pixels = torch.rand(1, 3, 64, 64)
    assert torch.equal(tower(pixels), again(pixels))


def test_a_missing_tensor_is_named() -> None:
    written = image_weights(ImageTower(classifier(), FIRST).state_dict())
    del written["visual.head.proj.bias"]
    with pytest.raises(ValueError, match=r"has no head\.bias"):
        first.image_tower(written)


def test_recall_by_hand() -> None:
    similar = torch.tensor([[0.9, 0.8, 0.1], [0.7, 0.2, 0.3]])
    own = torch.tensor([[False, True, False], [True, False, False]])
    assert [recall(similar, own, k) for k in (1, 2)] == [50.0, 100.0]


def test_a_look_gives_recall_both_ways_and_less_under_attack() -> None:
    """Captions are put where the pictures are, so that all is right before the attack."""
    torch.manual_seed(0)
    tower = ImageTower(classifier(), SECOND).eval()
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    own = torch.eye(4).bool().repeat_interleave(2, 1)

    class Told(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    with torch.no_grad():
        seen = choose.features(tower, upscale(images, SECOND.side))
    found = look(Task(images, seen.repeat_interleave(2, 0), own), tower, Told(),  # type: ignore[arg-type]
                 torch.tensor(50.0), robust=4)
    assert found["I2T@1"] == found["T2I@1"] == 100
    assert found["I2T@1 under PGD-10"] < 100
