"""What is asked of detectors, as a part of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from explorer.attacks.defences.detect import DETECTORS, Detector, detector_named
from explorer.attacks.image.base import ImageAttack
from explorer.attacks.registry import attack_of, name_of, settings_of
from explorer.base.errors import InputError


@dataclass(frozen=True)
class Watched:
    """One question to a detector: how well it finds this attack. aware: the attacker knows of it.
    """

    detector: Detector
    attack: ImageAttack
    aware: bool = False

    @property
    def name(self) -> str:
        return next(name for name, kind in DETECTORS.items() if kind is type(self.detector))

    @property
    def settings(self) -> dict[str, Any]:
        return {"name": name_of(self.attack), **settings_of(self.attack)}

    def as_dict(self) -> dict[str, Any]:
        return {"detector": self.name, "own": asdict(self.detector), "attack": self.settings,
                "aware": self.aware}

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Watched:
        """The way back from `as_dict`, over JSON too."""
        own = dict(raw["attack"])
        attack = attack_of("image", own.pop("name"), own)
        assert isinstance(attack, ImageAttack)
        return cls(DETECTORS[raw["detector"]](**raw["own"]), attack, bool(raw["aware"]))


def watched(names: Iterable[str], attacks: Iterable[object], aware: Iterable[bool],
            ) -> tuple[Watched, ...]:
    """Each detector on each attack on photos, by attackers of each kind. Raises InputError."""
    detectors = [detector_named(name) for name in names]
    on = [attack for attack in attacks if isinstance(attack, ImageAttack)]
    if detectors and not on:
        raise InputError("detectors tell attacked photos from clean ones: choose an attack on the "
                         "photo as well")
    return tuple(Watched(detector, attack, knows) for attack in on for detector in detectors
                 for knows in aware)
