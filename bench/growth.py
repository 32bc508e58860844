"""How cost grows: python -m bench.growth (of make bench). Draws docs/growth.svg.

Seconds of an attack by its images, captions and steps, on the standard embedded model, and of one
visitor's run by the visitors of a real server; on logarithmic axes, with the slope of the line of
least squares: 1 is proportional, below 1 is cheaper by the dozen. Replaces its own section of
docs/performance.md and leaves the rest.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.load import Watch, server, visit
from bench.load_report import quantile
from bench.peers import photos, timed
from bench.report import PAGE, put
from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

HEAD = "## Growth"
FIGURE = PAGE.parent / "growth.svg"
IMAGES, CAPTIONS = (1, 2, 4, 8, 16, 32, 64), (2, 8, 32, 128, 512, 2048)
STEPS, VISITORS = (1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8, 16, 32)
REPEATS, LOADED = 3, 25.0  # LOADED: seconds for which visitors press Attack


@dataclass(frozen=True)
class Curve:
    """points: how many, and the median seconds."""

    by: str
    what: str
    points: list[tuple[int, float]]

    @property
    def slope(self) -> float:
        """Of the logarithms."""
        x, y = zip(*((math.log(n), math.log(s)) for n, s in self.points), strict=True)
        return statistics.linear_regression(x, y).slope


def points(jobs: dict[int, Callable[[], object]]) -> list[tuple[int, float]]:
    """How many, and the median seconds of that job; they take turns."""
    return list(zip(jobs, timed(list(jobs.values()), REPEATS)[0], strict=True))


def by_images(model: DualEncoder) -> Curve:
    made = {n: photos(model.size, n) for n in IMAGES}
    return Curve("images", "PGD-4, all images", points(
        {n: lambda pairs=pairs: run(PGD(steps=4), model, pairs)  # type: ignore[misc]
         for n, pairs in made.items()}))


def by_captions(model: DualEncoder) -> Curve:
    """Captions are read anew each time: it is their reading that grows."""
    one = photos(model.size, 1)

    def job(n: int) -> Callable[[], object]:
        captions = (*one.captions[:1], *(f"a photo of the number {k}" for k in range(1, n)))
        pairs = Pairs(one.images, captions, one.labels * 0)

        def attack() -> object:
            model._texts.clear()
            return run(PGD(steps=4), model, pairs)

        return attack

    return Curve("captions", "PGD-4 on one image, captions read anew",
                 points({n: job(n) for n in CAPTIONS}))


def by_steps(model: DualEncoder) -> Curve:
    one = photos(model.size, 1)
    return Curve("steps", "PGD on one image", points(
        {n: lambda n=n: run(PGD(steps=n), model, one) for n in STEPS}))  # type: ignore[misc]


def by_visitors(port: int = 7993) -> Curve:
    """Each number of visitors meets the same warm server for a while."""
    found, log = [], Path(tempfile.gettempdir()) / "explorer-growth.log"
    with server(port, max(VISITORS), log) as (address, _):
        for n in (1, *VISITORS):  # the first time opens what is lazy
            watch, until = Watch(), time.monotonic() + LOADED
            tabs = [threading.Thread(target=visit, args=(address, k, until, watch))
                    for k in range(n)]
            for tab in tabs:
                tab.start()
            for tab in tabs:
                tab.join()
            assert watch.runs and not watch.errors, watch.errors
            found.append((n, quantile(watch.runs, 0.5)))
    return Curve("visitors", "from the press to the answer, both models", found[1:])


def draw(curves: list[Curve], file: Path) -> None:
    """One small plot for each, both axes logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(3.2 * len(curves), 3), squeeze=False)
    for axis, curve in zip(axes[0], curves, strict=True):
        at, seconds = zip(*curve.points, strict=True)
        axis.loglog(at, seconds, "o-", color="#1f6feb")
        axis.set_title(f"slope {curve.slope:.2f}", fontsize=10)
        axis.set_xlabel(curve.by)
        axis.grid(alpha=0.3, which="both")
    axes[0][0].set_ylabel("seconds")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def page(curves: list[Curve]) -> str:
    """The section, heading first."""
    rows = []
    for curve in curves:
        seen = ", ".join(f"{n:,}: {s:.2f} s" for n, s in curve.points)
        rows.append(f"| {curve.by} | {curve.what} | {seen} | {curve.slope:.2f} |")
    said = "; ".join(f"{c.by} {c.slope:.2f}" for c in curves)
    return "\n".join([
        HEAD, "",
        "Median seconds, and the slope of their logarithms: 1 is proportional, below 1 is cheaper "
        "by the dozen, as what a run costs anyway is shared. Small numbers lie above the line.", "",
        f"![Four plots of seconds on logarithmic axes; slopes: {said}.](growth.svg)", "",
        "| by | what | measured | slope |", "|---|---|---|---|", *rows, ""])


def section(model: DualEncoder) -> str:
    """The part of the page, heading first; draws its picture beside the page."""
    curves = [by_images(model), by_captions(model), by_steps(model), by_visitors()]
    draw(curves, FIGURE)
    return page(curves)


def main() -> int:
    argparse.ArgumentParser(description="Measures how cost grows.").parse_args()
    keep_memory()
    part = section(Library().load("pocket"))
    put(part)
    print(part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
