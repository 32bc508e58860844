"""The main job as a new visitor does it, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
from pages import SCREENS, open_app, stop_a_run
from PIL import Image
from playwright.sync_api import Browser, Page, expect

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"
SHOTS = Path(__file__).parent / "shots"

ROLES = {"light": {"standard": (0xB3, 0x47, 0x00), "robust": (0x00, 0x63, 0xA3)},
         "dark": {"standard": (0xFF, 0x9D, 0x5C), "robust": (0x62, 0xB8, 0xF5)}}

pytestmark = pytest.mark.browser


def attack(page: Page) -> None:
    """Presses the button and waits for the end of that run."""
    page.evaluate("document.querySelector('.rx-status').textContent = ''")
    page.click("#rx-go")
    expect(page.locator(".rx-status")).to_have_text("Done.", timeout=120_000)


def set_steps(page: Page, steps: int) -> None:
    page.locator("input[aria-label^='number input for Steps']:visible").fill(str(steps))
    page.keyboard.press("Tab")


def verdicts(page: Page) -> list[str]:
    return page.locator(".rx-say").all_inner_texts()


def saved(page: Page, role: str, kind: str) -> bytes:
    """The bytes behind a Save link."""
    link = page.locator(f".rx-{role} .rx-files a", has_text=kind).get_attribute("href")
    assert link is not None
    return behind(page, link)


def behind(page: Page, address: str) -> bytes:
    """A file that a page names: on the server, or in the page itself."""
    if address.startswith("data:"):
        return base64.b64decode(address.split(",", 1)[1])
    answer = page.request.get(urljoin(page.url, address))
    assert answer.ok and "immutable" in answer.headers["cache-control"]
    return answer.body()


def picture(page: Page, selector: str) -> np.ndarray:
    source = page.locator(selector).get_attribute("src")
    assert source is not None and source.startswith(("data:image/png", "/kept/"))
    return np.asarray(Image.open(io.BytesIO(behind(page, source))), int)


@pytest.fixture(scope="module")
def finished(browser: Browser, server: str) -> Iterator[Page]:
    """A page whose first example is done, for tests that leave its result as it is."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    page = context.new_page()
    page.set_default_timeout(120_000)
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    open_app(page, server)
    yield page
    context.close()
    assert not trouble, trouble


def test_the_first_screen_is_a_finished_example(finished: Page) -> None:
    page = finished
    said = verdicts(page)
    assert len(said) == 2 and all("cat" in s for s in said)
    assert page.locator(".rx-noise").count() == 2
    assert page.locator(".rx-transfer:has-text('carry over') td b").count() == 4
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator(".rx-flip").first.inner_text().strip()


