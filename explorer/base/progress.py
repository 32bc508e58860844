"""How far something is, in one form for everything that takes longer than a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """done of total of one named thing. kept: `done` is safe on disk; last: nothing comes after
    it; outcome: what has been found so far, where there is more to draw."""

    text: str = ""
    done: int = 0
    total: int = 0
    kept: bool = True
    last: bool = False
    outcome: Any = None
