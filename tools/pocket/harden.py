"""Hardens the text tower of pocket-robust: with a word of every caption exchanged, pictures still
find their own.

The text half of MMCoA's loss (Zhou et al. 2024, arXiv 2404.19287, equation 7) in the form that it
has where captions name classes: pictures against the attacked captions of all classes at once, as
the attack is evaluated. Half of the pictures are attacked too, which is the joint threat. LEAF's
anchor (Rocamora et al. 2025, arXiv 2506.03355, equation 3) holds clean captions where `pocket` has
them. The image tower is final by then, so each picture is read once.

Captions of people (Flickr8k) have no classes to choose among: with a word exchanged they are held
where `pocket` has them unchanged, which is LEAF's objective itself.

The exchanges that BERT-Attack may make of a word are known beforehand, as its language model does
not look at the tower; which of them is worst is looked up anew every few steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from explorer.attacks.text.base import drift_loss, replace
from explorer.attacks.text.classic import BertAttack, Typo
from explorer.data.sets import TEMPLATE
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.training.losses import classify, turn
from tools.pocket.data import augment, load_training
from tools.pocket.tune import fgsm, write_checkpoint
from tools.pocket.words import TEMPLATES, class_names, load_classes, names_of

WORDS = 16  # of a caption of people, at most: longer ones have too many exchanges to search
PATIENCE = 40  # steps between checkpoints; a multiple of `refresh`: resuming changes nothing


@dataclass(frozen=True)
class TextRecipe:
    """pictures: training pictures read, clean and attacked at `eps`; batch: of each a step;
    others: clean captions a step with any name, beside those of the classes; said: captions of
    people, with `most` of the exchanges of each, of which `heard` a step, as they are and attacked;
    worst: share of the attacked captions that are among the `top` worst found, the rest being any;
    typos: share that are slips of the pen instead; refresh: steps between searches for the worst;
    own, clean: weights of the loss with one attacked caption and with none; keep: of the clean
    captions' own places; leaf: of those for attacked captions of people; mixed: part of the final
    weights that is `pocket`'s; scale: exp(logit scale) in the end; lr: AdamW's peak."""

    steps: int = 160
    pictures: int = 4000
    eps: float = 1.5 / 255
    batch: int = 384
    others: int = 64
    said: int = 300
    most: int = 16
    heard: int = 32
    lr: float = 1.5e-4
    worst: float = 0.8
    top: int = 2
    typos: float = 0.15
    refresh: int = 40
    own: float = 0.1
    clean: float = 0.5
    keep: float = 4.0
    leaf: float = 2.0
    mixed: float = 0.2
    scale: float = 80.0
    seed: int = 0


@dataclass(frozen=True)
class Pictures:
    """clean, attacked: (N, D) unit features of the same pictures; labels: (N,) class numbers."""

    clean: Tensor
    attacked: Tensor
    labels: Tensor

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """n clean and n attacked ones: (2n, D) and their labels (2n,)."""
        rows = torch.randint(len(self.labels), (2, n), generator=rng)
        return torch.cat([self.clean[rows[0]], self.attacked[rows[1]]]), self.labels[rows.view(-1)]


def read_pictures(recipe: TextRecipe, model: DualEncoder, captions: Tensor, data: Path, work: Path,
                  ) -> Pictures:
    """Training pictures as the model's image tower sees them, kept on disk; captions: (K, D) unit
    features of the classes' clean captions, against which the pictures are attacked."""
    file = work / "robust-pictures.pt"
    if file.exists():
        return Pictures(**torch.load(file, weights_only=True))
    images, names = load_training(data, work, list(load_classes(data)))
    rng = torch.Generator().manual_seed(recipe.seed)
    rows = torch.randperm(len(names), generator=rng)[: recipe.pictures].sort().values
    labels = torch.searchsorted(names.unique(), names[rows])
    clean: list[Tensor] = []
    attacked: list[Tensor] = []
    scale = torch.tensor(model.scale)
    for part in tqdm(torch.arange(len(rows)).split(64), desc="pictures", mininterval=10):
        pixels = augment(images[rows[part].numpy()], model.frame.width, rng)
        moved = fgsm(model.encode_image, pixels, captions, labels[part], recipe.eps, scale, rng)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            both = model.encode_image(torch.cat([pixels, moved]))
        for rows_of, features in zip((clean, attacked), both.chunk(2), strict=True):
            rows_of.append(features)
    found = Pictures(torch.cat(clean), torch.cat(attacked), labels)
    write_checkpoint(file, vars(found))
    return found


