"""What an evaluation measures: models x attacks x sets x budgets, as plain frozen data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from explorer.analysis.evaluation.rows import CLEAN, CORRUPTED
from explorer.analysis.evaluation.watched import Watched
from explorer.analysis.metrics import eps_of
from explorer.attacks.amounts import NORMS, behind_words, parse_eps, strong_words
from explorer.attacks.corruptions.base import Corruption
from explorer.attacks.corruptions.registry import corruption_of
from explorer.attacks.corruptions.registry import name_of as corruption_name
from explorer.attacks.defences.base import Defence
from explorer.attacks.defences.guard import check
from explorer.attacks.defences.registry import defence_of, label_of
from explorer.attacks.defences.registry import settings_of as defence_settings
from explorer.attacks.image.classic import ImageAttack
from explorer.attacks.joint import JointAttack
from explorer.attacks.registry import Attack, attack_of, kind_of, name_of, settings_of
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.data.tasks import CLASSES, RETRIEVAL

MOST_BUDGETS, MOST_CELLS = 20, 2_000
APART = 2  # recall of which captions: 1 judged those that a model cannot tell apart
FORMAT = 1  # of kept cells: another number for numbers that would come out differently


@dataclass(frozen=True)
class Asked:
    """One column of the table. name: as it was asked for; attack: None is no attack; defence: what
    the model is read behind; aware: the attacker knows of it; corruption: in the place of an
    attack, what happens to the pictures by itself."""

    name: str
    attack: Attack | None = None
    defence: Defence | None = None
    aware: bool = False
    corruption: Corruption | None = None

    def __post_init__(self) -> None:
        assert self.attack is None or self.corruption is None
        if self.attack is not None and self.defence is not None:
            check(self.attack, self.defence)
        if self.aware and (self.defence is None or self.attack is None):
            raise InputError("an attacker can only know of a defence where there is one")

    def shown(self, pairs: Pairs, seed: int) -> Pairs:
        """The pictures before any attack: as they are, or corrupted."""
        if self.corruption is None:
            return pairs
        return replace(pairs, images=self.corruption.change(pairs.images, seed))

    @property
    def line(self) -> str:
        """The attack and what it has to get through: "image behind jpeg (known)"."""
        return strong_words(self.name, self.severity) + behind_words(self.behind, self.aware)

    @property
    def severity(self) -> int:
        """Of the corruption; 0 for none."""
        return self.corruption.severity if self.corruption is not None else 0

    @property
    def behind(self) -> str:
        """The defence in a few words, "" for none."""
        return label_of(self.defence)

    @property
    def kind(self) -> str:
        if self.corruption is not None:
            return CORRUPTED
        return CLEAN if self.attack is None else kind_of(self.attack)

    @property
    def eps(self) -> float:
        """The pixel budget, in [0, 1]; 0 where pixels stay as they are."""
        return eps_of(self.attack)

    @property
    def norm(self) -> str:
        """"linf" or "l2"; "" where pixels stay as they are."""
        half = pixel_half(self.attack)
        return half.norm if half is not None else ""

    @property
    def settings(self) -> dict[str, Any]:
        if self.corruption is not None:
            return {"name": corruption_name(self.corruption), "severity": self.severity}
        if self.attack is None:
            return {}
        return {"name": name_of(self.attack), **settings_of(self.attack)}

    def as_dict(self) -> dict[str, Any]:
        about = {"name": self.name, "kind": self.kind, "settings": self.settings}
        return {**about, **self.guard}

    @property
    def guard(self) -> dict[str, Any]:
        """What is between the picture and the model, as plain data; empty for nothing."""
        if self.defence is None:
            return {}
        return {"defence": defence_settings(self.defence), "aware": self.aware}

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Asked:
        told = dict(raw.get("defence") or {})
        defence = defence_of(told.pop("name"), told) if told else None
        if raw["kind"] == CLEAN:
            return cls(str(raw["name"]), None, defence)
        settings = dict(raw["settings"])
        if raw["kind"] == CORRUPTED:
            return cls(str(raw["name"]), None, defence, corruption=corruption_of(**settings))
        attack = attack_of(raw["kind"], settings.pop("name"), settings)
        return cls(str(raw["name"]), attack, defence, bool(raw.get("aware", False)))


@dataclass(frozen=True)
class EvaluationPlan:
    """sets: names as `sets.open_set` takes them; limit: images drawn of each, None for all;
    batch: images at a time, which changes no number but by rounding; columns: of the tables of
    sets, as --columns takes them; watched: what is asked of detectors."""

    sets: tuple[str, ...]
    models: tuple[str, ...]
    asked: tuple[Asked, ...]
    task: str = CLASSES
    limit: int | None = None
    seed: int = 0
    batch: int = 32
    columns: str = ""
    watched: tuple[Watched, ...] = ()

    def __post_init__(self) -> None:
        for what, names in (("an image set", self.sets), ("a model", self.models),
                            ("an attack, or clean", self.asked)):
            if not names:
                raise InputError(f"choose {what} at least")
            if len(set(names)) < len(names):
                raise InputError(f"{what} is named twice")
        if self.task not in (CLASSES, RETRIEVAL):
            raise InputError(f"the task must be {CLASSES} or {RETRIEVAL}, not '{self.task[:40]}'")
        if self.limit is not None and self.limit < (2 if self.task == RETRIEVAL else 1):
            raise InputError(f"the limit must be at least {2 if self.task == RETRIEVAL else 1}, "
                             f"not {self.limit}")
        if self.batch < 1:
            raise InputError(f"a batch must have at least 1 image, not {self.batch}")
        if self.task == RETRIEVAL and (self.watched or any(one.defence for one in self.asked)):
            raise InputError("defences and detectors are measured in classification: leave them "
                             "out for retrieval")
        if self.task == RETRIEVAL and any(one.corruption for one in self.asked):
            raise InputError("corruptions are measured in classification: leave them out for "
                             "retrieval")
        cells = len(self.sets) * len(self.models) * (len(self.asked) + len(self.watched))
        if cells > MOST_CELLS:
            raise InputError(f"that makes {cells:,} numbers, and at most {MOST_CELLS:,} are "
                             "measured in one evaluation: leave sets, models or budgets out")

    def as_dict(self) -> dict[str, Any]:
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        watched = {"watched": [one.as_dict() for one in own.pop("watched")]}
        return {**own, "asked": [one.as_dict() for one in self.asked],
                **(watched if self.watched else {})}

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> EvaluationPlan:
        """The way back from `as_dict`, over JSON too."""
        return cls(**{**raw, "sets": tuple(raw["sets"]), "models": tuple(raw["models"]),
                      "asked": tuple(Asked.read(one) for one in raw["asked"]),
                      "watched": tuple(Watched.read(one) for one in raw.get("watched", ()))})

    def watch_key(self, asked: Watched, fingerprint: str, digest: str) -> str:
        """The name of what a detector did, in the same way as `key`."""
        about = [FORMAT, "watched", self.seed, asked.as_dict(), fingerprint, digest]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

    def key(self, asked: Asked, fingerprint: str, digest: str) -> str:
        """The name of one cell, from all that its number depends on: the model's weights, the
        set's content, the attack and the draw."""
        about = [FORMAT, self.task, self.seed, asked.kind, asked.settings,
                 fingerprint, digest, *([asked.guard] if asked.guard else [])]
        if self.task == RETRIEVAL:
            about.append(APART)
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def pixel_half(attack: Attack | None) -> ImageAttack | None:
    """The part of an attack that changes the image, if any."""
    half = attack.image if isinstance(attack, JointAttack) else attack
    return half if isinstance(half, ImageAttack) else None


