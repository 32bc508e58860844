"""One process of a run, for the tests: `python training_worker.py SET OUT METHOD TARGETS`.

Writes the loss terms of three steps, and the gradients of the first, from process 0.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from training_helpers import SMALL, tiny_model, upper_case

from explorer.training.data import open_training
from explorer.training.gather import world
from explorer.training.recipe import Recipe
from explorer.training.trainer import Trainer, make_accelerator


def measure(path: str, method: str, targets: str) -> dict[str, Any]:
    """{"losses": [terms of each step], "gradients": {name: tensor}}"""
    torch.set_num_threads(1)
    data, _ = open_training(path, "a photo of a {}")
    recipe = Recipe(**{**SMALL, "method": method, "targets": targets, "steps": 3, "joint":
                       0.5 if method == "mmcoa+" else 0.0})
    trainer = Trainer(recipe, tiny_model(), data, make_accelerator(True), upper_case)
    step, gradients = trainer.optimiser.step, dict[str, torch.Tensor]()

    def seen(*args: Any, **kwargs: Any) -> Any:
        if not gradients:
            gradients.update({n: p.grad.clone() for n, p in trainer.student.named_parameters()
                              if p.grad is not None})
        return step(*args, **kwargs)

    trainer.optimiser.step = seen
    return {"losses": [s.losses for s in trainer.steps()], "gradients": gradients}


if __name__ == "__main__":
    found = measure(sys.argv[1], sys.argv[3], sys.argv[4])
    if world()[0] == 0:
        torch.save({**found, "processes": world()[1]}, Path(sys.argv[2]))
