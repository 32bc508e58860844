"""Signs that a model only hides its gradients: what an honest evaluation looks for before it
believes that a model is robust.

After Athalye et al. 2018 (arXiv 1802.00420, section 3.1) and Carlini et al. 2019
(arXiv 1902.06705, section 5). A sign is a warning, not a proof; none is no proof of robustness.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch

from explorer.attacks.engine import Step
from explorer.attacks.goals import Misclassify
from explorer.attacks.image.base import gradient
from explorer.attacks.image.classic import PGD, ImageAttack, Noise, Square
from explorer.attacks.objective import Objective
from explorer.attacks.result import Result
from explorer.attacks.run import stream
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder

ZEROS = 0.1  # more exact zeros than this are a sign
NOISE = 0.5  # noise that does this part of the attack's harm is a sign
ENOUGH = 0.95  # an attack without limits has to break this share


@dataclass(frozen=True)
class Effort:
    """How hard to look. eps: in [0, 1] pixel units; steps: of the white-box attack; queries: of
    the black-box one."""

    eps: float = 8 / 255
    steps: int = 10
    queries: int = 200


@dataclass(frozen=True)
class Sign:
    """One check. value: a share in [0, 1], but for black-box a difference of two in [-1, 1]."""

    name: str
    triggered: bool
    value: float
    sentence: str


def signs(model: DualEncoder, pairs: Pairs, seed: int = 0, effort: Effort | None = None,
          ) -> tuple[Sign, ...]:
    """The four checks on the images that the model gets right. See `look_for_signs`."""
    *_, found = look_for_signs(model, pairs, seed, effort)
    assert isinstance(found, tuple)
    return found


def look_for_signs(model: DualEncoder, pairs: Pairs, seed: int = 0, effort: Effort | None = None,
                   ) -> Iterator[Step | tuple[Sign, ...]]:
    """Yields Steps, then the four Signs. Raises InputError when the model gets no image right."""
    effort = effort or Effort()
    pairs = _right(model, pairs)
    near, far, free = (PGD(eps, step=2.5 * eps / effort.steps, steps=effort.steps)
                       for eps in (effort.eps, min(4 * effort.eps, 1.0), 1.0))
    jobs: list[ImageAttack] = [near, far, free, Square(effort.eps, queries=effort.queries),
                               Noise(effort.eps)]
    total = sum(job.total for job in jobs)
    results: list[Result] = []
    done = 0
    for job in jobs:
        result = yield from _counted(job, model, pairs, seed, done, total)
        results.append(result)
        done += job.total
    by_near, by_far, by_free, by_square, by_noise = results
    yield (_zeros(model, pairs, seed, effort.eps), _black_box(by_near, by_square),
           _noise(by_near, by_noise), _growth([by_near, by_far, by_free]))


def _right(model: DualEncoder, pairs: Pairs) -> Pairs:
    if len(pairs.captions) < 2:
        raise InputError("with one caption there is no wrong answer: add a caption")
    with torch.no_grad():
        near = model.encode_image(pairs.images) @ model.encode_text(pairs.captions).T
    right = near.argmax(1).cpu() == pairs.labels
    if not bool(right.any()):
        raise InputError("the model gets none of these images right, so there is nothing to break: "
                         "choose others")
    return Pairs(pairs.images[right], pairs.captions, pairs.labels[right])


def _counted(attack: ImageAttack, model: DualEncoder, pairs: Pairs, seed: int, done: int,
             total: int) -> Generator[Step, None, Result]:
    for event in stream(attack, model, pairs, seed=seed):
        if isinstance(event, Step):
            yield Step(done + event.index, total)
        else:
            result = event
    return result


def _zeros(model: DualEncoder, pairs: Pairs, seed: int, eps: float) -> Sign:
    """Share of pixel values whose gradient is exactly zero, at a random point in the budget, in
    the precision in which attacks step."""
    clean = pairs.images.to(model.device)
    aim = Misclassify(pairs.labels.to(model.device), model.scale)
    random = PerImage(seed, clean)
    loss = Objective.of(model, aim, model.encode_text(pairs.captions), clean, seed)
    start = PGD(eps).ball.start(clean, random)
    share = float((gradient(loss, start)[1] == 0).float().mean())
    return Sign("zero gradients", share > ZEROS, share,
                f"The gradient is exactly zero for {share:.0%} of the pixel values"
                + (", so attacks that follow it are blind." if share > ZEROS
                   else ", so attacks can follow it."))


def _share(result: Result) -> float:
    return float(result.success.float().mean())


def _black_box(white: Result, black: Result) -> Sign:
    seen, blind = _share(white), _share(black)
    says = "more than" if blind > seen else "no more than"
    return Sign("black-box beats white-box", blind > seen, blind - seen,
                f"The black-box attack breaks {blind:.0%} of the images, {says} the {seen:.0%} of "
                "the attack that sees the gradient.")


def _harm(result: Result) -> float:
    """Mean rise of the cross-entropy."""
    rows = torch.arange(len(result.labels))

    def loss(cosines: torch.Tensor) -> torch.Tensor:
        return -torch.log_softmax(result.scale * cosines, 1)[rows, result.labels]

    return float((loss(result.adversarial.cosines) - loss(result.clean.cosines)).mean())


def _noise(white: Result, noise: Result) -> Sign:
    attack, chance = _harm(white), max(_harm(noise), 0.0)
    part = min(chance / attack, 1.0) if attack > 0 else 1.0
    return Sign("noise as good as the attack", part >= NOISE, part,
                f"Random noise of the same size does {part:.0%} of the attack's harm (the rise of "
                "the loss)" + (": the attack finds hardly any direction." if part >= NOISE
                               else "."))


def _growth(results: list[Result]) -> Sign:
    shares = [_share(r) for r in results]
    grows = all(b >= a for a, b in pairwise(shares))
    steps = ", ".join(f"{s:.0%} at {255 * r.settings['eps']:.3g}/255"
                      for s, r in zip(shares, results, strict=True))
    triggered = shares[-1] < ENOUGH or not grows
    return Sign("no growth with the budget", triggered, shares[-1],
                f"The attack breaks {steps}"
                + (": with no limit it should break nearly everything, and never less than with "
                   "a smaller budget." if triggered else ", as it should."))
