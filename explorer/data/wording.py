"""Captions in the names of files, where these read as words, and captions that are none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from explorer.data.class_names import is_hex
from explorer.data.columns import PICTURE_NAME
from explorer.data.finding import stem
from explorer.data.splits import WORDS

CAMERAS = {"img", "dsc", "dscn", "dscf", "pict", "pic", "image", "images", "photo", "picture",
           "screenshot", "untitled", "file", "frame", "scan", "pxl", "mvimg", "vid", "copy",
           "ilsvrc", "coco", "imagenet", "flickr", "voc", "dataset", "data", "sample", "wa",
           "whatsapp", "unnamed", "download", "thumb", "crop", "resized", "id", "no", "nr", "idx",
           "jpg", "jpeg", "png", *WORDS}


SAMPLED = 2_000  # captions that are looked at


def words_of(name: str) -> str:
    """The caption in a file name: "red_fox-02.jpg" -> "red fox"; "" for one that a camera, a
    counter or a program gave, such as IMG_0412, ILSVRC2012_val_00000001 or 693b08cb0e."""
    text = re.sub(r"[_\-.+\s]+", " ", stem(name.rsplit("/", 1)[-1]))
    bare = text.split()
    text = re.sub(r"(\s*\(?\d+\)?)+\s*$", "", text).strip()
    text = re.sub(r"^(\d+\s+)+", "", text)
    parts = text.split()
    words = [w for part in parts for w in re.findall(r"[^\W\d_]+", part)]
    long = [w for w in words if len(w) > 1 or not w.isascii()]
    if not long or {w.lower() for w in words} <= CAMERAS:
        return ""
    if any(map(_is_code, parts)) or any(map(is_hex, bare)):
        return ""
    return text if any(_is_word(w) for w in long) else ""


def _is_code(part: str) -> bool:
    """Letters and digits mixed, as in 693b08cb0e; not cat2, 4x4 or 3d."""
    runs = len(re.findall(r"[A-Za-z]+|\d+", part))
    return is_hex(part) or (runs > 2 and not re.fullmatch(r"\d+x\d+", part))


def _is_word(word: str) -> bool:
    """Whether letters can be said: with a vowel, or of another alphabet."""
    return not word.isascii() or (len(word) <= 30 and bool(re.search("[aeiouy]", word.lower())))


def told_by_names(names: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """(picture -> the words of its name, whether they are classes) where at least half of the
    names read as words; else nothing. names: path -> picture.

    Words that come again and again, as in cat.0.jpg and cat.1.jpg, are classes.
    """
    said = {full: words_of(name) for name, full in names.items()}
    kept = {full: words for full, words in said.items() if words}
    if not kept or 2 * len(kept) < len(said):
        return {}, False
    different = set(kept.values())
    return kept, 2 * len(different) <= len(kept) and len(different) > 1


def no_words(texts: Sequence[str]) -> str:
    """The first caption that is no words, where most are none: a number, a box, a code, the
    name of a file; else ""."""
    texts = texts[:SAMPLED]
    bad = [text for text in texts if not any(c.isalpha() for c in text) or is_hex(text)
           or PICTURE_NAME.search(text)]
    return bad[0] if 2 * len(bad) > len(texts) else ""
