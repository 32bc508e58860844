"""One story across the tabs: links, Back, reload, a case carried over; a demonstration; a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, Page, expect
from serving import ROOT, app

LONG = 240_000  # milliseconds

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def query(page: Page) -> dict[str, str]:
    """Of the address, as the page has it; page.url is told of it later."""
    found: str = page.evaluate("location.search")
    return {k: v[0] for k, v in parse_qs(found.removeprefix("?")).items()}


def words(page: Page, true: str) -> None:
    """Waits until the line is about a caption."""
    expect(page.locator(".st-words")).to_contain_text(true, timeout=LONG)


def tab(page: Page, name: str) -> None:
    expect(page.locator(".tab-wrapper [role=tab].selected")).to_have_text(name, timeout=LONG)


def pick(page: Page, example: str, true: str) -> None:
    page.click(f"[data-example={example}]")
    words(page, true)


def test_back_undoes_a_case_and_a_tab_and_a_reload_stays(page: Page, server: str) -> None:
    page.goto(server)
    words(page, "a photo of a cat")
    assert query(page) == {}
    pick(page, "dog", "spaniel")
    assert query(page)["image"] == "dog"
    page.click("[data-to=space]")
    tab(page, "Embedding space")
    expect(page.locator(".sp-say")).to_contain_text("The attack turned", timeout=LONG)
    assert (query(page)["tab"], query(page)["image"]) == ("space", "dog")
    page.reload()
    words(page, "spaniel")
    tab(page, "Embedding space")
    page.go_back()
    tab(page, "Attack")
    words(page, "spaniel")
    page.go_back()
    words(page, "a photo of a cat")
    expect(page.locator("#rx-captions textarea")).to_have_value(
        "\n".join(f"a photo of a {what}" for what in ("cat", "dog", "fox", "tiger", "rabbit",
                                                      "sofa")))
    expect(page.locator(".rx-say").first).to_contain_text("cat")
    page.go_forward()
    words(page, "spaniel")
    expect(page.locator(".rx-say").first).to_contain_text("spaniel")


def test_a_link_leads_another_visitor_to_the_same(page: Page, server: str, browser: Browser,
                                                  ) -> None:
    page.goto(f"{server}?tab=space&image=bee&kind=image&attack=fgsm")
    words(page, "bee")
    tab(page, "Embedding space")
    said = page.locator(".st-how").inner_text()
    assert "FGSM" in said
    address = page.url
    context = browser.new_context()
    try:
        other = context.new_page()
        other.goto(address, timeout=LONG)
        words(other, "bee")
        tab(other, "Embedding space")
        assert other.locator(".st-how").inner_text() == said and query(other) == query(page)
    finally:
        context.close()


def test_a_case_is_carried_over_with_one_click(page: Page, server: str) -> None:
    page.goto(f"{server}?tab=attack&image=dog&kind=image&attack=fgsm&seed=5"
              "&settings=%7B%22eps%22%3A0.011764705882352941%7D")
    words(page, "spaniel")
    page.click("[data-to=failures]")
    tab(page, "Failures")
    expect(page.locator("#fx-started")).to_contain_text("Set as the attack above", timeout=LONG)
    expect(page.locator("#fx-eps input[type=number]")).to_have_value("3")
    page.click("[data-to=evaluate]")
    expect(page.locator("#ev-said")).to_contain_text("Set as the attack above", timeout=LONG)
    expect(page.locator("#ev-budgets").locator("input, textarea").first).to_have_value("3")
    page.click("[data-to=train]")
    expect(page.locator("#tr-said")).to_contain_text("Set against the attack above", timeout=LONG)
    expect(page.locator("#tr-eps input[type=number]")).to_have_value("3")
    page.locator("#tr-runs [data-id]").first.click()
    name = page.locator("#tr-runs [data-id]").first.get_attribute("data-id")
    assert query(page)["open"] == name
    page.go_back()
    assert "open" not in query(page) and query(page)["tab"] == "train"
    page.go_back()
    tab(page, "Evaluate")


def test_a_photo_of_ones_own_comes_back_after_a_reload(page: Page, server: str) -> None:
    page.goto(server)
    words(page, "a photo of a cat")
    with page.expect_response(lambda r: "/upload" in r.url):
        page.set_input_files("#rx-photo input[type=file]",
                             ROOT / "assets" / "examples" / "bee.jpg")
    expect(page.locator(".rx-status").first).to_contain_text("Your photo is here", timeout=LONG)
    page.fill("#rx-captions textarea", "a bee on a flower\na wasp on a flower")
    expect(page.locator("#rx-true input")).to_have_value("a bee on a flower", timeout=LONG)
    page.click("#rx-go")
    words(page, "a bee on a flower")
    assert query(page)["image"] == "own"
    page.reload()
    words(page, "a bee on a flower")
    expect(page.locator("#rx-photo img").first).to_be_visible()
    expect(page.locator("#rx-captions textarea")).to_have_value(
        "a bee on a flower\na wasp on a flower")


def test_on_a_phone_all_tabs_are_there_and_nothing_sticks_out(page: Page, server: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(server)
    words(page, "a photo of a cat")
    tabs = page.locator(".tab-wrapper [role=tab]")
    expect(tabs).to_have_count(6)
    for k in range(6):
        box = tabs.nth(k).bounding_box()
        assert box is not None and box["height"] >= 44, k
        tabs.nth(k).click()
        expect(tabs.nth(k)).to_have_class(re.compile("selected"))
        page.wait_for_timeout(800)
        assert page.evaluate("document.documentElement.scrollWidth") <= 391, k
    tabs.nth(0).click()
    low = page.evaluate("""() => [...document.querySelectorAll('.gradio-container button')]
      .filter((b) => b.offsetParent && b.getBoundingClientRect().height < 43.5
        && !b.closest('.tab-container[inert]')).map((b) => b.outerHTML.slice(0, 120))""")
    assert not low, low
    for column in page.locator(".rx-model").all():
        box = column.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[str]:
    with app(tmp_path / "log", "--demo=closed") as running:
        yield f"{running.address}/"


def test_a_demonstration_goes_on_by_itself_until_it_is_touched(page: Page, stand: str) -> None:
    page.clock.install()
    page.goto(stand)
    words(page, "a photo of a cat")
    page.clock.run_for(1_000)
    expect(page.locator("#rx-big-help")).to_have_text("Touch the page to try it yourself.")
    assert "rx-big" in (page.get_attribute("body", "class") or "")
    page.clock.run_for(13_000)
    words(page, "spaniel")  # the next example, without a click
    page.mouse.click(400, 400)
    assert "rx-big" not in (page.get_attribute("body", "class") or "")
    page.clock.run_for(30_000)
    words(page, "spaniel")
    assert not page.get_by_role("tab", name="Train").is_visible()
    assert not page.locator("#rx-photo .source-selection").is_visible()
    page.fill("#rx-captions textarea", "what I typed\nsomething else")
    with page.expect_navigation():
        page.clock.run_for(125_000)
    words(page, "a photo of a cat")  # the next visitor's
    expect(page.locator("#rx-captions textarea")).not_to_have_value("what I typed\nsomething else")
