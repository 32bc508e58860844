"""The example photos that come with the app, each with its captions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from explorer.base.paths import ASSETS

FOLDER = ASSETS / "examples"


@dataclass(frozen=True)
class Example:
    """A photo and its captions. true: index of the true one; target: a wrong one worth a try."""

    id: str
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
    """By id, in the order they are shown in."""
    raw = json.loads((FOLDER / "examples.json").read_text(encoding="utf-8"))
    return {e["id"]: Example(e["id"], FOLDER / e["file"], e["title"], e["alt"],
                             tuple(e["captions"]), e["true"], e["target"]) for e in raw}
