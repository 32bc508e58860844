"""A model is trained from the page: the tab is closed, found again by another visitor, compared."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from explorer.base.errors import InputError
from explorer.jobs.processes import ProcessJobs

expect.set_options(timeout=60_000)
ROOT = Path(__file__).resolve().parents[2]
SHOTS = Path(__file__).parent / "shots"
LONG = 600_000  # milliseconds; a run starts, measures, trains and measures again
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app with a runs folder of its own."""
    runs = tmp_path_factory.mktemp("runs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "app.py", "--port", str(port), "--runs-dir",
                                str(runs)], cwd=ROOT)
    address = f"http://127.0.0.1:{port}/"
    deadline = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                break
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, "the app ended while starting"
            assert time.monotonic() < deadline, "the app did not answer within 300 s"
            time.sleep(0.3)
    yield address
    process.terminate()
    process.wait(60)
    jobs = ProcessJobs(runs)
    for job in jobs.list():  # runs outlive the app; what a failed test left goes on for hours
        with suppress(InputError):
            jobs.end(job.id)


def open_tab(page: Page, server: str, theme: str = "light") -> None:
    page.goto(f"{server}?__theme={theme}")
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#tr-start")).to_be_visible()
    expect(page.locator("#tr-watch .tr-off, #tr-watch .tr-run").first).to_be_visible()


def settle(page: Page, passes: str, batch: str = "4") -> None:
    """A run of a few small steps on the shipped sample."""
    page.click("#tr-budget label:has-text('passes')")
    page.fill("#tr-amount input", passes)
    page.click("#tr-form >> text=More settings")
    page.fill("#tr-batch input", batch)
    page.fill("#tr-probe input", "4")
    page.keyboard.press("Tab")


def test_a_run_survives_its_tab_and_is_compared_with_its_base(
    browser: Browser, page: Page, server: str,
) -> None:
    first = browser.new_context().new_page()
    first.set_default_timeout(120_000)
    open_tab(first, server)
    an_example(first)
    settle(first, "0.0106")  # four steps
    first.click("#tr-start")
    expect(first.locator("#tr-said")).to_contain_text("has started")
    expect(first.locator(".tr-run .tr-state").first).to_contain_text("running")
    expect(first.locator(".tr-say")).not_to_be_empty()
    first.context.close()

    open_tab(page, server)  # another visitor, later
    name = page.locator(".tr-run b").first.inner_text()
    assert name.startswith("pocket-tecoa-")
    expect(page.locator(".tr-run .tr-state").first).to_contain_text("finished", timeout=LONG)
    expect(page.locator(".tr-say")).to_contain_text("step 4 of 4")
    charts = page.locator(".tr-chart svg[role=img]")
    expect(charts).to_have_count(2)
    assert "under attack from" in str(charts.first.get_attribute("aria-label"))
    assert "from" in str(charts.last.get_attribute("aria-label"))
    assert page.locator("img:not([alt])").count() == 0
    look(page)
    page.click("#tr-watch >> text=What it printed")
    page.click("#tr-tail")
    expect(page.locator(".tr-pre")).to_contain_text("step 4/4")
    page.click("#tr-compare")
    shown = page.locator(".tr-compared li")
    expect(shown).to_have_count(4, timeout=LONG)  # all that were held out
    expect(page.locator(".tr-compared h4")).to_contain_text(f"{name} reads")
    truth = shown.first.locator("b").inner_text()
    shown.first.locator(".tr-open").click()
    expect(page.locator("#rx-go")).to_be_visible()
    expect(page.locator("#rx-true input")).to_have_value(re.compile(f"{re.escape(truth)}$"))
    expect(page.locator(".rx-name").last).to_have_text(name, timeout=LONG)
    expect(page.locator(".rx-name").first).to_have_text("pocket")
    expect(page.locator(".rx-status").first).to_have_text("Done.", timeout=LONG)
    open_tab(page, server)  # and a reload lists it as a base
    page.click("#tr-base input")
    expect(page.get_by_role("option", name=name)).to_be_visible()
    page.keyboard.press("Escape")
    keep(page)


