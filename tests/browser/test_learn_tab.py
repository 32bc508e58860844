"""The lessons in a real browser: one by keyboard alone, what is remembered, presets, languages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import SCREENS, stop_a_run
from playwright.sync_api import Page, expect
from serving import ROOT, app

SHOTS = Path(__file__).parent / "shots"
EXAMPLES = ROOT / "assets" / "examples"
LONG = 120_000  # milliseconds

pytestmark = pytest.mark.browser


def open_lesson(page: Page, server: str, number: int, more: str = "") -> None:
    page.goto(f"{server}?tab=learn&lesson={number}{more}")
    expect(page.locator("#ln-heading .ln-place")).to_contain_text(str(number), timeout=LONG)
    expect(page.locator("#ln-heading h2")).to_be_visible()


def focused(page: Page) -> str:
    """Id of what has the keyboard, or of what it stands in."""
    found: str = page.evaluate("document.activeElement?.closest('[id^=ln-]')?.id || ''")
    return found


def tab_to(page: Page, name: str) -> None:
    """Presses Tab until the keyboard is at an element; it has to be seen there."""
    for _ in range(120):
        if focused(page) == name:
            break
        page.keyboard.press("Tab")
    assert focused(page) == name, f"Tab does not lead to {name}"
    outline = page.evaluate("""() => {
      const at = document.activeElement, style = (e) => getComputedStyle(e).outlineStyle;
      return [style(at), style(at.closest('label') || at)].some((s) => s !== 'none');
    }""")
    assert outline, f"nothing shows that the keyboard is at {name}"


def choose(page: Page, name: str, index: int) -> None:
    """An option of a group of radio buttons: Tab into it, Space, then the arrow keys."""
    expect(page.locator(f"#{name} input").nth(index)).to_be_enabled()
    tab_to(page, name)
    page.keyboard.press("Space")
    for _ in range(6):
        page.wait_for_timeout(200)
        if page.locator(f"#{name} input").nth(index).is_checked():
            break
        page.keyboard.press("ArrowDown")
    expect(page.locator(f"#{name} input").nth(index)).to_be_checked()


def test_a_whole_lesson_by_keyboard_alone(page: Page, server: str) -> None:
    open_lesson(page, server, 1)
    tab_to(page, "ln-next-1")
    page.keyboard.press("Enter")
    expect(page.locator("#ln-ask .ln-question")).to_be_visible()
    tab_to(page, "ln-next-2")
    page.keyboard.press("Enter")
    expect(page.locator("#ln-told")).to_contain_text("Choose an answer first")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    choose(page, "ln-guess", 2)
    tab_to(page, "ln-next-2")
    page.keyboard.press("Enter")
    expect(page.locator("#ln-reveal .ln-good")).to_contain_text("Right.")
    expect(page.locator("#ln-reveal table tbody tr")).to_have_count(6)
    tab_to(page, "ln-next-3")
    page.keyboard.press("Enter")
    expect(page.locator("#ln-run")).to_be_visible()
    tab_to(page, "ln-own")
    page.keyboard.type("the face of a tabby cat")
    tab_to(page, "ln-run")
    page.keyboard.press("Enter")
    expect(page.locator("#ln-result")).to_contain_text("the face of a tabby cat", timeout=LONG)
    expect(page.locator("#ln-status")).to_have_text("Done.")
    tab_to(page, "ln-next-4")
    page.keyboard.press("Enter")
    expect(page.locator("#ln-kept .ln-question")).to_be_visible()
    choose(page, "ln-check", 1)
    tab_to(page, "ln-checked")
    page.keyboard.press("Enter")
    expect(page.locator("#ln-feedback .ln-good")).to_contain_text("Right.")
    expect(page.locator("#ln-heading")).to_contain_text("1 of 10 lessons finished")
    tab_to(page, "ln-next-5")
    page.keyboard.press("Enter")
    expect(page.locator("#ln-heading h2")).to_have_text("A change you cannot see")
    expect(page.locator("#ln-next-1")).to_be_visible()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(2, 11))
def test_every_lesson_is_finished_by_keyboard_alone(page: Page, server: str, number: int) -> None:
    """The way that all lessons share, without their live part, which each may leave out."""
    open_lesson(page, server, number)
    tab_to(page, "ln-next-1")
    page.keyboard.press("Enter")
    expect(page.locator("#ln-ask .ln-question")).to_be_visible()
    choose(page, "ln-guess", 0)
    for step in (2, 3, 4):
        tab_to(page, f"ln-next-{step}")
        page.keyboard.press("Enter")
        expect(page.locator(f"#ln-next-{step + 1}")).to_be_visible()
    expect(page.locator("#ln-kept .ln-question")).to_be_visible()
    good = page.locator("#ln-feedback .ln-good")
    for answer in range(page.locator("#ln-check input").count()):
        choose(page, "ln-check", answer)
        tab_to(page, "ln-checked")
        page.keyboard.press("Enter")
        expect(page.locator("#ln-feedback .ln-good, #ln-feedback .ln-bad")).to_be_visible()
        page.wait_for_timeout(500)
        if good.is_visible():
            break
        page.keyboard.press("Shift+Tab")  # back to the answers
        page.keyboard.press("Shift+Tab")
    expect(good).to_be_visible()
    expect(page.locator("#ln-heading")).to_contain_text("1 of 10 lessons finished")


def test_a_wrong_prediction_is_put_right(page: Page, server: str) -> None:
    open_lesson(page, server, 2)
    page.click("#ln-next-1")
    page.locator("#ln-guess input").first.check()
    page.click("#ln-next-2")
    expect(page.locator("#ln-reveal .ln-bad")).to_contain_text("The answer was:")
    assert page.locator("#ln-reveal img").count() == 3
    assert page.locator("#ln-reveal img:not([alt])").count() == 0


def test_a_reload_returns_to_the_same_step(page: Page, server: str) -> None:
    open_lesson(page, server, 3)
    page.click("#ln-next-1")
    page.locator("#ln-guess input").nth(1).check()
    page.click("#ln-next-2")
    expect(page.locator("#ln-reveal .ln-said")).to_be_visible()
    page.goto(f"{server}?tab=learn")
    expect(page.locator("#ln-heading h2")).to_have_text("It is not noise", timeout=LONG)
    expect(page.locator("#ln-reveal .ln-said")).to_be_visible()
    page.locator("#ln-walk .step-button").nth(1).click()
    expect(page.locator("#ln-guess input").nth(1)).to_be_checked()
    page.wait_for_timeout(1000)
    page.reload()
    expect(page.locator("#ln-ask .ln-question")).to_be_visible(timeout=LONG)


def test_the_language_changes_and_other_tabs_stay(page: Page, server: str) -> None:
    page.goto(server)
    expect(page.locator(".rx-status").first).to_have_text("Done.", timeout=LONG)
    page.fill("#rx-captions textarea", "my own cat\nmy own dog")
    page.get_by_role("tab", name="Learn").click()
    expect(page.locator("#ln-heading h2")).to_have_text("What CLIP sees")
    page.locator("#ln-language input").nth(1).check()
    expect(page.locator("#ln-heading h2")).to_have_text("CLIP 看到了什么")
    expect(page.locator("#ln-walk .step-label").nth(1)).to_have_text("预测")
    page.click("#ln-next-1")
    expect(page.locator("#ln-ask .ln-question")).to_contain_text("余弦")
    assert page.locator("#ln-ask [lang=zh]").count() == 1
    expect(page.locator("#ln-walk .step-label").nth(2)).to_have_text("揭晓")
    page.get_by_role("tab", name="Attack").click()
    expect(page.locator("#rx-captions textarea")).to_have_value("my own cat\nmy own dog")
    assert page.locator(".rx-say").count() == 2


def test_stop_stops_a_live_run(page: Page, server: str) -> None:
    open_lesson(page, server, 4)
    page.click("#ln-next-1")
    page.locator("#ln-guess input").first.check()
    page.click("#ln-next-2")
    page.click("#ln-next-3")
    stop_a_run(page, "#ln-run", "#ln-stop", "#ln-status")
    page.click("#ln-stop")
    expect(page.locator("#ln-status")).to_have_text("Nothing is running.")


def test_a_newcomer_sees_a_fooled_model_within_two_clicks(page: Page, server: str) -> None:
    """None, in fact: the first screen is an attack that succeeded."""
    page.goto(server)
    expect(page.locator(".rx-status").first).to_have_text("Done.", timeout=LONG)
    expect(page.locator(".rx-standard .rx-fooled")).to_be_visible()
    page.get_by_role("tab", name="Learn").click()
    page.click("#ln-next-1")
    expect(page.locator("#ln-ask .ln-question")).to_be_visible()


def test_an_address_presets_the_page(page: Page, server: str) -> None:
    page.goto(f"{server}?image=dog&captions=a wolf|a spaniel|a sheep&true=a spaniel"
              "&hide=train|space")
    expect(page.locator("#rx-captions textarea")).to_have_value("a wolf\na spaniel\na sheep",
                                                                timeout=LONG)
    expect(page.locator("#rx-true input")).to_have_value("a spaniel")
    tabs = page.locator("button[role=tab]:visible").all_inner_texts()
    assert "Train" not in tabs and "Embedding space" not in tabs and "Learn" in tabs
    expect(page.locator(".rx-say").first).to_contain_text("spaniel", timeout=LONG)


def test_a_link_carries_settings_and_no_photo(page: Page, server: str) -> None:
    page.goto(f"{server}?tab=attack&image=dog&kind=image&attack=fgsm&seed=3"
              "&settings=%7B%22eps%22%3A0.00784313725490196%7D")
    expect(page.locator(".rx-facts").first).to_contain_text("L∞ 2/255", timeout=LONG)
    link = page.get_by_role("link", name="Link to these settings")
    href = link.get_attribute("href", timeout=LONG) or ""
    assert "image=dog" in href and "attack=fgsm" in href and "seed=3" in href
    said = page.locator(".rx-say").all_inner_texts()
    page.goto(f"{server}{href}")
    expect(page.locator(".rx-facts").first).to_contain_text("L∞ 2/255", timeout=LONG)
    expect(link).to_be_visible(timeout=LONG)
    assert page.locator(".rx-say").all_inner_texts() == said  # the same, asked again
    with page.expect_response(lambda r: "/upload" in r.url):
        page.set_input_files("#rx-photo input[type=file]", EXAMPLES / "bee.jpg")
    page.wait_for_timeout(1500)
    page.click("#rx-go")
    expect(page.locator(".rx-status").first).not_to_have_text("Done.")
    expect(page.locator(".rx-status").first).to_have_text("Done.", timeout=LONG)
    own = link.get_attribute("href") or ""
    assert "image=own" in own and "bee" not in own and "tmp" not in own
    assert page.context.browser is not None
    other = page.context.browser.new_page()  # of another visitor, who has not got the photo
    other.goto(f"{server}{own}")
    expect(other.get_by_text("no photo: choose one of yours")).to_be_visible(timeout=LONG)
    expect(other.locator("#rx-photo img")).to_have_count(0)
    other.close()


def test_a_wrong_address_says_so_and_changes_nothing(page: Page, server: str) -> None:
    page.goto(f"{server}?lesson=99&hide=train")
    expect(page.get_by_text("lesson must be a number from 1 to 10")).to_be_visible(timeout=LONG)
    expect(page.get_by_role("tab", name="Train")).to_be_visible()


@pytest.fixture
def classroom(tmp_path: Path) -> Iterator[str]:
    """An app that was started with a teacher's file, which has a picture of its own."""
    shutil.copy(EXAMPLES / "bee.jpg", tmp_path / "garden.jpg")
    file = tmp_path / "class.json"
    file.write_text(json.dumps({
        "lang": "zh", "tab": "learn", "lesson": 3, "hide": ["train"], "image": "garden.jpg",
        "captions": ["a bee on a flower", "a wasp on a flower"], "robust": "pocket-robust"}))
    with app(tmp_path / "log", "--preset", str(file)) as running:
        yield f"{running.address}/"


