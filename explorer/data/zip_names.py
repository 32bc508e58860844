"""The names of a zip's members, whose encoding many zips do not say."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable

from explorer.data.containers import Report
from explorer.data.encodings import NAMED, NAMES, guess


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    """The name's bytes; zips that do not say their encoding are read as cp437."""
    try:
        return info.orig_filename.encode("cp437")
    except UnicodeError:
        return info.orig_filename.encode("utf-8", "replace")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def encoding_of(found: Iterable[zipfile.ZipInfo], name: str, report: Report) -> str:
    """The likeliest encoding of the names that do not say theirs, which is told; "" for none."""
    unsaid = [raw for info in found if not info.flag_bits & 0x800 and not _unicode_field(info)
              and not _is_utf8(raw := _raw_name(info))]
    if not unsaid:
        return ""
    encoding = guess(b"\n".join(unsaid), NAMES)
    report.note(f"the names in {name} do not say their encoding: they were read as "
                f"{NAMED.get(encoding, encoding)}")
    return encoding


def _unicode_field(info: zipfile.ZipInfo) -> str:
    """The name of the extra field 0x7075, where it belongs to this name (APPNOTE 4.6.9)."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        body, extra = extra[4:4 + size], extra[4 + size:]
        if kind == 0x7075 and len(body) > 5 and body[0] == 1 and _is_utf8(body[5:]) and (
                int.from_bytes(body[1:5], "little") == zlib.crc32(_raw_name(info))):
            return body[5:].decode("utf-8")
    return ""


def name_of(info: zipfile.ZipInfo, encoding: str) -> str:
    """A member's name: by its extra field, its mark of UTF-8, as UTF-8, or by the guess."""
    if name := _unicode_field(info):
        return name
    if info.flag_bits & 0x800:
        return info.orig_filename
    raw = _raw_name(info)
    return raw.decode("utf-8") if _is_utf8(raw) else raw.decode(encoding or "cp437", "replace")
