"""Thirty visitors at once: python -m bench.load [--visitors 30] [--seconds 180].

Starts the real app on loopback, opens one page a visitor, and lets each attack a picture of its own
again and again. Each answer has to show the very picture that this visitor sent. Meanwhile the
page's latency and the server's memory are watched, and beforehand the device is timed alone.
Writes docs/load.md, and the numbers beside it as load.json, unless --out names another file.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from bench.load_report import Found, page
from bench.page import Page, PageError
from bench.serving import serving

ROOT = Path(__file__).resolve().parents[1]
SIZE = 160  # the embedded models' input
CLEAN = re.compile(r'class="rx-clean" src="(/kept/[^"]+)"')


def picture(visitor: int) -> bytes:
    """A PNG of the models' own size, so that no resizing stands between it and the answer."""
    random = np.random.default_rng(visitor)
    coarse = random.integers(0, 256, (10, 10, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def pixels(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).convert("RGB").tobytes()


@dataclass
class Watch:
    """What all threads write down. page: seconds a page took; memory: (second, bytes)."""

    runs: list[float] = field(default_factory=list)
    page: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    told: int = 0  # times a visitor was told its place in the queue
    lock: threading.Lock = field(default_factory=threading.Lock)

    def error(self, kind: str) -> None:
        with self.lock:
            self.errors[kind] += 1


def visit(address: str, number: int, until: float, watch: Watch) -> None:
    """One visitor: opens the page, sends its picture, and attacks until the time is over."""
    own = picture(number)
    try:
        with Page(address, 600) as tab:
            tab.fill("rx-photo", tab.upload(own, f"{number}.png"))
            while time.monotonic() < until:
                began = time.monotonic()
                said, shown = attack(tab, watch)
                if "Done" not in said:
                    watch.error(re.sub(r"<[^>]+>", "", said).strip()[:80] or "no answer")
                    continue
                found = CLEAN.findall(shown)
                with watch.lock:
                    watch.runs.append(time.monotonic() - began)
                    watch.mixed += sum(pixels(tab.client.get(f).content) != pixels(own)
                                       for f in found)
                    watch.mixed += not found
    except (PageError, httpx.HTTPError, OSError) as error:
        watch.error(f"{type(error).__name__}: {str(error)[:80]}")


def attack(tab: Page, watch: Watch) -> tuple[str, str]:
    """Presses Attack; the last status line and the last result page."""
    said = shown = ""
    for event in tab.chain("rx-go"):
        outputs: list[Any] = []
        for outputs in tab.run(event):
            if event["queue"] and len(outputs) == 2:
                said = outputs[0] if isinstance(outputs[0], str) else said
                shown = outputs[1] if isinstance(outputs[1], str) else shown
                watch.told += "before yours" in said
        tab.keep(event, outputs)
    return said, shown


def look(address: str, process: int, began: float, until: float, watch: Watch) -> None:
    """Another visitor who only opens the page, once a second, as its first two requests do."""
    with httpx.Client(base_url=address, timeout=60, verify=False) as client:
        while time.monotonic() < until:
            start = time.monotonic()
            try:
                client.get("/").raise_for_status()
                watch.page.append(time.monotonic() - start)
            except httpx.HTTPError as error:
                watch.error(f"page: {type(error).__name__}")
            watch.memory.append((start - began, memory(process)))
            time.sleep(1)


def memory(process: int) -> int:
    """Resident bytes of a process; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


@contextmanager
def server(port: int, visitors: int, log: Path) -> Iterator[tuple[str, int]]:
    """The app with limits that let this one address be so many visitors."""
    env = {"EXPLORER_RUNS_PER_MINUTE": "600", "EXPLORER_WAITING": str(max(64, 2 * visitors))}
    with serving(port, (), env, log) as running:
        yield running


def alone(runs: int) -> list[float]:
    """Seconds each of the same runs takes by the library in a loop, without a server."""
    from explorer.actions.attack import attack_both
    from explorer.attacks.image.classic import PGD
    from explorer.attacks.request import Request
    from explorer.data.examples import load_examples
    from explorer.models.fast.convolution import keep_memory
    from explorer.models.library import Library

    keep_memory()
    library, first, times = Library(), load_examples()["cat"], []
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "alone.png"
        for number in range(runs + 1):
            photo.write_bytes(picture(max(0, number - 1)))
            asked = Request((photo,), first.captions, (first.true,), PGD())
            began = time.monotonic()
            for _ in attack_both(library, asked):
                pass
            times.append(time.monotonic() - began)
    return times[1:]  # the first one also opens the models


def machine() -> str:
    import torch

    from explorer.base.device import describe_device

    return (f"{platform.machine()}, {describe_device()}, torch {torch.__version__}, "
            f"{date.today().isoformat()}")


def found(watch: Watch, args: argparse.Namespace, device: list[float], took: float, spent: float,
          ) -> Found:
    def short(seconds: list[float]) -> list[float]:
        return [round(s, 4) for s in seconds]

    return Found(machine(), len(os.sched_getaffinity(0)), args.visitors, args.seconds,
                 round(took, 2), short(device), short(watch.runs), short(watch.page),
                 [(round(t, 1), round(m / 1e6, 1)) for t, m in watch.memory], watch.mixed,
                 watch.told, dict(watch.errors.most_common()), round(spent, 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--port", type=int, default=7991)
    parser.add_argument("--alone", type=int, default=15, help="runs to time the device alone")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "load.md")
    args = parser.parse_args()
    watch, device = Watch(), alone(args.alone)
    log = Path(tempfile.gettempdir()) / "explorer-load.log"
    with server(args.port, args.visitors, log) as (address, process):
        began, spent = time.monotonic(), time.process_time()
        until = began + args.seconds
        threads = [threading.Thread(target=visit, args=(address, k, until, watch), daemon=True)
                   for k in range(args.visitors)]
        threads.append(threading.Thread(target=look, args=(address, process, began, until, watch),
                                        daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(args.seconds + 60 * args.visitors)
        took, spent = time.monotonic() - began, time.process_time() - spent
    result = found(watch, args, device, took, spent)
    args.out.with_suffix(".json").write_text(json.dumps(result.told_as()) + "\n", encoding="utf-8")
    args.out.write_text(page(result), encoding="utf-8")
    print(args.out.read_text(encoding="utf-8"))
    return 1 if watch.errors or watch.mixed else 0


if __name__ == "__main__":
    sys.exit(main())
