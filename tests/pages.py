"""What the browser tests share: the screens a tab is looked at, and stopping a run."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

NIGHTLY = pytest.mark.nightly
SCREENS = pytest.mark.parametrize(("width", "height", "theme"), [
    (1366, 768, "light"), (1920, 1080, "dark"),
    pytest.param(1366, 768, "dark", marks=NIGHTLY),
    pytest.param(1920, 1080, "light", marks=NIGHTLY)])
LONG = 120_000  # milliseconds
IDLE, STOPPED = "Nothing is running.", "Stopped"


def open_app(page: Page, server: str, theme: str = "light") -> None:
    """The page, with its first attack finished."""
    page.goto(f"{server}?__theme={theme}")
    expect(page.locator(".rx-status")).to_have_text("Done.", timeout=LONG)


def stop_a_run(page: Page, start: str, stop: str, status: str) -> None:
    """Presses `start`, and `stop` once the page tells of the run, until a run was stopped: on a
    busy machine one may be over before the browser has drawn its first step."""
    said = page.locator(status)
    for _ in range(5):
        page.click(start)
        expect(said.locator("progress")).to_be_visible(timeout=LONG)
        page.click(stop)
        expect(said).to_contain_text(re.compile(f"{STOPPED}|{re.escape(IDLE)}"), timeout=LONG)
        if STOPPED in said.inner_text():
            return
    raise AssertionError("no run was stopped in five tries")
