"""The same attack by foolbox on the same classifier: our steps land where its steps land."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from helpers import CAPTIONS, grid_images
from torch import Tensor, nn

from explorer.attacks.goals import Misclassify
from explorer.attacks.image.classic import FGSM, PGD, ImageAttack
from explorer.base.randomness import PerImage
from explorer.models.encoder import DualEncoder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    fb: Any = pytest.importorskip("foolbox")

EPS = {"linf": 4 / 255, "l2": 0.8}


class Classifier(nn.Module):
    """A dual encoder with fixed captions, as the plain classifier that foolbox takes."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model, self.text = model, model.encode_text(CAPTIONS)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.scale * self.model.encode_image(x) @ self.text.T


def ours(attack: ImageAttack, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
    """The last picture before rounding to 8 bits."""
    goal = Misclassify(labels, classifier.model.scale)
    def loss(p: Tensor) -> Tensor:
        return goal.score(classifier.model.encode_image(p), classifier.text)
    return list(attack.iterate(loss, x, PerImage(0, x)))[-1]


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("steps", [1, 5])
def test_same_picture_as_foolbox(norm: str, steps: int, tiny: DualEncoder) -> None:
    classifier = Classifier(tiny).eval()
    x = grid_images(6, 32, seed=2, low=30, high=220)
    with torch.no_grad():
        labels = classifier(x).argmax(1)
    theirs = fb.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
    eps, step = EPS[norm], EPS[norm] / (1 if steps == 1 else 3)
    if steps == 1:
        attack: ImageAttack = FGSM(eps, norm)
        peer = {"linf": fb.attacks.LinfFastGradientAttack,
                "l2": fb.attacks.L2FastGradientAttack}[norm](random_start=False)
    else:
        attack = PGD(eps, norm, step, steps, random_start=False)
        peer = {"linf": fb.attacks.LinfProjectedGradientDescentAttack,
                "l2": fb.attacks.L2ProjectedGradientDescentAttack}[norm](
                    abs_stepsize=step, steps=steps, random_start=False)
    _, picture, fooled = peer(theirs, x, labels, epsilons=eps)
    mine = ours(attack, classifier, x, labels)
    # a gradient value within rounding of zero may take either sign: at most one in a thousand
    apart = (mine - picture).abs() > 1e-5
    assert float(apart.float().mean()) < 1e-3
    with torch.no_grad():
        success = classifier(mine).argmax(1) != labels
    assert bool(fooled.any()), "the case must be one where the attack works"
    assert int(success.sum()) >= int(fooled.sum())
