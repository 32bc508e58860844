"""Demonstrations 1 to 4: what CLIP sees, and what a change of the pixels does to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch

from explorer.analysis.metrics import smallest_flip
from explorer.attacks.engine import Step
from explorer.attacks.goals import probabilities
from explorer.attacks.image.classic import FGSM, PGD, ImageAttack, Noise
from explorer.attacks.result import Reading, Result
from explorer.lessons.bench import Asked, Bench, Count
from explorer.lessons.record import Bars, Cell, Record, Table, chance, cosine, weights, word
from explorer.models.encoder import DualEncoder
from explorer.results.outcome import Flip
from explorer.results.views import levels, percent, perturbation, signed

Demo = Iterator[Step | Record]
STEPS = 10
NOISES = (1, 2, 4, 8, 16, 32, 64)  # grey levels tried for random noise
MOST_FLIP = 16


def pgd(grey: float, steps: int = STEPS) -> PGD:
    """PGD with a budget in grey levels."""
    return PGD(grey / 255, steps=steps)


def bars(title: str, result: Result, row: int = 0) -> Bars:
    before, after = result.clean.probabilities[row], result.adversarial.probabilities[row]
    rows = tuple((result.adversarial_captions[row][k], float(before[k]), float(after[k]))
                 for k in range(len(result.captions)))
    return Bars(title, result.model, rows, int(result.labels[row]))


def said(reading: Reading, captions: tuple[str, ...], row: int = 0) -> tuple[str, float]:
    """The caption that wins and its probability."""
    k = int(reading.prediction[row])
    return captions[k], float(reading.probabilities[row, k])


def answer_facts(result: Result, prefix: str = "") -> dict[str, object]:
    """Who won before and after, for texts and questions."""
    label = int(result.labels[0])
    was, p = said(result.clean, result.captions)
    now, q = said(result.adversarial, result.adversarial_captions[0])
    return {f"{prefix}true": result.captions[label], f"{prefix}was": was,
            f"{prefix}was_p": percent(p), f"{prefix}now": now, f"{prefix}now_p": percent(q),
            f"{prefix}sure": q, f"{prefix}right": bool(result.correct_after[0]),
            f"{prefix}right_before": bool(result.correct_before[0])}


def three(result: Result) -> tuple[tuple[str, np.ndarray, int], ...]:
    """Clean, attacked, and the change."""
    change, factor = perturbation(result.images[0], result.adversarial_images[0])
    return (("clean", levels(result.images[0]), 0),
            ("attacked", levels(result.adversarial_images[0]), 0), ("change", change, factor))


def sees(bench: Bench, asked: Asked) -> Demo:
    """1: cosines and probabilities of one photo. option: the softmax scale, or "own"."""
    began = time.perf_counter()
    model = bench.standard
    pairs = bench.one(asked, model)
    with torch.no_grad():
        features = model.encode_image(pairs.images)
    cosines = (features @ model.encode_text(pairs.captions).T).cpu()
    yield Step(1, 1)
    scale = model.scale if asked.option == "own" else float(asked.option)
    own, chosen = probabilities(cosines, model.scale)[0], probabilities(cosines, scale)[0]
    order = cosines[0].argsort(descending=True).tolist()
    rows = tuple((pairs.captions[k], cosine(float(cosines[0, k])), chance(float(own[k])),
                  chance(float(chosen[k]))) for k in order)
    best = float(cosines[0].max())
    facts = {"best": signed(best), "best_cosine": best, "winner": pairs.captions[order[0]],
             "winner_p": percent(float(own.max())), "second": pairs.captions[order[1]],
             "gap": signed(best - float(cosines[0, order[1]])), "scale": f"{model.scale:.0f}",
             "chosen": f"{scale:.0f}", "chosen_p": percent(float(chosen.max())),
             "captions": len(pairs.captions), "true": pairs.captions[int(pairs.labels[0])]}
    yield Record(1, asked.photo, asked.option, facts,
                 tables=(Table("scores", ("caption", "cosine", "p_own", "p_chosen"), rows),),
                 pictures=(("clean", levels(pairs.images[0]), 0),), weights=weights([model]),
                 seconds=time.perf_counter() - began)


def unseen(bench: Bench, asked: Asked) -> Demo:
    """2: PGD on the standard model. option: grey levels."""
    began = time.perf_counter()
    model = bench.standard
    result = yield from Count(STEPS).run(pgd(float(asked.option)), model, bench.one(asked, model))
    facts = {**answer_facts(result), "eps": asked.option,
             "most": int(result.linf_255[0]), "l2": f"{float(result.l2[0]):.2f}",
             "moved": percent(float((result.images != result.adversarial_images).float().mean()))}
    yield Record(2, asked.photo, asked.option, facts, (bars("standard", result),),
                 pictures=three(result), weights=weights([model]),
                 seconds=time.perf_counter() - began)


def noise(bench: Bench, asked: Asked) -> Demo:
    """3: random noise of growing size against the attack. option: grey levels of the attack."""
    began, eps = time.perf_counter(), int(asked.option)
    model, count = bench.standard, Count(STEPS + len(NOISES))
    pairs = bench.one(asked, model)
    attacked = yield from count.run(pgd(eps), model, pairs)
    rows, flips, same = [_noise_row("by_attack", eps, attacked)], None, None
    for grey in sorted({*NOISES, eps}):
        tried = yield from count.run(Noise(grey / 255), model, pairs)
        rows.append(_noise_row("by_noise", grey, tried))
        same = tried if grey == eps else same
        if flips is None and bool(tried.correct_before[0]) and not bool(tried.correct_after[0]):
            flips = grey
    assert same is not None
    facts = {**answer_facts(attacked, "attack_"), **answer_facts(same), "eps": eps,
             "flips": f"{flips}/255" if flips else "—", "largest": max(NOISES)}
    yield Record(3, asked.photo, asked.option, facts, (bars("with_noise", same),),
                 (Table("noise_or_attack", ("what", "size", "answer", "probability", "verdict"),
                        tuple(rows)),),
                 (("noisy", levels(same.adversarial_images[0]), 0),
                  ("attacked", levels(attacked.adversarial_images[0]), 0)),
                 weights([model]), time.perf_counter() - began)


def _noise_row(how: str, grey: int, result: Result) -> tuple[Cell, ...]:
    now, p = said(result.adversarial, result.captions)
    verdict = "held" if bool(result.correct_after[0]) else "fooled"
    return word(how), word("grey", n=grey), now, chance(p), word(verdict)


def flip(bench: Bench, asked: Asked) -> Demo:
    """4: the smallest whole number of grey levels that flips each model. option: pgd or fgsm."""
    began, count = time.perf_counter(), Count(8 * STEPS)
    attack: ImageAttack = FGSM() if asked.option == "fgsm" else PGD(steps=STEPS)
    rows, found, shown = [], {}, []
    for role, model in models_of(bench):
        pairs = bench.one(asked, model)
        flipped = Flip(None, MOST_FLIP)
        for event in smallest_flip(attack, model, pairs, most=MOST_FLIP):
            if isinstance(event, Flip):
                flipped = event
            else:
                yield count.tick()
        found[role] = flipped.level
        eps = MOST_FLIP if flipped.level is None else flipped.level
        result = yield from count.run(pgd(eps), model, pairs)
        shown.append((f"at_{role}", levels(result.adversarial_images[0]), 0))
        size = (word("none_to", n=MOST_FLIP) if flipped.level is None
                else word("wrong_before") if flipped.level == 0
                else word("grey", n=flipped.level))
        rows.append((word(role), model.card.id, size))
    facts = {"standard": _level(found["standard"]), "robust": _level(found["robust"]),
             "standard_level": -1 if found["standard"] is None else found["standard"],
             "robust_level": -1 if found["robust"] is None else found["robust"],
             "most": MOST_FLIP, "true": pairs.captions[int(pairs.labels[0])]}
    yield Record(4, asked.photo, asked.option, facts, (),
                 (Table("smallest", ("role", "model", "size"), tuple(rows)),), tuple(shown),
                 weights([bench.standard, bench.robust]), time.perf_counter() - began)


def _level(level: int | None) -> str:
    return f"> {MOST_FLIP}/255" if level is None else f"{level}/255"


def models_of(bench: Bench) -> tuple[tuple[str, DualEncoder], ...]:
    """(role, model) of both."""
    return ("standard", bench.standard), ("robust", bench.robust)
