"""A page on which nothing happens costs nothing: no frames, timers, requests or changes."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

SECONDS = 5.0
DONE = 240_000  # milliseconds: on a busy machine a run takes long
COUNT = """
(() => {
  const seen = window.seen = {frames: 0, timers: 0, changes: 0};
  const frame = window.requestAnimationFrame;
  window.requestAnimationFrame = (work) => { seen.frames += 1; return frame.call(window, work); };
  for (const name of ['setTimeout', 'setInterval']) {
    const set = window[name];
    window[name] = (work, ...more) => set.call(window, (...given) => {
      seen.timers += 1;
      return typeof work === 'function' ? work(...given) : undefined;
    }, ...more);
  }
  document.addEventListener('DOMContentLoaded', () => new MutationObserver((all) => {
    seen.changes += all.length;
  }).observe(document, {childList: true, subtree: true, attributes: true, characterData: true}));
})();
"""
TABS = ("Attack", "Embedding space", "Failures", "Evaluate", "Train", "Learn")


class Watched:
    """What a page does while nobody touches it."""

    def __init__(self, page: Page) -> None:
        self.page, self.requests = page, list[str]()
        page.add_init_script(COUNT)
        page.on("request", lambda request: self.requests.append(request.url))

    def counted(self, seconds: float) -> dict[str, Any]:
        """Frames, timers, changes and requests in so many seconds."""
        start, asked = self.page.evaluate("({...window.seen})"), len(self.requests)
        self.page.wait_for_timeout(seconds * 1000)
        end = self.page.evaluate("({...window.seen})")
        return {**{name: end[name] - start[name] for name in end},
                "requests": len(self.requests) - asked}

    def settle(self, seconds: float = 90) -> None:
        """Waits until two seconds bring less than the limit, or so long that none will."""
        for _ in range(int(seconds / 2)):
            if sum(self.counted(2).values()) < 5 * 2:
                return


def rests(watched: Watched) -> None:
    watched.settle()
    found = watched.counted(SECONDS)
    assert sum(found.values()) < 5 * SECONDS, (found, watched.requests[-5:])


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_rests(page: Page, server: str, tab: str) -> None:
    watched = Watched(page)
    page.goto(server)
    expect(page.locator(".rx-status")).to_have_text("Done.", timeout=DONE)
    page.get_by_role("tab", name=tab, exact=True).click()
    rests(watched)


def test_a_page_rests_after_a_run_and_a_look_around(page: Page, server: str) -> None:
    watched = Watched(page)
    page.goto(server)
    expect(page.locator(".rx-status")).to_have_text("Done.", timeout=DONE)
    for tab in TABS[1:]:
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(500)
    page.get_by_role("tab", name="Attack", exact=True).click()
    page.evaluate("document.querySelector('.rx-status').textContent = ''")
    page.click("#rx-go")
    expect(page.locator(".rx-status")).to_have_text("Done.", timeout=DONE)
    rests(watched)


def test_the_counter_counts(page: Page, server: str) -> None:
    watched = Watched(page)
    page.goto(server)
    expect(page.locator(".rx-status")).to_have_text("Done.", timeout=DONE)
    watched.settle()
    page.evaluate("""() => {
      setInterval(() => { document.title += '.'; }, 100);
      const next = () => requestAnimationFrame(next);
      next();
    }""")
    found = watched.counted(2)
    assert found["timers"] > 5 and found["changes"] > 5 and found["frames"] > 10, found
