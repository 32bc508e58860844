"""axe-core on every tab: no violation of level serious or critical, in light and in dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
LONG = 120_000  # milliseconds
CONTRAST = ["color-contrast"]  # the one rule that a theme makes a difference to
RUN = """async (rules) => {
  const only = rules.length ? {runOnly: rules} : {};
  const found = await axe.run(document, {resultTypes: ['violations'], ...only});
  return found.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help,
    nodes: v.nodes.slice(0, 5).map((n) => n.target.join(' ') + '  ' + n.html.slice(0, 160))}));
}"""

pytestmark = pytest.mark.browser
THEMES = pytest.mark.parametrize(("theme", "rules"), [
    ("light", []), ("dark", CONTRAST), pytest.param("dark", [], marks=pytest.mark.nightly)],
    ids=["light", "dark", "dark-whole"])


def violations(page: Page, *rules: str) -> list[dict[str, Any]]:
    """Those of level serious and critical of the page as it is. rules: these alone."""
    page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate(RUN, list(rules))
    return [v for v in found if v["impact"] in ("serious", "critical")]


def told(found: list[dict[str, Any]]) -> str:
    return "\n".join(f"{v['impact']} {v['id']}: {v['help']}\n    " + "\n    ".join(v["nodes"])
                     for v in found)


def open_page(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator(".rx-status").first).to_have_text("Done.", timeout=2 * LONG)
    expect(page.get_by_role("tab", name="Learn")).to_be_visible()


@THEMES
def test_no_tab_shuts_anybody_out(page: Page, server: str, theme: str, rules: list[str]) -> None:
    open_page(page, f"{server}?__theme={theme}")
    names = page.locator("button[role=tab][data-tab-id]:visible").all_inner_texts()
    assert {"Attack", "Embedding space", "Train", "Learn"} <= set(names)
    found = {}
    for name in names:
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(2500)
        found[name] = violations(page, *rules)
    assert not any(found.values()), "\n".join(f"== {n}\n{told(v)}" for n, v in found.items() if v)


@THEMES
def test_no_step_of_a_lesson_shuts_anybody_out(page: Page, server: str, theme: str,
                                               rules: list[str]) -> None:
    page.goto(f"{server}?tab=learn&lesson=5&__theme={theme}")
    expect(page.locator("#ln-next-1")).to_be_visible(timeout=LONG)
    page.locator("#ln-glossary summary").click()
    found = {}
    for step in range(1, 6):
        if step == 3:
            page.locator("#ln-guess input").first.check()
        if step > 1:
            page.click(f"#ln-next-{step - 1}")
            expect(page.locator(f"#ln-next-{step}")).to_be_visible()
        page.wait_for_timeout(400)
        found[step] = violations(page, *rules)
    assert not any(found.values()), "\n".join(f"== {n}\n{told(v)}" for n, v in found.items() if v)


def test_axe_sees_what_is_wrong(page: Page, server: str) -> None:
    """The tests above can fail: a picture without a text alternative is found."""
    open_page(page, server)
    page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', "
                  "'<img src=\"data:,\"><button></button>')")
    assert {"image-alt", "button-name"} <= {v["id"] for v in violations(page)}
    page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', "
                  "'<p style=\"color: #888; background: #999\">hard to read</p>')")
    assert {v["id"] for v in violations(page, *CONTRAST)} == set(CONTRAST)
