"""A hunt of many pictures while the page is used: python -m bench.failures --data DIR --name FILE.

Starts the real app on loopback, starts a hunt from its Failures tab as a browser would, and until
it ends, or for --minutes, looks at it and asks for the page every few seconds and now and then
attacks the first example. Prints what it took as JSON: seconds by the clock and of the processor,
the server's peak memory, and how long pages, looks and attacks took.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.page import Page

ROOT = Path(__file__).resolve().parents[1]
FAR = 86_400  # seconds that a request may take at most
PAUSE, ATTACKS = 5, 600  # seconds between two pages or looks, and between two attacks


@dataclass
class Watch:
    """Seconds of each page, of each look at the hunt, and of each attack beside it."""

    pages: list[float] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    attacks: list[float] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def server(data: Path, log: Path) -> Iterator[tuple[str, int]]:
    """(address, process) of an app whose models are open."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), "--data", str(data), "--runs-dir",
             str(log.parent / "runs")], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                health = httpx.get(f"{address}/health", verify=False, timeout=30)
                if health.json()["status"] == "ok":
                    break
            except httpx.HTTPError:
                assert process.poll() is None, f"the app ended: {log.read_text()}"
            time.sleep(0.5)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(60)


def peak(process: int) -> float:
    """The most memory that a process ever held, GB."""
    held = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert held is not None
    return int(held.group(1)) * 1024 / 1e9


def visit(address: str, watch: Watch) -> None:
    """Somebody who opens the page every few seconds."""
    with httpx.Client(base_url=address, timeout=FAR, verify=False) as client:
        while not watch.over.wait(PAUSE):
            began = time.monotonic()
            client.get("/").raise_for_status()
            watch.pages.append(time.monotonic() - began)


def attack(address: str, watch: Watch) -> None:
    """Somebody who attacks the first example now and then."""
    with Page(address, FAR) as page:
        while not watch.over.wait(ATTACKS):
            began = time.monotonic()
            page.press("rx-go")
            watch.attacks.append(time.monotonic() - began)


def processor(process: int) -> float:
    """Seconds of the processor that a process has used."""
    numbers = Path(f"/proc/{process}/stat").read_text().rsplit(")")[1].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def hunt(page: Page, name: str, pictures: int, watch: Watch, until: float) -> str:
    """Starts it and looks at it as the tab does; its last sentence, at `until` at the latest."""
    page.fill("fx-place", f"server:{name}")
    page.fill("fx-limit", pictures)
    page.press("fx-start")
    tick = next(e for e in page.events if page.named["fx-mark"] in e["outputs"])
    while True:
        began = time.monotonic()
        (shown,) = page.run(tick)
        page.keep(tick, shown)
        watch.looks.append(time.monotonic() - began)
        said = str(page.values[page.named["fx-state"]])
        found = re.search(r'role="status">([^<]*)', said)
        assert found is not None, said
        text = found.group(1)
        busy = text.startswith(("Starting", "Waiting")) or "are done" in text
        if not busy or time.monotonic() > until:
            return text
        time.sleep(PAUSE)


def spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {"n": len(ordered), "median": round(statistics.median(ordered), 3),
            "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
            "most": round(ordered[-1], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="the server's data folder")
    parser.add_argument("--name", required=True, help="a file or folder in it")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=600, help="at most; then it tells how far")
    args = parser.parse_args()
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder, server(args.data, Path(folder) / "log") as (
            address, process):
        threads = [threading.Thread(target=act, args=(address, watch)) for act in (visit, attack)]
        began, before, used = time.monotonic(), peak(process), processor(process)
        for thread in threads:
            thread.start()
        try:
            with Page(address, FAR) as page:
                said = hunt(page, args.name, args.pictures, watch, began + 60 * args.minutes)
        finally:
            watch.over.set()
        taken, spent, most = time.monotonic() - began, processor(process) - used, peak(process)
        for thread in threads:
            thread.join()
        print(json.dumps({
            "hunt": said, "seconds": round(taken, 1), "of the processor": round(spent, 1),
            "peak GB": round(most, 2), "GB before": round(before, 2),
            "page, s": spread(watch.pages), "look, s": spread(watch.looks),
            "attack beside it, s": spread(watch.attacks),
            "load average": [round(load, 1) for load in os.getloadavg()]}, indent=1))


if __name__ == "__main__":
    main()
