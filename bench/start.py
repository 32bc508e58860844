"""From `python app.py` to an answer: python -m bench.start (of make bench).

Replaces its own section of docs/performance.md and leaves the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import httpx
import torch

from bench.load import memory
from bench.page import Page
from bench.peers import timed
from bench.report import put
from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.base.device import describe_device
from explorer.data.examples import load_examples
from explorer.data.pairs import Pairs, one_pair, open_image
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

ROOT = Path(__file__).resolve().parent.parent
HEAD = "## Start"
PAPER = PGD(eps=1 / 255, step=1 / 255, steps=10)


def both_models(library: Library, one: Pairs) -> float:
    """Seconds for PGD-10 on one photo by both models, warm."""
    pair = [library.load(name) for name in ("pocket", "pocket-robust")]
    return timed([lambda: [run(PAPER, m, one, record=True) for m in pair]], 7)[0][0]


@dataclass(frozen=True)
class Start:
    """Seconds from `python app.py`: to the first page, to both models opened, to the first answer
    of a visitor who presses Attack at once that says a model was fooled; resident GB in the end."""

    page: float
    opened: float
    fooled: float
    resident: float


def start_up() -> Start:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, began = f"http://127.0.0.1:{port}", time.perf_counter()
    process = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            assert process.poll() is None and time.perf_counter() - began < 120
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(address, verify=False, timeout=5).raise_for_status()
                break
            time.sleep(0.05)
        page = time.perf_counter() - began
        fooled = _fooled(address, began)
        while httpx.get(f"{address}/health", verify=False).json()["status"] != "ok":
            assert time.perf_counter() - began < 120
            time.sleep(0.1)
        opened = time.perf_counter() - began
        return Start(page, opened, fooled, memory(process.pid) / 1e9)
    finally:
        process.terminate()
        process.wait(20)


def _fooled(address: str, began: float) -> float:
    """When a visitor who comes with the cat and presses Attack first reads that a model fell."""
    photo = load_examples()["cat"].path.read_bytes()
    with Page(address) as tab:
        tab.fill("rx-photo", tab.upload(photo, "cat.jpg"))
        for event in tab.chain("rx-go"):
            outputs: list[object] = []
            for outputs in tab.run(event):
                if any("Fooled" in str(shown) for shown in outputs):
                    return time.perf_counter() - began
            tab.keep(event, outputs)
    raise AssertionError("no model was fooled")


def section(library: Library) -> str:
    """The part of the page, heading first."""
    starts = [start_up() for _ in range(3)]
    model = library.load("pocket")
    example = load_examples()["cat"]
    one = one_pair(open_image(example.path), example.captions, example.true, model.frame)

    def middle(name: str) -> float:
        return float(statistics.median(getattr(start, name) for start in starts))

    rows = [("`python app.py` to the first page", f"{middle('page'):.1f} s", "5 s"),
            ("... to a model fooled, for a visitor who presses Attack at once",
             f"{middle('fooled'):.1f} s", "10 s"),
            ("... to both models opened", f"{middle('opened'):.1f} s", ""),
            ("resident memory then", f"{middle('resident'):.2f} GB", "2.5 GB"),
            ("PGD-10 on one photo, both models, warm, steps recorded",
             f"{both_models(library, one):.2f} s", "4 s")]
    return "\n".join([
        HEAD, "", f"Machine: {platform.machine()}, {os.cpu_count()} cores, {describe_device()}, "
        f"torch {torch.__version__}, {date.today().isoformat()}. Medians of three starts.", "",
        "| what | measured | goal |", "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows), ""])


def main() -> int:
    argparse.ArgumentParser(description="Times the app's start.").parse_args()
    keep_memory()
    part = section(Library())
    put(part)
    print(part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
