"""What a training run has said so far: log.jsonl, read on as it grows, and the end of its output.

Each line is one event, {"kind": "step" | "probe" | "note" | "end" | "error", "time": ..., ...}.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]
MOST_STEPS = 2_000  # kept for the chart; of a longer run every second, fourth ... step
KINDS = ("step", "probe", "note", "end", "error")


@dataclass(frozen=True)
class Story:
    """steps: at most MOST_STEPS of them, by rising index, always with the newest; probes: all;
    notes: the last 50; last: the kind of the newest event, "" before the first."""

    steps: tuple[Event, ...] = ()
    probes: tuple[Event, ...] = ()
    notes: tuple[Event, ...] = ()
    last: Event | None = None

    @property
    def step(self) -> Event | None:
        """The newest step."""
        return self.steps[-1] if self.steps else None

    @property
    def kind(self) -> str:
        return "" if self.last is None else str(self.last["kind"])


class RunLog:
    """Reads a log.jsonl that another process appends to; safe between threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._offset, self._stride = 0, 1
        self._last: Event | None = None
        self._steps: dict[int, Event] = {}
        self._newest: Event | None = None
        self._probes: dict[int, Event] = {}
        self._notes: list[Event] = []

    def read(self) -> Story:
        """Everything up to now. A line that is not finished waits for the next call; one that is
        damaged is left out. A log that has been cut short is read from its start again."""
        with self._lock:
            self._read_on()
            steps = dict(self._steps)
            if self._newest is not None:
                steps[int(self._newest["index"])] = self._newest
            return Story(tuple(steps[k] for k in sorted(steps)),
                         tuple(self._probes[k] for k in sorted(self._probes)),
                         tuple(self._notes), self._last)

    def _read_on(self) -> None:
        try:
            with open(self.path, "rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._clear()
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._take(line)
        except OSError:  # not there yet
            return

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict) or event.get("kind") not in KINDS:
            return
        if event["kind"] in ("step", "probe") and not isinstance(event.get("index"), int):
            return
        self._last = event
        if event["kind"] == "step":
            self._step(event)
        elif event["kind"] == "probe":
            self._probes[event["index"]] = event
        elif event["kind"] == "note":
            self._notes = [*self._notes, event][-50:]

    def _step(self, event: Event) -> None:
        """A run that goes on from a checkpoint says some steps again; the newest telling counts."""
        index = event["index"]
        if self._newest is not None and index <= self._newest["index"]:
            self._steps = {k: v for k, v in self._steps.items() if k < index}
        self._newest = event
        if index % self._stride == 0:
            self._steps[index] = event
        if len(self._steps) >= MOST_STEPS:
            self._stride *= 2
            self._steps = {k: v for k, v in self._steps.items() if k % self._stride == 0}


def tail(path: Path, lines: int = 40, start: int = 0, most: int = 20_000) -> str:
    """The last lines of a text file, from byte `start` on; "" when it is not there.

    At most `most` bytes are read. Progress bars that write over themselves show their last state.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - most))
            raw = file.read()
    except OSError:
        return ""
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    kept = [line.rsplit("\r", 1)[-1].rstrip() for line in text.strip("\n").split("\n")]
    return "\n".join(kept[-lines:])