def keep(page: Page) -> None:
    """A name and a note, the model as a file, curves beside another's; and it is deleted."""
    page.click("#tr-beside input")
    page.get_by_role("option").nth(1).click()
    expect(page.locator(".tr-chart .tr-legend").first.locator("span")).to_have_count(4)
    page.click("#tr-watch >> text=Name, note, files")
    page.fill("#tr-name input, #tr-name textarea", "first of all")
    page.fill("#tr-note textarea", "four steps")
    page.click("#tr-save")
    expect(page.locator(".tr-run b").first).to_have_text("first of all")
    expect(page.locator(".tr-written")).to_have_text("four steps")
    page.click("#tr-pack")
    link = page.locator("#tr-model-file a[href$='.zip']").first
    with page.expect_download() as download:
        link.click()
    assert download.value.path().stat().st_size > 1e7
    page.click("#tr-delete")
    page.click("#tr-no")
    expect(page.locator("#tr-yes")).to_be_hidden()
    page.click("#tr-delete")
    page.click("#tr-yes")
    expect(page.locator(".tr-run b", has_text="first of all")).to_have_count(0)


def an_example(page: Page) -> None:
    """What came with the app, before any run: its curves, its pictures and its comparison."""
    expect(page.locator(".tr-say")).to_contain_text("came with the app")
    expect(page.locator(".tr-chart svg[role=img]")).to_have_count(2)
    expect(page.locator(".tr-frames img")).to_have_count(3)
    expect(page.locator(".tr-compared li")).to_have_count(9)
    assert page.locator(".tr-compared .tr-open").count() == 0  # its model did not come along
    expect(page.locator("#tr-orders")).to_be_hidden()


def look(page: Page) -> None:
    """The pictures over time: the slider changes them, by keyboard, and stays where it is put."""
    pictures = page.locator(".tr-frames img")
    expect(pictures).to_have_count(3)
    last = pictures.first.get_attribute("src")
    assert last and last.startswith("data:image/png;base64,") and len(last) > 1000
    page.focus(".tr-time input")
    page.keyboard.press("Home")
    expect(page.locator(".tr-time output")).to_have_text("0")
    assert pictures.first.get_attribute("src") != last
    page.keyboard.press("End")
    expect(page.locator(".tr-time output")).to_have_text("4")
    assert pictures.first.get_attribute("src") == last


def test_pause_resume_stop_and_the_queue(page: Page, server: str) -> None:
    open_tab(page, server)
    settle(page, "50")
    page.click("#tr-start")
    newest = page.locator(".tr-run").first
    expect(newest.locator(".tr-state")).to_contain_text("running")
    expect(page.locator(".tr-facts")).to_contain_text("Time left", timeout=LONG)
    page.click("#tr-pause")
    expect(page.locator("#tr-resume")).to_be_visible()
    expect(page.locator(".tr-say")).to_contain_text("Paused after step")
    page.click("#tr-start")  # a second one has to wait
    expect(page.locator("#tr-said")).to_contain_text("waits for its turn")
    expect(page.locator(".tr-say")).to_contain_text("it is the next")
    page.click("#tr-stop")
    expect(newest.locator(".tr-state")).to_contain_text("stopped")
    page.locator(".tr-run").nth(1).click()
    page.click("#tr-resume")
    expect(page.locator("#tr-pause")).to_be_visible()
    page.click("#tr-stop")
    expect(page.locator("#tr-end")).to_be_visible()
    expect(page.locator(".tr-run").nth(1).locator(".tr-state")).to_contain_text(
        "finished", timeout=LONG)
    expect(page.locator("#tr-compare")).to_be_visible()


def test_mistakes_get_a_sentence(page: Page, server: str, tmp_path: Path) -> None:
    open_tab(page, server)
    before = page.locator(".tr-run").count()
    page.click("#tr-data label:has-text('My own')")
    page.click("#tr-start")
    expect(page.locator("#tr-said .rx-error")).to_contain_text("Choose a file")
    fake = tmp_path / "pictures.zip"
    fake.write_text("not a zip")
    page.set_input_files("#tr-file input[type=file]", fake)
    page.wait_for_timeout(1500)
    page.click("#tr-start")
    expect(page.locator("#tr-said .rx-error")).to_contain_text("pictures.zip")
    page.click("#tr-data label:has-text('by kind')")
    page.fill("#tr-amount input", "0")
    page.click("#tr-start")
    expect(page.locator("#tr-said .rx-error")).to_contain_text("more than 0")
    assert page.locator(".tr-run").count() == before


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (1920, 1080)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_the_screen(page: Page, server: str, width: int, height: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": height})
    open_tab(page, server, theme)
    if page.locator(".tr-run").count():
        expect(page.locator(".tr-panel")).to_be_visible()
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"train-{width}-{theme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#tr-start").bounding_box()
    assert box is not None and box["y"] + box["height"] <= height, "Start is cut off"
