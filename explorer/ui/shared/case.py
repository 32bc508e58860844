"""The case that all tabs speak of: one photo, its captions, an attack and two models, as a finished
run had them; and how a form takes it over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from explorer.attacks.registry import USUAL, attack_of
from explorer.attacks.result import Result
from explorer.base.errors import InputError
from explorer.data.examples import load_examples
from explorer.results.outcome import Outcome
from explorer.ui.shared.address import to_query


@dataclass(frozen=True, eq=False)
class Case:
    """result: of the first model that is done; models: left and right; alt: what the photo is
    called."""

    result: Result
    models: tuple[str, str]
    alt: str

    @classmethod
    def of(cls, outcome: Outcome | None) -> Case | None:
        """None while no model is done."""
        done = [part.result for part in outcome.parts if part.result] if outcome else []
        if outcome is None or not done:
            return None
        ids = [part.card.id for part in outcome.parts]
        return cls(done[0], (ids[0], ids[-1]), outcome.alt)

    @property
    def captions(self) -> tuple[str, ...]:
        return tuple(self.result.captions)

    @property
    def true(self) -> str:
        return self.captions[int(self.result.labels[0])]

    @property
    def halves(self) -> tuple[str, str]:
        """The attack on the photo and the one on the caption; the usual one where there is none."""
        kind, name, own = self.result.kind, self.result.attack, self.result.settings
        return (str(own.get("image_attack", name if kind == "image" else USUAL["image"])),
                str(own.get("text_attack", name if kind == "text" else USUAL["text"])))

    @property
    def grey_levels(self) -> float | None:
        """The L-inf budget in n/255; None for other budgets."""
        own = self.result.settings
        if own.get("norm") != "linf" or self.result.kind == "text":
            return None
        return round(float(own["eps"]) * 255, 3)

    @property
    def address(self) -> str:
        """As `to_query` makes it, from "?" on; "" where no address can name the attack."""
        found = self.result
        known = {example.alt: example.id for example in load_examples().values()}
        target = None if found.targets is None else self.captions[int(found.targets[0])]
        try:
            attack = attack_of(found.kind, found.attack, found.settings)
        except InputError:
            return ""
        return to_query(known.get(self.alt, ""), self.captions, self.true, self.models, attack,
                        found.goal, target or "", found.seed)


def edits_of(settings: dict[str, Any]) -> int:
    """How many words or characters of a caption may change."""
    return int(settings.get("words", settings.get("characters", 1)))
