"""Whether a device answers as the processor does: each attack, each defence, each training method,
once on a model on the processor and once on the same model on the device."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attacks.defences.model import Defended
from explorer.attacks.defences.registry import DEFENCES
from explorer.attacks.registry import REGISTRIES, attack_of, make_attack, settings_of
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.training.attacker import Batch
from explorer.training.inner import caption_attack
from explorer.training.methods import METHODS
from explorer.training.objective import Objective
from explorer.training.recipe import Recipe
from explorer.training.student import student_of

FEATURES = 1e-3  # largest difference of a unit feature's number, in float32
LIKELY = 0.05  # largest difference of the mean probability of the true caption after an attack
TERM = 0.02  # largest relative difference of a training loss
SLOPE = 0.98  # least cosine of two gradients
FEW = {"steps": 5, "targeted_steps": 5, "restarts": 1, "queries": 40}  # the same code, sooner


@dataclass(frozen=True)
class Check:
    """what: reading, image, text, joint, defence or training; said: the numbers compared; seconds:
    on the processor and on the device."""

    what: str
    name: str
    agrees: bool
    said: str
    seconds: tuple[float, float]


def timed(work: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """What work returns, and its seconds until the device is done with it."""
    began = time.perf_counter()
    made = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return made, time.perf_counter() - began


def _both(what: str, name: str, work: Callable[[DualEncoder], Any], here: DualEncoder,
          there: DualEncoder, judge: Callable[[Any, Any], tuple[bool, str]]) -> Check:
    """One check; work that fails on the device alone differs, and says how."""
    try:
        one, first = timed(lambda: work(here), here.device)
    except InputError as error:  # the model is none for this method: so on every device
        return Check(what, name, True, f"not for this model: {error}", (0.0, 0.0))
    try:
        two, second = timed(lambda: work(there), there.device)
    except Exception as error:  # noqa: BLE001 -- a device may lack anything: that is the finding
        said = f"fails: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
        return Check(what, name, False, said, (first, 0.0))
    return Check(what, name, *judge(one, two), (first, second))


def _features(one: Tensor, two: Tensor) -> tuple[bool, str]:
    apart = float((one - two.cpu()).abs().max())
    return apart <= FEATURES, f"features apart by at most {apart:.1e}"


def _outcomes(one: Result, two: Result) -> tuple[bool, str]:
    """Two runs of an attack: as strong as each other. Pictures need not be alike: a sign that turns
    on the last digit of a gradient leads elsewhere, and no less far."""
    rows = torch.arange(len(one.labels))

    def likely(r: Result) -> float:
        return float(r.adversarial.probabilities[rows, r.labels].mean())

    flips = int((one.success != two.success).sum())
    apart = abs(likely(one) - likely(two))
    near = _features(one.clean.features, two.clean.features)[0]
    farthest = float((two.linf_255.max() - one.linf_255.max()).abs())
    alike = float((one.adversarial_images == two.adversarial_images).float().mean())
    said = (f"fooled {int(one.success.sum())} and {int(two.success.sum())} of {len(rows)}; true "
            f"caption's probability apart by {apart:.3f}; {alike:.0%} of pixel values alike")
    if one.kind == "text":
        same = one.adversarial_captions == two.adversarial_captions
        said += "; the same captions" if same else "; other captions"
    return near and flips <= 1 and apart <= LIKELY and farthest <= 1, said


def attacks(here: DualEncoder, there: DualEncoder, pairs: Pairs) -> Iterator[Check]:
    """Every attack of the three registries."""
    yield _both("reading", "clean pictures", lambda m: m.encode_image(pairs.images).detach(), here,
                there, _features)
    yield _both("reading", "captions", lambda m: m.encode_text(pairs.captions), here, there,
                _features)
    for kind, registry in REGISTRIES.items():
        for name in registry:
            usual = settings_of(make_attack(kind, name))
            few = {k: min(v, usual[k]) for k, v in FEW.items() if k in usual}
            attack = attack_of(kind, name, few)
            yield _both(kind, name, lambda m, a=attack: run(a, m, pairs, seed=3),  # type: ignore[misc]
                        here, there, _outcomes)


def defences(here: DualEncoder, there: DualEncoder, pairs: Pairs) -> Iterator[Check]:
    """Every defence: what it reads, and the gradient that who knows of it climbs."""
    for name, kind in DEFENCES.items():
        defence = kind()

        def answers(model: DualEncoder, defence: Any = defence) -> tuple[Tensor, Tensor]:
            guarded = Defended(model, defence, 3).facing(pairs.captions)
            with torch.no_grad():
                read = guarded.encode_image(pairs.images)
            x = pairs.images.to(model.device).clone().requires_grad_()
            score = guarded.known().encode_image(x) @ model.encode_text(pairs.captions).T
            labels = pairs.labels.to(model.device)
            (slope,) = torch.autograd.grad(F.cross_entropy(model.scale * score, labels), x)
            return read, slope

        yield _both("defence", name, answers, here, there, _slopes)


def _slopes(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> tuple[bool, str]:
    near, said = _features(one[0], two[0])
    cosine = _cosine(one[1], two[1])
    return near and cosine >= SLOPE, f"{said}; cosine of the attacker's gradients {cosine:.4f}"


def _cosine(one: Tensor, two: Tensor) -> float:
    a, b = one.flatten().double(), two.cpu().flatten().double()
    if not bool(a.any()) and not bool(b.any()):
        return 1.0
    return float(F.cosine_similarity(a, b, dim=0))


def trainings(here: DualEncoder, there: DualEncoder, pairs: Pairs) -> Iterator[Check]:
    """Every training method: the terms of its loss in one step, and their gradient."""
    for name in METHODS:
        recipe = Recipe(method=name, precision="fp32", text_attack="character", rho=5,
                        joint=0.5 if name == "mmcoa+" else 0.0)

        def step(model: DualEncoder, recipe: Recipe = recipe) -> tuple[dict[str, float], Tensor]:
            own = copy.copy(model)
            own.clip = copy.deepcopy(model.clip)
            student = student_of(own).to(model.device)
            made = Objective(recipe, student, model.tokenize, pairs.captions.__getitem__,
                             pairs.captions, caption_attack(recipe))
            student.train_only(recipe.trained)
            batch = Batch(pairs.images.to(model.device), pairs.labels.to(model.device),
                          tuple(pairs.captions[k] for k in pairs.labels.tolist()))
            terms = made.terms(batch, 3)
            torch.stack(list(terms.values())).sum().backward()
            slopes = [p.grad.flatten().cpu() for p in student.parameters() if p.grad is not None]
            return {k: float(v.detach()) for k, v in terms.items()}, torch.cat(slopes)

        yield _both("training", name, step, here, there, _steps)


def _steps(one: tuple[dict[str, float], Tensor], two: tuple[dict[str, float], Tensor],
           ) -> tuple[bool, str]:
    apart = max(abs(a - two[0][k]) / max(abs(a), 1e-3) for k, a in one[0].items())
    cosine = _cosine(one[1], two[1])
    said = f"losses apart by {apart:.2%} at most; cosine of the gradients {cosine:.4f}"
    return apart <= TERM and cosine >= SLOPE, said
