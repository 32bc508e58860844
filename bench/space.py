"""How quickly the embedding space answers: python -m bench.space. Fills docs/embedding.md.

The page's figures are those that its slow browser tests print, several times; UMAP's are taken on
clean points of the shape that the tab fits, without the disk cache.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np

from explorer.analysis.embedding.umaps import FIT_MOST, UmapSettings, fit_umap
from explorer.base.device import describe_device

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "embedding.md"
START, END = "<!-- measured: start -->", "<!-- measured: end -->"
TESTS = "answered_in_time or new_arrows or five_thousand"
SAID = {
    "a choice, until neighbours and ring are there": (r"answers to a choice: \[(.+)\] ms", "ms",
                                                      "300 ms"),
    "new arrows, from the click that ends an attack": (r"new arrows after (.+) ms", "ms", "500 ms"),
    "5,000 points, pan": (r"pan: (.+) frames", "frames/s", "over 20"),
    "5,000 points, zoom by wheel": (r"zoom: (.+) frames", "frames/s", "over 20"),
}


def page_says(repeats: int) -> dict[str, list[float]]:
    """Every figure that the tests print, over all repeats."""
    found: dict[str, list[float]] = {name: [] for name in SAID}
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", "-m", "slow", "-k", TESTS,
             "tests/browser/test_space_tab.py"], cwd=ROOT, capture_output=True, text=True,
            env=os.environ | {"SLOW": "10"}, check=True)
        for name, (pattern, _, _) in SAID.items():
            for numbers in re.findall(pattern, done.stdout):
                found[name] += [float(n) for n in numbers.split(",")]
        print(found, flush=True)
    return found


def umap_takes() -> tuple[float, float]:
    """Seconds to fit FIT_MOST clean points, and to place an attack's 40 in the fitted map."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(50, 256))
    points = centres[random.integers(0, 50, FIT_MOST)] + random.normal(size=(FIT_MOST, 256))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EXPLORER_CACHE"] = folder
        fit_umap(points[:300], 2, UmapSettings())  # compiles
        began = time.perf_counter()
        made = fit_umap(points, 2, UmapSettings())
        fitted = time.perf_counter() - began
    spans = []
    for k in range(5):
        began = time.perf_counter()
        made.transform(points[40 * k: 40 * k + 40] + 0.01)
        spans.append(time.perf_counter() - began)
    return fitted, statistics.median(spans)


def main() -> None:
    flags = argparse.ArgumentParser(prog="python -m bench.space")
    flags.add_argument("--repeats", type=int, default=3, help="of the browser's part (default 3)")
    args = flags.parse_args()
    busy = os.getloadavg()[0]
    fit, place = umap_takes()
    rows = [f"| {name} | {statistics.median(values):.0f} {SAID[name][1]} | {min(values):.0f} to "
            f"{max(values):.0f} | {len(values)} | {SAID[name][2]} |"
            for name, values in page_says(args.repeats).items()]
    rows += [f"| UMAP fitted on {FIT_MOST:,} points | {fit:.1f} s | | 1 | 20 s |",
             f"| 40 new points placed in a warm UMAP | {place:.2f} s | | 5 | 1.5 s for both maps |"]
    text = "\n".join([
        START, "", f"{describe_device()}, headless Chromium without a graphics card beside the "
        f"server, {date.today().isoformat()}, by `python -m bench.space`; load of the machine "
        f"before: {busy:.1f} jobs on {os.cpu_count()} cores.", "",
        "| | median | range | n | goal |", "|---|---|---|---|---|", *rows, "", END])
    page = PAGE.read_text("utf-8")
    PAGE.write_text(page.split(START)[0] + text + page.split(END)[1], encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
