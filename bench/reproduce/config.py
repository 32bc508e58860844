"""What is trained and measured, read from a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.data.hub import PREFIX
from explorer.training.recipe import Recipe


@dataclass(frozen=True)
class Trained:
    """A method and what it changes of the common recipe."""

    method: str
    seeds: tuple[int, ...] = (0,)
    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """eps, curve: whole grey levels of 255; images: drawn of each set, 0 for all. See
    embedded.toml."""

    base: str
    train: str
    known: str
    others: tuple[str, ...]
    images: int
    eps: tuple[int, ...]
    curve: tuple[int, ...]
    attack_steps: int
    words: int
    recipe: dict[str, Any]
    rows: tuple[Trained, ...]
    note: str = ""

    def of(self, row: Trained, seed: int) -> Recipe:
        return Recipe(**{**self.recipe, **row.recipe, "method": row.method, "seed": seed})

    @property
    def sets(self) -> tuple[str, ...]:
        return (self.known, *self.others)

    def levels(self, name: str) -> tuple[int, ...]:
        """Budgets measured on a set, in grey levels."""
        return tuple(sorted({*self.eps, *(self.curve if name == self.known else ())}))


def read(file: Path) -> Config:
    """Raises InputError for a file that cannot be read or has wrong or missing settings."""
    try:
        told = tomllib.loads(file.read_text("utf-8"))
        rows = tuple(Trained(**{**row, "seeds": tuple(row.get("seeds", (0,)))})
                     for row in told.pop("rows"))
        told |= {name: tuple(told[name]) for name in ("others", "eps", "curve")}
        config = Config(**told, rows=rows)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"cannot use {file.name}: {error}") from None
    for row in rows:
        config.of(row, 0)
    return config


def located(name: str, data: Path) -> str:
    """A set's path under the folder `data`; names of the hub stay."""
    return name if name.startswith(PREFIX) else str(data / name)
