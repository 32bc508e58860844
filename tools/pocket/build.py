"""The stages that make the pair, in order; each leaves a checkpoint and is skipped when done."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from tools.pocket import align, base, data, words
from tools.pocket.corpus import Known
from tools.pocket.tune import Stage, StageRecipe

CLEAN = StageRecipe("pocket", steps=1000, lr=2e-4, text_lr=3e-4, keep=0.5)
ROBUST = StageRecipe("robust-start", steps=1100, lr=4e-4, text_lr=0.0, eps=1.5 / 255,
                teacher=0.15, hypernyms=0.25, virtual=0.0, anchor=1.0)
WIDE = StageRecipe("robust-wide", steps=1600, lr=3e-4, text_lr=0.0, eps=1.5 / 255, teacher=0.15,
              hypernyms=0.25, virtual=0.0, anchor=1.0, frozen=0.4, mosaics=0.375, seed=1)


def build(data_folder: Path, work: Path,
          recipes: tuple[StageRecipe, ...] = (CLEAN, ROBUST, WIDE)) -> tuple[Known,
                                              base.ImageTower]:
    """Makes the stages' checkpoints in `work`; resumes where an earlier run was stopped. Returns
    what the first stage made, and the image tower of the last, which second.py goes on from."""
    work.mkdir(parents=True, exist_ok=True)
    network = base.classifier()
    rows = network.classifier
    assert isinstance(rows, nn.Linear)
    tower = base.ImageTower(network).eval()
    images, labels = data.load_training(data_folder, work, list(words.load_classes(data_folder)))
    vocabulary_file = work / "vocabulary.pt"
    if vocabulary_file.exists():
        vocabulary = words.Vocabulary(**torch.load(vocabulary_file, weights_only=True))
    else:
        vocabulary = words.vocabulary(data_folder, base.minilm_folder())
        torch.save(vars(vocabulary), vocabulary_file)
    features = align.teacher_features(tower, images, work)
    start = work / "align.pt"
    saved = torch.load(start, weights_only=True) if start.exists() else None
    basis = None if saved is None else saved["basis"]  # SVD is unique only up to signs: keep it
    weight, bias, directions = align.image_head(rows, features.float().mean(0), basis)
    tower.head.weight.data, tower.head.bias.data = weight, bias
    teacher = align.make_teacher(features, labels, rows, tower.head, directions)
    mean, spread = align.standardise(vocabulary)
    vocabulary = replace(vocabulary, features=(vocabulary.features - mean) / spread)
    text = base.TextHead()
    if saved is not None:
        text.load_state_dict(saved["text"])
        log_scale = saved["log_scale"]
    else:
        text, log_scale = align.align_text(vocabulary, teacher)
        torch.save({"text": text.state_dict(), "log_scale": log_scale, "mean": mean,
                    "spread": spread, "basis": weight}, start)
    clean = None
    first: Known | None = None
    for recipe in recipes:
        stage = Stage(recipe, tower, text, log_scale, vocabulary, teacher, work, clean)
        stage.run(images, labels)
        tower, text = copy.deepcopy(stage.image), copy.deepcopy(stage.text)
        clean, log_scale = clean or copy.deepcopy(tower), stage.log_scale.detach()
        first = first or Known(clean, copy.deepcopy(text), log_scale, vocabulary, mean, spread)
    assert first is not None, "no stage"
    return first, tower
