"""What many visitors a day need, from measured costs: python -m bench.scale [--load FILE].

Measures one visitor of a real server and the cost of a picture in batches, checks the simulated
queue against the load test's report, and asks it how many visitors one server takes. Writes
docs/scale.md unless --out names another file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import torch

from bench.load import ROOT, Watch, attack, machine, memory, picture, server, visit
from bench.load_report import Found, quantile
from bench.page import Page
from bench.queueing import Habits, Seen, Server, as_rows, capacity, drawn
from explorer.base.settings import Settings
from explorer.server.gate import Gate

DAYS = (10, 1_000, 100_000)  # visitors
PEAK = 0.15  # of a day's visitors come in its busiest hour
WAIT_S = 5.0  # 95 % of the runs in that hour wait less for the device
BATCHES = (1, 4, 32)
EVALUATION = 10_000  # pictures of an evaluation
HOLD = re.compile(r"^explorer_run_seconds_(sum|count)(?:_total)? ([0-9.e+]+)$", re.MULTILINE)


class Counting(httpx.BaseTransport):
    """Counts the bytes of all answers, as they came over the wire."""

    def __init__(self) -> None:
        self.inner, self.total = httpx.HTTPTransport(), 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        assert isinstance(answer.stream, httpx.SyncByteStream)
        answer.stream = Counted(answer.stream, self)
        return answer


class Counted(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, count: Counting) -> None:
        self.inner, self.count = inner, count

    def __iter__(self) -> Iterator[bytes]:
        for part in self.inner:
            self.count.total += len(part)
            yield part

    def close(self) -> None:
        self.inner.close()


@dataclass(frozen=True)
class Costs:
    """Of one visitor alone. hold_s: seconds each run held the device; answer_s: from press to
    answer; page, run: megabytes sent; resident: megabytes of the server; crowd_s: seconds a run
    held the device beside others, `at_once` of which may run together."""

    hold_s: list[float]
    crowd_s: float
    at_once: int
    answer_s: list[float]
    page: float
    run: float
    resident: float

    @property
    def around_s(self) -> float:
        """Seconds of an answer in which the device is free."""
        return max(0.0, statistics.mean(self.answer_s) - statistics.mean(self.hold_s))

    @property
    def draw(self) -> Callable[[Random, int], float]:
        """Seconds of a run for the simulation."""
        slower = self.crowd_s / statistics.mean(self.hold_s)
        return drawn(self.hold_s, [slower * s for s in self.hold_s])


def held(address: str) -> tuple[float, float]:
    """Seconds that runs have held the device so far, and how many there were."""
    text = httpx.get(f"{address}/metrics", verify=False).raise_for_status().text
    said = {kind: float(value) for kind, value in HOLD.findall(text)}
    return said["sum"], said["count"]


def one_visitor(runs: int, port: int) -> Costs:
    """Attacks `runs` pictures one after the other, by a real server that has nothing else to do."""
    log = Path(tempfile.gettempdir()) / "explorer-scale.log"
    with server(port, 1, log) as (address, process):
        count, holds, answers = Counting(), [], []
        with Page(address, 600, transport=count) as tab:
            opened = count.total
            for number in range(runs + 1):
                tab.fill("rx-photo", tab.upload(picture(number), f"{number}.png"))
                before, began, sent = held(address), time.monotonic(), count.total
                said, _ = attack(tab, Watch())
                assert "Done" in said, said
                took, bytes_run, after = time.monotonic() - began, count.total - sent, held(address)
                if number:  # the first one also opens what is lazy
                    holds.append((after[0] - before[0]) / (after[1] - before[1]))
                    answers.append(took)
        at_once = Gate(Settings()).at_once
        crowd = crowded(address, at_once, runs)
        return Costs(holds, crowd, at_once, answers, opened / 1e6, bytes_run / 1e6,
                     memory(process) / 1e6)


def crowded(address: str, visitors: int, runs: int) -> float:
    """Mean seconds that a run holds the device while so many visitors attack."""
    watch, before = Watch(), held(address)
    until = time.monotonic() + 2.0 * runs
    tabs = [threading.Thread(target=visit, args=(address, k, until, watch))
            for k in range(visitors)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert not watch.errors, watch.errors
    after = held(address)
    return (after[0] - before[0]) / (after[1] - before[1])


@dataclass(frozen=True)
class Batches:
    """PGD-10 on the standard embedded model. picture_s: CPU seconds a picture at each of BATCHES;
    other: the part of pictures that come out with other bytes in a batch of 4 than alone."""

    picture_s: dict[int, float]
    other: float


def batches(repeats: int) -> Batches:
    from explorer.attacks.image.classic import PGD
    from explorer.attacks.run import run
    from explorer.data.examples import load_examples
    from explorer.data.pairs import Pairs, one_pair, open_image
    from explorer.models.fast.convolution import keep_memory
    from explorer.models.library import Library

    keep_memory()
    model = Library().load("pocket")
    example = load_examples()["cat"]
    images = torch.cat([one_pair(open_image(picture(k)), example.captions, example.true,
                                 model.size).images for k in range(max(BATCHES))])
    labels = torch.full((len(images),), example.true)

    def made(rows: slice) -> torch.Tensor:
        return run(PGD(), model, Pairs(images[rows], example.captions, labels[rows])
                   ).adversarial_images

    made(slice(0, 1))
    seconds: dict[int, list[float]] = {n: [] for n in BATCHES}
    for _ in range(repeats):
        for n in BATCHES:  # in turns, so that drift hits them alike
            began = time.process_time()
            made(slice(0, n))
            seconds[n].append((time.process_time() - began) / n)
    alone = torch.cat([made(slice(k, k + 1)) for k in range(16)])
    together = torch.cat([made(slice(k, k + 4)) for k in range(0, 16, 4)])
    differ = (alone != together).flatten(1).any(1).float().mean()
    return Batches({n: statistics.median(kept) for n, kept in seconds.items()}, float(differ))


def checked(found: Found, costs: Costs) -> str:
    """The load test, simulated from the costs of one visitor, beside what it measured."""
    habits = Habits(costs.draw, think_s=costs.around_s)
    said: Seen = Server(20 * found.seconds, habits, max(64, 2 * found.visitors),
                        at_once=costs.at_once).closed(found.visitors)
    late = found.answers_s[found.visitors :] or found.answers_s
    rows = [("throughput, runs/s", said.rate, found.rate),
            ("from the press to the answer, median, s",
             quantile(said.answers, 0.5) + costs.around_s, quantile(late, 0.5))]
    return as_rows([(what, f"{ours:.3g}", f"{theirs:.3g}", f"{ours / theirs:.2f}")
                    for what, ours, theirs in rows])


def needs(costs: Costs, habits: Habits, most: float) -> str:
    """A row for each number of visitors a day."""
    hold, rows = statistics.mean(costs.hold_s), []
    for visitors in DAYS:
        peak = PEAK * visitors
        servers = max(1, math.ceil(peak / most))
        seen = [Server(4 * 3600.0, habits, seed=seed, at_once=costs.at_once).open(
                    max(peak / servers, 0.5))
                for seed in range(3)]
        late = [s.wait(0.95) for s in seen if s.waits]
        waits = f"{statistics.mean(late):.1f} s" if late else "none"
        hours = visitors * habits.runs * hold / 3600
        sent = visitors * (costs.page + habits.runs * costs.run) / 1000
        rows.append((f"{visitors:,}", f"{peak:,.0f}", f"{hours:,.1f}", f"{servers:,}", waits,
                     f"{servers * costs.resident / 1000:,.1f} GB", f"{sent:,.1f} GB"))
    return as_rows(rows)


def evaluations(batch: Batches) -> str:
    """A row for each number of visitors a day, of whom one in a hundred has a set evaluated."""
    each = EVALUATION * batch.picture_s[32]
    rows = []
    for visitors in DAYS:
        wanted = visitors / 100
        hours = wanted * each / 3600
        rows.append((f"{visitors:,}", f"{wanted:,.1f}", f"{hours:,.1f}",
                     f"{max(1, math.ceil(hours / 24)):,}"))
    return as_rows(rows)


def cores(number: int) -> str:
    return f"{number} CPU core{'s' if number > 1 else ''}"


def page(costs: Costs, batch: Batches, found: Found | None) -> str:
    hold = statistics.mean(costs.hold_s)
    habits = Habits(costs.draw)
    most = capacity(habits, WAIT_S, at_once=costs.at_once)
    template = (Path(__file__).parent / "scale.md").read_text(encoding="utf-8")
    check = "The load test has not been run yet: `make load`, then this again." if found is None \
        else (f"The load test of {found.visitors} visitors on {cores(found.cores)} "
              f"([load.md](load.md)):\n\n| | simulated | measured | ratio |\n|---|---|---|---|\n"
              + checked(found, costs))
    one, four = batch.picture_s[1], batch.picture_s[4]
    busy = most * habits.runs * costs.crowd_s / costs.at_once / 3600
    values = {
        "machine": f"{cores(len(os.sched_getaffinity(0)))}, {machine()}", "check": check,
        "hold": f"{hold:.2f}", "crowd": f"{costs.crowd_s:.2f}",
        "at_once": costs.at_once, "around": f"{costs.around_s:.2f}", "page": f"{costs.page:.1f}",
        "run": f"{costs.run:.1f}", "resident": f"{costs.resident:,.0f}",
        "capacity": f"{most:.0f}", "runs": habits.runs, "think": f"{habits.think_s:.0f}",
        "peak": f"{PEAK:.0%}".replace("%", " %"), "wait": f"{WAIT_S:.0f}",
        "busy": f"{busy:.0%}".replace("%", " %"),
        "needs": needs(costs, habits, most), "evaluation": f"{EVALUATION:,}",
        "evaluations": evaluations(batch),
        "batches": as_rows([(n, f"{s:.3f}", f"{one / s:.1f}")
                            for n, s in batch.picture_s.items()]),
        "saved": f"{1 - four / one:.0%}".replace("%", " %"),
        "other": f"{batch.other:.0%}".replace("%", " %"),
    }
    for name, value in values.items():
        template = template.replace("{{" + name + "}}", str(value))
    return template


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=Path, default=ROOT / "docs" / "load.json")
    parser.add_argument("--runs", type=int, default=15, help="runs of the one visitor")
    parser.add_argument("--repeats", type=int, default=5, help="of each batch")
    parser.add_argument("--port", type=int, default=7992)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "scale.md")
    args = parser.parse_args()
    found = Found(**json.loads(args.load.read_text("utf-8"))) if args.load.is_file() else None
    text = page(one_visitor(args.runs, args.port), batches(args.repeats), found)
    args.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
