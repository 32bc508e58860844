"""The app as a process of its own, for whatever drives it over loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from explorer.base.paths import ROOT

OPENING = 900  # seconds in which the models have to be open


@contextmanager
def serving(port: int, flags: Sequence[str], env: Mapping[str, str], log: Path,
            ) -> Iterator[tuple[str, int]]:
    """(address, process number) once its models are open; what it says goes to `log`."""
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), *flags], cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env}, stdout=subprocess.DEVNULL,
            stderr=file)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + OPENING
        while True:
            try:
                said = httpx.get(f"{address}/health", verify=False, timeout=30).json()
                if said["status"] == "ok":
                    break
            except httpx.HTTPError:
                assert process.poll() is None, log.read_text("utf-8")[-2000:]
            assert time.monotonic() < deadline, f"no models within {OPENING} s"
            time.sleep(0.5)
        yield address, process.pid
    finally:
        process.terminate()
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
