"""Demonstrations 9 and 10: compression against an attacker who knows of it, and one change for all
photos."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import torch

from explorer.attacks.defences.base import Transform
from explorer.attacks.defences.guard import guarded
from explorer.attacks.defences.jpeg import JPEG
from explorer.attacks.defences.model import Defended
from explorer.attacks.defences.pixels import Blur
from explorer.attacks.engine import Step
from explorer.attacks.image.classic import Noise
from explorer.attacks.image.perturbation import SHIPPED, open_perturbation
from explorer.attacks.image.universal import fit_to, fooling
from explorer.attacks.result import Result
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.lessons.bench import Asked, Bench, Count
from explorer.lessons.false_robustness import broken
from explorer.lessons.pixels import STEPS, Demo, models_of, pgd, three
from explorer.lessons.record import Cell, Record, Table, weights, word
from explorer.models.encoder import DualEncoder
from explorer.results.views import levels, perturbation

PHOTOS, EPS = 6, 2  # grey levels
ALL = 12


def fell(result: Result) -> tuple[int, int]:
    """(photos broken, of those that were right before)."""
    right = result.correct_before
    return broken(right, result.correct_after), int(right.sum())


def compress(bench: Bench, asked: Asked) -> Demo:
    """9: JPEG and a blur before the standard model reads. option: quality of the JPEG file."""
    began, quality, count = time.perf_counter(), int(asked.option), Count(3 * STEPS)
    model = bench.standard
    pairs = bench.several(asked.photo, PHOTOS, model)
    plain = yield from count.run(pgd(EPS), model, pairs)
    found = {"plain": fell(plain)}
    rows = [_row(word("no_defence"), "nobody", fell(plain))]
    ways: tuple[tuple[str, Cell, Transform], ...] = (
        ("jpeg", word("quality_of", n=quality), JPEG(quality)),
        ("blur", word("soft_blur"), Blur(1.0)))
    for name, said, defence in ways:
        defended = Defended(model, defence)
        found[name] = fell(guarded(plain, defended))
        known = yield from _knowing(count, defended, pairs)
        found[f"{name}_known"] = fell(known)
        rows += [_row(said, "unaware", found[name]), _row(said, "aware", found[f"{name}_known"])]
    facts: dict[str, Any] = {name: n for name, (n, _) in found.items()}
    facts |= {f"{name}_right": total for name, (_, total) in found.items()}
    read = JPEG(quality).change(plain.adversarial_images[:1], PerImage(0, plain.images[:1]))
    yield Record(9, asked.photo, asked.option, {
        **facts, "quality": quality, "eps": EPS, "photos": PHOTOS}, (), (
            Table("compressed", ("defence", "attacker", "broken"), tuple(rows)),),
        (*three(plain)[:2], ("squeezed", levels((read[0] * 255).round() / 255), 0)),
        weights([model]), time.perf_counter() - began)


def _row(defence: Cell, attacker: str, fallen: tuple[int, int]) -> tuple[Cell, ...]:
    return defence, word(attacker), word("of", n=fallen[0], total=fallen[1])


def _knowing(count: Count, defended: Defended, pairs: Pairs) -> Generator[Step, None, Result]:
    """The attack by somebody who knows of the defence, with the same budget."""
    known = defended.facing(pairs.captions)
    result = yield from count.run(pgd(EPS), known.known(), pairs)
    return guarded(result, known, aware=True)


def everything(bench: Bench, asked: Asked) -> Demo:
    """10: one change, learnt from other photos, added to all example photos. option: grey levels to
    which it is cut."""
    began, eps = time.perf_counter(), float(asked.option) / 255
    facts: dict[str, Any] = {"eps": asked.option, "photos": ALL}
    rows: list[tuple[Cell, ...]] = []
    for role, model in models_of(bench):
        pairs = bench.several(asked.photo, ALL, model)
        for name, size in _moved(model, pairs, eps).items():
            rows.append((word(role), word(name), word("of", n=size, total=len(pairs))))
            facts[f"{role}_{name}"] = size
            yield Step(len(rows), 2 * 3)
    facts["share"] = facts["standard_one_pocket"] / ALL
    shown = _shown(bench, asked, eps)
    change, factor = perturbation(*shown)
    yield Record(10, asked.photo, asked.option, facts, (), (
        Table("for_all", ("role", "added", "answers_changed"), tuple(rows)),),
        (("clean", levels(shown[0]), 0), ("with_change", levels(shown[1]), 0),
         ("one_change", change, factor)),
        weights([model for _, model in models_of(bench)]), time.perf_counter() - began)


def _moved(model: DualEncoder, pairs: Pairs, eps: float) -> dict[str, int]:
    """How many answers change: by each of the changes that come with the app, cut to a budget, and
    by random noise of that size."""
    def changed(change: torch.Tensor) -> int:
        return fooling(model, pairs.images, change, pairs.captions).changed

    found = {f"one_{name.replace('-', '_')}": changed(_cut(name, eps)) for name in SHIPPED}
    loud = next(Noise(eps).iterate(lambda x: x, torch.full_like(pairs.images[:1], 0.5),
                                   PerImage(0, pairs.images[:1])))
    return {**found, "one_noise": changed(loud[0].cpu() - 0.5)}


def _cut(name: str, eps: float) -> torch.Tensor:
    return open_perturbation(name).change.clamp(-eps, eps)


def _shown(bench: Bench, asked: Asked, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The first photo, and the same with the change that was learnt on the standard model."""
    clean = bench.one(asked, bench.standard).images[0]
    change = fit_to(_cut(SHIPPED[0], eps), clean.shape[-2:])
    return clean, ((clean + change).clamp(0, 1) * 255).round() / 255
