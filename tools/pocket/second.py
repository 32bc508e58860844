"""The second edition, not shipped yet: the stages after tune.py's, each with a checkpoint, skipped
when done (`python -m explorer.pocket second`)."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from tools.pocket.base import ImageTower, TextHead
from tools.pocket.corpus import Known, read_corpus
from tools.pocket.guard import Guard, GuardStage
from tools.pocket.speak import SpeechStage
from tools.pocket.terms import Corpus, Speech, Virtual
from tools.pocket.tune import write_checkpoint

Weights = dict[str, Tensor]

SPEAK = Speech("speak", steps=560, flickr=192, tiny=64, photos=32, head_lr=1e-3, decay=0.1,
               queue=1, others=400, ema=0.98, posterior=0.5, virtual=3.0)
GUARD = Guard()
SHARE = 0.5  # where the hardening starts, from the first pocket-robust (0) to `pocket` (1)


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


def speak(known: Known, corpus: Corpus, pooled: tuple[Tensor, ...], work: Path) -> Weights:
    """Makes speak.final.pt, the second `pocket`: both heads anew on the first edition's trunk."""
    file = work / f"{SPEAK.name}.final.pt"
    if not file.exists():
        virtual = Virtual.of(pooled[2].float(), corpus.labels, known.tower.head,
                             class_places(known), known.log_scale.exp())
        stage = SpeechStage(SPEAK, copy.deepcopy(known.tower), copy.deepcopy(known.text),
                            torch.tensor(30.0).log(), corpus, work, pooled, virtual)
        for _ in tqdm(stage.run(), total=SPEAK.steps, desc=SPEAK.name, mininterval=20):
            pass
        finish(file, SPEAK, stage.step, stage.weights())
    weights: Weights = torch.load(file, weights_only=True)["weights"]
    return weights


def guard(known: Known, robust: ImageTower, corpus: Corpus, spoken: Weights, work: Path) -> None:
    """Makes guard.final.pt: the image tower of the second `pocket-robust`, for `pocket`'s texts.

    robust: the first edition's. The start is that, moved as `pocket` moved from its first edition
    to its second, then `SHARE` of the way to `pocket`.
    """
    file = work / f"{GUARD.name}.final.pt"
    if file.exists():
        return
    clean, text = copy.deepcopy(known.tower), TextHead()
    clean.load_state_dict(part(spoken, "image"))
    text.load_state_dict(part(spoken, "text"))
    stage = GuardStage(GUARD, begin(known.tower, robust, clean), clean, text, spoken["log_scale"],
                       corpus, work)
    for _ in tqdm(stage.run(), total=GUARD.steps, desc=GUARD.name, mininterval=20):
        pass
    image = {f"image.{k}": v for k, v in stage.tower.state_dict().items()}
    finish(file, GUARD, stage.step, {**spoken, **image})


def begin(first: nn.Module, robust: ImageTower, clean: ImageTower) -> ImageTower:
    """The tower that the hardening starts from."""
    before, hard, now = (m.state_dict() for m in (first, robust, clean))
    moved = {k: v + now[k] - before[k] if v.is_floating_point() else v for k, v in hard.items()}
    tower = copy.deepcopy(clean)
    tower.load_state_dict(average(moved, now, SHARE))
    return tower


def second(data: Path, work: Path, known: Known, robust: ImageTower) -> None:
    """Both models' weights but for pocket-robust's text tower."""
    corpus, pooled = read_corpus(data, work, known)
    guard(known, robust, corpus, speak(known, corpus, pooled, work), work)
