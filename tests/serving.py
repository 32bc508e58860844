"""The real app as a process of its own, for tests that talk to it over loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from explorer.server.guards import Guard

ROOT = Path(__file__).resolve().parents[1]
CHILD = 1200  # seconds after which a forgotten server ends by itself


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Running:
    """A started app. address: without a slash at its end; log: its standard error."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def health(self) -> dict[str, object]:
        answer = httpx.get(f"{self.address}/health", timeout=20, verify=False)
        return dict(answer.json())

    def until(self, status: str, seconds: float = 120) -> dict[str, object]:
        """Waits for a status of /health."""
        deadline = time.monotonic() + seconds
        while (state := self.health())["status"] != status:
            assert time.monotonic() < deadline, f"still {state} after {seconds} s"
            time.sleep(0.3)
        return state

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(120)


@contextmanager
def served(guard: Guard) -> Iterator[str]:
    """A guarded app of the test's own, in a thread; its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(guard, port=port, log_config=None, lifespan="on",
                                           timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def app(log: Path, *flags: str, port: int = 0, seconds: float = 120,
        before: tuple[str, ...] = (), environment: Mapping[str, str] | None = None,
        ) -> Iterator[Running]:
    """Starts `python app.py`, waits until it listens, and ends it. before: a command that starts
    it, such as one that sets limits."""
    port = port or free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("EXPLORER_")}
    env |= {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
            **(environment or {})}
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [*before, "timeout", "-s", "KILL", str(CHILD), sys.executable, "app.py", "--port",
             str(port), *flags],
            cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True)
    running = Running(process, f"http://127.0.0.1:{port}", log)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                httpx.get(f"{running.address}/health", timeout=5, verify=False)
                break
            except httpx.TransportError:
                assert process.poll() is None, f"the app ended while starting: {running.logged()}"
                assert time.monotonic() < deadline, f"no answer within {seconds} s"
                time.sleep(0.2)
        yield running
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(120)
