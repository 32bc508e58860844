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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import httpx
import torch

from bench.before import ROOT, default, earlier, name
from bench.load import memory
from bench.page import Page
from bench.peers import timed
from bench.report import put
from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.base.device import describe_device
from explorer.data.examples import load_examples
from explorer.data.pairs import Pairs, one_pair, open_image
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

HEAD = "## Start"
PAPER = PGD(eps=1 / 255, step=1 / 255, steps=10)


def both_models(library: Library, one: Pairs) -> float:
    """Seconds for PGD-10 on one photo by both models, warm."""
    pair = [library.load(name) for name in ("pocket", "pocket-robust")]
    return timed([lambda: [run(PAPER, m, one, record=True) for m in pair]], 7)[0][0]


def side_by_side(library: Library, one: Pairs) -> float:
    """The same with the models beside each other, each on a thread of its own that works alone:
    whether two cores are better used so."""
    pair = [library.load(name) for name in ("pocket", "pocket-robust")]

    def alone(model: DualEncoder) -> object:
        torch.set_num_threads(1)  # of this thread
        return run(PAPER, model, one, record=True)

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(len(pair)) as pool:
            return timed([lambda: list(pool.map(alone, pair))], 7)[0][0]
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Start:
    """Since `python app.py`, as (seconds, the process's seconds on a processor): to any answer on
    the port, to the first page, to the first answer of a visitor who presses Attack at once that
    says a model was fooled, to both models opened; resident GB in the end."""

    answered: tuple[float, float]
    page: tuple[float, float]
    fooled: tuple[float, float]
    opened: tuple[float, float]
    resident: float


def start_up(root: Path = ROOT) -> Start:
    """Of the app in a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, began = f"http://127.0.0.1:{port}", time.perf_counter()
    process = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=root,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def since() -> tuple[float, float]:
        return time.perf_counter() - began, used(process.pid)

    def asked(path: str) -> httpx.Response | None:
        assert process.poll() is None and time.perf_counter() - began < 300
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{address}{path}", verify=False, timeout=30)
        return None

    try:
        while (said := asked("/")) is None:
            time.sleep(0.05)
        answered = since()
        while said is None or said.status_code != 200:  # until it is the page itself
            time.sleep(0.05)
            said = asked("/")
        page = since()
        _fooled(address)
        fooled = since()
        while (state := asked("/health")) is None or state.json()["status"] != "ok":
            time.sleep(0.1)
        return Start(answered, page, fooled, since(), memory(process.pid) / 1e9)
    finally:
        process.terminate()
        process.wait(60)


def used(process: int) -> float:
    """Seconds that a process has spent on processors; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _fooled(address: str) -> None:
    """Until a visitor who comes with the cat and presses Attack reads that a model fell."""
    photo = load_examples()["cat"].path.read_bytes()
    with Page(address) as tab:
        tab.fill("rx-photo", tab.upload(photo, "cat.jpg"))
        for event in tab.chain("rx-go"):
            outputs: list[object] = []
            for outputs in tab.run(event):
                if any("Fooled" in str(shown) for shown in outputs):
                    return
            tab.keep(event, outputs)
    raise AssertionError("no model was fooled")


def section(library: Library, version: str, times: int = 3) -> str:
    """The part of the page, heading first. version: the one before, for git."""
    with earlier(version) as old:
        turns = [(start_up(old), start_up()) for _ in range(times)]
    model = library.load("pocket")
    example = load_examples()["cat"]
    one = one_pair(open_image(example.path), example.captions, example.true, model.frame)
    rows = [("to any answer on the port, from then on \"starting\"", "answered", ""),
            ("`python app.py` to the first page", "page", "5 s"),
            ("... to a model fooled, for a visitor who presses Attack at once", "fooled", "10 s"),
            ("... to both models opened", "opened", "")]
    return "\n".join([
        HEAD, "", f"Machine: {platform.machine()}, {os.cpu_count()} cores, {describe_device()}, "
        f"torch {torch.__version__}, {date.today().isoformat()}. Medians of {times} starts of each "
        f"version, taking turns; before: {name(version)}. In brackets the seconds that the process "
        "spent on processors, which other work on the machine changes less.", "",
        "| what | before | now | now / before | goal |", "|---|---|---|---|---|",
        *(_row(what, attribute, goal, turns) for what, attribute, goal in rows),
        _resident(turns),
        f"| PGD-10 on one photo, both models, warm, steps recorded | | "
        f"{both_models(library, one):.2f} s | | 4 s |",
        f"| ... the models side by side, a thread each | | {side_by_side(library, one):.2f} s "
        "| | |",
        ""])


Turns = list[tuple[Start, Start]]


def _row(what: str, attribute: str, goal: str, turns: Turns) -> str:
    middle = [[statistics.median(getattr(turn[k], attribute)[unit] for turn in turns)
               for unit in range(2)] for k in range(2)]
    (old, old_used), (new, new_used) = middle
    return (f"| {what} | {old:.1f} s ({old_used:.1f}) | {new:.1f} s ({new_used:.1f}) | "
            f"{new / old:.2f} ({new_used / max(old_used, 0.01):.2f}) | {goal} |")


def _resident(turns: Turns) -> str:
    old, new = (statistics.median(turn[k].resident for turn in turns) for k in range(2))
    return (f"| resident memory then | {old:.2f} GB | {new:.2f} GB | {new / max(old, 0.01):.2f} "
            "| 2.5 GB |")


def main() -> int:
    parser = argparse.ArgumentParser(description="Times the app's start.")
    parser.add_argument("--before", default=default(), help="the version to compare with")
    parser.add_argument("--times", type=int, default=3, help="starts of each")
    args = parser.parse_args()
    keep_memory()
    part = section(Library(), args.before, args.times)
    put(part)
    print(part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
