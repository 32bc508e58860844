"""What demonstrations work with: the example photos, and the two models."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from explorer.attacks.engine import Step
from explorer.attacks.registry import Attack
from explorer.attacks.result import Result
from explorer.attacks.run import stream
from explorer.base.errors import InputError
from explorer.data.examples import Example, load_examples
from explorer.data.pairs import Pairs, clean_captions, one_pair, open_image
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library


def photo(name: str) -> Example:
    """An example photo. Raises InputError for an unknown id."""
    known = load_examples()
    if name not in known:
        raise InputError(f"there is no example photo '{str(name)[:40]}'; known are "
                         f"{', '.join(known)}")
    return known[name]


@dataclass(frozen=True)
class Asked:
    """What a visitor chose for a run. extra: a caption of their own, or ""."""

    photo: str
    option: str
    extra: str = ""


@dataclass
class Bench:
    """Opens models late. pair: ids of the standard and the robust one."""

    library: Library
    pair: tuple[str, str]

    @property
    def standard(self) -> DualEncoder:
        return self.library.load(self.pair[0])

    @property
    def robust(self) -> DualEncoder:
        return self.library.load(self.pair[1])

    def one(self, asked: Asked, model: DualEncoder) -> Pairs:
        """The photo with its captions, the visitor's own among them."""
        chosen = photo(asked.photo)
        extra = clean_captions([asked.extra]) if asked.extra.strip() else ()
        captions = tuple(dict.fromkeys([*chosen.captions, *extra]))
        return one_pair(open_image(chosen.path), captions, chosen.true, model.frame)

    def several(self, first: str, count: int, model: DualEncoder) -> Pairs:
        """`count` photos, the given one first, each against all captions of them all."""
        order = [photo(first), *(p for p in load_examples().values() if p.id != first)][:count]
        captions = tuple(dict.fromkeys(c for p in order for c in p.captions))
        each = [one_pair(open_image(p.path), p.captions, p.true, model.frame) for p in order]
        labels = torch.tensor([captions.index(p.truth) for p in order])
        return Pairs(torch.cat([pair.images for pair in each]), captions, labels)


class Count:
    """Numbers the steps of several attacks in a row. total: of them all."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0

    def run(self, attack: Attack, model: DualEncoder, pairs: Pairs, seed: int = 0,
            ) -> Generator[Step, None, Result]:
        """The attack's Result, with its steps counted on."""
        for event in stream(attack, model, pairs, seed=seed):
            if isinstance(event, Step):
                yield self.tick()
            else:
                result = event
        return result

    def tick(self) -> Step:
        self.done += 1
        self.total = max(self.total, self.done)
        return Step(self.done, self.total)
