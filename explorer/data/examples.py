"""The example photos that come with the app, each with its captions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from explorer.base.paths import ASSETS

FOLDER = ASSETS / "examples"
THINGS, SCENES = "things", "scenes"
GROUPS = (THINGS, SCENES)
"""Photos of one thing with captions that name it, and of people and places with whole sentences."""


@dataclass(frozen=True)
class Example:
    """A photo and its captions. group: of GROUPS; true: index of the true one; target: a wrong one
    worth a try."""

    id: str
    group: str
    path: Path
    title: str
    alt: str
    captions: tuple[str, ...]
    true: int
    target: str

    @property
    def truth(self) -> str:
        """The true caption."""
        return self.captions[self.true]


@cache
def load_examples() -> dict[str, Example]:
    """By id, in the order they are shown in: things, then scenes."""
    raw = json.loads((FOLDER / "examples.json").read_text(encoding="utf-8"))
    return {e["id"]: Example(e["id"], e["group"], FOLDER / e["file"], e["title"], e["alt"],
                             tuple(e["captions"]), e["true"], e["target"]) for e in raw}


def of_group(group: str) -> list[Example]:
    """The examples of one of GROUPS."""
    return [example for example in load_examples().values() if example.group == group]


def names_said() -> str:
    """The ids by group, as help texts list them."""
    return "; ".join(f"{group}: {', '.join(e.id for e in of_group(group))}" for group in GROUPS)
