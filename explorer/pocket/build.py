"""The stages that make the pair, in order; each leaves a checkpoint and is skipped when done."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch

from explorer.pocket import align, base, data, words
from explorer.pocket.tune import Recipe, Stage

CLEAN = Recipe("pocket", steps=1000, lr=2e-4, text_lr=3e-4)
ROBUST = Recipe("pocket-robust", steps=2800, lr=4e-4, text_lr=0.0, eps=1.5 / 255,
                teacher=0.15, hypernyms=0.25, virtual=0.0, anchor=1.0)


def build(data_folder: Path, work: Path, recipes: tuple[Recipe, ...] = (CLEAN, ROBUST)) -> None:
    """Makes the stages' checkpoints in `work`; resumes where an earlier run was stopped."""
    work.mkdir(parents=True, exist_ok=True)
    network = base.classifier()
    tower = base.ImageTower(network).eval()
    images, labels = data.load_training(data_folder, work, list(words.load_classes(data_folder)))
    vocabulary_file = work / "vocabulary.pt"
    if vocabulary_file.exists():
        saved = torch.load(vocabulary_file, weights_only=True)
        vocabulary = words.Vocabulary(**saved)
    else:
        vocabulary = words.vocabulary(data_folder, base.minilm_folder())
        torch.save(vars(vocabulary), vocabulary_file)
    features = align.teacher_features(tower, images, work)
    weight, bias, directions = align.image_head(network.classifier, features.float().mean(0))
    tower.head.weight.data, tower.head.bias.data = weight, bias
    teacher = align.make_teacher(features, labels, network.classifier, tower.head, directions)
    mean, spread = align.standardise(vocabulary)
    vocabulary = replace(vocabulary, features=(vocabulary.features - mean) / spread)
    start = work / "align.pt"
    text = base.TextHead()
    if start.exists():
        state = torch.load(start, weights_only=True)
        text.load_state_dict(state["text"])
        log_scale = state["log_scale"]
    else:
        text, log_scale = align.align_text(vocabulary, teacher)
        torch.save({"text": text.state_dict(), "log_scale": log_scale, "mean": mean,
                    "spread": spread}, start)
    for recipe in recipes:
        stage = Stage(recipe, tower, text, log_scale, vocabulary, teacher, work)
        stage.run(images, labels)
        tower, text = copy.deepcopy(stage.image), copy.deepcopy(stage.text)
        log_scale = stage.log_scale.detach()
