"""One question, whatever door it comes in by: what is attacked, how, why, and on which models.

The Attack tab, failure hunts, the command line, the API, MCP and notebooks all make a `Request`;
`checked` is the one check, `answer` the one way to run it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from explorer.attacks.defences.base import Defence
from explorer.attacks.defences.guard import check, stream_against
from explorer.attacks.defences.model import Defended
from explorer.attacks.engine import Step
from explorer.attacks.goals import GOALS
from explorer.attacks.joint import JointAttack
from explorer.attacks.registry import Attack, name_of
from explorer.attacks.result import Result
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.pairs import Pairs, clean_captions, open_image, to_pixels
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import check_captions
from explorer.models.library import Library

PAIR = ("pocket", "pocket-robust")
MOST_SEED = 2**31 - 1
WHAT = {"image": "the photo", "text": "the caption"}
Source = str | Path | bytes | Image.Image


@dataclass(frozen=True, eq=False)
class Request:
    """pictures: files, their bytes, or PIL images; captions: what all of them are read against;
    true: of each picture, the number or the text of its caption, and target what is to be said
    instead, None for anything wrong (a text that is not listed joins the captions); alt: what the
    picture is called; defence: behind which the models read, and aware: the attacker knows of
    it; added: how many of the captions, the last ones, nobody typed (actions/company.py)."""

    pictures: tuple[Source, ...]
    captions: tuple[str, ...]
    true: tuple[int | str, ...]
    attack: Attack
    target: int | str | None = None
    goal: str = "classification"
    models: tuple[str, ...] = PAIR
    seed: int = 0
    alt: str = "your photo"
    defence: Defence | None = None
    aware: bool = False
    added: int = 0

    def checked(self) -> Request:
        """`worded`, with the pictures opened."""
        return replace(self.worded(), pictures=tuple(open_image(one) for one in self.pictures))

    def worded(self) -> Request:
        """The same question with the captions cleaned, and numbers for true and target. Raises
        InputError in one sentence for what cannot be asked."""
        if not self.pictures or not all(self.pictures):
            raise InputError("choose a photo first: upload one, paste one, or pick an example")
        if not self.models:
            raise InputError("name a model at least")
        if self.goal not in GOALS:
            raise InputError(f"the goal must be one of {', '.join(GOALS)}, not '{self.goal}'")
        if not 0 <= self.seed <= MOST_SEED:
            raise InputError(f"the seed must be a whole number from 0 to {MOST_SEED}")
        if self.aware and self.defence is None:
            raise InputError("an attacker can only know of a defence where there is one: name it")
        if self.defence is not None:
            check(self.attack, self.defence)
        captions = clean_captions(self.captions)
        true = tuple(_place(one, captions) for one in self.true)
        if len(true) != len(self.pictures):
            raise InputError("each picture needs one caption that is marked as the true one")
        target = self.target
        if target is not None:
            self._can_aim()
            captions, target = _aim(target, captions)
            if target in true:
                raise InputError("the target is the true caption already: choose another one")
        return replace(self, captions=captions, true=true, target=target)

    def _can_aim(self) -> None:
        if self.goal == "embedding":
            raise InputError("the goal embedding only moves away from the clean place and takes no "
                             "target: choose the goal classification or similarity")
        if isinstance(self.attack, JointAttack) and not self.attack.targeted:
            raise InputError(f"the attack {name_of(self.attack)} has no target, it only leads "
                             "away: choose separate or alternating")

    def pairs(self, model: DualEncoder) -> Pairs:
        """Of a checked request, at a model's input."""
        images = torch.stack([to_pixels(_opened(one), model.frame) for one in self.pictures])
        return Pairs(images, self.captions, torch.tensor(self.true))

    def targets(self) -> torch.Tensor | None:
        """(N,) of a checked request."""
        return None if self.target is None else torch.tensor([self.target] * len(self.pictures))

    def events(self, model: DualEncoder, record: bool = False, attack: Attack | None = None,
               ) -> Iterator[Step | Result]:
        """A checked request on one model: Steps, and at last the Result. attack: in the place of
        the request's own, such as one half of it."""
        guarded = Defended(model, self.defence, self.seed) if self.defence is not None else model
        return stream_against(attack or self.attack, guarded, self.pairs(model), self.goal,
                              self.targets(), self.seed, record, self.aware)

    def check_read(self, model: DualEncoder) -> None:
        """Raises InputError where the model cannot tell the captions that count apart."""
        counted = [int(one) for one in (*self.true, self.target) if one is not None]
        check_captions(model.card.id, model.tokenize, self.captions, counted)


def _opened(picture: Source) -> Image.Image:
    assert isinstance(picture, Image.Image)
    return picture


def _number(value: int, captions: tuple[str, ...], name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(captions):
        raise InputError(f"{name} must be a caption's number, 0 to {len(captions) - 1}, or its "
                         f"text, not '{str(value)[:60]}'")
    return value


def _named(text: str, captions: tuple[str, ...]) -> tuple[str, int | None]:
    """A caption, tidied, and its place; its case does not count where only one is alike."""
    (said,) = clean_captions([text])
    if said in captions:
        return said, captions.index(said)
    alike = [k for k, one in enumerate(captions) if one.casefold() == said.casefold()]
    return said, alike[0] if len(alike) == 1 else None


def _place(true: int | str, captions: tuple[str, ...]) -> int:
    if not isinstance(true, str):
        return _number(true, captions, "true")
    said, place = _named(true, captions)
    if place is not None:
        return place
    if said.isdecimal():
        return _number(int(said), captions, "true")
    raise InputError(f"mark one of the captions as the true one ('{said[:60]}' is not listed)")


def _aim(target: int | str, captions: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Captions with the target among them, and its number."""
    if not isinstance(target, str):
        return captions, _number(target, captions, "target")
    said, place = _named(target, captions)
    if place is not None:
        return captions, place
    return clean_captions([*captions, said]), len(captions)


def answer(library: Library, request: Request, record: bool = False, device: str | None = None,
           ) -> Iterator[Progress | Result]:
    """Attacks each model of a request in turn: progress, and a Result when a model is done, in
    the order of `models`."""
    asked = request.checked()
    for name in asked.models:
        yield Progress(f"Opening {name} …")
        model = library.load(name, device)
        asked.check_read(model)
        for event in asked.events(model, record):
            if isinstance(event, Step):
                yield step_of(event, name)
            else:
                yield event


def step_of(event: Step, model: str, doing: str = "Attacking") -> Progress:
    """A step of an attack in words."""
    return Progress(f"{doing} {WHAT[event.what]} on {model}", event.index, event.total)


def results_of(library: Library, request: Request, record: bool = False) -> dict[str, Result]:
    """What `answer` finds, by the models' names in the request, without the progress."""
    found = [one for one in answer(library, request, record) if isinstance(one, Result)]
    return dict(zip(request.models, found, strict=True))
