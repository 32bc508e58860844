"""Many pictures are attacked from the page: from a zip to the Attack tab, and what is saved."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

import pytest
from pages import SCREENS
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from test_accessibility import told, violations  # type: ignore[import-not-found]

from explorer.data.examples import load_examples
from explorer.results.bundle import read_bundle

expect.set_options(timeout=60_000)
SHOTS = Path(__file__).parent / "shots"
LONG = 300_000  # milliseconds; two models are opened and attacked with another program beside it
NUMBER = re.compile(r"\d+")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def examples() -> list[tuple[str, str, bytes]]:
    """(file, true caption, content) of the photos that come with the app."""
    return [(e.path.name, e.truth, e.path.read_bytes()) for e in load_examples().values()]


def packed(path: Path) -> Path:
    """Six photos and their captions, and four things that are wrong."""
    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(["image", "caption"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, caption, content in examples()[:6]:
            archive.writestr(f"mine/{name}", content)
            table.writerow([name, caption])
        archive.writestr("mine/broken.jpg", b"\xff\xd8\xff\xe0 no picture")
        archive.writestr("mine/notes.txt", "hello")
        archive.writestr("mine/../../escaped.jpg", examples()[0][2])
        table.writerows([["broken.jpg", "a photo of nothing"], ["missing.jpg", "a thing"],
                         ["untold.jpg", ""]])
        archive.writestr("mine/table.csv", rows.getvalue())
    return path


def open_tab(page: Page, server: str, theme: str = "light") -> None:
    page.goto(f"{server}?__theme={theme}")
    page.get_by_role("tab", name="Failures").click()
    expect(page.locator("#fx-start")).to_be_visible()
    expect(page.locator("#fx-state section")).to_be_visible()


def choose(page: Page, what: str, option: str) -> None:
    page.click(f"{what} input")
    page.get_by_role("option", name=option).first.click()


def upload(page: Page, *files: Path) -> None:
    choose(page, "#fx-place", "My own pictures")
    send(page, *files)


def send(page: Page, *files: Path) -> None:
    """Uploads, and waits until the server has all of them: then they are listed in a table."""
    page.set_input_files("#fx-files input[type=file]", list(files))
    for file in files:
        expect(page.locator("#fx-files").get_by_role("cell", name=file.name)).to_be_visible()


def cards(page: Page) -> Locator:
    return page.locator("#fx-gallery .fx-card")


def number(locator: Locator) -> int:
    found = NUMBER.search(locator.inner_text())
    assert found is not None
    return int(found.group())


def saved(page: Page, button: str, name: str, to: Path) -> Path:
    """Presses a button and saves the file that it makes ready, whose name ends in `name`."""
    page.click(button)
    link = page.locator(f"#fx-file a[href$='{name}']").first
    expect(link).to_be_visible(timeout=LONG)
    with page.expect_download() as download:
        link.click()
    download.value.save_as(to / name)
    return to / name


def test_a_hunt_from_a_zip_to_the_attack_tab(
    browser: Browser, page: Page, server: str, tmp_path: Path,
) -> None:
    open_tab(page, server)
    expect(page.locator("#fx-state")).to_contain_text("came with the app")
    upload(page, packed(tmp_path / "mine.zip"))
    page.click("#fx-start")
    expect(page.locator("#fx-started")).to_contain_text("You may close this page")
    expect(page.locator("#fx-state progress")).to_be_visible()
    expect(page.locator(".fx-doing")).to_have_text(
        "Finished: 7 pictures, 1 of which could not be read.", timeout=LONG)
    for words in ("lead out of the archive", "not pictures", "listed, but not there", "untold.jpg",
                  "cannot be read"):
        expect(page.locator(".fx-left-out")).to_contain_text(words)
    expect(cards(page)).to_have_count(6)
    expect(cards(page).first.locator("img")).to_have_count(2)  # clean and attacked, one unit
    assert page.locator("img:not([alt])").count() == 0
    sizes = [number(s.locator("b")) for s in page.locator(".fx-slice").all()]
    assert sizes[0] == 6 == sum(sizes[1:]) and sizes[1] > 0
    page.locator(".fx-slice").nth(1).click()
    expect(cards(page)).to_have_count(sizes[1])
    expect(page.locator(".fx-side-0.fx-is-broke")).to_have_count(sizes[1])
    narrow(page, sizes[1])
    save(browser, page, tmp_path, sizes[1])
    case = cards(page).first
    truth = case.locator(".fx-tick").inner_text().strip()
    case.locator(".fx-open").click()
    expect(page.locator("#rx-go")).to_be_visible()
    expect(page.locator("#rx-true input")).to_have_value(truth)
    expect(page.locator(".rx-model").first).to_contain_text(truth.split()[-1], timeout=LONG)
    expect(page.locator(".rx-status").first).to_have_text("Done.", timeout=LONG)
    assert len(page.locator("#rx-captions textarea").input_value().splitlines()) == 7
    expect(page.locator(".rx-model").first.locator(".rx-fooled")).to_be_visible()
    expect(page.locator(".rx-model").last.locator(".rx-held")).to_be_visible()


def narrow(page: Page, many: int) -> None:
    """Sorting, the range, and the cells of the matrix, by keyboard."""
    choose(page, "#fx-sort", "shift of")
    page.locator("#fx-low input").press_sequentially("3")
    expect(page.locator("#fx-gallery")).to_contain_text("No picture fits")
    page.locator("#fx-low input").press("Backspace")
    expect(cards(page)).to_have_count(many)
    page.locator("#fx-confusion").get_by_role("button").first.click()
    cell = page.locator("#fx-matrix button").first
    in_it = int(cell.inner_text())
    cell.focus()
    page.keyboard.press("Enter")
    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(cards(page)).to_have_count(in_it)
    page.click("#fx-axes label:has-text('standard, clean')")
    expect(page.locator("#fx-matrix caption")).to_contain_text("standard, clean")
    expect(cards(page)).to_have_count(many)
    page.click("#fx-layout label:has-text('table')")
    expect(page.locator(".fx-table tbody tr")).to_have_count(many)
    page.click("#fx-layout label:has-text('pictures')")
    expect(cards(page)).to_have_count(many)


def save(browser: Browser, page: Page, folder: Path, many: int) -> None:
    """A bundle that is read again, tables, and a report that opens without a network."""
    expect(page.locator("#fx-picked")).to_contain_text(f"all {many}")
    cards(page).first.locator("input").check()
    expect(page.locator("#fx-picked")).to_contain_text("1 ticked")
    file = saved(page, "#fx-csv", "failures.csv", folder)
    assert len(file.read_text("utf-8-sig").splitlines()) == 2
    assert len(read_bundle(saved(page, "#fx-bundle", ".zip", folder)).cases) == 2
    page.click("#fx-flip")
    expect(cards(page).first).to_contain_text("flips", timeout=LONG)
    page.click("#fx-none")
    expect(page.locator("#fx-picked")).to_contain_text(f"all {many}")
    sheet = saved(page, "#fx-sheet", "contact-sheet.png", folder)
    with Image.open(sheet) as picture:
        assert picture.width > 250
    report = saved(page, "#fx-report", "failures.html", folder)
    alone = browser.new_context(offline=True)
    reader = alone.new_page()
    asked: list[str] = []
    reader.on("request", lambda r: asked.append(r.url))
    reader.goto(report.as_uri())
    expect(reader.locator(".fx-card")).to_have_count(many)
    assert reader.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    expect(reader.locator("dl")).to_contain_text("sha256")
    alone.close()


def test_a_hunt_stops_goes_on_outlives_the_page_and_is_deleted(
    browser: Browser, page: Page, server: str,
) -> None:
    open_tab(page, server)
    choose(page, "#fx-place", "100 emoji")
    page.click("#fx-start")
    expect(page.locator(".fx-doing")).to_contain_text("of 100 pictures are done", timeout=LONG)
    page.reload()  # the visitor's own hunt is found again, and looked at while the tab is open
    page.get_by_role("tab", name="Failures").click()
    expect(page.locator(".fx-hunt").first).to_contain_text("running")
    expect(page.locator(".fx-doing")).to_contain_text("minute", timeout=LONG)
    page.click("#fx-stop")
    expect(page.locator(".fx-doing")).to_contain_text("Stopped after", timeout=LONG)
    reached = number(page.locator(".fx-doing"))
    assert 0 < reached < 100
    page.click("#fx-go_on")
    expect(page.locator(".fx-hunt").first).to_contain_text("running")
    page.click("#fx-stop")
    expect(page.locator(".fx-doing")).to_contain_text("Stopped after", timeout=LONG)
    assert number(page.locator(".fx-doing")) >= reached
    other = browser.new_context()
    stranger = other.new_page()
    open_tab(stranger, server)
    expect(stranger.locator("#fx-state")).to_contain_text("came with the app")
    other.close()
    page.click("#fx-delete")
    expect(page.locator("#fx-delete")).to_have_text("Yes, delete it for good")
    page.click("#fx-delete")
    expect(page.locator("#fx-state")).to_contain_text("came with the app")


def test_photos_one_by_one_with_typed_captions_attacked_both_ways(
    page: Page, server: str, tmp_path: Path,
) -> None:
    files = []
    for name, _, content in examples()[:2]:
        files.append(tmp_path / name)
        files[-1].write_bytes(content)
    open_tab(page, server)
    upload(page, *files)
    page.fill("#fx-answers textarea", "one line only")
    page.click("#fx-start")
    expect(page.locator("#fx-started .rx-error")).to_contain_text("2 pictures and 1 lines")
    page.fill("#fx-answers textarea", "a photo of a cat\na photo of a dog")
    page.click("#fx-kind label:has-text('both')")
    page.click("#fx-start")
    expect(page.locator(".fx-doing")).to_have_text("Finished: 2 pictures.", timeout=LONG)
    page.click("#fx-layout label:has-text('table')")
    expect(page.locator(".fx-table thead")).to_contain_text("words changed")
    page.click("#fx-flip")
    expect(page.locator("#fx-answer .rx-error")).to_contain_text("the photo alone")


def test_a_set_of_the_data_folder(page: Page, server: str) -> None:
    open_tab(page, server)
    choose(page, "#fx-place", "two kinds, in the data folder")
    page.click("#fx-start")
    expect(page.locator(".fx-doing")).to_have_text("Finished: 2 pictures.", timeout=LONG)


def test_mistakes_get_a_sentence(page: Page, server: str, tmp_path: Path) -> None:
    open_tab(page, server)
    page.click("#fx-stop")
    expect(page.locator("#fx-started")).to_contain_text("Nothing is running")
    choose(page, "#fx-place", "My own pictures")
    page.click("#fx-start")
    expect(page.locator("#fx-started .rx-error")).to_contain_text("Choose pictures first")
    fake = tmp_path / "set.zip"
    fake.write_text("not a zip")
    send(page, fake)
    page.click("#fx-start")
    expect(page.locator("#fx-started .rx-error")).to_contain_text("as a zip, tar or tar.gz file")
    assert page.locator(".fx-hunt").count() == 1  # the example


@SCREENS
def test_it_fits_the_screen(page: Page, server: str, width: int, height: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": height})
    open_tab(page, server, theme)
    page.fill("#fx-limit input[type=number]", "4")
    page.keyboard.press("Tab")
    page.click("#fx-start")
    expect(page.locator(".fx-doing")).to_have_text("Finished: 4 pictures.", timeout=LONG)
    expect(cards(page)).to_have_count(4)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"failures-{width}-{theme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#fx-start").bounding_box()
    assert box is not None and box["y"] + box["height"] <= height, "Start is cut off"
    page.locator("#fx-confusion").get_by_role("button").first.click()
    page.click("#fx-layout label:has-text('table')")
    expect(page.locator(".fx-table tbody tr")).to_have_count(4)
    found = violations(page)
    assert not found, told(found)
