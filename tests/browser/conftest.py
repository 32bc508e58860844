"""The app as a separate process, and a headless Chromium that talks to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serving import ROOT, app

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
expect.set_options(timeout=30_000)  # milliseconds: what is waited for is there, not how fast


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running app, started as a program; with a runs folder of its own, and in
    its data folder a set of two photos and one that cannot be read."""
    root = tmp_path_factory.mktemp("app")
    for name in ("cat", "dog"):
        (root / "data" / "two kinds" / name).mkdir(parents=True)
        photo = (ROOT / "assets" / "examples" / f"{name}.jpg").read_bytes()
        (root / "data" / "two kinds" / name / "1.jpg").write_bytes(photo)
    (root / "data" / "dtd").mkdir()  # empty
    with app(root / "log", "--runs-dir", str(root / "runs"), "--data", str(root / "data"),
             seconds=300, fresh=True) as running:
        yield f"{running.address}/"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((p for p in map(shutil.which, names) if p), None)
    assert path, "no Chromium found: run the tests by `make test`, which installs it"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh visitor at 1366x768; fails on page errors and on requests to other hosts."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    visitor = context.new_page()
    visitor.set_default_timeout(120_000)
    trouble: list[str] = []
    visitor.on("pageerror", lambda error: trouble.append(str(error)))
    local = ("http://127.0.0.1", "data:", "blob:")
    visitor.on("request", lambda r: None if r.url.startswith(local) else trouble.append(r.url))
    yield visitor
    context.close()
    assert not trouble, trouble
