"""Any picture file and any caption: the right pixels, or one sentence."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from explorer.attacks.image.classic import FGSM
from explorer.attacks.run import run
from explorer.base.errors import InputError
from explorer.data.formats import without_texts
from explorer.data.pairs import (
    MAX_CAPTION,
    MAX_CAPTIONS,
    Pairs,
    clean_captions,
    one_pair,
    open_image,
    to_image,
    to_pixels,
)
from explorer.models.encoder import DualEncoder

RED, WHITE = (200, 30, 40), (255, 255, 255)
Pixel = tuple[int, int, int]
Colour = float | tuple[int, ...]


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def two(mode: str = "RGB", left: Colour = RED, right: Colour = WHITE) -> Image.Image:
    """40 x 20 pixels: one colour on the left, another on the right."""
    image = Image.new(mode, (40, 20), left)
    image.paste(right, (20, 0, 40, 20))
    return image


def rotated() -> bytes:
    """Stored lying on its side; its EXIF says to turn it a quarter clockwise (orientation 6)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(two(), exif=exif)


def palette() -> bytes:
    image = Image.new("P", (40, 20), 0)
    image.putpalette([*RED, 9, 9, 9])
    image.paste(1, (20, 0, 40, 20))
    return saved(image, transparency=1)


def animated() -> bytes:
    return saved(two(), "GIF", save_all=True, append_images=[Image.new("RGB", (40, 20), "blue")])


def deep(left: int, right: int) -> bytes:
    values = np.full((20, 40), left, np.uint16)
    values[:, 20:] = right
    return saved(Image.fromarray(values))


def heic(image: Image.Image) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return saved(image, "HEIF", quality=95)


def texts() -> PngInfo:
    """What some editors write into a PNG: more than Pillow reads."""
    info = PngInfo()
    info.add_text("parameters", "a red half " * 200_000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "<x/>" * 400_000, zip=True)
    return info


