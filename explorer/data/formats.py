"""Kinds of picture files: which are read, what a file that is none of them is, and what stands in
the way of reading a good one."""

from __future__ import annotations

import re

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "ICO", "AVIF", "HEIF",
           "JPEG2000", "TGA")
HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
PNG = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
STARTS = (  # (first bytes, what it is): PRONOM and the formats' own documents
    (b"%PDF", "a PDF document"), (b"%!PS", "a PostScript drawing"), (b"8BPS", "a Photoshop file"),
    (b"PK\3\4", "a zip archive (or a document of Word or the like)"), (b"Rar!", "a rar archive"),
    (b"7z\xbc\xaf", "a 7z archive"), (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "packed with bzip2: unpack it"), (b"\xfd7zXZ\0", "packed with xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it"),
    (b"v/1\1", "an OpenEXR image"), (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"), (b"PAR1", "a parquet file"), (b"SIMPLE  =", "a FITS image"),
    (b"\xff\x0a", "a JPEG XL image"), (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\x1aE\xdf\xa3", "a WebM or Matroska film"), (b"ID3", "a sound file"),
    (b"RIFF", "a film or sound file"), (b"FUJIFILM", "a raw photo of a camera"),
    (b"#?RADIANCE", "a Radiance HDR image"), (b"version https://git-lfs",
     "a Git LFS pointer, which stands for a picture that was not downloaded (git lfs pull)"))
BRANDS = {b"qt  ": "a QuickTime film", b"crx ": "a raw photo of a camera", b"M4A ": "a sound file"}


def kind_of(raw: bytes) -> str:
    """What a file that is no picture this app reads seems to be, with its article; "" if unknown.

    raw: its bytes, of which the first few hundred are looked at.
    """
    for start, kind in STARTS:
        if raw.startswith(start):
            return kind
    if raw[128:132] == b"DICM":
        return "a DICOM image"
    if raw[4:8] == b"ftyp":
        return BRANDS.get(raw[8:12], "an MP4 film")
    head = raw[:400].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")) or b"<html" in head:
        return "a web page, perhaps one that a download left in the place of the picture,"
    try:
        text = raw[:400].decode("utf-8") if raw[:400].isascii() else ""
    except UnicodeDecodeError:
        return ""
    return "text" if text and all(c.isprintable() or c.isspace() for c in text) else ""


def is_heif(raw: bytes) -> bool:
    return raw[4:8] == b"ftyp" and raw[8:12] in HEIF


def know_heif() -> bool:
    """Teaches Pillow to read HEIC photos; False where the library for it is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def without_texts(raw: bytes) -> bytes:
    """A PNG without its text chunks (PNG specification 1.2, section 4.2.3): Pillow refuses those
    above 1 MB, which editors and generators of images write."""
    if not raw.startswith(PNG) or not re.search(b"tEXt|zTXt|iTXt", raw):
        return raw
    kept, place = [raw[:8]], 8
    while place + 8 <= len(raw):
        size = int.from_bytes(raw[place:place + 4], "big")
        end = place + 12 + size
        if raw[place + 4:place + 8] not in TEXTS:
            kept.append(raw[place:end])
        place = end
    return b"".join(kept)
