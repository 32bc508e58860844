"""How far something is, in one form for everything that takes longer than a second."""

from __future__ import annotations

import time
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


class Clock:
    """How long the rest will take, as it went so far."""

    def __init__(self, done: int) -> None:
        self.first, self.began = done, time.monotonic()

    def left(self, done: int, total: int) -> str:
        """" About 3 minutes left.", "" before the first picture is done."""
        if done == self.first:
            return ""
        seconds = (time.monotonic() - self.began) / (done - self.first) * (total - done)
        minutes = round(seconds / 60)
        return (f" About {minutes} minute{'s' * (minutes > 1)} left." if minutes
                else " Less than a minute left.")
