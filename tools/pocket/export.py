"""Writes a stage's checkpoint as an open_clip folder that any open_clip can open."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from torch import Tensor

from explorer.models.loaders import sha256_of
from tools.pocket import base

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
)
STAGES = {"pocket": ("speak", "pocket"), "pocket-robust": ("guard", "robust-wide")}
"""The stage of the image tower, in the second edition and in the first."""
ABOUT: dict[str, dict[str, str | None]] = {
    "pocket": {
        "id": "pocket", "title": "pocket (standard)", "kind": "standard", "base": None,
        "about": "A small CLIP for photographs: EfficientNet-Lite0 and MiniLM, joined by "
                 "contrastive fine-tuning on Flickr8k's captions, Tiny-ImageNet and sharp "
                 "photographs.",
    },
    "pocket-robust": {
        "id": "pocket-robust", "title": "pocket-robust (robust)",
        "kind": "robust", "base": "pocket",
        "about": "pocket, its image tower fine-tuned against perturbed images of the same sets "
                 "(TeCoA's loss over classes, the image half of MMCoA's over captions, FARE's "
                 "anchor), then its text tower against exchanged and misspelt words (the text half "
                 "of MMCoA's loss, LEAF's anchor).",
    },
}


def language(work: Path, first: Path | None) -> dict[str, Tensor]:
    """MiniLM's tensors, bit for bit those of the first edition where its folder is given:
    standardising is folded into the last layer norm."""
    if first is not None:
        from safetensors.torch import load_file

        every = load_file(first / "pocket" / "open_clip_model.safetensors")
        return {k: v for k, v in every.items() if k.startswith("text.transformer.")}
    from transformers import AutoModel

    start = torch.load(work / "align.pt", weights_only=True)
    bert = AutoModel.from_pretrained(base.minilm_folder(), add_pooling_layer=False)
    norm = bert.encoder.layer[-1].output.LayerNorm
    with torch.no_grad():
        norm.weight.div_(start["spread"])
        norm.bias.sub_(start["mean"]).div_(start["spread"])
    return {f"text.transformer.{k}": v for k, v in bert.state_dict().items()}


def image_weights(image: dict[str, Tensor]) -> dict[str, Tensor]:
    out = {}
    for key, value in image.items():
        if key.startswith("head."):
            out["visual.head.proj." + key.removeprefix("head.")] = value
        elif not key.startswith("trunk.classifier."):
            out["visual." + key] = value
    return out


def export(name: str, work: Path, folder: Path, first: Path | None = None) -> None:
    """Writes assets/models/NAME: config, fp16 weights, tokenizer, tower config and card.

    first: folder of the first edition's models, if the second went on from there.
    """
    from safetensors.torch import save_file

    second, older = (work / f"{stage}.final.pt" for stage in STAGES[name])
    stage = torch.load(second if second.exists() else older, map_location="cpu", weights_only=True)
    final = stage["weights"]
    wide = final["image.head.weight"].shape[0] == base.SECOND.dim
    edition = base.SECOND if wide else base.FIRST
    parts = {p: {k.removeprefix(p + "."): v for k, v in final.items() if k.startswith(p + ".")}
             for p in ("image", "text")}
    weights = {
        **image_weights(parts["image"]),
        **language(work, first),
        **{f"text.proj.{k}": v for k, v in parts["text"].items()},
        "logit_scale": final["log_scale"].reshape(()),
    }
    card = {**ABOUT[name], "recipe": stage["recipe"], "steps": stage["step"]}
    if name == "pocket-robust" and (tuned := work / "robust-text.final.pt").exists():
        hardened = torch.load(tuned, map_location="cpu", weights_only=True)
        weights.update({f"text.{k}": v for k, v in hardened["weights"].items()})
        weights["logit_scale"] = torch.tensor(hardened["recipe"]["scale"]).log()
        card["text_recipe"] = {**hardened["recipe"], "steps": hardened["step"]}
    folder.mkdir(parents=True, exist_ok=True)
    halved = {k: (v.half() if v.is_floating_point() else v).contiguous()
              for k, v in weights.items()}
    save_file(halved, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    pre = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic",
           "resize_mode": "shortest"}
    (folder / "open_clip_model.safetensors").chmod(0o644)
    _write(folder / "open_clip_config.json",
           {"model_cfg": base.model_config(edition), "preprocess_cfg": pre})
    minilm = base.minilm_folder()
    for file in TOKENIZER_FILES:
        shutil.copyfile(minilm / file, folder / file)
    tower = json.loads((minilm / "config.json").read_text())
    tower.pop("_name_or_path", None)
    _write(folder / "config.json", tower)
    card |= {"licence": "Apache-2.0",
             "architecture": f"EfficientNet-Lite0 + MiniLM-L6, {edition.side} x "
                             f"{edition.side} pixels",
             "sha256": sha256_of(folder / "open_clip_model.safetensors")}
    _write(folder / "card.json", card)  # its numbers come by `measure`


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
