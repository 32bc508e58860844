"""A trained model as an open_clip folder with a card, put in place in one move."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.models.folders import base_config, base_folder
from explorer.models.loaders import CONFIG, SAFE, TOKENIZER, sha256_of
from explorer.training.checkpoints import sync_folder
from explorer.training.errors import TrainingError


def export(model: DualEncoder, base: Card, folder: Path) -> Path:
    """Writes all but the card aside, beside `folder`; `place` moves it. Half precision where the
    base is kept in half. Raises TrainingError when it cannot be written."""
    aside = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        _write_weights(model, base, aside)
        (aside / CONFIG).write_text(_json(base_config(base, model)), encoding="utf-8")
        kept = base_folder(base)
        if kept is not None:
            for name in (*TOKENIZER, "config.json"):
                if (kept / name).is_file():
                    shutil.copyfile(kept / name, aside / name)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise TrainingError(f"cannot write the model to {folder}: {error.strerror or error}; the "
                            "checkpoints stay, so --resume can try again") from None
    return aside


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """card.json, with the sum of the weights, which is checked whenever they are opened."""
    told = {**card, "sha256": sha256_of(folder / SAFE[0])}
    try:
        (folder / "card.json").write_text(_json(told), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"cannot write the card in {folder}: {error.strerror or error}"
                            ) from None


def place(aside: Path, folder: Path) -> None:
    """Moves the folder in; an older one is removed last."""
    old = folder.with_name(folder.name + ".old")
    try:
        for path in aside.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(aside, folder)
        sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise TrainingError(f"cannot put the model in place at {folder}: "
                            f"{error.strerror or error}") from None


def _write_weights(model: DualEncoder, base: Card, folder: Path) -> None:
    from safetensors.torch import save_file

    dtype = torch.float16 if _kept_in_half(base) else torch.float32
    weights = {k: (v.to(dtype) if v.is_floating_point() else v).contiguous().cpu()
               for k, v in model.clip.state_dict().items()}
    try:
        save_file(weights, folder / SAFE[0], metadata={"format": "pt"})
    except Exception as error:  # the library raises one of its own for a full disk
        raise OSError(str(error)) from error
    (folder / SAFE[0]).chmod(0o644)


def _kept_in_half(base: Card) -> bool:
    """Whether the base's own file of weights is in half precision."""
    from safetensors import safe_open

    folder = base_folder(base)
    files = [folder / name for name in SAFE if (folder / name).is_file()] if folder else []
    if not files:
        return False
    with safe_open(files[0], "pt") as held:
        kinds = {held.get_slice(key).get_dtype() for key in held.keys()}  # noqa: SIM118
    return "F16" in kinds and "F32" not in kinds


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
