"""The two halves of every attack: a turn at the pixels and a turn at the words.

An image attack is one image turn, a text attack one text turn, a joint attack takes several. Each
turn yields Steps and returns what the attacker now has, on the 8-bit grid and within the budget.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from explorer.attacks.goals import Drift, Goal, Match, Unmatch
from explorer.attacks.image.classic import ImageAttack
from explorer.attacks.image.stepping import Climb, Log, Step
from explorer.attacks.objective import Objective
from explorer.attacks.text.base import TextAttack, drift_loss
from explorer.attacks.text.search import BestCaption, Encode, TextLoss, side_by_side
from explorer.attacks.text.tokens import TokenSlopes
from explorer.base.errors import InputError
from explorer.base.words import foreign, spans
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder

__all__ = [
    "Engine",
    "Log",
    "Pictures",
    "Rows",
    "Scaled",
    "Scene",
    "Step",
    "Wording",
    "attack_captions",
    "rescaled",
]

Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class Scene:
    """What an attack starts from. clean: (N, 3, H, W) on the device, clean_features: (N, D),
    text: (K, D) features of the clean captions, aim: the goal with its labels."""

    model: DualEncoder
    pairs: Pairs
    aim: Goal
    seed: int
    clean: Tensor
    clean_features: Tensor
    text: Tensor


@dataclass(frozen=True, eq=False)
class Pictures:
    """Attacked images: pixels as saved, their features, and the pixels before rounding."""

    pixels: Tensor
    features: Tensor
    raw: Tensor

    def take(self, rows: Tensor, other: Pictures) -> Pictures:
        """These, with other's where `rows` (N,) says so."""
        def mix(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(rows.view(-1, *[1] * (a.dim() - 1)), b, a)

        return Pictures(mix(self.pixels, other.pixels), mix(self.features, other.features),
                        mix(self.raw, other.raw))


@dataclass(frozen=True, eq=False)
class Wording:
    """The captions that each image meets. rows: N rows of K captions; features: (K, D) where
    all rows are alike, else (N, K, D)."""

    rows: Rows
    features: Tensor

    def each(self) -> Tensor:
        """(N, K, D)."""
        f = self.features
        return f if f.dim() == 3 else f.expand(len(self.rows), *f.shape)

    def take(self, rows: Tensor, other: Wording) -> Wording:
        pick = rows.tolist()
        if not any(pick):
            return self
        return Wording(tuple(b if p else a for p, a, b in
                             zip(pick, self.rows, other.rows, strict=True)),
                       torch.where(rows.to(self.features.device).view(-1, 1, 1), other.each(),
                                   self.each()))


class Engine:
    """Takes turns at the images and captions of one scene."""

    def __init__(self, scene: Scene, record: bool = False) -> None:
        self.scene, self.log = scene, Log(record)
        pairs = scene.pairs
        self.unchanged = Pictures(scene.clean, scene.clean_features, scene.clean)
        self.as_given = Wording((pairs.captions,) * len(pairs), scene.text)
        if len(pairs):
            self.log.add(scene.clean[0], self._own(self.as_given))

    def _own(self, wording: Wording) -> str:
        return wording.rows[0][int(self.scene.pairs.labels[0])]

    def score(self, aim: Goal, pictures: Pictures, wording: Wording) -> Tensor:
        return aim.score(pictures.features, wording.features)

    def image(self, attack: ImageAttack, wording: Wording | None = None, aim: Goal | None = None,
              scales: Sequence[float] = (), seed: int = 0,
              ) -> Generator[Step, None, Pictures]:
        """A turn at the pixels, from the clean ones, against the captions of `wording`.

        scales: SGA's copies of the picture, at which the score is summed besides its own size.
        """
        on = self.scene
        wording, aim = wording or self.as_given, aim or on.aim
        assert wording is not None and aim is not None
        clean, text = on.clean, wording.features
        seed = on.seed + seed
        plain = Objective.of(on.model, aim, text, clean, seed)
        loss = Scaled(**vars(plain), scales=tuple(scales)) if scales else plain
        climb = Climb(attack, loss, seed, self.log, self._own(wording) if len(clean) else "")
        raw = yield from on.model.attack_room.spread(len(clean), climb.part)
        self.log.queries += loss.queries
        pictures = self._saved(attack, raw, aim, text)
        if self.log.record:
            if self.log.moments[-1].step != self.log.step:  # it ended before its last step
                self.log.add(pictures.pixels[0], self._own(wording))
            self.log.moments[-1].pixels = pictures.pixels[0].cpu()
        return pictures

    def _saved(self, attack: ImageAttack, raw: Tensor, aim: Goal, text: Tensor) -> Pictures:
        """Rounded to 8 bits and read in full precision; what is worse than clean is left alone."""
        on = self.scene
        pixels = on.model.attack_room.apart(
            len(raw), lambda rows: attack.ball.quantise(raw[rows], on.clean[rows]))
        with torch.no_grad():
            features = on.model.encode_image(pixels)
            if not attack.blind:
                worse = aim.score(features, text) < aim.score(on.clean_features, text)
                worse &= ~aim.reached(features, text)  # a margin may win at a lower score
                pixels[worse], features[worse] = on.clean[worse], on.clean_features[worse]
        return Pictures(pixels, features, raw)

    def text(self, attack: TextAttack, pictures: Pictures | None = None, aim: Goal | None = None,
             among: Wording | None = None) -> Generator[Step, None, Wording]:
        """A turn at the words, from the clean ones, against the images of `pictures`.

        With the objective "goal" each image gets wording of its own; label-free, a caption is
        changed alike for all images. among: what the captions that do not take part say.
        """
        on, features = self.scene, (pictures or self.unchanged).features
        pairs, shared = on.pairs, attack.objective != "goal"
        if attack.english_only and all(map(foreign, pairs.captions)):
            raise InputError(f"{attack.title.partition(':')[0]} knows English words only, and no "
                             "caption has one: use the attack character, which works on any script")
        k = len(pairs.captions)
        wanted = [tuple(range(k)) if attack.captions == "all" else pairs.truths(n)
                  for n in range(len(pairs))]
        jobs: list[tuple[int, int, TextLoss]]
        if shared:
            jobs = [(-1, j, drift_loss(attack.objective, on.text[j]))
                    for j in sorted(set().union(*wanted))]
        else:
            others = (among or self.as_given).each()
            jobs = [(n, j, _caption_loss(_about(aim or on.aim, n, j, on), features, others[n],
                                        n, j))
                    for n, columns in enumerate(wanted) for j in columns]
        found: dict[tuple[int, int], BestCaption] = {}
        for start in range(0, len(jobs), attack.together):
            part = jobs[start : start + attack.together]
            state: list[BestCaption] = []
            for now in self._search(attack, part):
                state = now
                yield Step(start, len(jobs), "text")
            found.update({(n, j): f for (n, j, _), f in zip(part, state, strict=True)})
            yield Step(start + len(part), len(jobs), "text")
        rows = [list(row) for row in (among or self.as_given).rows]
        for n, columns in enumerate(wanted):
            for j in columns:
                rows[n][j] = found[(-1 if shared else n, j)].caption
        return self._worded(rows, found, wanted, shared)

    def _search(self, attack: TextAttack, jobs: Sequence[tuple[int, int, TextLoss]],
                ) -> Iterator[list[BestCaption]]:
        on = self.scene
        captions = [on.pairs.captions[j] for _, j, _ in jobs]
        slopes = TokenSlopes(on.model) if attack.needs_slopes else None
        yield from attack_captions(
            attack, captions, [loss for _, _, loss in jobs], on.model.encode_text, on.seed,
            on.pairs.captions, slopes, on.model.skim_text)

    def _worded(self, rows: list[list[str]], found: dict[tuple[int, int], BestCaption],
                wanted: list[tuple[int, ...]], shared: bool) -> Wording:
        on = self.scene
        fixed: Rows = tuple(tuple(row) for row in rows)
        if not fixed:
            return self.as_given
        encode = on.model.encode_text
        alike = all(row == fixed[0] for row in fixed)
        features = encode(fixed[0]) if alike else torch.stack([encode(row) for row in fixed])
        first = [found[(-1 if shared else 0, j)] for j in wanted[0]]
        self.log.queries += sum(f.queries for f in first)
        self.log.tried += sum(f.tried for f in found.values())
        self.log.refused += sum(f.refused for f in found.values())
        own = found.get((-1 if shared else 0, int(on.pairs.labels[0])))
        last = self.log.moments[-1].pixels if self.log.moments else on.clean[0]
        for text in own.trail[1:] if own else []:
            self.log.step += 1
            self.log.add(last, text)
        return Wording(fixed, features)


def attack_captions(
    attack: TextAttack, captions: Sequence[str], losses: Sequence[TextLoss],
    encode: Encode, seed: int = 0, everything: Sequence[str] = (),
    slopes: TokenSlopes | None = None, rough: Encode | None = None,
) -> Iterator[list[BestCaption]]:
    """Attacks captions side by side; yields the state after each round of questions.

    encode: captions -> (K, D) unit features of the victim; losses: of each caption; everything:
    all captions that are compared (default: these), from which class words are known; rough: a
    faster encoder that chooses which candidates are read.
    """
    random = [Random(f"{seed} {text}") for text in captions]
    options = [[[w for w in row if len(spans(w)) == 1] for row in rows]  # two would shift the rest
               for rows in attack.proposals(captions, random)]
    searches = [attack.search(text, new, rng)
                for text, new, rng in zip(captions, options, random, strict=True)]
    yield from side_by_side(searches, captions, losses, encode,
                            attack.constraints(everything or captions), slopes, rough)


def _about(aim: Goal, row: int, column: int, on: Scene) -> Goal:
    """The goal for one of the true captions of image `row`, where only its label's would count: an
    image may have several, and each is to be led away, also where another one is the target."""
    if not isinstance(aim, (Drift, Match, Unmatch)) or column not in on.pairs.truths(row):
        return aim
    labels = torch.full_like(aim.labels, column)
    if isinstance(aim, Drift):
        return replace(aim, labels=labels, clean_text=on.text[labels])
    return Unmatch(labels, torch.zeros(len(labels), device=labels.device))


def _caption_loss(aim: Goal, images: Tensor, text: Tensor, row: int, column: int) -> TextLoss:
    """The goal's score of image `row` when caption `column` has the given features."""
    def loss(features: Tensor) -> Tensor:
        n = len(features)
        trial = text.expand(n, *text.shape).clone()
        trial[:, column] = features
        one = aim.subset(torch.full((n,), row, device=images.device))
        return one.score(images[row].expand(n, -1), trial)

    return loss


@dataclass(frozen=True, eq=False)
class Scaled(Objective):
    """An objective that also looks at the picture at other scales, and sums the scores."""

    scales: tuple[float, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        total = super().__call__(x)
        for scale in self.scales:
            total = total + super().__call__(rescaled(x, scale))
        return total


def rescaled(x: Tensor, scale: float) -> Tensor:
    """x resized by a factor and back to its size, bilinear, differentiable."""
    height, width = (max(1, round(side * scale)) for side in x.shape[-2:])
    small = torch.nn.functional.interpolate(x, (height, width), mode="bilinear",
                                            align_corners=False)
    return torch.nn.functional.interpolate(small, x.shape[-2:], mode="bilinear",
                                           align_corners=False)
