"""What the server counts, as Prometheus reads it; no visitor, file or caption is a label."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
FAST = (0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10)


def memory_bytes() -> int:
    """Resident memory of this process; its peak where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class Meters:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.runs = Counter("explorer_runs", "Runs by how they ended", ["end"], registry=own)
        self.run_seconds = Histogram("explorer_run_seconds", "Time on the device",
                                     buckets=SECONDS, registry=own)
        self.wait_seconds = Histogram("explorer_wait_seconds", "Time in the queue",
                                      buckets=SECONDS, registry=own)
        self.waiting = Gauge("explorer_waiting_runs", "Runs in the queue", registry=own)
        self.running = Gauge("explorer_running_runs", "Runs on the device", registry=own)
        self.errors = Counter("explorer_errors", "Errors by kind", ["kind"], registry=own)
        self.refused = Counter("explorer_refused", "Requests turned away", ["reason"], registry=own)
        self.requests = Counter("explorer_requests", "Requests answered", ["route", "status"],
                                registry=own)
        self.request_seconds = Histogram("explorer_request_seconds", "Time to the first byte",
                                         ["route"], buckets=FAST, registry=own)
        self.models = Gauge("explorer_models_loaded", "Models in memory", registry=own)
        memory = Gauge("explorer_memory_bytes", "Resident memory of the server", registry=own)
        memory.set_function(memory_bytes)

    def text(self) -> bytes:
        """The Prometheus text format, version 0.0.4."""
        return generate_latest(self.registry)
