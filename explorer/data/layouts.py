"""How a folder or an archive says what is in its pictures.

Tried in order: a table, the JSON of a retrieval set, a file beside each picture (as WebDataset
has it), one sub-folder a class, and the words of the file names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from explorer.base.errors import InputError
from explorer.data.archives import DAMAGED
from explorer.data.containers import Box
from explorer.data.listings import (
    ABSENT,
    ALONE,
    Listing,
    answer_column,
    in_order,
    is_picture,
    karpathy_entries,
    parse_json,
    read_karpathy,
    read_rows,
)
from explorer.data.text_tables import Rows, decode, parse_table

BESIDE = (".txt", ".caption", ".cls", ".json")
STRANGER, OUTSIDE = "not pictures", "not in the folder of a class"
UNLISTED, UNTOLD = "not in the table", "no image or nothing about it in the table"
WORDLESS = "no words in the file name"
CAMERAS = {"img", "dsc", "dscn", "dscf", "pict", "pic", "image", "photo", "picture", "screenshot",
           "untitled", "file", "frame", "scan", "pxl", "mvimg", "vid", "copy"}


def read_layout(box: Box, captions_first: bool = False) -> Listing:
    """What the pictures of a box show. Raises InputError where nothing in it says so.

    captions_first: where a table has labels and captions, the captions are wanted.
    """
    inner = _without_top(box.files)
    pictures = {name: full for name, full in inner.items() if is_picture(name)}
    if not pictures:
        raise InputError(f"there are no images in {box.name}")
    for read in (_by_table, _by_json, _by_companions, _by_folder, _by_words):
        found = read(box, inner, pictures, captions_first)
        if found is not None:
            return found
    raise InputError(
        f"{box.name} has no sub-folders, so nothing says what its images show: make one for each "
        "class, or put a .txt file with the caption beside each image")


def _without_top(files: Sequence[str]) -> dict[str, str]:
    """Names -> names in the box, without a folder that everything is in, unless it is a class."""
    inner = {name: name for name in files}
    while len({name.split("/", 1)[0] for name in inner}) == 1 and all("/" in n for n in inner):
        below = {name.split("/", 1)[1]: full for name, full in inner.items()}
        stems = {_stem(name) for name in below if is_picture(name)}
        if not any("/" in name or name.lower().endswith((".csv", ".tsv", ".json"))
                   or (name.lower().endswith(BESIDE) and _stem(name) in stems) for name in below):
            break
        inner = below
    return inner


def _rest(box: Box, inner: dict[str, str], used: Iterable[str]) -> None:
    """Notes the files that were of no use."""
    known = set(used)
    for name, full in inner.items():
        if full not in known and not is_picture(name):
            box.report.add(STRANGER, full)


# --- a table --------------------------------------------------------------------------------


def _by_table(box: Box, inner: dict[str, str], pictures: dict[str, str], captions_first: bool,
              ) -> Listing | None:
    tables = [n for n in inner if "/" not in n and n.lower().endswith((".csv", ".tsv"))]
    for number, table in enumerate(tables, 1):
        columns, rows = parse_table(box.read(inner[table]), table)
        try:
            answer = answer_column(columns, table, captions_first)
        except InputError:
            if number == len(tables) and not any("/" in name for name in pictures):
                raise
            continue
        listed, named = {}, _by_name(pictures)
        for _, image, answers in read_rows(columns, _told(box, rows, answer, table), table,
                                           captions_first):
            full = named.get(PurePosixPath(image.replace("\\", "/")).as_posix())
            if full is None:
                box.report.add(ABSENT, image)
            else:
                listed[full] = answers
        for full in pictures.values():
            if full not in listed:
                box.report.add(UNLISTED, full)
        _rest(box, inner, [inner[table]])
        return in_order(box, listed, answer != "label")
    return None


def _told(box: Box, rows: Rows, answer: str, table: str) -> Rows:
    """The rows that name a picture and say what it shows; the others are noted."""
    kept = []
    for line, row in rows:
        if row["image"].strip() and row[answer].strip():
            kept.append((line, row))
        else:
            box.report.add(UNTOLD, row["image"].strip() or f"line {line} of {table}")
    return kept


def _by_name(pictures: dict[str, str]) -> dict[str, str]:
    """Pictures by their path and, where only one has it, by their name alone."""
    bases = Counter(name.rsplit("/", 1)[-1] for name in pictures)
    alone = {name.rsplit("/", 1)[-1]: full for name, full in pictures.items()}
    return {**{base: full for base, full in alone.items() if bases[base] == 1}, **pictures}


# --- the JSON of Flickr30k and COCO ---------------------------------------------------------


def _by_json(box: Box, inner: dict[str, str], pictures: dict[str, str], captions_first: bool,
             ) -> Listing | None:
    stems = {_stem(name) for name in pictures}
    for name in inner:
        if "/" not in name and name.lower().endswith(".json") and _stem(name) not in stems:
            entries = karpathy_entries(parse_json(box.read(inner[name])))
            if entries:
                _rest(box, inner, [inner[name]])
                return read_karpathy(box, entries)
    return None


# --- a file beside each picture -------------------------------------------------------------


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


def _by_companions(box: Box, inner: dict[str, str], pictures: dict[str, str],
                   captions_first: bool) -> Listing | None:
    beside: dict[str, list[str]] = {}
    for name, full in inner.items():
        if name.lower().endswith(BESIDE):
            beside.setdefault(_stem(name), []).append(full)
    with_one = {full: beside[_stem(name)] for name, full in pictures.items()
                if _stem(name) in beside}
    if not with_one or 2 * len(with_one) < len(pictures):
        return None
    wanted = {full for files in with_one.values() for full in files}
    names = [full for full in box.files if full in wanted]
    said = {}
    for name, raw in zip(names, box.contents(names), strict=True):
        said[name] = _companion(name, raw if isinstance(raw, bytes) else _held(box, name))
    list_of_names = inner.get("classnames.txt")
    classes = decode(box.read(list_of_names)).splitlines() if list_of_names else []
    _rest(box, inner, [*names, *([list_of_names] if list_of_names else [])])
    captions = {full: tuple(t for f in files for t in said[f][0])
                for full, files in with_one.items()}
    are_captions = any(captions.values())
    listed = captions if are_captions else {
        full: tuple(_class(t, classes) for f in files for t in said[f][1])[:1]
        for full, files in with_one.items()}
    for full in pictures.values():
        if not listed.get(full):
            box.report.add(ALONE, full)
    return in_order(box, {full: texts for full, texts in listed.items() if texts}, are_captions)


def _held(box: Box, name: str) -> bytes:
    try:
        return box.read(name)
    except InputError:
        box.report.add(DAMAGED, name)
        return b""


def _class(text: str, classes: Sequence[str]) -> str:
    """The name of a class that is given by number, where the names are known."""
    if classes and text.isdecimal() and int(text[:9]) < len(classes):
        return classes[int(text[:9])].strip() or text
    return text


def _companion(name: str, raw: bytes) -> tuple[list[str], list[str]]:
    """(captions, labels) in a file beside a picture; each line of a .txt is a caption."""
    suffix = name[name.rfind("."):].lower()
    if suffix == ".cls":
        return [], decode(raw).strip().splitlines()[:1]
    if suffix != ".json":
        return [line.strip() for line in decode(raw).splitlines() if line.strip()], []
    parsed = parse_json(raw)
    if not isinstance(parsed, dict):
        return [], []
    held = parsed.get("captions", parsed.get("caption", parsed.get("text")))
    texts = held if isinstance(held, list) else [held]
    label = parsed.get("label", parsed.get("cls"))
    return ([t for t in texts if isinstance(t, str) and t.strip()],
            [str(label)] if isinstance(label, str | int) and str(label).strip() else [])


# --- folders and names ----------------------------------------------------------------------


def _by_folder(box: Box, inner: dict[str, str], pictures: dict[str, str], captions_first: bool,
               ) -> Listing | None:
    classes = {name.split("/", 1)[0] for name in pictures if "/" in name}
    if not classes or (len(classes) == 1 and any(map(words_of, pictures))):
        return None
    for name, full in pictures.items():
        if "/" not in name:
            box.report.add(OUTSIDE, full)
    _rest(box, inner, ())
    return in_order(box, {full: (name.split("/", 1)[0],) for name, full in pictures.items()
                          if "/" in name}, False)


def _by_words(box: Box, inner: dict[str, str], pictures: dict[str, str], captions_first: bool,
              ) -> Listing | None:
    said = {full: words_of(name) for name, full in pictures.items()}
    if not any(said.values()):
        return None
    for full, words in said.items():
        if not words:
            box.report.add(WORDLESS, full)
    _rest(box, inner, ())
    return in_order(box, {full: (words,) for full, words in said.items() if words}, True)


def words_of(name: str) -> str:
    """The caption in a file name: "red_fox-02.jpg" -> "red fox"; "" for one that a camera gave."""
    text = re.sub(r"[_\-.+\s]+", " ", _stem(name.rsplit("/", 1)[-1]))
    text = re.sub(r"(\s*\(?\d+\)?)+\s*$", "", text).strip()
    words = re.findall(r"[^\W\d_]{2,}", text)
    return text if words and not {w.lower() for w in words} <= CAMERAS else ""
