"""What the server keeps in memory for later, by name: shown at /metrics, and given back in time."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Gauge

from explorer.base import heap
from explorer.server.gate import Gate
from explorer.server.metrics import memory_bytes

MUCH = 1 << 30  # bytes beyond the least ever seen here, from which memory is given back at once
LITTLE = 128 << 20


class Keeping:
    """Looked after every half minute. Nothing runs or waits at two looks in a row: what has long
    not been used is dropped, and free memory goes back to the system. While it is busy, only where
    much has gathered."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._gauge = Gauge("explorer_kept_bytes", "Memory kept for later, by what it holds",
                            ["what"], registry=gate.meters.registry)
        self._releases: list[Callable[[], object]] = []
        self._quiet, self._least = 0, memory_bytes()
        self.holds("freed", heap.free_bytes)

    def holds(self, what: str, size: Callable[[], int],
              release: Callable[[], object] | None = None) -> None:
        """size: its bytes, now; release: drops what has long not been used."""
        self._gauge.labels(what).set_function(size)
        if release is not None:
            self._releases.append(release)

    def look(self) -> bool:
        """One look; whether memory was given back."""
        turns = self.gate.turns
        self._quiet = 0 if turns.running() or turns.waiting() else self._quiet + 1
        if self._quiet == 2:
            for release in self._releases:
                release()
        grown = memory_bytes() - self._least
        if grown < MUCH and (self._quiet < 2 or grown < LITTLE):
            return False
        heap.give_back()
        self._least = memory_bytes()
        return True