def test_a_file_presets_the_page_for_everybody(page: Page, classroom: str) -> None:
    page.goto(classroom)
    expect(page.locator("#ln-heading h2")).to_have_text("这不是噪声", timeout=LONG)
    assert not page.get_by_role("tab", name="Train").is_visible()
    page.get_by_role("tab", name="Attack").click()
    expect(page.locator("#rx-captions textarea")).to_have_value(
        "a bee on a flower\na wasp on a flower")
    page.click("#rx-go")
    expect(page.locator(".rx-say").first).to_contain_text("a bee on a flower", timeout=LONG)
    page.goto(f"{classroom}?lang=en&lesson=5")
    expect(page.locator("#ln-heading h2")).to_have_text("The caption is an input too", timeout=LONG)


@SCREENS
def test_it_fits_the_screen(page: Page, server: str, width: int, height: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": height})
    open_lesson(page, server, 5, f"&__theme={theme}")
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"learn-{width}-{theme}-1.png")
    page.click("#ln-next-1")
    page.locator("#ln-guess input").nth(1).check()
    page.click("#ln-next-2")
    expect(page.locator("#ln-reveal .ln-said")).to_be_visible()
    page.screenshot(path=SHOTS / f"learn-{width}-{theme}-3.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("#ln-heading h2", "#ln-reveal .ln-said", "#ln-lessons"):
        box = page.locator(selector).bounding_box()
        assert box is not None and box["y"] + box["height"] <= height, f"{selector} is cut off"
