"""A long day, squeezed: python -m bench.soak [--minutes 20] [--visitors 3]. Fills docs/soak.md.

Starts the real app and lets visitors come and go without a pause, each with a fresh page, through
all tabs: attacks, the embedding space and its maps, hunts for failures, evaluations, lessons, and a
training. Eight hours of an app that is used now and then, in twenty minutes: what it forgets after
an hour it forgets here after two and a half minutes. Memory must be flat after the first tenth.
Ends with status 1 where it is not, or where a tab failed.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.load import ROOT, machine, memory, picture
from bench.page import Page, PageError
from bench.serving import serving
from bench.soak_report import Soak, page
from explorer.data.examples import load_examples

HOURS = 8.0
KEPT = re.compile(r'^explorer_kept_bytes\{what="(\w+)"\} (\S+)', re.MULTILINE)


def attack(tab: Page, chance: random.Random) -> None:
    """A photo of the app's, or one that nobody has sent before."""
    if chance.random() < 0.5:
        example = chance.choice(list(load_examples().values()))
        tab.fill("rx-photo", tab.upload(example.path.read_bytes(), example.path.name))
    else:
        tab.fill("rx-photo", tab.upload(picture(chance.randrange(1 << 30))))
    tab.press("rx-go")


def space(tab: Page, chance: random.Random) -> None:
    """An attack, then its map in a projection, and the maps of saliency."""
    attack(tab, chance)
    tab.fill("sp-projection", chance.choice(["pca", "umap", "plane"]))
    for event in tab.chain("sp-projection", "change"):
        for outputs in tab.run(event):
            tab.keep(event, outputs)
    tab.press("sp-draw")


def hunt(tab: Page, chance: random.Random) -> None:
    tab.fill("fx-limit", chance.randint(2, 6))
    tab.press("fx-start")


def evaluation(tab: Page, chance: random.Random) -> None:
    tab.fill("ev-limit", chance.randint(2, 6))
    tab.press("ev-start")


def lesson(tab: Page, chance: random.Random) -> None:
    tab.press("ln-run")


TABS: dict[str, Callable[[Page, random.Random], None]] = {
    "attack": attack, "space": space, "failures": hunt, "evaluate": evaluation, "learn": lesson}


def train(tab: Page) -> None:
    """One training, in a process of its own, as the tab starts it."""
    tab.fill("tr-budget", "minutes")
    tab.fill("tr-amount", 1)
    tab.press("tr-start")


class Day:
    """What all visitors write down."""

    def __init__(self) -> None:
        self.visits: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.memory: list[tuple[float, int]] = []
        self.kept: dict[str, float] = {}
        self._lock = threading.Lock()

    def visitor(self, address: str, number: int, until: float) -> None:
        """Comes again and again, each time with a page of its own and to another tab."""
        chance, tabs = random.Random(number), list(TABS)
        while time.monotonic() < until:
            chance.shuffle(tabs)
            for name in tabs:
                if time.monotonic() < until:
                    self._visit(address, name, lambda tab, n=name: TABS[n](tab, chance))  # type: ignore[misc]

    def _visit(self, address: str, name: str, use: Callable[[Page], None]) -> None:
        try:
            with Page(address, 600) as tab:
                use(tab)
        except (PageError, httpx.HTTPError, OSError, KeyError, IndexError) as error:
            with self._lock:
                self.errors[f"{name}: {type(error).__name__}: {str(error)[:80]}"] += 1
            time.sleep(1)
        else:
            with self._lock:
                self.visits[name] += 1

    def watch(self, address: str, process: int, began: float, until: float) -> None:
        with httpx.Client(base_url=address, timeout=60, verify=False) as client:
            while time.monotonic() < until:
                self.memory.append((time.monotonic() - began, memory(process)))
                try:
                    said = client.get("/metrics").text
                    self.kept = {k: float(v) for k, v in KEPT.findall(said)}
                except httpx.HTTPError:
                    pass  # told by the visitors
                time.sleep(2)


@contextmanager
def server(folder: Path, port: int, minutes: float) -> Iterator[tuple[str, int]]:
    """The app with training, and with times shortened as the day is."""
    keep = max(60, round(3600 * minutes / 60 / HOURS))
    env = {"EXPLORER_RUNS_PER_MINUTE": "10000", "EXPLORER_KEEP_SECONDS": str(keep),
           "EXPLORER_CACHE": str(folder / "cache")}
    flags = ("--enable-training", "--runs-dir", str(folder / "runs"))
    with serving(port, flags, env, folder / "log") as running:
        yield running


def spend(folder: Path, args: argparse.Namespace) -> Soak:
    """The whole day."""
    day = Day()
    with server(folder, args.port, args.minutes) as (address, process):
        day._visit(address, "train", train)
        began = time.monotonic()
        until = began + 60 * args.minutes
        threads = [threading.Thread(target=day.visitor, args=(address, n, until), daemon=True)
                   for n in range(args.visitors)]
        threads.append(threading.Thread(target=day.watch, args=(address, process, began, until),
                                        daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60 * args.minutes + 700)
    return Soak(machine(), args.minutes, args.visitors, [(round(t, 1), m / 1e6)
                                                          for t, m in day.memory],
                dict(day.visits), dict(day.errors.most_common()),
                {k: v / 1e6 for k, v in day.kept.items()})


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--visitors", type=int, default=3)
    parser.add_argument("--port", type=int, default=7992)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "soak.md")
    args = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        found: Any = spend(Path(name), args)
    args.out.write_text(page(found), encoding="utf-8")
    print(page(found))
    return 0 if found.flat and not found.errors else 1


if __name__ == "__main__":
    sys.exit(main())
