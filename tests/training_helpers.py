"""A tiny model folder and tiny image sets for the tests of training."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from helpers import TINY, grid_images, tiny_clip
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor

from explorer.data.pairs import to_image
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.training.attacker import Batch
from explorer.training.inner import Encode
from explorer.training.objective import Objective
from explorer.training.recipe import Recipe
from explorer.training.student import Student, student_of

NAMES = ("cat", "dog", "red car", "sea")
SMALL: dict[str, Any] = {"batch": 8, "precision": "fp32", "augment": "crop", "warmup": 1,
                         "lr": 1e-3, "inner_steps": 2, "refresh": 2}


def tiny_model(seed: int = 0) -> DualEncoder:
    card = Card("tiny", "tiny", "standard", "local-dir:nowhere", "none", "Random weights.")
    model = DualEncoder(tiny_clip(seed), SimpleTokenizer(context_length=16), card, 32,
                        (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "cpu")
    model.fast_dtype = None
    return model


def write_tiny(folder: Path) -> Path:
    """An open_clip folder of the tiny model."""
    folder.mkdir(parents=True)
    weights = {k: v.contiguous() for k, v in tiny_clip().state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    pre = {"mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": TINY, "preprocess_cfg": pre}))
    return folder


def png(pixels: Tensor) -> bytes:
    buffer = io.BytesIO()
    to_image(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, n: int = 40, names: Sequence[str] = NAMES, seed: int = 0,
                  damaged: Sequence[int] = ()) -> Path:
    """n pictures of 32 x 32 whose brightness tells the class, in row groups of 10."""
    shades = torch.linspace(0.2, 0.8, len(names))
    labels = [k % len(names) for k in range(n)]
    noise = grid_images(n, 32, seed)
    pictures = [png(((0.7 * shades[c] + 0.3 * x) * 255).round() / 255)
                for c, x in zip(labels, noise, strict=True)]
    for k in damaged:
        pictures[k] = b"no picture"
    table = pa.table({"image": pictures, "label": [names[c] for c in labels]})
    pq.write_table(table, path, row_group_size=10)
    return path


def upper_case(encode: Encode, captions: Sequence[str], away_from: Tensor, seed: int) -> list[str]:
    """A real attack, if a small one: of three spellings the one farthest from `away_from`."""
    made = []
    for caption, still in zip(captions, away_from, strict=True):
        tries = [caption, caption[::-1], f"not {caption}", caption.replace("a", "e")]
        made.append(tries[int((encode(tries) @ still).argmin())])
    return made


def objective(recipe: Recipe, student: Student | None = None, seed: int = 0,
              inner: Any = upper_case) -> Objective:
    """The objective of a recipe on the tiny model and four classes."""
    model = tiny_model(seed)
    student = student or student_of(model)
    captions = tuple(f"a photo of a {name}" for name in NAMES)
    made = Objective(recipe, student, model.tokenize, captions.__getitem__, captions, inner)
    student.train_only(recipe.trained)
    return made


def four_pictures(groups: Sequence[int] = (0, 1, 2, 3)) -> Batch:
    captions = tuple(f"a photo of a {NAMES[g]}" for g in groups)
    return Batch(grid_images(len(groups), 32, 5), torch.tensor(groups), captions)
