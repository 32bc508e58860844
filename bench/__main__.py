"""Measures what docs/performance.md shows, and writes it there."""

from __future__ import annotations

import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

from bench import peers
from bench import text as text_search
from explorer.attacks.image import PGD
from explorer.attacks.run import run
from explorer.fastconv import keep_memory
from explorer.models import ASSETS, Library, describe_device
from explorer.pairs import Pairs, one_pair, open_image
from explorer.ui.examples import load_examples

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
PAPER = PGD(eps=1 / 255, step=1 / 255, steps=10)


def medians(jobs: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each job; the jobs take turns, so that drift hits them alike."""
    for job in jobs:
        job()
    seconds: list[list[float]] = [[] for _ in jobs]
    for _ in range(repeats):
        for job, kept in zip(jobs, seconds, strict=True):
            began = time.perf_counter()
            job()
            kept.append(time.perf_counter() - began)
    return [statistics.median(kept) for kept in seconds]


def both_models(library: Library, one: Pairs) -> float:
    """Seconds for PGD-10 on one photo by both models, warm."""
    pair = [library.load(name) for name in ("pocket", "pocket-robust")]
    return medians([lambda: [run(PAPER, m, one, record=True) for m in pair]], 7)[0]


def start_up() -> tuple[float, float, float]:
    """Seconds to the first page and to both models opened; resident GB then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None and time.perf_counter() - began < 120
                time.sleep(0.05)
        page = time.perf_counter() - began
        return page, *_settled(process.pid, began)
    finally:
        process.terminate()
        process.wait(20)


def _settled(pid: int, began: float) -> tuple[float, float]:
    """When the memory of a process stops growing for two seconds, and its size in GB."""
    size, since = 0.0, time.perf_counter()
    while time.perf_counter() - since < 2 and time.perf_counter() - began < 90:
        time.sleep(0.1)
        text = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", text)
        now = int(found.group(1)) / 1e6 if found else 0.0
        if now > size + 0.01:
            size, since = now, time.perf_counter()
    return since - began, size


def main() -> int:
    keep_memory()
    page, opened, resident = start_up()
    library = Library()
    model = library.load("pocket")
    example = load_examples(ASSETS / "examples")["cat"]
    one = one_pair(open_image(example.path), example.captions, example.true, model.size)
    warm = both_models(library, one)
    text = "\n".join([
        "# Performance", "",
        "Written by `make bench`; medians, everything in one run, jobs taking turns.", "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {describe_device()}, "
        f"torch {torch.__version__}, {date.today().isoformat()}.", "",
        "| what | measured | goal |", "|---|---|---|",
        f"| `python app.py` to the first page | {page:.1f} s | 8 s |",
        f"| ... to both models opened behind it | {opened:.1f} s | |",
        f"| resident memory, both models opened | {resident:.2f} GB | 2.5 GB |",
        f"| PGD-10 on one photo, both models, warm, steps recorded | {warm:.2f} s | 4 s |", "",
        peers.section(model, ASSETS / "models" / "pocket"),
        text_search.section(model, ASSETS / "models" / "pocket")])
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
