"""The start that needs no captioned image: the text projection learns the classifier's directions.

The image head is the leading right singular vectors of the centred classifier rows, so that
head(features) times a class's projected row reproduces the classifier's logits. The text
projection is then fitted so that a class's captions land on its direction.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from tools.pocket.base import FIRST, ImageTower, TextHead
from tools.pocket.data import upscale
from tools.pocket.tune import Teacher, class_texts, hypernym_loss, virtual_images
from tools.pocket.words import Vocabulary

STEPS = 1500


@torch.no_grad()
def teacher_features(tower: ImageTower, images: np.ndarray, work: Path) -> Tensor:
    """Pooled classifier features of all training images, (N, 1280) float16, kept on disk."""
    file = work / "teacher_features.npy"
    if not file.exists():
        out = np.zeros((len(images), 1280), np.float16)
        for start in tqdm(range(0, len(images), 100), desc="teacher", mininterval=20):
            with torch.autocast("cpu", torch.bfloat16):
                batch = tower.pooled(upscale(images[start : start + 100], FIRST.side))
            out[start : start + 100] = batch.float().numpy()
        np.save(file, out)
    return torch.from_numpy(np.load(file))


def image_head(classifier: nn.Linear, mean: Tensor, basis: Tensor | None = None,
               ) -> tuple[Tensor, Tensor, Tensor]:
    """Head weight (D, 1280), bias (D,), and class directions (1000, D) from classifier rows.

    basis: the head weight of an earlier run, to go on from it.
    """
    rows = classifier.weight.detach().float()
    centred = rows - rows.mean(0)
    if basis is None:
        basis = torch.linalg.svd(centred, full_matrices=False).Vh[:FIRST.dim]
    return basis, -basis @ mean, F.normalize(centred @ basis.T, dim=1)


def make_teacher(features: Tensor, labels: Tensor, classifier: nn.Linear, head: nn.Linear,
                 directions: Tensor) -> Teacher:
    """Posteriors, class directions at the length images have them, and residuals."""
    posterior = torch.empty(len(features), 1000, dtype=torch.float16)
    for start in range(0, len(features), 4000):
        block = features[start : start + 4000].float()
        with torch.no_grad():
            posterior[start : start + 4000] = classifier(block).softmax(1).half()
    with torch.no_grad():
        placed = head(features[::4].float())
    owners = labels[::4]
    residuals, lengths = placed.clone(), []
    for label in owners.unique():
        mine = owners == label
        mean = placed[mine].mean(0)
        residuals[mine] -= mean
        lengths.append(mean @ directions[label])
    return Teacher(posterior, directions * torch.stack(lengths).mean(), residuals)


def standardise(words: Vocabulary) -> tuple[Tensor, Tensor]:
    """Mean (384,) and spread () of caption features; folded into the text tower on export."""
    plain = words.features[words.first, 0]
    return plain.mean(0), (plain - plain.mean(0)).std()


def align_text(words: Vocabulary, teacher: Teacher, seed: int = 0) -> tuple[TextHead, Tensor]:
    """Fits the text projection; returns it and the log logit scale."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    text, log_scale = TextHead(), nn.Parameter(torch.tensor(20.0).log())
    optimiser = torch.optim.AdamW([*text.parameters(), log_scale], lr=2e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=STEPS)
    for _ in tqdm(range(STEPS), desc="align", mininterval=20):
        scale = log_scale.exp().clamp(max=100)
        texts = class_texts(text, words, rng)
        made, labels = virtual_images(teacher, 512, rng)
        loss = F.cross_entropy(scale * made @ texts.T, labels)
        loss = loss + 0.5 * hypernym_loss(made, labels, text, words, scale, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return text, log_scale.detach()