def colours(image: Image.Image) -> tuple[Pixel, Pixel]:
    """The colours in the middle of the left and of the right half."""
    w, h = image.size
    left, right = (image.getpixel((x, h // 2)) for x in (w // 4, 3 * w // 4))
    return left, right  # type: ignore[return-value]


GOOD: dict[str, tuple[Callable[[], bytes], tuple[int, int], Pixel, Pixel, int]] = {
    # name: file, size, left colour, right colour, tolerance (lossy formats)
    "rgb": (lambda: saved(two()), (40, 20), RED, WHITE, 0),
    "jpeg": (lambda: saved(two(), "JPEG", quality=95), (40, 20), RED, WHITE, 4),
    "webp": (lambda: saved(two(), "WEBP", lossless=True), (40, 20), RED, WHITE, 0),
    "cmyk": (lambda: saved(two("CMYK", (0, 255, 255, 0), (0, 0, 0, 0)), "TIFF"), (40, 20),
             (255, 0, 0), WHITE, 0),
    "cmyk jpeg": (lambda: saved(two("CMYK", (0, 255, 255, 0), (0, 0, 0, 0)), "JPEG"), (40, 20),
                  (255, 0, 0), WHITE, 6),
    "16-bit": (lambda: deep(0x8080, 0xFFFF), (40, 20), (128,) * 3, WHITE, 0),
    "dark 16-bit": (lambda: deep(0, 255), (40, 20), (0, 0, 0), (1, 1, 1), 0),
    "grey": (lambda: saved(two("L", 70, 200)), (40, 20), (70,) * 3, (200,) * 3, 0),
    "grey and alpha": (lambda: saved(two("LA", (70, 255), (70, 0))), (40, 20), (70,) * 3, WHITE, 0),
    "one bit": (lambda: saved(two("1", 0, 1)), (40, 20), (0, 0, 0), WHITE, 0),
    "rgba": (lambda: saved(two("RGBA", (*RED, 255), (0, 0, 0, 0))), (40, 20), RED, WHITE, 0),
    "half transparent": (lambda: saved(two("RGBA", (*RED, 255), (0, 0, 0, 128))), (40, 20), RED,
                         (127,) * 3, 1),
    "palette": (palette, (40, 20), RED, WHITE, 0),
    "turned": (rotated, (20, 40), WHITE, WHITE, 0),  # its left half is on top
    "animated": (animated, (40, 20), RED, WHITE, 0),
    "phone": (lambda: saved(two(), "MPO", save_all=True, quality=95,
                            append_images=[Image.new("RGB", (40, 20))]), (40, 20), RED, WHITE, 4),
    "heic": (lambda: heic(two().resize((64, 48), 0)), (64, 48), RED, WHITE, 4),
    "jpeg 2000": (lambda: saved(two(), "JPEG2000"), (40, 20), RED, WHITE, 0),
    "tga": (lambda: saved(two(), "TGA"), (40, 20), RED, WHITE, 0),
    "pages": (lambda: saved(two(), "TIFF", save_all=True,
                            append_images=[Image.new("RGB", (40, 20))]), (40, 20), RED, WHITE, 0),
    "12 bits in 16": (lambda: deep(2048, 4095), (40, 20), (128,) * 3, WHITE, 0),
    "1x1": (lambda: saved(Image.new("RGB", (1, 1), RED)), (1, 1), RED, RED, 0),
    "wide": (lambda: saved(two().resize((3000, 20), 0)), (3000, 20), RED, WHITE, 0),
}


@pytest.mark.parametrize("name", GOOD)
def test_pictures_that_can_be_read(name: str, tiny: DualEncoder, tmp_path: Path) -> None:
    make, size, left, right, near = GOOD[name]
    raw = make()
    (tmp_path / "picture.png").write_bytes(raw)
    image = open_image(raw)
    assert image.mode == "RGB" and image.size == size
    for got, want in zip(colours(image), (left, right), strict=True):
        assert max(abs(a - b) for a, b in zip(got, want, strict=True)) <= near
    for other in (tmp_path / "picture.png", str(tmp_path / "picture.png"),
                  Image.open(io.BytesIO(raw))):
        assert open_image(other).tobytes() == image.tobytes()

    pairs = one_pair(image, ["a cat", "a dog"], 0, tiny.size)
    assert pairs.images.shape == (1, 3, 32, 32) and pairs.images.dtype == torch.float32
    result = run(FGSM(8 / 255), tiny, pairs)
    assert bool(result.changed.all()) and bool((result.linf_255 <= 8).all())


def test_a_png_with_large_texts_is_read_without_them() -> None:
    raw = saved(two(), pnginfo=texts())
    with pytest.raises(ValueError, match="MAX_TEXT_CHUNK"):
        Image.open(io.BytesIO(raw)).load()
    assert open_image(raw).tobytes() == two().tobytes()
    assert without_texts(saved(two())) == saved(two())
    assert without_texts(raw[:60]) is not None  # a cut file does no harm


def test_turned_pictures_stand_upright() -> None:
    image = open_image(rotated())
    assert [image.getpixel((10, y)) for y in (5, 35)] == [RED, WHITE]


def bomb(width: int, height: int) -> bytes:
    """A PNG of 60 bytes that claims to be huge."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(
            ">I", zlib.crc32(kind + body))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
            + chunk(b"IEND", b""))


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "truncated png": (lambda: saved(Image.effect_noise((60, 60), 90))[:900], "cut short"),
    "truncated jpeg": (lambda: saved(Image.effect_noise((60, 60), 90), "JPEG")[:900], "cut short"),
    "only a header": (lambda: saved(two())[:20], "damaged|not an image"),
    "bomb": (lambda: bomb(60_000, 60_000), "pixels; at most 40 million"),
    "small bomb": (lambda: bomb(8_000, 5_001), "8000 x 5001 pixels; at most 40 million"),
    "text": (lambda: b"this is a letter, not a picture\n" * 20, "not an image"),
    "a web page": (lambda: b"\n<!DOCTYPE html><html><body>404", "web page.* and not an image"),
    "a git lfs pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "a film": (lambda: b"\0\0\0 ftypisom" + bytes(40), "an MP4 film and not an image"),
    "dicom": (lambda: bytes(128) + b"DICM" + bytes(9), "a DICOM image"),
    "a cut heic": (lambda: heic(two().resize((64, 48), 0))[:200], "the HEIC photo is damaged"),
    "numpy": (lambda: b"\x93NUMPY\1\0", "a NumPy array and not"),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9"/>', "SVG"),
    "svg with a head": (lambda: b'\n<?xml version="1.0"?><svg width="9"/>', "SVG"),
    "pdf": (lambda: b"%PDF-1.7\n%stuff", "a PDF document and not an image"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
}


def sentence(error: pytest.ExceptionInfo[InputError]) -> str:
    """The message, which must be one line for a person."""
    text = str(error.value)
    assert text and "\n" not in text and "\0" not in text and len(text) < 300
    assert "Traceback" not in text and "object at 0x" not in text
    return text


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD)
def test_pictures_that_cannot(name: str, tmp_path: Path) -> None:
    make, say = BAD[name]
    file = tmp_path / "picture.png"
    file.write_bytes(make())
    for source in (make(), file):
        with pytest.raises(InputError, match=say) as error:
            open_image(source)
        sentence(error)


@pytest.mark.parametrize(("path", "say"), [
    ("", "Is a directory"), ("missing.png", "missing.png: No such file"),
    ("nul\0inside.png", r"nul\?inside.png: not a usable path"), ("x" * 300, "name too long"),
])
def test_paths_that_cannot_be_read(path: str, say: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=say) as error:
        open_image(f"{tmp_path}/{path}")
    sentence(error)


def test_a_file_that_never_ends_is_given_up() -> None:
    with pytest.raises(InputError, match="larger than 40 MB") as error:
        open_image("/dev/zero")
    sentence(error)


def test_a_half_read_picture_of_another_library() -> None:
    cut = Image.open(io.BytesIO(saved(Image.effect_noise((60, 60), 90))[:900]))
    with pytest.raises(InputError, match="cut short") as error:
        open_image(cut)
    sentence(error)


# --- large pictures -------------------------------------------------------------------------

MEASURE = """
import sys, time
from explorer.data.pairs import open_image

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

before, start = peak(), time.perf_counter()
image = open_image(sys.argv[1])
print(*image.size, peak() - before, time.perf_counter() - start)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's peak memory")
@pytest.mark.parametrize("mode", ["I;16", "RGBA"])
def test_large_pictures_take_little_memory_and_time(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    Image.new(mode, (6000, 6000)).save(file, compress_level=1)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(file)], capture_output=True,
                          text=True, check=True, cwd=Path(__file__).parents[1])
    width, height, kilobytes, seconds = map(float, done.stdout.split())
    assert (width, height) == (2000, 2000)
    assert kilobytes < 500_000 and seconds < 10


def test_large_pictures_become_the_mean_of_whole_blocks() -> None:
    """4100 x 4300 by blocks of 3 x 3, across the seams of tiles and with parts at the edges."""
    small = np.random.default_rng(0).integers(0, 256, (1434, 1367, 3), dtype=np.uint8)
    blocks = small.repeat(3, 0).repeat(3, 1)[:4300, :4100]
    assert np.array_equal(np.array(open_image(Image.fromarray(blocks))), small)
    deep = (small[..., 0].astype(np.uint16) * 257).repeat(3, 0).repeat(3, 1)[:4300, :4100]
    assert np.array_equal(np.array(open_image(Image.fromarray(deep)))[..., 1], small[..., 0])


def test_sizes_up_to_the_limit_are_kept() -> None:
    assert open_image(Image.new("RGB", (2048, 5000))).size == (2048, 5000)
    assert open_image(Image.new("L", (5000, 2049))).size == (2500, 1025)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_large_turned_pictures_stand_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = open_image(saved(two().resize((4200, 2100), 0), kind, exif=exif))
    assert image.size == (1050, 2100)
    for y, want in ((500, RED), (1600, WHITE)):
        got = image.getpixel((500, y))
        assert isinstance(got, tuple)
        assert max(abs(a - b) for a, b in zip(got, want, strict=True)) <= 4


# --- pixels ---------------------------------------------------------------------------------


def test_pixels_of_the_right_size_are_the_file_itself() -> None:
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pixels = to_pixels(Image.fromarray(values), 32)
    assert torch.equal((pixels * 255).round().to(torch.uint8).permute(1, 2, 0),
                       torch.from_numpy(values))
    assert np.array_equal(np.array(to_image(pixels)), values)


def test_the_centre_square_is_taken() -> None:
    image = Image.new("RGB", (300, 100), "black")
    image.paste(RED, (100, 0, 200, 100))
    pixels = to_pixels(image, 10)
    assert bool((pixels[:, 2:-2, 2:-2].amax((1, 2)) * 255 == torch.tensor(RED)).all())
    tall = to_pixels(image.transpose(Image.Transpose.TRANSPOSE), 10)
    assert torch.equal(tall.transpose(1, 2), pixels)


def test_resizing_agrees_with_open_clip() -> None:
    """Its evaluation transform, but for the rounding to whole pixels of a centre crop."""
    from open_clip.transform import image_transform

    noise = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((180, 120), Image.Resampling.BICUBIC)
    theirs = image_transform(60, is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3)(image)
    assert float((to_pixels(image, 60) - theirs).abs().max()) <= 2.01 / 255


@pytest.mark.parametrize(("shape", "fill", "labels", "say"), [
    ((1, 3, 8), 0.0, [0], "shape"), ((1, 1, 8, 8), 0.0, [0], "shape"),
    ((1, 3, 8, 8), 1.1, [0], "between 0 and 1"), ((1, 3, 8, 8), -0.1, [0], "between 0 and 1"),
    ((1, 3, 8, 8), float("nan"), [0], "between 0 and 1"),
    ((1, 3, 8, 8), 0.301, [0], "whole grey levels"),
    ((1, 3, 8, 8), 0.0, [0, 1], "one label"), ((1, 3, 8, 8), 0.0, [2], "0 to 1"),
    ((1, 3, 8, 8), 0.0, [-1], "0 to 1"),
])
def test_wrong_pairs_are_refused(shape: tuple[int, ...], fill: float, labels: list[int],
                                 say: str) -> None:
    with pytest.raises(InputError, match=say) as error:
        Pairs(torch.full(shape, fill), ("a", "b"), torch.tensor(labels))
    sentence(error)


# --- captions -------------------------------------------------------------------------------

KEPT: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "one": (["a cat"], ["a cat"]),
    "two hundred": ([f"thing {k}" for k in range(200)], [f"thing {k}" for k in range(200)]),
    "chinese": (["一只猫", "一条狗"], ["一只猫", "一条狗"]),
    "emoji": (["a 🐱", "👨‍👩‍👧 at home"], ["a 🐱", "👨‍👩‍👧 at home"]),
    "right to left": (["قطة صغيرة", "می‌خواهم"], ["قطة صغيرة", "می‌خواهم"]),
    "spaces": (["  a\u00a0 cat \n", "a\tdog"], ["a cat", "a dog"]),
    "control characters": (["a\x00b\x1b[31m cat", "x\ud800y"], ["a b [31m cat", "x y"]),
    "invisible": (["co\u00adop", "\ufeffa\u202ecat"], ["coop", "acat"]),
}
REFUSED: dict[str, tuple[Sequence[str], str]] = {
    "none": ([], "at least one caption"),
    "empty": (["a cat", ""], "caption 2 is empty"),
    "blank": (["  \t\n", "a cat"], "caption 1 is empty"),
    "only invisible": (["a cat", "\u200d\u200c \ufeff"], "caption 2 is empty"),
    "ten thousand characters": (["a cat", "long " * 2000], "caption 2 has 9,999 characters"),
    "too many": ([f"c {k}" for k in range(MAX_CAPTIONS + 1)], "at most 2000"),
    "twice": (["a cat", "a dog", "a  cat "], "captions 1 and 3 are the same: 'a cat'"),
}


@pytest.mark.parametrize("name", KEPT)
def test_captions_that_are_kept(name: str, tiny: DualEncoder, pocket: DualEncoder) -> None:
    given, want = KEPT[name]
    tidy = clean_captions(given)
    assert tidy == tuple(want)
    assert clean_captions(tidy) == tidy
    for model in (tiny, pocket):
        text = model.encode_text(tidy)
        assert text.shape == (len(tidy), model.dim)
        torch.testing.assert_close(text.norm(dim=1), torch.ones(len(tidy)))
    image = two().resize((32, 32))
    goal = "classification" if len(tidy) > 1 else "similarity"
    result = run(FGSM(8 / 255), tiny, one_pair(image, given, 0, tiny.size), goal)
    assert bool(result.changed.all()) and result.adversarial.cosines.shape == (1, len(tidy))


def test_a_caption_of_full_length_can_be_read(tiny: DualEncoder, pocket: DualEncoder) -> None:
    longest = clean_captions(["w " * (MAX_CAPTION // 2 - 1) + "zz"])
    assert len(longest[0]) == MAX_CAPTION
    for model in (tiny, pocket):
        assert bool(torch.isfinite(model.encode_text(longest)).all())


@pytest.mark.parametrize("name", REFUSED)
def test_captions_that_are_refused(name: str) -> None:
    given, say = REFUSED[name]
    with pytest.raises(InputError, match=say) as error:
        clean_captions(given)
    sentence(error)
