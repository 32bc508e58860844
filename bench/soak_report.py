"""What a long day found, and the page that tells it: numbers in, docs/soak.md out."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import date

WARM = 0.1  # of the time, in which caches fill; memory is judged after it
GROWTH = 0.05  # of the memory after that: a day may end so much higher than it began
MOST = 2_500.0  # MB resident, the goal


@dataclass(frozen=True)
class Soak:
    """Numbers of one day. memory: (second, MB resident); visits: by tab, those that ended well;
    errors: by what they said; kept: MB at the end, by what holds them, as at /metrics."""

    machine: str
    minutes: float
    visitors: int
    memory: list[tuple[float, float]]
    visits: dict[str, int]
    errors: dict[str, int]
    kept: dict[str, float]

    def level(self, first: float, last: float) -> float:
        """Median MB between two parts of the day, 0 to 1."""
        end = 60 * self.minutes
        inside = [m for t, m in self.memory if first * end <= t <= last * end]
        return statistics.median(inside) if inside else float("nan")

    @property
    def growth(self) -> float:
        """By which part the last three tenths lie above the three after the first tenth."""
        return self.level(0.7, 1.0) / self.level(WARM, WARM + 0.3) - 1

    @property
    def flat(self) -> bool:
        return self.growth <= GROWTH  # no number, where nothing was measured, is not flat

    @property
    def most(self) -> float:
        return max((m for _, m in self.memory), default=float("nan"))


def page(soak: Soak) -> str:
    steps = [k / 10 for k in range(10)]
    levels = " | ".join(f"{soak.level(k, k + 0.1):,.0f}" for k in steps)
    errors = [f"- {count} x {said}" for said, count in soak.errors.items()] or ["None."]
    return "\n".join([
        "# A long day", "",
        f"Written by `make soak` on {date.today().isoformat()}: {soak.machine}. {soak.visitors} "
        f"visitors at a time for {soak.minutes:g} minutes without a pause, through all tabs, each "
        f"visit with a page of its own, and one training beside them; files and answers are "
        f"forgotten as much sooner as eight hours are longer than that. Visits: "
        f"{', '.join(f'{name} {n}' for name, n in sorted(soak.visits.items())) or 'none'}.", "",
        "| what | measured | goal |", "|---|---|---|",
        f"| memory, last three tenths against the three after the first | {soak.growth:+.1%} | at "
        f"most {GROWTH:+.0%} |",
        f"| most memory | {soak.most:,.0f} MB | {MOST:,.0f} MB |",
        f"| errors | {sum(soak.errors.values())} | 0 |", "",
        "Resident memory by tenths of the day, MB (medians):", "",
        "| " + " | ".join(f"{k + 1}" for k in range(10)) + " |", "|" + "---|" * 10,
        f"| {levels} |", "",
        "At the end the server held, of what is shown at `/metrics` as `explorer_kept_bytes`: "
        + (", ".join(f"{name} {mb:,.0f} MB" for name, mb in sorted(soak.kept.items())) or "unknown")
        + ".", "", "Errors:", "", *errors, ""])
