"""The second edition: the stages after tune.py's, each with a checkpoint, skipped
when done (`python -m explorer.pocket second`)."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from tools.pocket.base import SECOND, ImageTower, TextHead
from tools.pocket.corpus import Known, read_corpus
from tools.pocket.guard import Guard, GuardStage
from tools.pocket.speak import SpeechStage
from tools.pocket.terms import Corpus, Speech, Virtual
from tools.pocket.tune import write_checkpoint
from tools.pocket.widen import widen

Weights = dict[str, Tensor]

HEADS = (
    Speech("wide", steps=500, flickr=192, tiny=64, photos=32, head_lr=1e-3, decay=0.1,
           queue=4000, others=600, ema=0.98, virtual=3.0),
    Speech("wider", steps=200, flickr=192, tiny=64, photos=32, head_lr=1e-3, decay=0.1,
           queue=4000, others=1500, ema=0.98, virtual=6.0, posterior=0.6, dropout=0.3,
           text_dropout=0.15, seed=1))
"""On the first trunk's features, in the wider space, one after the other."""
FIRST_OF_TWO = Speech(
    "speak-a", steps=650, flickr=72, tiny=18, photos=18, lr=1e-4, queue=1500, dropout=0.1,
    ema=0.985, posterior=0.7, virtual=5.0, shared=0.2, others=1600, hard=0.5, save=50, seed=2)
TOWERS = (FIRST_OF_TWO, replace(FIRST_OF_TWO, name="speak-b", shared=0.1, hard=0.7, seed=5))
"""On pictures, the later stages of the trunk too, with hard negatives; both from the same start."""
FURTHER = (
    replace(TOWERS[1], name="speak-c", steps=220, lr=6e-5, hard=0.5, others=5000, ema=0.97, seed=9),
    replace(TOWERS[1], name="speak-d", steps=140, lr=5e-5, hard=0.5, others=7000, ema=0.97,
            seed=11))
"""From the mean of these two, one after the other, with more captions to choose among."""
GUARD = Guard()
SHARE = 0.3  # where the hardening starts, from the first pocket-robust (0) to `pocket` (1)


def average(a: Weights, b: Weights, share: float) -> Weights:
    """Weights on the way from a (share 0) to b (share 1); counters are a's."""
    return {k: torch.lerp(v, b[k], share) if v.is_floating_point() else v for k, v in a.items()}


def finish(file: Path, recipe: Speech | Guard, step: int, weights: Weights) -> None:
    write_checkpoint(file, {"recipe": asdict(recipe), "step": step, "weights": weights})


def part(weights: Weights, name: str) -> Weights:
    """The entries of one tower, without its prefix."""
    return {k.removeprefix(name + "."): v for k, v in weights.items() if k.startswith(name + ".")}


def class_places(known: Known) -> Tensor:
    """(1000, D) unit features of the classes' captions, as the first edition has them."""
    with torch.no_grad():
        return F.normalize(known.text(known.words.features[known.words.first, 0]), dim=1)


def speak(known: Known, corpus: Corpus, pooled: tuple[list[Tensor], ...], work: Path) -> Weights:
    """Makes speak.final.pt, the second `pocket`: heads in a wider space, then twice the trunk too,
    on from the mean of these two (Wortsman et al. 2022, arXiv 2203.05482), and the mean of the last
    two."""
    virtual = Virtual.of(pooled[2][0].float(), corpus.labels, known.tower.head,
                         class_places(known), known.log_scale.exp())
    mean = torch.cat([view.float() for view in pooled[0]]).mean(0)
    tower, text = widen(copy.deepcopy(known.tower), copy.deepcopy(known.text), mean)
    scale = torch.tensor(30.0).log()
    for recipe in HEADS:
        scale = load(tower, text, _stage(recipe, tower, text, scale, corpus, work, virtual, pooled))
    one, other = (_stage(recipe, tower, text, scale, corpus, work, virtual, None)
                  for recipe in TOWERS)
    weights = average(one, other, 0.5)
    for recipe in FURTHER:
        scale = load(tower, text, weights)
        before = weights
        weights = _stage(recipe, tower, text, scale, corpus, work, virtual, None)
    file = work / "speak.final.pt"
    if not file.exists():
        finish(file, FURTHER[-1], FURTHER[-1].steps, average(before, weights, 0.5))
    spoken: Weights = torch.load(file, weights_only=True)["weights"]
    return spoken


def load(tower: ImageTower, text: TextHead, weights: Weights) -> Tensor:
    """Puts a stage's weights into the towers; the log of its logit scale."""
    tower.load_state_dict(part(weights, "image"))
    text.load_state_dict(part(weights, "text"))
    return weights["log_scale"]


def _stage(recipe: Speech, tower: ImageTower, text: TextHead, scale: Tensor, corpus: Corpus,
           work: Path, virtual: Virtual, pooled: tuple[list[Tensor], ...] | None) -> Weights:
    file = work / f"{recipe.name}.final.pt"
    if not file.exists():
        stage = SpeechStage(recipe, copy.deepcopy(tower), copy.deepcopy(text), scale, corpus, work,
                            pooled, virtual)
        for _ in tqdm(stage.run(), total=recipe.steps, desc=recipe.name, mininterval=20):
            pass
        finish(file, recipe, stage.step, stage.weights())
    weights: Weights = torch.load(file, weights_only=True)["weights"]
    return weights


def guard(known: Known, robust: ImageTower, corpus: Corpus, spoken: Weights, work: Path) -> None:
    """Makes guard.final.pt: the image tower of the second `pocket-robust`, for `pocket`'s texts.

    robust: the first edition's, in whose trunk the hardening starts.
    """
    file = work / f"{GUARD.name}.final.pt"
    if file.exists():
        return
    clean, text = ImageTower(copy.deepcopy(known.tower.trunk), SECOND), TextHead(SECOND)
    clean.load_state_dict(part(spoken, "image"))
    text.load_state_dict(part(spoken, "text"))
    stage = GuardStage(GUARD, begin(known.tower, robust, clean), clean, text, spoken["log_scale"],
                       corpus, work)
    for _ in tqdm(stage.run(), total=GUARD.steps, desc=GUARD.name, mininterval=20):
        pass
    image = {f"image.{k}": v for k, v in stage.tower.state_dict().items()}
    finish(file, GUARD, stage.step, {**spoken, **image})


def begin(first: ImageTower, robust: ImageTower, clean: ImageTower) -> ImageTower:
    """Where the hardening starts: the first edition's robust trunk, moved as `pocket`'s trunk moved
    from its first edition to its second, then `SHARE` of the way to that; and `clean`'s head."""
    before, hard, now = (m.trunk.state_dict() for m in (first, robust, clean))
    moved = {k: v + now[k] - before[k] if v.is_floating_point() else v for k, v in hard.items()}
    tower = copy.deepcopy(clean)
    tower.trunk.load_state_dict(average(moved, now, SHARE))
    return tower


def second(data: Path, work: Path, known: Known, robust: ImageTower) -> None:
    """Both models' weights but for pocket-robust's text tower."""
    corpus, pooled = read_corpus(data, work, known)
    guard(known, robust, corpus, speak(known, corpus, pooled, work), work)
