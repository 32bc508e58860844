"""Demonstration 8: ways to believe in a robustness that is not there."""

from __future__ import annotations

import io
import time
from collections.abc import Generator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from explorer.analysis.metrics import read_by
from explorer.attacks.engine import Step
from explorer.attacks.image.classic import FGSM, PGD, ImageAttack, Noise, Square
from explorer.attacks.result import Result
from explorer.base.framing import Frame
from explorer.data.pairs import Pairs, to_image, to_pixels
from explorer.lessons.bench import Asked, Bench, Count
from explorer.lessons.pixels import Demo, pgd
from explorer.lessons.record import Cell, Record, Table, weights, word
from explorer.models.encoder import DualEncoder
from explorer.results.views import levels

PHOTOS = 6
COARSE = 16  # levels of the model that rounds its input
QUERIES = 150
QUALITIES = (95, 75, 50)
BELOW = 0.5  # grey levels: a budget that an 8-bit picture cannot hold


class Rounding(DualEncoder):
    """A model that rounds its input to a few grey levels first: the gradient is zero everywhere,
    though nothing about the model has become more robust."""

    def __init__(self, model: DualEncoder, coarse: int = COARSE) -> None:
        self.__dict__.update(model.__dict__)
        self.coarse = coarse - 1

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        return super().encode_image((pixels * self.coarse).round() / self.coarse, fast)


def broken(right: Tensor, after: Tensor) -> int:
    """How many of the images that were right are right no more."""
    return int((right & ~after).sum())


def squeezed(images: Tensor, quality: int) -> Tensor:
    """(N, 3, S, S) through JPEG and back."""
    rows = []
    for pixels in images:
        buffer = io.BytesIO()
        to_image(pixels).save(buffer, "JPEG", quality=quality)
        rows.append(to_pixels(Image.open(buffer).convert("RGB"), Frame(*pixels.shape[1:])))
    return torch.stack(rows)


def fooling(bench: Bench, asked: Asked) -> Demo:
    """option: grey levels of the budget."""
    began, eps = time.perf_counter(), float(asked.option)
    count = Count(1 + 10 + 30 + 10 + 10 + QUERIES + 1 + 10 + 10)
    robust, standard = bench.robust, bench.standard
    blind = Rounding(standard)
    pairs, own = (bench.several(asked.photo, PHOTOS, m) for m in (robust, standard))
    weak: list[tuple[Cell, ...]] = []
    found: dict[str, int] = {}
    tries: list[tuple[str, ImageAttack]] = [
        ("noise_control", Noise(eps / 255)), ("one_step", FGSM(eps / 255)),
        ("ten_steps", pgd(eps)), ("thirty_steps", pgd(eps, 30))]
    for name, attack in tries:
        result = yield from count.run(attack, robust, pairs)
        right = result.correct_before
        found[name] = broken(right, result.correct_after)
        weak.append((word(name), word("of", n=found[name], total=int(right.sum()))))
    masked, made = yield from _masked(count, standard, blind, own, eps)
    rounding = yield from count.run(PGD(BELOW / 255, step=BELOW / 255 / 4, steps=10), standard, own)
    raw, kept = (int((rounding.correct_before & s).sum())
                 for s in (rounding.raw_success, rounding.success))
    facts = {**found, **masked, "eps": asked.option, "photos": PHOTOS, "coarse": COARSE,
             "raw": raw, "kept": kept, "below": BELOW, "queries": QUERIES}
    tables = (
        Table("weak_attacks", ("attack", "broken"), tuple(weak)),
        Table("blind_attacks", ("attack", "broken"), tuple(
            (word(key), word("of", n=masked[key], total=masked["blind_right"]))
            for key in ("blind_pgd", "blind_square", "blind_transfer"))),
        Table("grid", ("when", "broken"), (
            (word("before_rounding"), word("of", n=raw, total=int(
                rounding.correct_before.sum()))),
            (word("as_saved"), word("of", n=kept, total=int(rounding.correct_before.sum()))))),
        Table("jpeg", ("quality", "broken"), _jpeg(standard, made)))
    yield Record(8, asked.photo, asked.option, facts, (), tables, (
        ("clean", _picture(own.images[0]), 0), ("coarse", _picture(
            (own.images[0] * (COARSE - 1)).round() / (COARSE - 1)), 0)),
        weights([standard, robust]), time.perf_counter() - began)


def _masked(count: Count, standard: DualEncoder, blind: DualEncoder, own: Pairs, eps: float,
            ) -> Generator[Step, None, tuple[dict[str, int], Result]]:
    """The rounding model under an attack that follows its gradient, one that only asks for
    answers, and one made on the model underneath; also the attack on that model."""
    white = yield from count.run(pgd(eps), blind, own)
    black = yield from count.run(Square(eps / 255, queries=QUERIES), blind, own)
    made = yield from count.run(pgd(eps), standard, own)
    _, read = read_by(blind, made)
    right = white.correct_before
    return {"blind_right": int(right.sum()), "blind_pgd": broken(right, white.correct_after),
            "blind_square": broken(right, black.correct_after),
            "blind_transfer": broken(right, read.prediction == made.labels)}, made


def _jpeg(standard: DualEncoder, made: Result) -> tuple[tuple[Cell, ...], ...]:
    """How many attacked pictures of `made` still fool after compression."""
    text = made.text_features.to(standard.device)
    right = made.correct_before
    rows: list[tuple[Cell, ...]] = [(word("no_jpeg"), word(
        "of", n=broken(right, made.correct_after), total=int(right.sum())))]
    for quality in QUALITIES:
        with torch.no_grad():
            features = standard.encode_image(squeezed(made.adversarial_images, quality))
        after = (features @ text.T).argmax(1).cpu() == made.labels
        rows.append((word("quality_of", n=quality),
                     word("of", n=broken(right, after), total=int(right.sum()))))
    return tuple(rows)


def _picture(pixels: Tensor) -> np.ndarray:
    return levels((pixels * 255).round() / 255)
