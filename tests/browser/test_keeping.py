"""A finished case taken along and brought back: as a bundle, as a page, opened by somebody else."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

LONG = 120_000  # milliseconds

pytestmark = pytest.mark.browser


def finished(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator(".rx-status").first).to_have_text("Done.", timeout=2 * LONG)
    expect(page.get_by_text("Keep this case:")).to_be_visible()


def open_bundle(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.click("#rx-open")
    chooser.value.set_files(file)


def save(page: Page, name: str, role: str, path: Path) -> Path:
    with page.expect_download() as got:
        page.get_by_role(role, name=name).click()  # type: ignore[arg-type]
    got.value.save_as(path)
    return path


@pytest.mark.timeout(600)
def test_a_bundle_brings_the_view_back(page: Page, server: str, tmp_path: Path) -> None:
    finished(page, f"{server}?tab=attack&image=dog&kind=image&attack=fgsm&seed=3&goal=similarity"
             "&settings=%7B%22eps%22%3A0.00784313725490196%7D")
    expect(page.locator(".rx-facts").first).to_contain_text("L∞ 2/255", timeout=LONG)
    expect(page.locator(".rx-status").first).to_have_text("Done.", timeout=LONG)  # the link's run
    said = page.locator(".rx-say").all_inner_texts()
    numbers = page.locator(".rx-bars .rx-num").all_inner_texts()
    words = page.locator("#rx-captions textarea").input_value()
    kept = save(page, "Bundle that replays (zip)", "link", tmp_path / "case.zip")
    main = json.loads(zipfile.ZipFile(kept).read("bundle.json"))
    assert main["format"] == 1 and len(main["runs"]) == 2

    finished(page, server)  # a fresh page, with another photo and attack
    assert page.locator(".rx-say").all_inner_texts() != said
    page.get_by_text("More settings", exact=True).click()
    open_bundle(page, kept)
    expect(page.locator(".rx-status").first).to_contain_text("This is the saved case", timeout=LONG)
    expect(page.locator("#rx-captions textarea")).to_have_value(words)
    assert page.locator(".rx-say").all_inner_texts() == said
    assert page.locator(".rx-bars .rx-num").all_inner_texts() == numbers
    expect(page.get_by_label("Seed")).to_have_value("3")
    expect(page.get_by_role("listbox", name="Goal").or_(page.get_by_label("Goal")).first
           ).to_have_value("similarity: tear photo and caption apart")

    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(kept) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            raw = old.read(name)
            new.writestr(name, raw[:-20] + bytes(20) if name.endswith("adversarial.png") else raw)
    open_bundle(page, broken)
    expect(page.locator(".rx-error").first).to_contain_text("its hash differs", timeout=LONG)


@pytest.mark.timeout(600)
def test_a_kept_page_opens_offline(page: Page, server: str, browser: Browser, tmp_path: Path,
                                   ) -> None:
    finished(page, server)
    said = page.locator(".rx-say").all_inner_texts()
    kept = save(page, "Page that opens offline", "button", tmp_path / "case.html")
    alone = browser.new_context(offline=True)
    try:
        reader = alone.new_page()
        asked: list[str] = []
        reader.on("request", lambda r: asked.append(r.url))
        reader.goto(kept.as_uri())
        assert reader.locator(".rx-say").all_inner_texts() == said
        assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
        assert reader.evaluate("[...document.images].every((i) => i.naturalWidth > 0)")
        step = reader.locator(".rx-step").first
        step.fill("0")
        expect(reader.locator(".rx-steps output").first).to_have_text("0")
        for dead in ("[data-strong]", "[data-signs]", "[data-page]"):
            expect(reader.locator(dead)).to_have_count(0)
    finally:
        alone.close()
