"""How the members of a zip are packed: what Python's own zipfile reads, what is unpacked here by
libraries, and the name of what is not read."""

from __future__ import annotations

import importlib.util
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

METHOD = "compressed in a way that is not read"
OWN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DEFLATE64, ZSTD, XZ, AES = 9, 93, 95, 99  # APPNOTE 6.3.10, section 4.4.5
LIBRARIES = {DEFLATE64: "inflate64", ZSTD: "backports.zstd"}
NAMES = {1: "Shrink", 6: "Implode", DEFLATE64: "Deflate64, which Windows uses above 2 GB",
         ZSTD: "Zstandard", 20: "Zstandard", 96: "JPEG inside a zip", 97: "WavPack", 98: "PPMd"}
LOCAL, HEAD = b"PK\3\4", struct.Struct("<4s22xHH")
PIECE = 4_096  # packed bytes at a time: Deflate64 makes at most some thousand times as many
MADE = 1 << 20  # unpacked bytes at a time


def refusal(info: zipfile.ZipInfo) -> str:
    """Why a member is not read; "" for one that is."""
    if info.flag_bits & 0x1:
        return f"encrypted with {_encryption(info)}: make a zip without a password"
    kind = info.compress_type
    if kind in (*OWN, XZ) or _has(LIBRARIES.get(kind, "")):
        return ""
    lacking = f" (pip install {LIBRARIES[kind]} reads it)" if kind in LIBRARIES else ""
    named = f": {NAMES[kind]}" if kind in NAMES else ""
    return f"{METHOD}{named}{lacking}; pack it again as a usual zip"


def _has(library: str) -> bool:
    try:
        return bool(library) and importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _encryption(info: zipfile.ZipInfo) -> str:
    """By the extra field of AES (WinZip's AE-1 and AE-2) and the flag of strong encryption."""
    if info.compress_type == AES:
        extra = info.extra
        while len(extra) >= 4:
            kind, size = struct.unpack("<HH", extra[:4])
            if kind == 0x9901 and size >= 7 and extra[8] in (1, 2, 3):
                return f"AES-{64 + 64 * extra[8]}"
            extra = extra[4 + size:]
        return "AES"
    return ("PKWARE's strong encryption" if info.flag_bits & 0x40 else
            "the old encryption of zips (ZipCrypto)")


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """A member's bytes, `most` + 1 of them at most. Raises what zipfile raises on damaged ones."""
    if info.compress_type in OWN:
        with archive.open(info) as file:
            return file.read(most + 1)
    assert archive.filename is not None
    with open(archive.filename, "rb") as raw:
        packed, out = _packed(raw, info), bytearray()
        for piece in _made(info.compress_type, packed):
            out += piece
            if len(out) > most:
                return bytes(out[:most + 1])
    if zlib.crc32(out) != info.CRC:
        raise zipfile.BadZipFile("the check sum does not fit")
    return bytes(out)


def _packed(raw: BinaryIO, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The packed bytes, in pieces, behind the member's own header (APPNOTE, section 4.3.7)."""
    raw.seek(info.header_offset)
    head = raw.read(HEAD.size)
    if len(head) < HEAD.size or not head.startswith(LOCAL):
        raise zipfile.BadZipFile("there is no header where the directory says")
    _, name, extra = HEAD.unpack(head)
    raw.seek(name + extra, 1)
    left = info.compress_size
    while left > 0 and (piece := raw.read(min(left, PIECE))):
        left -= len(piece)
        yield piece


def _made(kind: int, packed: Iterator[bytes]) -> Iterator[bytes]:
    """What the packed pieces unpack to, not much at a time. Raises ValueError for damaged ones."""
    if kind == DEFLATE64:
        from inflate64 import Inflater

        yield from map(Inflater().inflate, packed)
        return
    reader, broken = _reader(kind)
    try:
        for piece in packed:
            yield reader.decompress(piece, MADE)
            while not reader.eof and not reader.needs_input:
                yield reader.decompress(b"", MADE)
            if reader.eof:
                return
    except broken as error:
        raise ValueError(str(error)) from None


def _reader(kind: int) -> tuple[Any, type[Exception]]:
    if kind == ZSTD:
        from backports import zstd

        return zstd.ZstdDecompressor(), zstd.ZstdError
    assert kind == XZ
    return lzma.LZMADecompressor(lzma.FORMAT_XZ), lzma.LZMAError
