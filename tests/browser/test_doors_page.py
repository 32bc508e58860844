"""One of test_doors' questions by the page itself: set by hand, run, saved, and compared with what
the notebook answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from explorer.actions import notebook
from explorer.data.examples import load_examples
from explorer.results.bundle import read_bundle

LONG = 240_000  # milliseconds
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def test_the_page_saves_what_the_notebook_answers(page: Page, server: str, tmp_path: Path) -> None:
    cat = load_examples()["cat"]
    page.goto(server)
    status = page.locator(".rx-status").first
    expect(status).to_have_text("Done.", timeout=LONG)
    page.click("text=More settings")
    page.locator("#rx-eps input[type=number]").fill("8")
    page.locator("#rx-eps input[type=number]").press("Tab")
    page.locator("input[aria-label^='number input for Steps']:visible").fill("5")
    page.locator("input[aria-label^='number input for Steps']:visible").press("Tab")
    page.fill("#rx-target input", cat.target)
    page.keyboard.press("Enter")
    page.evaluate("document.querySelector('.rx-status').textContent = ''")  # of the first screen
    page.click("#rx-go")
    expect(status).to_have_text("Done.", timeout=LONG)
    with page.expect_download() as got:
        page.get_by_role("link", name="Bundle that replays (zip)").click()
    got.value.save_as(tmp_path / "case.zip")

    kept = read_bundle(tmp_path / "case.zip")
    answer = notebook.attack(cat.path, list(cat.captions), cat.true, models=list(kept.models),
                             target=cat.target, eps="8/255", steps=5)
    assert len(kept.cases) == 2
    for entry, (model, result) in zip(kept.cases, answer.results.items(), strict=True):
        said = dict(entry.numbers["attack"])
        asked = {key: said.pop(key) for key in ("name", "goal", "target", "seed")}
        assert asked == {"name": "pgd", "goal": "classification", "target": cat.target, "seed": 0}
        assert entry.numbers["model"] == model and said == pytest.approx(result.settings)
        assert entry.numbers["adversarial"]["captions"] == list(result.adversarial_captions[0])
        assert entry.numbers["success"] == bool(result.success[0])
        assert (entry.adversarial == result.adversarial_images[0]).all(), f"{model}: other pixels"
