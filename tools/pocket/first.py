"""The first edition read back from its shipped folders, so that the second goes on from exactly
those weights (`python -m explorer.pocket second --first FOLDER`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tools.pocket.base import FIRST, ImageTower, TextHead, classifier, minilm_folder
from tools.pocket.corpus import Known
from tools.pocket.words import Vocabulary, vocabulary

LAST = "encoder.layer.5.output.LayerNorm"  # where standardising is folded in


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of an embedded model, float32."""
    from safetensors.torch import load_file

    return {k: v.float() if v.is_floating_point() else v
            for k, v in load_file(folder / "open_clip_model.safetensors").items()}


def part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def image_tower(weights: dict[str, Tensor]) -> ImageTower:
    """export.image_weights turned round; ValueError if a tensor is missing."""
    tower = ImageTower(classifier(), FIRST)
    wanted = tower.state_dict()
    have = {f"trunk.{k}": v for k, v in part(weights, "visual.trunk.").items()}
    have |= {f"head.{k}": v for k, v in part(weights, "visual.head.proj.").items()}
    kept = {k: v for k, v in wanted.items() if k.startswith("trunk.classifier.")}
    if missing := wanted.keys() - have.keys() - kept.keys():
        raise ValueError(f"the image tower has no {min(missing)}")
    tower.load_state_dict({k: have.get(k, v) for k, v in wanted.items()})
    return tower.eval()


def standard(weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (384,) and spread () that export.text_weights folded into the last layer norm."""
    from transformers import AutoModel

    bert = AutoModel.from_pretrained(minilm_folder(), add_pooling_layer=False)
    norm = bert.state_dict()
    gain, bias = (weights[f"text.transformer.{LAST}.{p}"] for p in ("weight", "bias"))
    spread = (norm[f"{LAST}.weight"] / gain).median()
    return norm[f"{LAST}.bias"] - bias * spread, spread


def read_first(models: Path, data: Path, work: Path) -> tuple[Known, ImageTower]:
    """models: folder with pocket/ and pocket-robust/ of the first edition."""
    work.mkdir(parents=True, exist_ok=True)
    weights = read_weights(models / "pocket")
    text = TextHead(FIRST)
    text.load_state_dict(part(weights, "text.proj."))
    file = work / "vocabulary.pt"
    if file.exists():
        words = Vocabulary(**torch.load(file, weights_only=True))
    else:
        words = vocabulary(data, minilm_folder())
        torch.save(vars(words), file)
    mean, spread = standard(weights)
    words = replace(words, features=(words.features - mean) / spread)
    known = Known(image_tower(weights), text, weights["logit_scale"], words, mean, spread)
    return known, image_tower(read_weights(models / "pocket-robust"))
