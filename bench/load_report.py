"""What a load test found, and the page that tells it: numbers in, docs/load.md out."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

SHARE, PAGE_S, GROWTH = 0.8, 0.3, 10.0  # goals: of the device alone; seconds; MB a minute
WARM = 1 / 3  # of the time, in which caches fill; memory is judged after it


@dataclass(frozen=True)
class Found:
    """Numbers of one load test, as docs/load.json keeps them.

    seconds: for which visitors began new runs; took: until the last answer; alone_s: of runs by the
    library in a loop; answers_s: from each press to its answer; page_s: of each page; memory:
    (second, MB resident); mixed: answers with another visitor's picture; told: times a visitor
    heard its place in the queue; driver_s: processor seconds of the visitors' own programs.
    """

    machine: str
    cores: int
    visitors: int
    seconds: float
    took: float
    alone_s: list[float]
    answers_s: list[float]
    page_s: list[float]
    memory: list[tuple[float, float]]
    mixed: int = 0
    told: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    driver_s: float = 0.0

    @property
    def rate(self) -> float:
        """Runs a second."""
        return len(self.answers_s) / self.took

    @property
    def share(self) -> float:
        """Of the rate that the device reaches alone."""
        return self.rate * statistics.mean(self.alone_s)

    @property
    def slope(self) -> float:
        """Growth of memory in MB a minute: the least-squares line once it is warm."""
        late = [(t, m) for t, m in self.memory if t >= WARM * self.took] or self.memory
        if len({t for t, _ in late}) < 2:
            return 0.0
        return 60 * statistics.linear_regression(*zip(*late, strict=True)).slope

    def told_as(self) -> dict[str, Any]:
        return asdict(self)


def quantile(values: list[float], part: float) -> float:
    """Of sorted or unsorted values; not a number when there are none."""
    ordered = sorted(values)
    return ordered[round(part * (len(ordered) - 1))] if ordered else float("nan")


def page(found: Found) -> str:
    """The page docs/load.md."""
    middle, late = quantile(found.page_s, 0.5), quantile(found.page_s, 0.95)
    held = [m for _, m in found.memory] or [float("nan")]
    errors = sum(found.errors.values())
    rows: list[tuple[str, str, str, bool | None]] = [
        ("runs finished", f"{len(found.answers_s)}", "", None),
        ("errors", f"{errors}", "0", errors == 0),
        ("answers with another visitor's picture", f"{found.mixed}", "0", found.mixed == 0),
        ("throughput", f"{found.rate:.3f} runs/s", "", None),
        (f"the same runs by the library in a loop ({len(found.alone_s)} runs, before)",
         f"{1 / statistics.mean(found.alone_s):.3f} runs/s", "", None),
        ("share of that", f"{found.share:.2f}", f"at least {SHARE}", found.share >= SHARE),
        ("cores that the visitors' own programs kept busy", f"{found.driver_s / found.took:.2f} of "
         f"{found.cores}", "", None),
        ("a page meanwhile, median", f"{middle * 1000:.0f} ms", f"under {PAGE_S * 1000:.0f} ms",
         middle < PAGE_S),
        ("a page meanwhile, 95th percentile", f"{late * 1000:.0f} ms",
         f"under {PAGE_S * 1000:.0f} ms", late < PAGE_S),
        ("from the press to the answer, median", f"{quantile(found.answers_s, 0.5):.1f} s", "",
         None),
        ("from the press to the answer, longest", f"{quantile(found.answers_s, 1):.1f} s", "",
         None),
        ("times a visitor was told its place", f"{found.told}", "", None),
        ("memory of the server, start to end", f"{held[0]:.0f} to {held[-1]:.0f} MB", "", None),
        ("its slope once warm", f"{found.slope:+.1f} MB/min", f"under {GROWTH:.0f} MB/min",
         found.slope < GROWTH),
    ]
    table = "\n".join(f"| {what} | {value} | {goal} | {judged(met)} |"
                      for what, value, goal, met in rows)
    listed = "".join(f"- {n} x {kind}\n" for kind, n in found.errors.items())
    return f"""# Load

Written by `make load`. {found.visitors} visitors attacked for {found.seconds:.0f} s, each a picture
of its own, which every answer had to show again. Visitors and server shared {found.cores} CPU
core{"s" if found.cores > 1 else ""}: {found.machine}.

| what | measured | goal | met |
|---|---|---|---|
{table}
{listed and f'''
Errors:

{listed}'''}"""


def judged(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "**no**"