class Exchanges:
    """All captions that differ from these in one word that BERT-Attack may put there, or `most` of
    each, drawn at random."""

    def __init__(self, captions: list[str], most: int | None = None) -> None:
        self.captions = captions
        self.made = [
            list(dict.fromkeys(replace(caption, place, new)
                               for place, row in enumerate(options) for new in row)) or [caption]
            for caption, options in zip(captions, BertAttack().proposals(captions, []),
                                        strict=True)]
        if most:
            self.made = [Random(i).sample(row, min(most, len(row)))
                         for i, row in enumerate(self.made)]
        self.worst = self.made

    def search(self, encode: Callable[[list[str]], Tensor], top: int) -> None:
        """Finds those `top` of each caption that go farthest from its clean embedding, as the
        attack measures it."""
        texts = sorted({text for row in self.made for text in row}, key=len)
        with torch.no_grad():
            rows = torch.cat([encode(texts[i : i + 256]) for i in range(0, len(texts), 256)])
            clean = encode(self.captions)
        place = {text: i for i, text in enumerate(texts)}
        self.worst = []
        for row, here in zip(self.made, clean, strict=True):
            drift = drift_loss("kl", here)(rows[[place[text] for text in row]])
            self.worst.append([row[i] for i in drift.topk(min(top, len(row))).indices.tolist()])


def said_of_people(data: Path, n: int, seed: int) -> list[str]:
    """n captions of Flickr8k's train split, each of another photo and short enough to attack."""
    import pyarrow.parquet as pq

    random = Random(seed)
    rows = pq.read_table(data / "flickr8k_train.parquet", columns=["captions"])["captions"]
    every = [random.choice(row) for row in rows.to_pylist()]
    return random.sample([c for c in every if len(c.split()) <= WORDS], n)


def slip(caption: str, random: Random) -> str:
    """The caption with a typo in one of its words."""
    options = Typo().proposals([caption], [random])[0]
    place = random.choice([i for i, new in enumerate(options) if new])
    return replace(caption, place, random.choice(options[place]))


def one_moved(pictures: Tensor, clean: Tensor, attacked: Tensor, labels: Tensor, scale: Tensor,
              ) -> Tensor:
    """Cross-entropy where each picture's own caption alone is attacked. pictures: (N, D); clean,
    attacked: (K, D), all unit; labels: (N,)."""
    moved = (pictures * attacked[labels]).sum(1, keepdim=True)
    return F.cross_entropy(scale * (pictures @ clean.T).scatter(1, labels[:, None], moved), labels)


