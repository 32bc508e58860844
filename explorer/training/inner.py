"""The attacks inside a training step, made with the library's own: no gradient stays anywhere.

Images: PGD on the current model. Captions: once for each different caption, kept for some steps,
then made anew as the text tower has moved.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from explorer.attacks.image.classic import PGD, Loss
from explorer.base.randomness import PerImage
from explorer.training.gather import gather_objects, world
from explorer.training.recipe import Recipe

Encode = Callable[[Sequence[str]], Tensor]


class TextInner(Protocol):
    """Captions -> as many attacked captions, each for itself whatever others come with it.

    encode: captions -> (K, D) unit features with the weights as they are; away_from: (K, D) unit
    features that the attack leads away from; seed: of every random choice.
    """

    def __call__(self, encode: Encode, captions: Sequence[str], away_from: Tensor, seed: int,
                 ) -> list[str]: ...


def caption_attack(recipe: Recipe) -> TextInner:
    """The library's own attack of a recipe on captions alone, without image or label.

    bert: MMCoA's KL over the embedding (Zhou et al. 2024, arXiv 2404.19287); character, and LEAF
    always: the distance of LEAF (Rocamora et al. 2025, arXiv 2506.03355), here of unit features.
    """
    from explorer.attacks.engine import attack_captions
    from explorer.attacks.text.base import TextAttack, drift_loss
    from explorer.attacks.text.classic import BertAttack, Character

    attack: TextAttack
    if recipe.text_attack == "character" or recipe.kind.leads_from_frozen:
        attack = Character("cosine", "all", characters=recipe.characters, rho=recipe.rho)
    else:
        attack = BertAttack("kl", "all", words=recipe.words, candidates=recipe.candidates)

    def inner(encode: Encode, captions: Sequence[str], away_from: Tensor, seed: int) -> list[str]:
        made: list[str] = []
        for start in range(0, len(captions), attack.together):
            part = captions[start : start + attack.together]
            losses = [drift_loss(attack.objective, row) for row in away_from[start:][: len(part)]]
            *_, found = attack_captions(attack, part, losses, encode, seed)
            made += [one.caption for one in found]
        return made

    return inner


def image_attack(recipe: Recipe) -> PGD:
    """The PGD of a recipe."""
    return PGD(recipe.eps, recipe.norm, step=recipe.inner_step or None, steps=recipe.inner_steps,
               random_start=recipe.random_start)


def mix(*parts: int | str) -> int:
    """A 31-bit seed from numbers and words; the same on every machine."""
    return zlib.crc32(repr(parts).encode()) & 0x7FFFFFFF


def attack_images(attack: PGD, loss: Loss, pixels: Tensor, seed: int) -> Tensor:
    """The picture after the last step, (n, 3, S, S); not the best one, whose search would cost
    one more pass, and as training against PGD is defined (Madry et al. 2018, section 2.1)."""
    steps = attack.iterate(loss, pixels, PerImage(seed, pixels))
    for _ in range(attack.total):
        x = next(steps)
    steps.close()
    return x.detach()


def drift_of(features: Callable[[Tensor], Tensor], frozen: Tensor) -> Loss:
    """FARE's inner loss: squared distance of raw features (n, D) from the frozen model's on the
    clean images, summed over D (Schlarmann et al. 2024, arXiv 2402.12336, equation 3)."""
    return lambda x: (features(x) - frozen).square().sum(1)


class CaptionAttacks:
    """Attacked captions, each made once and used for `refresh` steps.

    All processes hold the same ones: each makes a share of those that a step needs.
    """

    def __init__(self, attack: TextInner, refresh: int, seed: int) -> None:
        self.attack, self.refresh, self.seed = attack, refresh, seed
        self.kept: dict[str, tuple[str, int]] = {}  # caption -> attacked caption, made at step

    def at(self, step: int, encode: Encode, away_from: Encode, needed: Sequence[str],
           captions: Sequence[str]) -> list[str]:
        """Attacked forms of `captions`. needed: the captions of all processes in this step;
        away_from: captions -> the features that the attack leads away from."""
        self.kept = {c: v for c, v in self.kept.items() if step - v[1] < self.refresh}
        stale = sorted({c for c in needed if c not in self.kept})
        rank, count = world()
        share = stale[rank::count]
        made: list[str] = []
        if share:
            seed = mix(self.seed, "text", step)
            made = self.attack(encode, share, away_from(share), seed)
        for found in gather_objects(dict(zip(share, made, strict=True))):
            self.kept.update({c: (a, step) for c, a in found.items()})
        return [self.kept[c][0] for c in captions]

    def state(self) -> dict[str, list[str | int]]:
        return {c: [a, made] for c, (a, made) in self.kept.items()}

    def restore(self, state: dict[str, list[str | int]]) -> None:
        self.kept = {c: (str(a), int(made)) for c, (a, made) in state.items()}


