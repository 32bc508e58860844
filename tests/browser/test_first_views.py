"""Once the models are open, a tab that is opened for the first time is there within a second."""

from __future__ import annotations

import time

import httpx
import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

GOAL = 1.0  # seconds, on a machine that has nothing else to do
SPIN = 0.1


def slowness() -> float:
    """How many seconds this machine takes for a second's work: 1 where nobody else wants it."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < SPIN:
        pass
    return (time.perf_counter() - began) / SPIN


def wait_for_models(address: str) -> None:
    deadline = time.monotonic() + 600
    while httpx.get(f"{address}health", timeout=60).json()["status"] != "ok":
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_the_embedding_space_is_there_within_a_second(page: Page, server: str) -> None:
    wait_for_models(server)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server)
    page.get_by_role("tab", name="Embedding space").wait_for()
    page.wait_for_timeout(3000)  # what the first page still has to do is done
    before, seen = slowness(), len(asked)
    took: float = page.evaluate("""() => new Promise((done) => {
      const tab = [...document.querySelectorAll('[role=tab]')]
        .find((one) => one.textContent.includes('Embedding space'));
      const began = performance.now();
      const look = () => document.querySelector('.sp[data-drawn]')
        && document.querySelectorAll('.sp-plot .main-svg').length
        ? done(performance.now() - began) : setTimeout(look, 10);
      tab.click();
      look();
    })""")
    slow = max(1.0, before, slowness())
    assert not any("queue/join" in url for url in asked[seen:])  # nothing had to be read first
    assert took / 1000 / slow < GOAL, (took, slow)