@SCREENS
def test_it_fits_the_screen(page: Page, server: str, width: int, height: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": height})
    open_app(page, server, theme)
    SHOTS.mkdir(exist_ok=True)
    shot = SHOTS / f"attack-{width}-{theme}.png"
    page.screenshot(path=shot)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("#rx-go", ".rx-standard .rx-verdict", ".rx-robust .rx-compare"):
        box = page.locator(selector).bounding_box()
        assert box is not None and box["y"] + box["height"] <= height, f"{selector} is cut off"
    seen = np.asarray(Image.open(shot).convert("RGB"), int)
    for role, tone in ROLES[theme].items():
        assert (np.abs(seen - tone).max(2) < 4).sum() > 500, f"{role} is not in its colour"
    box = page.locator(".rx-standard .rx-view").first.bounding_box()
    assert box is not None
    left, top, side = (int(box[k]) + 8 for k in ("x", "y", "width"))
    photo = seen[top : top + side - 40, left : left + side - 16].mean((0, 1))
    clean = picture(page, ".rx-standard img.rx-clean").mean((0, 1))
    assert np.abs(photo - clean).max() < 25, "the photo is not what is seen in its place"
    ink = page.locator(".rx-say").first.evaluate("e => getComputedStyle(e).color")
    card = page.locator(".rx-model").first.evaluate("e => getComputedStyle(e).backgroundColor")
    light = [sum(int(v) for v in c[c.index("(") + 1 : -1].split(",")[:3]) for c in (ink, card)]
    assert (light[0] < light[1]) == (theme == "light") and abs(light[0] - light[1]) > 300


def test_one_click_runs_an_example(page: Page, server: str) -> None:
    open_app(page, server)
    page.click("[data-example=penguin]")
    expect(page.locator(".rx-say").first).to_contain_text("penguin", timeout=60_000)
    expect(page.locator(".rx-status")).to_have_text("Done.", timeout=120_000)
    assert "a photo of a penguin" in page.input_value("#rx-captions textarea")


def test_an_uploaded_photo_with_own_captions_and_a_target(page: Page, server: str) -> None:
    open_app(page, server)
    page.locator("#rx-photo button[aria-label='Clear'], #rx-photo button[aria-label='Remove Image']"
                 ).first.click()
    page.set_input_files("#rx-photo input[type=file]", EXAMPLES / "parrot.jpg")
    page.fill("#rx-captions textarea", "a macaw on a branch\na bowl of fruit")
    expect(page.locator("#rx-true input")).to_have_value("a macaw on a branch")
    page.fill("#rx-target input", "a red sports car")
    page.keyboard.press("Enter")
    attack(page)
    assert "a red sports car" in page.locator(".rx-standard .rx-bars").inner_text().replace(
        "\n", " ") or "red sports car" in page.locator(".rx-standard").inner_text()
    result = json.loads(saved(page, "standard", "JSON"))
    assert result["adversarial"]["captions"][2] == "a red sports car"
    clean = picture(page, ".rx-standard .rx-clean")
    adversarial = np.asarray(Image.open(io.BytesIO(saved(page, "standard", "Attacked PNG"))), int)
    moved = np.abs(adversarial - clean).max()
    assert moved == result["linf_255"] == 1
    change = np.load(io.BytesIO(saved(page, "standard", ".npy")))
    assert np.array_equal(np.rint(change * 255).transpose(1, 2, 0), adversarial - clean)


def test_steps_and_blink_by_keyboard(finished: Page) -> None:
    page = finished
    final = picture(page, ".rx-standard .rx-adv")
    page.focus(".rx-standard .rx-step")
    page.keyboard.press("Home")
    expect(page.locator(".rx-standard .rx-say")).to_contain_text("Before the attack")
    expect(page.locator(".rx-robust .rx-say")).to_contain_text("Before the attack")
    clean = picture(page, ".rx-standard .rx-clean")
    assert np.array_equal(picture(page, ".rx-standard .rx-adv"), clean)
    page.keyboard.press("End")
    assert np.array_equal(picture(page, ".rx-standard .rx-adv"), final)
    button = page.locator(".rx-standard .rx-blink")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    expect(page.locator(".rx-standard .rx-show-clean")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".rx-standard .rx-show-clean")).to_have_count(0)
    page.focus(".rx-standard .rx-wipe")
    page.keyboard.press("Home")
    clip = page.locator(".rx-standard .rx-adv").evaluate("e => getComputedStyle(e).clipPath")
    assert "100%" in clip


@pytest.mark.parametrize(("captions", "sentence"), [
    ("", "Give at least one caption"),
    ("a cat\na cat", "are the same"),
    ("x" * 10_000 + "\na dog", "10,000 characters"),
])
def test_bad_captions_get_a_sentence(finished: Page, captions: str, sentence: str) -> None:
    before = verdicts(finished)
    finished.fill("#rx-captions textarea", captions)
    finished.wait_for_timeout(500)
    finished.click("#rx-go")
    expect(finished.locator(".rx-error")).to_contain_text(sentence)
    assert verdicts(finished) == before, "an error must not clear the last result"