class TextStage:
    """Fine-tunes the text tower of `pocket`, which stays its own anchor, for the image tower of
    `pocket-robust`."""

    def __init__(self, recipe: TextRecipe, library: Library, data: Path, work: Path) -> None:
        self.recipe, self.file = recipe, work / "robust-text.pt"
        self.model = library.load("pocket", "cpu")
        self.frozen: nn.Module = self.model.clip.text  # type: ignore[assignment]
        self.tower = copy.deepcopy(self.frozen).requires_grad_(True).eval()
        table = self.tower.transformer.get_input_embeddings()  # type: ignore[union-attr, operator]
        table.requires_grad_(False)  # rare words keep their place
        self.names = names_of(data)
        self.exchanges = Exchanges([TEMPLATE.format(name) for name in class_names(data)])
        self.people = Exchanges(said_of_people(data, recipe.said, recipe.seed), recipe.most)
        self.places = self.encode(self.frozen, self.exchanges.captions).detach()
        robust = library.load("pocket-robust", "cpu")
        self.scale = torch.tensor(self.model.scale)
        self.pictures = read_pictures(recipe, robust, self.places, data, work)
        self.weights = [p for p in self.tower.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.weights, lr=recipe.lr, weight_decay=0.02,
                                           betas=(0.9, 0.98))
        self.ema = copy.deepcopy(self.tower.state_dict())
        self.step = 0

    def encode(self, tower: nn.Module, captions: list[str]) -> Tensor:
        """(K, D) unit features."""
        with torch.autocast("cpu", torch.bfloat16):
            return F.normalize(tower(self.model.tokens(captions)).float(), dim=1)

    def attacked(self, every: Exchanges, random: Random, rows: list[int] | None = None,
                 ) -> list[str]:
        """An attacked caption for each of those, or of these rows."""
        r, out = self.recipe, list[str]()
        for row in range(len(every.captions)) if rows is None else rows:
            if random.random() < r.typos:
                out.append(slip(every.captions[row], random))
            else:
                out.append(random.choice(
                    (every.worst if random.random() < r.worst else every.made)[row]))
        return out

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Of one step, which depends on the weights, the seed and the step's number alone."""
        r, random = self.recipe, Random(f"{self.recipe.seed} {self.step}")
        clean, attacked = self.exchanges.captions, self.attacked(self.exchanges, random)
        heard = random.sample(range(len(self.people.captions)),
                              min(r.heard, len(self.people.captions)))
        others = [self.people.captions[row] for row in heard] + [
            random.choice(TEMPLATES).format(n) for n in random.sample(self.names, r.others)]
        with torch.no_grad():
            still = self.encode(self.frozen, others)
        moved = self.attacked(self.people, random, heard)
        features = self.encode(self.tower, clean + attacked + others + moved)
        here, there, rest, far = features.split(
            [len(clean), len(clean), len(others), len(moved)])
        pictures, labels = self.pictures.draw(
            r.batch, torch.Generator().manual_seed(random.getrandbits(32)))
        terms = {
            "attacked": classify(pictures, there, labels, self.scale),
            "own": r.own * one_moved(pictures, here, there, labels, self.scale),
            "clean": r.clean * classify(pictures, here, labels, self.scale),
            "keep": r.keep * (turn(here, self.places) + turn(rest, still)) / 2,
            "leaf": r.leaf * turn(far, still[:len(far)]),
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
            warm = min(1.0, (self.step + 1) / 20)
            for group in self.optimiser.param_groups:
                group["lr"] = r.lr * warm * 0.5 * (1 + math.cos(math.pi * self.step / r.steps))
            if self.step % r.refresh == 0:
                for every in (self.exchanges, self.people):
                    every.search(lambda texts: self.encode(self.tower, texts), r.top)
            loss, shown = self.loss()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.optimiser.step()
            keep = min(0.98, (self.step + 1) / (self.step + 10))
            for k, v in self.tower.state_dict().items():
                if v.is_floating_point():
                    self.ema[k].lerp_(v, 1 - keep)
            self.step += 1
            bar.update()
            bar.set_postfix(shown, refresh=False)
            if self.step % PATIENCE == 0 or self.step == r.steps:
                self.save()
        bar.close()
        self.finish()

    def finish(self) -> None:
        """Writes robust-text.final.pt: the averaged weights, mixed with those of `pocket`, as
        tune.Stage.finish does it and for the same reason."""
        start = self.frozen.state_dict()
        mixed = {k: torch.lerp(v, start[k], self.recipe.mixed) if v.is_floating_point() else v
                 for k, v in self.ema.items()}
        write_checkpoint(self.file.with_suffix(".final.pt"), {
            "recipe": asdict(self.recipe), "step": self.step, "weights": mixed})
