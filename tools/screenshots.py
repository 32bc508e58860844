"""Pictures of all six tabs as somebody sees them first, for the documentation and to be looked at.

    python -m tools.screenshots [--out FOLDER] [--sizes 1366x768 1920x1080] [--themes light dark]

Starts the app, opens every tab by its address in a headless Chromium (Debian's `chromium`, with the
packages of requirements-test.txt), waits for what it opens on, and saves TAB-WIDTH-THEME.png.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from explorer.base.paths import ROOT

FIRST = {  # what each tab opens on
    "attack": "#rx-stage img", "space": "#sp-stage canvas", "failures": ".fx-cards li",
    "evaluate": "#ev-table table", "train": ".tr-gallery img", "learn": "#ln-ask"}
SETTLE = 2.5  # seconds for pictures and curves to be drawn
SIZES, THEMES = ("1366x768",), ("light",)


@contextmanager
def running(port: int) -> Iterator[str]:
    """The app on a port, with a runs folder of its own, once its models are open."""
    with tempfile.TemporaryDirectory() as runs:
        app = subprocess.Popen([sys.executable, str(ROOT / "app.py"), "--port", str(port),
                                "--runs-dir", runs], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(f"{address}/health", app)
            yield address
        finally:
            app.terminate()
            app.wait(30)


def _wait(address: str, app: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if app.poll() is not None:
            raise SystemExit("error: the app ended before it was ready")
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("error: the app was not ready within five minutes")


def take(address: str, out: Path, sizes: list[str], themes: list[str], tabs: list[str]) -> None:
    from playwright.sync_api import Error, sync_playwright

    browser = next((p for p in map(shutil.which, ("chromium", "google-chrome")) if p), None)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for size in sizes:
            width, height = map(int, size.split("x"))
            for theme in themes:
                for tab in tabs:
                    page = chromium.new_page(viewport={"width": width, "height": height})
                    page.goto(f"{address}/?tab={tab}&__theme={theme}")
                    try:
                        page.locator(FIRST[tab]).first.wait_for(timeout=120_000)
                    except Error:
                        print(f"{tab}: {FIRST[tab]} did not come", file=sys.stderr)
                    page.wait_for_timeout(SETTLE * 1000)
                    path = out / f"{tab}-{width}-{theme}.png"
                    page.screenshot(path=path)
                    page.close()
                    print(path)
        chromium.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Pictures of all six tabs.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screenshots")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--themes", nargs="+", default=list(THEMES))
    parser.add_argument("--tabs", nargs="+", choices=list(FIRST), default=list(FIRST))
    parser.add_argument("--address", help="of an app that runs already")
    parser.add_argument("--port", type=int, default=7870)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.address:
        take(args.address, args.out, args.sizes, args.themes, args.tabs)
    else:
        with running(args.port) as address:
            take(address, args.out, args.sizes, args.themes, args.tabs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
