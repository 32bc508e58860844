"""Defences as an axis of an evaluation: the columns behind each, by attackers who know or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from explorer.analysis.evaluation.plan import Asked
from explorer.attacks.defences.base import Defence
from explorer.attacks.defences.registry import NONE, attackers_named, parse_defences
from explorer.base.errors import InputError


@dataclass(frozen=True)
class Guards:
    """Defences behind which all is measured (None: none), and whether attackers know of them."""

    defences: tuple[Defence | None, ...] = (None,)
    aware: tuple[bool, ...] = (False,)

    @classmethod
    def named(cls, names: Sequence[str] | None, attacker: str) -> Guards:
        """Of "none", "jpeg:quality=50" and the like; attacker: unaware, aware or both. Raises
        InputError."""
        defences, aware = parse_defences(list(names or [NONE])), attackers_named(attacker)
        if True in aware and not any(defences):
            raise InputError("an attacker can only know of a defence where there is one: name it")
        return cls(tuple(defences), aware)

    def columns(self, asked: Sequence[Asked]) -> tuple[Asked, ...]:
        """Each column behind each defence, by attackers of each kind; where there is no defence to
        know of, or no attacker, once."""
        found = []
        for defence in self.defences:
            for one in asked:
                knows = self.aware if defence is not None and one.attack is not None else (False,)
                found += [replace(one, defence=defence, aware=each) for each in knows]
        return tuple(found)


UNGUARDED = Guards()