def with_eps(attack: Attack, eps: float) -> Attack:
    """An attack at another pixel budget; a step size that was not set follows it."""
    if isinstance(attack, JointAttack):
        image = with_eps(attack.image, eps)
        assert isinstance(image, ImageAttack)
        return replace(attack, image=image)
    if not isinstance(attack, ImageAttack):
        return attack
    return replace(attack, eps=eps)


def spread(name: str, attack: Attack | None, budgets: Sequence[float]) -> list[Asked]:
    """One column for each budget, or one alone where there are no pixels to change."""
    half = pixel_half(attack)
    if attack is None or half is None or half.norm not in NORMS:
        return [Asked(name, attack)]
    return [Asked(name, with_eps(attack, eps)) for eps in budgets]


def harmed(corruptions: Sequence[Corruption]) -> list[Asked]:
    """A column for each corruption."""
    return [Asked(corruption_name(one), corruption=one) for one in corruptions]


def read_budgets(text: str, grey: bool = False) -> list[float]:
    """"1/255, 2/255" -> the numbers in [0, 1]; grey: "1, 2" are grey levels of 255.

    Raises InputError with one sentence for anything else, for none, and for one given twice.
    """
    parts = [part.strip() for part in text.replace(";", ",").split(",")]
    if not any(parts):
        raise InputError("give a budget ε at least, such as 1")
    if not all(parts):
        raise InputError("the budgets ε must be numbers with one comma between them, such as "
                         f"{'1, 2, 4' if grey else '1/255,2/255'}")
    if len(parts) > MOST_BUDGETS:
        raise InputError(f"at most {MOST_BUDGETS} budgets ε are measured at once, not {len(parts)}")
    found = [parse_eps(f"{part}/255" if grey and "/" not in part else part) for part in parts]
    if len(set(found)) < len(found):
        raise InputError("a budget ε is given twice")
    return found
