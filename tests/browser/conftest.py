"""The app as a separate process, and a headless Chromium that talks to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
expect.set_options(timeout=30_000)  # milliseconds: what is waited for is there, not how fast


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a running app."""
    port = free_port()
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=env)
    address = f"http://127.0.0.1:{port}/"
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                break
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, "the app ended while starting"
            assert time.monotonic() < deadline, "the app did not answer within 120 s"
            time.sleep(0.3)
    yield address
    process.terminate()
    process.wait(120)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((p for p in map(shutil.which, names) if p), None)
    assert path, "no Chromium found: run the tests by `make test`, which installs it"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh visitor at 1366x768; fails on page errors and on requests to other hosts."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    visitor = context.new_page()
    visitor.set_default_timeout(120_000)
    trouble: list[str] = []
    visitor.on("pageerror", lambda error: trouble.append(str(error)))
    local = ("http://127.0.0.1", "data:", "blob:")
    visitor.on("request", lambda r: None if r.url.startswith(local) else trouble.append(r.url))
    yield visitor
    context.close()
    assert not trouble, trouble
