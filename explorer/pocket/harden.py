"""Hardens the text tower of pocket-robust: reworded captions stay near the clean one's place.

LEAF's outer problem (Rocamora et al. 2025, arXiv 2506.03355, equation 3) over the whole set of
exchanges that BERT-Attack may make of one word, with a contrastive term that keeps reworded class
captions apart, as in MMCoA (Zhou et al. 2024, arXiv 2404.19287, equation 7).

That set is known beforehand, as the language model does not look at the tower. A rewording that
several classes' captions can become is sent to the middle of them, and one whose new word is a name
to the middle of them and its own meaning. One that is another class's caption is left out.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from explorer.attacks.text import BertAttack, Typo
from explorer.attacks.wording import replace
from explorer.datasets import TEMPLATE
from explorer.models import DualEncoder, Library
from explorer.pocket.tune import write_checkpoint
from explorer.pocket.words import TEMPLATES, WIDEST_HYPERNYM, load_classes

PATIENCE = 100  # steps between checkpoints


@dataclass(frozen=True)
class TextRecipe:
    """lr: AdamW's peak; classes, others: captions a step, of the training set's classes and of all
    names; typos: share of the rewordings that are slips of the pen; apart: weight of the
    contrastive term, at the logit scale `scale`; keep: of the clean captions' own places; hard:
    the lower, the more often a misplaced rewording is drawn; refresh: steps between looks at
    which those are."""

    steps: int = 1000
    classes: int = 64
    others: int = 32
    lr: float = 5e-5
    typos: float = 0.2
    apart: float = 0.3
    scale: float = 20.0
    keep: float = 1.0
    hard: float = 0.1
    refresh: int = 50
    seed: int = 0


def names_of(data: Path) -> list[str]:
    """Every name and narrow hypernym of the classes, each once."""
    owners: dict[str, set[int]] = {}
    for index, entry in enumerate(load_classes(data).values()):
        for word in entry["names"] + entry["hypernyms"]:
            owners.setdefault(word, set()).add(index)
    return [word for word, own in owners.items() if len(own) <= WIDEST_HYPERNYM]


def class_names(data: Path) -> list[str]:
    """First names of the classes that the training set has."""
    import pyarrow.parquet as pq

    entries = load_classes(data)
    present = pq.read_table(data / "tiny_imagenet_train.parquet", columns=["wnid"])["wnid"]
    return [entries[w]["names"][0] for w in sorted(present.unique().to_pylist())]


class Rewordings:
    """Captions with one word exchanged or misspelt; a language model's words are looked up once."""

    def __init__(self, names: list[str], classes: list[str]) -> None:
        self.bert, self.typo = BertAttack(), Typo()
        self.known = {n.casefold() for n in names}
        self.sources: dict[str, list[int]] = {}  # by rewording: the classes it may stand for
        self.named: set[str] = set()  # rewordings whose new word is a name
        self._options: dict[str, list[str]] = {}
        self.weights: dict[str, list[float]] = {}  # by caption: how often its options are drawn
        for template in TEMPLATES:
            captions = [template.format(name) for name in classes]
            for index, options in enumerate(self._exchanges(captions, set(captions))):
                for option in options:
                    self.sources.setdefault(option, []).append(index)

    def _exchanges(self, captions: list[str], taken: set[str]) -> list[list[str]]:
        """All exchanges of one word in each caption, but those that are in `taken`."""
        for caption, options in zip(captions, self.bert.proposals(captions, []), strict=True):
            made = {replace(caption, place, new): new.casefold() in self.known
                    for place, row in enumerate(options) for new in row}
            self.named.update(m for m, name in made.items() if name)
            self._options[caption] = [m for m in made if m not in taken]
        return [self._options[c] for c in captions]

    def prepare(self, captions: list[str]) -> None:
        """Finds the exchanges of other captions: those that are neither a class's nor a name's."""
        fresh = [c for c in dict.fromkeys(captions) if c not in self._options]
        for caption, options in zip(fresh, self._exchanges(fresh, set()), strict=True):
            self._options[caption] = [
                m for m in options if m not in self.sources and m not in self.named]

    def options(self, caption: str) -> list[str]:
        return self._options[caption]

    def draw(self, caption: str, typos: float, random: Random) -> str:
        """A rewording, or the caption itself where it has none."""
        if random.random() < typos:
            options = self.typo.proposals([caption], [random])[0]
            places = [i for i, new in enumerate(options) if new]
            if places:
                place = random.choice(places)
                return replace(caption, place, random.choice(options[place]))
        found = self._options[caption] or [caption]
        return random.choices(found, self.weights.get(caption))[0]


