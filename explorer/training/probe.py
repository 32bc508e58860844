"""How accurate a model in training is, clean and under attack, on pictures it does not learn."""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import islice

import torch

from explorer.analysis.metrics import evaluate, row
from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.data.pairs import Pairs
from explorer.data.sets import Examples
from explorer.models.encoder import DualEncoder
from explorer.training.events import Probe, Sample
from explorer.training.recipe import Recipe

PAPER_STEPS = 10  # of PGD in training and its probes (Zhou et al. 2024, arXiv 2404.19287)
SHOWN = 3
BATCH = 32


def paper_attack(recipe: Recipe) -> PGD:
    """PGD-10 of the recipe's budget, whatever the recipe trains against."""
    return PGD(recipe.eps, recipe.norm, steps=PAPER_STEPS)


def probe(model: DualEncoder, examples: Examples, recipe: Recipe, index: int, total: int) -> Probe:
    """Measures a model on all of `examples`, and shows the attack on the first few."""
    attack = paper_attack(recipe)
    rows = {}
    for name, setting in (("clean", None), ("pgd", attack)):
        began = time.perf_counter()
        batches = examples.batches(model.frame, BATCH)
        hits = torch.cat([good for _, good in evaluate(model, setting, batches, recipe.seed)])
        rows[name] = row(model.card.id, name, attack.eps if setting else 0.0, hits,
                         time.perf_counter() - began)
    first = next(islice(examples.batches(model.frame, SHOWN), 1))
    numbers = {f"{examples.name}/{name}": {k: v for k, v in asdict(r).items() if k != "model"}
               for name, r in rows.items()}
    return Probe(index, total, rows["clean"].accuracy, rows["pgd"].accuracy, rows["clean"].n,
                 attack.eps, attack.steps, samples(model, attack, first, recipe.seed), numbers)


def samples(model: DualEncoder, attack: PGD, pairs: Pairs, seed: int) -> tuple[Sample, ...]:
    result = run(attack, model, pairs, seed=seed)
    shown = []
    for k in range(len(pairs)):
        now, then = int(result.clean.prediction[k]), int(result.adversarial.prediction[k])
        shown.append(Sample(
            result.images[k], result.adversarial_images[k], pairs.captions[int(pairs.labels[k])],
            pairs.captions[now], float(result.clean.probabilities[k, now]),
            pairs.captions[then], float(result.adversarial.probabilities[k, then])))
    return tuple(shown)
