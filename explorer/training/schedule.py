"""How the learning rate and the averaged weights follow the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from explorer.training.recipe import Recipe
from explorer.training.student import Student


def rate(step: int, total: int, warmup: int) -> float:
    """The part of the peak learning rate at a step, counted from 0: linear warm-up, for a fifth of
    the run at most, then a cosine to zero (Loshchilov and Hutter 2017, arXiv 1608.03983,
    equation 5, one period)."""
    warmup = min(warmup, total // 5)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def optimiser(recipe: Recipe, student: Student) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on what the recipe trains; vectors and
    the logit scale are not decayed. Each group's peak rate is under "peak"."""
    groups = []
    for part, parameters in student.towers.items():
        if part not in recipe.trained:
            continue
        lr = recipe.lr if part == "image" or recipe.text_lr is None else recipe.text_lr
        for decayed in (True, False):
            own = [p for p in parameters if (p.dim() > 1) == decayed]
            if own:
                groups.append({"params": own, "lr": lr, "peak": lr,
                               "weight_decay": recipe.weight_decay if decayed else 0.0})
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6, fused=True)


def set_rate(groups: Sequence[dict[str, float]], part: float) -> None:
    for group in groups:
        group["lr"] = group["peak"] * part


@torch.no_grad()
def follow(averaged: nn.Module, student: nn.Module, decay: float, step: int) -> None:
    """One step of the moving average, w <- d w + (1 - d) w_now with d = min(decay,
    (1 + step) / (10 + step)), so that the start is forgotten; buffers are copied."""
    d = min(decay, (1 + step) / (10 + step))
    ours: list[Tensor] = list(averaged.parameters())
    torch._foreach_lerp_(ours, list(student.parameters()), 1 - d)
    for mine, now in zip(averaged.buffers(), student.buffers(), strict=True):
        mine.copy_(now)
