"""Bytes whose encoding nobody says -> text: what the bytes say first, then the likeliest guess."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

TABLES = ("cp1252", "cp932", "gb18030", "big5", "euc_kr", "cp1251")
NAMES = ("cp850", "cp437", "cp932", "gb18030", "big5", "euc_kr", "cp866", "cp1252")  # in zips
NAMED = {"cp1252": "Windows-1252 (Western)", "cp932": "Shift-JIS", "gb18030": "GBK",
         "big5": "Big5", "euc_kr": "EUC-KR", "cp1251": "Windows-1251 (Cyrillic)",
         "cp850": "cp850 (Western DOS)", "cp437": "cp437 (DOS)", "cp866": "cp866 (Cyrillic DOS)"}
LEVEL_ONE = {"cp932": (0x88, 0x97), "gb18030": (0xB0, 0xD7), "big5": (0xA4, 0xC6),
             "euc_kr": (0xB0, 0xC8)}  # lead bytes of the common characters, in order of frequency
SEEN = 20_000  # bytes that a guess looks at


def decode(raw: bytes) -> str:
    """UTF-8 with or without its mark, UTF-16, or what the bytes most likely are."""
    return read_text(raw)[0]


def read_text(raw: bytes) -> tuple[str, str]:
    """(text, the encoding that was guessed, "" where the bytes say it)."""
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return raw.decode("utf-32", "replace"), ""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace"), ""
    if b"\0" in raw[:4]:  # UTF-16 without its mark: a header starts with an ASCII letter
        return raw.decode("utf-16-be" if raw[0] == 0 else "utf-16-le", "replace"), ""
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        encoding = guess(raw, TABLES)
        return raw.decode(encoding, "replace"), NAMED.get(encoding, encoding)


def guess(raw: bytes, candidates: Sequence[str] = TABLES) -> str:
    """The likeliest of some encodings, by how common and how well placed its characters are;
    "latin-1" where none reads the bytes."""
    best, most = "latin-1", float("-inf")
    for encoding in candidates:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        found = _plausible(text[:SEEN], encoding)
        if found > most + 1e-9:
            best, most = encoding, found
    return best


def _plausible(text: str, encoding: str) -> float:
    """The mean over the characters that are not ASCII: 1 for likely ones, below 0 for odd ones."""
    scores = [_score(text, place, encoding) for place, c in enumerate(text) if c > "\x7f"]
    return sum(scores) / len(scores) if scores else 0.0


def _score(text: str, place: int, encoding: str) -> float:
    c = text[place]
    before = text[place - 1] if place else " "
    after = text[place + 1] if place + 1 < len(text) else " "
    if encoding in LEVEL_ONE:
        return _wide(c, encoding)
    if not c.isalpha():
        return 0.3 if c in "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\xb0\xa0\xa9\u20ac" else -2.0
    if (c.isupper() and before.islower()) or (c.islower() and after.isupper()):
        return -1.0
    cyrillic = "\u0400" <= c <= "\u04ff"
    if any(near.isalpha() and ("\u0400" <= near <= "\u04ff") != cyrillic
           for near in (before, after)):
        return -1.0  # a letter of one alphabet in a word of the other
    if cyrillic:
        return 0.9
    return 0.3 if before > "\x7f" or after > "\x7f" else 1.0


def _wide(c: str, encoding: str) -> float:
    if "\u3040" <= c <= "\u30ff" or "\u3000" <= c <= "\u3002" or c in "\uff08\uff09\uff0c":
        return 1.2 if encoding == "cp932" else 0.6
    try:
        raw = c.encode(encoding)
    except UnicodeEncodeError:
        return -3.0
    low, high = LEVEL_ONE[encoding]
    if len(raw) == 2 and low <= raw[0] <= high:
        return 1.0
    return -0.4 if len(raw) == 2 and raw[0] > high else -1.0
