"""An evaluation from start to LaTeX: started, left, found again, compared, saved."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pages import SCREENS
from playwright.sync_api import Browser, Page, expect

expect.set_options(timeout=60_000)
SHOTS = Path(__file__).parent / "shots"
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
SERIOUS = """async () => (await axe.run()).violations
  .filter((v) => ['serious', 'critical'].includes(v.impact))
  .map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`)"""
LONG = 240_000  # milliseconds
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def open_tab(page: Page, server: str, theme: str = "light") -> None:
    page.goto(f"{server}?tab=evaluate&__theme={theme}")
    expect(page.locator("#ev-start")).to_be_visible()


def settle(page: Page, images: int, budgets: str) -> None:
    page.fill("#ev-limit input", str(images))
    page.fill("#ev-budgets input, #ev-budgets textarea", budgets)
    page.keyboard.press("Tab")
    page.wait_for_timeout(500)


def saved(page: Page, kind: str) -> str:
    link = page.locator(f".ev-files a[data-format={kind}]")
    address = str(link.get_attribute("href"))
    with page.expect_download() as download:
        link.click()
    text = Path(download.value.path()).read_text("utf-8")
    assert base64.b64decode(address.partition(",")[2]).decode("utf-8") == text
    return text


def test_an_evaluation_from_start_to_latex(page: Page, server: str) -> None:
    open_tab(page, server)
    expect(page.locator(".ev-doing")).to_contain_text("came with the app")
    expect(page.locator(".ev-table.ev-accuracy").first).to_be_visible()
    assert page.locator("[data-do=ask]").count() == 0  # it cannot be deleted
    settle(page, 4, "1, 2")
    page.click("#ev-cost")
    expect(page.locator("#ev-said")).to_contain_text("6 numbers on 4 images", timeout=LONG)
    page.click("#ev-start")
    expect(page.locator("#ev-said")).to_contain_text("You may close this page")
    expect(page.locator(".ev-item .ev-state").first).to_be_visible()
    page.goto("about:blank")  # closed, and found again

    open_tab(page, server)
    expect(page.locator(".ev-item .ev-state").first).to_contain_text("finished", timeout=LONG)
    expect(page.locator(".ev-said")).to_contain_text("On 12 example photos, pocket reads")
    rows = page.locator(".ev-table.ev-accuracy tbody tr")
    expect(rows).to_have_count(2)
    assert page.locator(".ev-table.ev-accuracy thead th").all_inner_texts() == [
        "Data", "Model", "Clean", "Image 1/255", "Image 2/255"]
    expect(page.locator("#ev-curve .ev-curve")).to_have_attribute("data-drawn", "2")
    assert page.locator("#ev-curve .ev-plot .scatterlayer .trace").count() == 2
    page.click("#ev-curve summary")
    expect(page.locator("#ev-curve .ev-words tr")).to_have_count(3)

    clean = rows.first.locator("td b").first.inner_text()
    latex = saved(page, "tex")
    assert r"\begin{tabular}{llrrr}" in latex and rf"& {clean} {{\scriptsize(" in latex
    told = json.loads(saved(page, "json"))
    assert f"{told['rows'][0]['accuracy'] * 100:.1f}" == clean and len(told["rows"]) == 6
    assert clean in saved(page, "md") and saved(page, "csv").count("\n") == 7
    with page.expect_download() as download:
        page.click("[data-save=svg]")
    assert "pocket-robust" in Path(download.value.path()).read_text("utf-8")
    compare(page, clean)


def compare(page: Page, clean: str) -> None:
    """A second one reuses what is known, tells of a set that cannot be read, and is laid beside
    the first."""
    settle(page, 4, "1, 2")
    page.click("#ev-here input")
    page.get_by_role("option", name="Describable Textures (1,880 images)").click()
    page.keyboard.press("Escape")
    page.click("#ev-start")
    expect(page.locator(".ev-item")).to_have_count(3)  # and the example
    expect(page.locator(".ev-item .ev-finished")).to_have_count(3, timeout=LONG)
    expect(page.locator(".ev-left-out")).to_contain_text("Describable Textures: the copy")
    assert page.locator(".ev-table.ev-accuracy td b").first.inner_text() == clean
    page.locator(".ev-tick input").first.check()
    expect(page.locator(".ev-table.ev-accuracy thead th").first).to_have_text("Evaluation")
    expect(page.locator(".ev-table.ev-accuracy tbody tr")).to_have_count(4)
    assert page.locator(".ev-letter").all_inner_texts() == ["A", "B"]
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "evaluate-compare.png", full_page=True)
    assert "evaluations.tex" in str(page.locator("[data-format=tex]").get_attribute("download"))
    page.evaluate(AXE)
    assert page.evaluate(SERIOUS) == []
    page.locator(".ev-open").nth(1).focus()
    page.keyboard.press("Enter")  # by keyboard, the other one is opened
    expect(page.locator(".ev-item").nth(1)).to_have_attribute("data-current", "true")


def test_it_can_be_stopped_taken_up_and_deleted(page: Page, server: str) -> None:
    open_tab(page, server)
    page.click("#ev-stop")
    expect(page.locator("#ev-said")).to_contain_text("Nothing is running")
    page.get_by_label("1,513 emoji by kind").check()
    settle(page, 200, "1, 2, 3, 4")
    page.click("#ev-start")
    expect(page.locator(".ev-doing")).to_contain_text("Running", timeout=LONG)
    page.click("#ev-stop")
    expect(page.locator(".ev-doing")).to_contain_text("Stopped at", timeout=LONG)
    page.click("[data-do=go_on]")
    expect(page.locator(".ev-doing")).to_contain_text("Running", timeout=LONG)
    page.click("#ev-stop")
    expect(page.locator(".ev-doing")).to_contain_text("Stopped at", timeout=LONG)
    page.click("[data-do=ask]")
    page.click("[data-do=delete]")
    expect(page.locator(".ev-item")).to_have_count(1)  # the example
    expect(page.locator(".ev-doing")).to_contain_text("came with the app")


def test_mistakes_get_a_sentence(page: Page, server: str) -> None:
    open_tab(page, server)
    sets, kinds = page.locator("#ev-shipped"), page.locator("#ev-kinds")

    def refused(said: str) -> None:
        page.click("#ev-start")
        expect(page.locator("#ev-said .rx-error")).to_contain_text(said)

    settle(page, 4, "one")
    refused("must be a number or a fraction")
    settle(page, 0, "1")
    refused("Choose 1 to 5,000 images")
    settle(page, 4, "1")
    sets.get_by_label("12 example photos").uncheck()
    refused("Choose an image set first")
    sets.get_by_label("12 example photos").check()
    for name in ("nothing", "photo"):
        kinds.get_by_label(name).uncheck()
    refused("Choose an attack")
    expect(page.locator(".ev-item")).to_have_count(1)  # the example


@SCREENS
def test_it_fits_the_screen(browser: Browser, server: str, width: int, height: int, theme: str,
                            ) -> None:
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.set_default_timeout(120_000)
    open_tab(page, server, theme)
    settle(page, 2, "1, 2")
    page.click("#ev-start")
    expect(page.locator(".ev-item .ev-state").first).to_contain_text("finished", timeout=LONG)
    expect(page.locator("#ev-curve .ev-curve")).to_have_attribute("data-drawn", "2")
    SHOTS.mkdir(exist_ok=True)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=SHOTS / f"evaluate-{width}-{theme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#ev-start").bounding_box()
    assert box is not None and box["y"] + box["height"] <= height, "Start is cut off"
    context.close()
