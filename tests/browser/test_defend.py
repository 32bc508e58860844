"""Compressing an attacked photo, in a real browser: it holds, until the attacker knows."""

from __future__ import annotations

import pytest
from pages import open_app
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
LONG = 240_000  # milliseconds


def row(page: Page, name: str) -> str:
    """The cells of a defence's first row, that of the standard model."""
    texts = page.locator("#rx-defend tbody tr").all_inner_texts()
    return next(text for text in texts if text.startswith(name))


def test_compressing_helps_until_the_attacker_knows(page: Page, server: str) -> None:
    open_app(page, server)
    page.click("[data-defend='all']")
    knows = page.locator("[data-defend='know'][data-name='jpeg']")
    expect(knows).to_be_visible(timeout=LONG)
    assert "✓ held" in row(page, "JPEG")
    knows.click()  # takes the place of the run that goes on
    said = page.locator(".rx-defend-said").first
    expect(said).to_contain_text("wins again", timeout=LONG)
    assert "JPEG undid the attack" in said.inner_text()
    assert "✗ fooled" in row(page, "JPEG")
    assert page.locator(".rx-defend-large img").count() >= 1
    assert page.locator("#rx-defend img:not([alt])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366
