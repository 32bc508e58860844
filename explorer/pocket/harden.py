"""Hardens the text tower of pocket-robust: reworded captions stay near the clean one's place.

LEAF's outer problem (Rocamora et al. 2025, arXiv 2506.03355, equation 3) over the whole set of
exchanges that BERT-Attack may make of one word, with a contrastive term that keeps reworded class
captions apart, as in MMCoA (Zhou et al. 2024, arXiv 2404.19287, equation 7).

That set is known beforehand, as the language model does not look at the tower. A rewording that is
a name itself, or that another class's caption can become as well, has no one right place: it is
left out.
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
    contrastive term, at the logit scale `scale`; keep: of the clean captions' own places."""

    steps: int = 550
    classes: int = 64
    others: int = 32
    lr: float = 5e-5
    typos: float = 0.2
    apart: float = 0.3
    scale: float = 20.0
    keep: float = 1.0
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
        self.owner: dict[str, str] = {}
        self._options: dict[str, list[str]] = {}
        for template in TEMPLATES:
            self.prepare([template.format(name) for name in classes])

    def prepare(self, captions: list[str]) -> None:
        """Finds all exchanges of one word; of those that two captions share the first has it."""
        fresh = [c for c in dict.fromkeys(captions) if c not in self._options]
        for caption, options in zip(fresh, self.bert.proposals(fresh, []), strict=True):
            made = [replace(caption, place, new) for place, row in enumerate(options)
                    for new in row if new.casefold() not in self.known]
            self._options[caption] = [
                m for m in made if self.owner.setdefault(m, caption) == caption]

    def draw(self, caption: str, typos: float, random: Random) -> str:
        """A rewording, or the caption itself where it has none."""
        if random.random() < typos:
            options = self.typo.proposals([caption], [random])[0]
            places = [i for i, new in enumerate(options) if new]
            if places:
                place = random.choice(places)
                return replace(caption, place, random.choice(options[place]))
        return random.choice(self._options[caption] or [caption])


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

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        chosen, captions, reworded = self.captions()
        with torch.no_grad():
            still = self.encode(self.frozen, captions)
        same, moved = self.encode(self.tower, captions + reworded).chunk(2)
        logits = r.scale * moved[: len(chosen)] @ self.places.T
        terms = {
            "near": (1 - (moved * still).sum(1)).mean(),
            "apart": r.apart * F.cross_entropy(logits, torch.tensor(chosen)),
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
