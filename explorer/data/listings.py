"""Files that list pictures with what they show: tables, and the JSON of retrieval sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from explorer.base.errors import InputError
from explorer.data.containers import Box, printable
from explorer.data.text_tables import Rows, captions_of, decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif")
ALONE, ABSENT = "no caption beside it", "listed, but not there"


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


def answer_column(columns: Sequence[str], name: str, captions_first: bool = False) -> str:
    """"label", "captions" or "caption": the first there is (labels last where those are asked
    for). Raises InputError when there is none, or no image."""
    order = ("captions", "caption", "label") if captions_first else (
        "label", "captions", "caption")
    if "image" in columns:
        for answer in order:
            if answer in columns:
                return answer
    raise InputError(f"{name} needs the columns image and label (or caption); it has "
                     f"{printable(', '.join(columns)) or 'none'}")


def read_rows(columns: Sequence[str], rows: Rows, name: str, captions_first: bool = False,
              ) -> list[tuple[int, str, tuple[str, ...]]]:
    """(line, image, its answers) of a table; the captions of one image are put together."""
    answer = answer_column(columns, name, captions_first)
    found: list[tuple[int, str, list[str]]] = []
    place: dict[str, int] = {}
    for line, row in rows:
        where = f"line {line} of {name}"
        image, text = row["image"].strip(), row[answer].strip()
        if not image or not text:
            raise InputError(f"{where} has no {answer if image else 'image'}")
        texts = captions_of(text, where) if answer == "captions" else [text]
        if not texts:
            raise InputError(f"{where} has no captions")
        if answer != "label" and image in place:
            found[place[image]][2].extend(texts)
        else:
            place[image] = len(found)
            found.append((line, image, texts))
    return [(line, image, tuple(texts)) for line, image, texts in found]


def parse_json(raw: bytes) -> Any:
    try:
        return json.loads(decode(raw))
    except (ValueError, RecursionError):
        return None


def karpathy_entries(parsed: Any) -> list[Any]:
    """The images of a dataset JSON as Karpathy and Fei-Fei (2015, arXiv 1412.2306) wrote them
    for Flickr30k and COCO: those of the test split, or all where there is none; [] if it is not
    one."""
    images = parsed.get("images") if isinstance(parsed, dict) else None
    if not isinstance(images, list) or not all(
            isinstance(i, dict) and isinstance(i.get("filename"), str)
            and isinstance(i.get("sentences"), list) for i in images):
        return []
    return [i for i in images if i.get("split") == "test"] or images


def read_karpathy(box: Box, entries: Sequence[Any]) -> Listing:
    """Pictures are found by their folder and name, or by name alone."""
    by_name = {name.rsplit("/", 1)[-1]: name for name in reversed(box.files)}
    by_end = {"/".join(name.split("/")[-2:]): name for name in box.files}
    listed: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        base = str(entry["filename"])
        full = by_end.get(f"{entry.get('filepath', '')}/{base}") or by_name.get(base)
        texts = [s.get("raw") for s in entry["sentences"] if isinstance(s, dict)]
        kept = tuple(t for t in texts if isinstance(t, str) and t.strip())
        if full is None or not kept:
            box.report.add(ABSENT if full is None else ALONE, base)
        else:
            listed[full] = kept
    return in_order(box, listed, True)