def test_a_lone_caption_gets_company_and_suggestions(page: Page, server: str) -> None:
    """Whatever the model thinks of the photo: six captions afterwards, ordinary ones; and where
    captions that would fit are offered, a click makes one the true caption."""
    open_app(page, server)
    page.fill("#rx-captions textarea", "a man in a suit waits for a train at night")
    expect(page.locator("#rx-true input")).to_have_value(re.compile("suit"))
    attack(page)
    expect(page.locator(".rx-note", has_text="everyday sentences were added").first).to_be_visible()
    expect(page.locator("#rx-captions textarea")).to_have_value(re.compile(r"(.+\n){5}.+"))
    offered = page.locator("[data-take]")
    if offered.count():
        caption = offered.first.inner_text()
        offered.first.click()
        expect(page.locator("#rx-true input")).to_have_value(caption)
        expect(page.locator(".rx-status")).to_contain_text("true caption now")


def test_things_and_scenes_have_a_row_each(finished: Page) -> None:
    rows = finished.locator("#rx-examples .rx-strip")
    assert [row.locator("h3").inner_text() for row in rows.all()] == ["Things", "Scenes"]
    assert [row.locator(".rx-card").count() for row in rows.all()] == [12, 12]


def test_captions_of_any_script_are_shown_as_typed(page: Page, server: str) -> None:
    open_app(page, server)
    for captions in ("一只猫 cat\n一条狗 dog", "a cat 🐈\na dog 🐕", "قطة\nكلب",
                     "{{cat}} ${x}\n<b>dog</b> & co"):
        page.fill("#rx-captions textarea", captions)
        expect(page.locator("#rx-true input")).to_have_value(captions.splitlines()[0])
        attack(page)
        shown: Any = page.locator(".rx-standard .rx-table th[scope=row]").all_text_contents()
        assert shown == captions.splitlines()


def test_a_second_press_replaces_the_first(page: Page, server: str) -> None:
    open_app(page, server)
    page.click("text=More settings")
    set_steps(page, 200)
    page.click("#rx-go")
    expect(page.locator(".rx-status progress")).to_be_visible()
    set_steps(page, 3)
    page.click("#rx-go")
    expect(page.locator(".rx-standard .rx-step")).to_have_attribute("max", "3", timeout=60_000)
    expect(page.locator(".rx-status")).to_have_text("Done.", timeout=60_000)


def test_stop_stops_a_long_attack(page: Page, server: str) -> None:
    open_app(page, server)
    page.click("text=More settings")
    set_steps(page, 200)
    stop_a_run(page, "#rx-go", "#rx-stop", ".rx-status")
    page.wait_for_timeout(1500)
    expect(page.locator(".rx-status")).to_contain_text("Stopped")
    page.click("#rx-stop")
    expect(page.locator(".rx-status")).to_have_text("Nothing is running.")
    set_steps(page, 2)
    attack(page)
    assert page.locator(".rx-standard .rx-step").get_attribute("max") == "2"


def choose_kind(page: Page, kind: str) -> None:
    page.locator("#rx-kind label", has_text=kind).first.click()
    expect(page.locator("#rx-edits")).to_be_visible()


def test_a_caption_is_attacked_and_its_words_are_marked(page: Page, server: str) -> None:
    open_app(page, server)
    choose_kind(page, "the caption")
    expect(page.locator("#rx-eps")).to_be_hidden()
    attack(page)
    expect(page.locator(".rx-wording")).to_have_count(2)
    expect(page.locator(".rx-noise")).to_have_count(0)
    result = json.loads(saved(page, "standard", "JSON"))
    assert (result["kind"], result["attack"]["name"], result["linf_255"]) == ("text", "bert", 0)
    assert result["words_changed"] <= 1
    true = result["clean"]["captions"].index(page.input_value("#rx-true input"))
    before, after = (result[side]["captions"][true] for side in ("clean", "adversarial"))
    said = page.locator(".rx-standard .rx-wording")
    if before != after:
        gone, came = (said.locator(tag).all_inner_texts() for tag in ("del", "ins"))
        assert gone and came and all(w.strip() in before for w in gone)
        assert all(w.strip() in after for w in came)
        told = said.get_attribute("aria-label")
        assert told is not None and "became" in told
    clean = picture(page, ".rx-standard .rx-adv")
    attacked = np.asarray(Image.open(io.BytesIO(saved(page, "standard", "Attacked PNG"))), int)
    assert np.array_equal(clean, attacked)


