"""Pictures of a folder or an archive with what they show, and which of its files are pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from explorer.data.containers import Box
from explorer.data.finding import ENDING

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif",
            ".jfif", ".jpe", ".pjpeg", ".pjp", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx",
            ".jpf", ".tga", ".pgm", ".pbm", ".pnm", ".dib", ".ico", ".mpo", ".apng")
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*",
         b"\0\0\0\x0cjP  ")
ALONE = "no caption beside it"
SNIFFED = 200  # files of an archive without an ending whose first bytes are looked at


@dataclass(frozen=True)
class Listing:
    """names: the picture of each example; answers: its class name, or its captions."""

    names: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    are_captions: bool


def is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def in_order(box: Box, listed: dict[str, tuple[str, ...]], are_captions: bool) -> Listing:
    """In the order of the box, in which its files are read fastest."""
    names = tuple(name for name in box.files if name in listed)
    return Listing(names, tuple(listed[name] for name in names), are_captions)


def starts_like_one(raw: bytes) -> bool:
    """Whether the first bytes are those of a picture."""
    return (raw.startswith(MAGIC) or (raw[:4] == b"RIFF" and raw[8:12] == b"WEBP")
            or (raw[4:8] == b"ftyp" and raw[8:12] in (b"heic", b"heix", b"mif1", b"avif", b"msf1")))


def pictures_of(box: Box) -> tuple[str, ...]:
    """The pictures of a box: by their endings; of files without one by their first bytes."""
    bare = [name for name in box.files if not ENDING.search(name.rsplit("/", 1)[-1])]
    fit = set(_sniffed(box, bare)) if bare else set()
    return tuple(name for name in box.files if is_picture(name) or name in fit)


def _sniffed(box: Box, names: Sequence[str]) -> list[str]:
    looked, found = names[:SNIFFED], []
    for name, raw in zip(looked, box.contents(looked), strict=True):
        if starts_like_one(raw[:32] if isinstance(raw, bytes) else _head(raw)):
            found.append(name)
    more = names[SNIFFED:] if looked and len(found) == len(looked) else ()
    return [*found, *more]


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(32)
    except OSError:
        return b""
