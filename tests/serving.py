"""The real app as a process of its own, for tests that talk to it over loopback.

Its modules are imported once for all such processes: a small server imports them and then forks
for each app, which runs app.py from its first line with an environment, flags and a log of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import httpx
import uvicorn

from explorer.server.guards import Guard

ROOT = Path(__file__).resolve().parents[1]
CHILD = 7200  # seconds after which a forgotten server ends by itself


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process(Protocol):
    """What is asked of a started process."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class Forked:
    """A process of the fork server, asked as one of subprocess is."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid: int = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("app.py", timeout or 0)
        return self._process.exitcode


def _run_app(flags: list[str], log: Path, environment: dict[str, str]) -> None:
    """In the forked process: `python app.py` with these flags."""
    os.setsid()
    signal.alarm(CHILD)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["app.py", *flags]
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")


def _forked(flags: list[str], log: Path, environment: dict[str, str]) -> Forked:
    from explorer.ui import shell  # all that the app imports; late, for most tests need none of it

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([shell.__name__])
    process = context.Process(target=_run_app, args=(flags, log, environment))
    process.start()
    return Forked(process)


def _fresh(flags: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(log, "ab") as file:
        return subprocess.Popen(
            ["timeout", "-s", "KILL", str(CHILD), sys.executable, "app.py", *flags], cwd=ROOT,
            env=environment, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True)


@dataclass
class Running:
    """A started app. address: without a slash at its end; log: its standard error."""

    process: Process
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
        environment: Mapping[str, str] | None = None, fresh: bool = False) -> Iterator[Running]:
    """Starts `python app.py`, waits until it listens, and ends it. fresh: an interpreter of its
    own, for what is read while the modules are imported."""
    port = port or free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("EXPLORER_")}
    env |= {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
            **(environment or {})}
    asked = ["--port", str(port), *flags]
    process: Process = (_fresh if fresh else _forked)(asked, log, env)
    running = Running(process, f"http://127.0.0.1:{port}", log)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                said = httpx.get(f"{running.address}/health", timeout=5, verify=False)
                if said.status_code == 200 or said.json()["status"] == "degraded":
                    break  # no longer the doorman, who answers while modules are imported
            except httpx.TransportError:
                pass
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