def test_both_are_attacked_and_taken_apart(page: Page, server: str) -> None:
    open_app(page, server)
    choose_kind(page, "both")
    expect(page.locator("#rx-eps")).to_be_visible()
    attack(page)
    parts = page.locator(".rx-transfer", has_text="What does each half do?")
    expect(parts.locator("tbody tr")).to_have_count(2)
    heads = parts.locator("thead th").all_inner_texts()
    assert heads == ["clean", "photo alone", "caption alone", "both"]
    assert parts.locator("tbody td b").count() == 8
    for role in ("standard", "robust"):
        result = json.loads(saved(page, role, "JSON"))
        assert (result["kind"], result["attack"]["name"]) == ("joint", "alternating")
        assert result["linf_255"] <= 1 and result["words_changed"] <= 1
    page.focus(".rx-standard .rx-step")
    page.keyboard.press("Home")
    expect(page.locator(".rx-standard .rx-say")).to_contain_text("Before the attack")
    expect(page.locator(".rx-standard .rx-wording ins")).to_have_count(0)
    page.keyboard.press("End")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366


def test_a_caption_without_a_word_to_change_says_so(page: Page, server: str) -> None:
    open_app(page, server)
    page.fill("#rx-captions textarea", "it is what it is\nthis and that")
    expect(page.locator("#rx-true input")).to_have_value("it is what it is")
    choose_kind(page, "the caption")
    attack(page)
    for said in verdicts(page):
        assert said.startswith("Nothing changed: ")
        assert "no word that this attack may exchange" in said


def test_stage_mode_by_keyboard(page: Page, server: str) -> None:
    """F, arrows, B, space and Escape; nothing to scroll at 1280x720, and large enough to read."""
    page.set_viewport_size({"width": 1280, "height": 720})
    open_app(page, server)
    page.locator("#rx-captions textarea").press("f")  # typing is typing
    assert "rx-big" not in str(page.locator("body").get_attribute("class"))
    page.locator("#rx-captions textarea").press("Backspace")
    page.locator("#rx-captions textarea").blur()
    page.keyboard.press("f")
    expect(page.locator("body")).to_have_class(re.compile("rx-big"))
    expect(page.locator("#rx-big-help")).to_contain_text("Escape")
    verdict = page.locator(".rx-verdict").first
    assert verdict.evaluate("e => parseFloat(getComputedStyle(e).fontSize)") >= 28
    for picture in page.locator(".rx-view").all():
        box = picture.bounding_box()
        assert box is not None and box["y"] >= 0 and box["y"] + box["height"] <= 720
    assert page.locator("#rx-stage").evaluate("e => e.scrollHeight <= e.clientHeight")
    expect(page.locator(".rx-bars").first).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".rx-steps output").first.evaluate("e => e.value") == "9"
    page.keyboard.press("ArrowRight")
    assert page.locator(".rx-steps output").last.evaluate("e => e.value") == "10"
    page.keyboard.press("b")
    assert page.locator(".rx-blink").first.get_attribute("aria-pressed") == "true"
    page.keyboard.press("b")
    page.keyboard.press("Space")  # the example after the cat
    expect(verdict).to_contain_text("spaniel", timeout=120_000)
    page.keyboard.press("Escape")
    expect(page.locator("body")).not_to_have_class(re.compile("rx-big"))
    expect(page.locator("#rx-go")).to_be_visible()
