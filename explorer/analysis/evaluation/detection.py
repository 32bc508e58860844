"""How well a detector tells attacked photos from clean ones: the curve, the area below it, and the
same against an attacker who knows of it."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from explorer.base.intervals import Z95

FALSE_ALARMS = 0.05  # share of clean photos at which the hits are told


def roc(clean: Sequence[float], attacked: Sequence[float]) -> list[tuple[float, float]]:
    """(false alarms, hits) at each threshold, from (0, 0) to (1, 1), as shares; a photo is reported
    when its score is at least the threshold."""
    rising = sorted(clean), sorted(attacked)
    points = [(0.0, 0.0)]
    for limit in sorted({*clean, *attacked}, reverse=True):
        alarms, hits = ((len(own) - bisect.bisect_left(own, limit)) / len(own) for own in rising)
        points.append((alarms, hits))
    return points


def auc(clean: Sequence[float], attacked: Sequence[float]) -> float:
    """The chance that an attacked photo scores above a clean one, ties counting a half: the area
    under the curve (Mann and Whitney 1947)."""
    rising = sorted(clean)
    below = sum(bisect.bisect_left(rising, a) + bisect.bisect_right(rising, a) for a in attacked)
    return below / (2 * len(clean) * len(attacked))


def auc_interval(area: float, clean: int, attacked: int) -> tuple[float, float]:
    """Its 95 % interval (Hanley and McNeil 1982, equations 1 and 2)."""
    q1, q2, square = area / (2 - area), 2 * area**2 / (1 + area), area**2
    variance = (area * (1 - area) + (attacked - 1) * (q1 - square)
                + (clean - 1) * (q2 - square)) / (clean * attacked)
    half = Z95 * math.sqrt(max(0.0, variance))
    return max(0.0, area - half), min(1.0, area + half)


@dataclass(frozen=True)
class Detection:
    """One detector on one model and set. clean: its scores of the photos that are read rightly;
    attacked: of those of them that the attack fooled the model on."""

    data: str
    model: str
    detector: str
    attack: Mapping[str, Any]
    aware: bool
    clean: tuple[float, ...]
    attacked: tuple[float, ...]

    @property
    def place(self) -> tuple[Any, ...]:
        """Which line of its table it is."""
        eps = round(float(self.attack["eps"]), 9)
        return self.data, self.model, self.attack["name"], eps, self.detector, self.aware

    @property
    def budget(self) -> str:
        eps = self.attack["eps"]
        return f"{eps * 255:.4g}/255" if self.attack["norm"] == "linf" else f"L2 {eps:.4g}"

    @property
    def attacker(self) -> str:
        return "aware" if self.aware else "unaware"

    @property
    def area(self) -> float:
        return auc(self.clean, self.attacked)

    @property
    def ci95(self) -> tuple[float, float]:
        return auc_interval(self.area, len(self.clean), len(self.attacked))

    @property
    def curve(self) -> list[tuple[float, float]]:
        return roc(self.clean, self.attacked)

    @property
    def hits(self) -> float:
        """Share of attacked photos that are found when one clean photo in 20 is a false alarm."""
        return max(hit for alarm, hit in self.curve if alarm <= FALSE_ALARMS)

    def sentence(self) -> str:
        if not self.attacked:
            return (f"{self.model}: the attack fooled it on none of {len(self.clean)} photos, so "
                    "there is nothing to detect.")
        low, high = self.ci95
        who = "an attacker who knows of it" if self.aware else "an attacker who does not know of it"
        return (f"{self.model}, {self.detector}, against {who}: area under the curve "
                f"{self.area:.2f} ({low:.2f} to {high:.2f}), finds {self.hits:.0%} of "
                f"{len(self.attacked)} attacked photos at {FALSE_ALARMS:.0%} false alarms.")

    def as_dict(self) -> dict[str, Any]:
        """Plain data, from which `read` makes it again; the scores are one a photo."""
        about = {"data": self.data, "model": self.model, "detector": self.detector,
                 "attack": dict(self.attack), "aware": self.aware, "n_clean": len(self.clean),
                 "n_attacked": len(self.attacked), "sentence": self.sentence()}
        if self.attacked:
            about |= {"auc": self.area, "ci95": list(self.ci95), "hits_at_5_percent": self.hits}
        return {**about, "clean_scores": list(self.clean), "attacked_scores": list(self.attacked)}

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Detection:
        """Raises KeyError, TypeError or ValueError for anything else."""
        attack = dict(raw["attack"])
        attack["eps"], attack["norm"] = float(attack["eps"]), str(attack["norm"])
        attack["name"] = str(attack["name"])
        scores = [tuple(float(s) for s in raw[key]) for key in ("clean_scores", "attacked_scores")]
        if not scores[0]:
            raise ValueError("no clean photo")
        return cls(str(raw["data"]), str(raw["model"]), str(raw["detector"]), attack,
                   bool(raw["aware"]), *scores)
