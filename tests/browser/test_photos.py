"""Photos as visitors give them: what cannot be read is said when it arrives, and nothing of the one
before stays beside it; what only the browser cannot show is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from explorer.data.formats import know_heif

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"
BEE = (EXAMPLES / "bee.jpg").read_bytes()
PHOTO, STATUS = "#rx-photo input[type=file]", ".rx-status"
DONE = 120_000  # milliseconds

pytestmark = pytest.mark.browser


def made(kind: str, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    know_heif()
    Image.open(io.BytesIO(BEE)).resize((320, 200)).convert(mode).save(out, kind)
    return out.getvalue()


UNREADABLE = {  # name, its bytes: the sentence
    ("notes.jpg", b"Dear diary, this is no picture at all.\n"): "The file is text and not an image",
    ("cut.jpg", BEE[: len(BEE) // 3]): "The JPEG image is damaged or cut short",
    ("paper.png", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"): "The file is a PDF document",
    ("empty.png", b""): "The image file is empty",
    ("page.jpg", b"<!doctype html><html><body>404</body></html>"): "The file is a web page",
    ("big.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"):
        "The file is a Git LFS pointer",
    ("phone.heic", made("HEIF")[:400]): "is damaged or cut short",
    ("raw.jpg", bytes(range(256)) * 9): "The file is not an image this app can read",
    ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"): "SVG drawings are not supported",
}
UNKNOWN = {"phone.heic": made("HEIF"), "scan.tif": made("TIFF"), "old.tga": made("TGA"),
           "deep.jp2": made("JPEG2000")}  # to browsers


def give(page: Page, field: str, *files: tuple[str, bytes]) -> None:
    given: list[FilePayload] = [{"name": name, "mimeType": "image/jpeg", "buffer": raw}
                                for name, raw in files]
    page.set_input_files(field, given)


def widths(page: Page) -> list[int]:
    """Of the photo's pictures; 0 for a broken one."""
    found = page.locator("#rx-photo img").evaluate_all(
        "all => all.filter((img) => img.complete).map((img) => img.naturalWidth)")
    return [int(width) for width in found]


def clear(page: Page) -> None:
    page.locator("#rx-photo button[aria-label='Clear'], #rx-photo button[aria-label='Remove Image']"
                 ).first.click()


def test_a_photo_that_cannot_be_read_is_refused_when_it_arrives(page: Page, server: str) -> None:
    page.goto(server)
    expect(page.locator(STATUS)).to_have_text("Done.", timeout=DONE)
    expect(page.locator(".rx-say").first).to_be_visible()
    clear(page)
    expect(page.locator(".rx-say")).to_have_count(0)
    for (name, raw), sentence in UNREADABLE.items():
        give(page, PHOTO, (name, raw))
        expect(page.locator(".rx-error"), name).to_contain_text(sentence)
        expect(page.locator("#rx-photo img"), name).to_have_count(0)
        expect(page.locator(".rx-say"), name).to_have_count(0)
    page.click("#rx-go")  # and an attack still has none
    expect(page.locator(".rx-error")).to_contain_text("photo")
    give(page, PHOTO, ("bee.jpg", BEE))
    expect(page.locator(STATUS)).to_contain_text("Your photo is here")
    expect(page.locator(".rx-error")).to_have_count(0)
    page.click("#rx-go")
    expect(page.locator(STATUS)).to_have_text("Done.", timeout=DONE)
    expect(page.locator(".rx-say")).to_have_count(2)


def test_a_photo_that_browsers_do_not_show_is_shown(page: Page, server: str) -> None:
    page.goto(server)
    expect(page.locator(STATUS)).to_have_text("Done.", timeout=DONE)
    for name, raw in UNKNOWN.items():
        clear(page)
        expect(page.locator("#rx-photo img")).to_have_count(0)
        give(page, PHOTO, (name, raw))
        expect(page.locator(STATUS), name).to_contain_text("Your photo is here")
        page.wait_for_function("""() => [...document.querySelectorAll('#rx-photo img')].some(
            (img) => img.complete && img.naturalWidth === 320)""")
        assert widths(page) == [320], name
    page.click("#rx-go")
    expect(page.locator(STATUS)).to_have_text("Done.", timeout=DONE)


@pytest.mark.parametrize(("tab", "prefix", "said"), [
    ("Failures", "fx", "#fx-started"), ("Evaluate", "ev", "#ev-said")])
def test_several_photos_are_looked_at_when_they_arrive(page: Page, server: str, tab: str,
                                                       prefix: str, said: str) -> None:
    page.goto(server)
    expect(page.locator(STATUS).first).to_have_text("Done.", timeout=DONE)
    page.get_by_role("tab", name=tab).click()
    if prefix == "ev":
        page.get_by_text("My own pictures, and other sets").click()
    else:
        page.click("#fx-place input")
        page.get_by_role("option", name="My own pictures").click()
    give(page, f"#{prefix}-files input[type=file]", ("bee.jpg", BEE), ("notes.jpg", b"Dear diary"))
    expect(page.locator(f"{said} .rx-error")).to_have_text(
        "1 of 2 files cannot be read (notes.jpg: the file is text and not an image this app can "
        "read: use PNG or JPEG): the others are used.")