class TextStage:
    """Fine-tunes the text tower of `pocket`, which stays its own anchor."""

    def __init__(self, recipe: TextRecipe, library: Library, data: Path, work: Path) -> None:
        self.recipe, self.file = recipe, work / "robust-text.pt"
        self.model: DualEncoder = library.load("pocket", "cpu")
        text: Any = self.model.clip.text
        self.frozen: nn.Module = text
        self.tower: nn.Module = copy.deepcopy(text).requires_grad_(True).eval()
        table = self.tower.transformer.get_input_embeddings()
        table.requires_grad_(False)  # rare words keep their place
        self.names, self.random = names_of(data), Random(recipe.seed)
        self.classes = class_names(data)
        self.rewordings = Rewordings(self.names, self.classes)
        self.places = self.encode(self.frozen, [TEMPLATE.format(c) for c in self.classes]).detach()
        weights = [p for p in self.tower.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=0.02,
                                           betas=(0.9, 0.98))
        self.ema = copy.deepcopy(self.tower.state_dict())
        self.step = 0

    def encode(self, tower: nn.Module, captions: list[str]) -> Tensor:
        """(K, D) unit features."""
        with torch.autocast("cpu", torch.bfloat16):
            return F.normalize(tower(self.model.tokens(captions)).float(), dim=1)

    def captions(self) -> tuple[list[int], list[str], list[str]]:
        """Class numbers, captions (first theirs) and a rewording of each."""
        r, draw = self.recipe, self.random
        chosen = draw.sample(range(len(self.classes)), r.classes)
        captions = [(TEMPLATE if draw.random() < 0.7 else draw.choice(TEMPLATES))
                    .format(self.classes[c]) for c in chosen]
        captions += [draw.choice(TEMPLATES).format(n) for n in draw.sample(self.names, r.others)]
        self.rewordings.prepare(captions)
        return chosen, captions, [self.rewordings.draw(c, r.typos, draw) for c in captions]

    @torch.no_grad()
    def weigh(self) -> None:
        """Sets how often each rewording of a class prompt is drawn."""
        for index, name in enumerate(self.classes):
            caption = TEMPLATE.format(name)
            options = self.rewordings.options(caption)
            if options:
                near = self.encode(self.tower, options) @ self.places[index]
                weights = torch.softmax(-near / self.recipe.hard, dim=0)
                self.rewordings.weights[caption] = weights.tolist()

    def targets(self, captions: list[str], reworded: list[str], still: Tensor) -> Tensor:
        """(K, D) places where rewordings belong; still: (K, D) those of the captions."""
        rows = still.clone()
        named = [i for i, text in enumerate(reworded)
                 if text in self.rewordings.named and text != captions[i]]
        own = dict(zip(named, self.encode(self.frozen, [reworded[i] for i in named]), strict=True)
                   ) if named else {}
        for i, text in enumerate(reworded):
            classes = self.rewordings.sources.get(text, [])
            # The first is the caption's own class, in the words of its own template.
            shared = self.places[classes].sum(0) if len(classes) > 1 else rows[i]
            rows[i] = F.normalize(shared + own.get(i, 0), dim=0)
        return rows

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        chosen, captions, reworded = self.captions()
        with torch.no_grad():
            still = self.encode(self.frozen, captions)
            goal = self.targets(captions, reworded, still)
            wanted = torch.zeros(len(chosen), len(self.classes))
            for row, index, text in zip(wanted, chosen, reworded, strict=False):
                row[self.rewordings.sources.get(text) or [index]] = 1
            plain = torch.tensor([text not in self.rewordings.named for text in
                                  reworded[: len(chosen)]])
        same, moved = self.encode(self.tower, captions + reworded).chunk(2)
        logits = r.scale * moved[: len(chosen)] @ self.places.T
        wanted = wanted / wanted.sum(1, keepdim=True)
        terms = {
            "near": (1 - (moved * goal).sum(1)).mean(),
            "apart": r.apart * F.cross_entropy(logits[plain], wanted[plain]),
            "keep": r.keep * (1 - (same * still).sum(1)).mean(),
        }
        return torch.stack(list(terms.values())).sum(), {
            k: round(float(v.detach()), 3) for k, v in terms.items()}

    def resume(self) -> None:
        if not self.file.exists():
            return
        state = torch.load(self.file, map_location="cpu", weights_only=True)
        self.tower.load_state_dict(state["tower"])
        self.ema, self.step = state["ema"], state["step"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.seed(self.step)

    def save(self) -> None:
        write_checkpoint(self.file, {
            "tower": self.tower.state_dict(), "ema": self.ema, "step": self.step,
            "recipe": asdict(self.recipe), "optimiser": self.optimiser.state_dict()})

    def run(self) -> None:
        """Trains to the end of the recipe, from the last checkpoint if there is one."""
        r = self.recipe
        self.resume()
        bar = tqdm(total=r.steps, initial=self.step, desc="robust-text", mininterval=10)
        while self.step < r.steps:
            warm = min(1.0, (self.step + 1) / 50)
            for group in self.optimiser.param_groups:
                group["lr"] = r.lr * warm * 0.5 * (1 + math.cos(math.pi * self.step / r.steps))
            if self.step % r.refresh == 0 or not self.rewordings.weights:
                self.weigh()
            loss, shown = self.loss()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.tower.parameters(), 1.0)
            self.optimiser.step()
            keep = min(0.99, (self.step + 1) / (self.step + 10))
            for k, v in self.tower.state_dict().items():
                if v.is_floating_point():
                    self.ema[k].lerp_(v, 1 - keep)
            self.step += 1
            bar.update()
            bar.set_postfix(shown, refresh=False)
            if self.step % PATIENCE == 0 or self.step == r.steps:
                self.save()
        bar.close()
