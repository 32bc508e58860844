"""JSON that lists pictures with what they show, of any of the common shapes, as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from explorer.base.files import printable
from explorer.data.columns import IMAGES, PICTURE_NAME, plain
from explorer.data.encodings import decode
from explorer.data.text_tables import Table

NOT_JSON = "not valid JSON"


def parse_json(raw: bytes) -> Any:
    try:
        return json.loads(decode(raw))
    except (ValueError, RecursionError):
        return None


def lines_table(raw: bytes, name: str) -> Table | None:
    """JSON lines: one record a line; a line that is not one is `bad`."""
    records: list[tuple[str, dict[str, Any]]] = []
    bad = []
    for number, line in enumerate(decode(raw).splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        where = f"line {number} of {printable(name)}"
        if isinstance(found, dict):
            records.append((where, found))
        else:
            bad.append((where, NOT_JSON))
    return records_table(name, records, bad) if records else None


def json_table(parsed: Any, name: str) -> Table | None:
    """A list of records or pairs; COCO's images and annotations, joined by their ids; the images
    of Karpathy and Fei-Fei (2015, arXiv 1412.2306); names of pictures with what they show; columns.
    None for anything else."""
    if isinstance(parsed, list):
        return _list_table(parsed, name)
    if not isinstance(parsed, dict):
        return None
    images: Any = parsed.get("images")
    notes: Any = parsed.get("annotations")
    if _records(images) and _records(notes):
        return _coco(images, notes, parsed.get("categories"), name)
    if _records(images):
        return _list_table(images, name)
    if _all_columns(parsed):
        return _columns_table(parsed, name)
    if parsed and sum(bool(PICTURE_NAME.search(str(k))) for k in parsed) * 2 > len(parsed):
        return records_table(name, [(f"entry '{printable(str(k))}' of {printable(name)}",
                                     {"image": str(k), **_told(v)}) for k, v in parsed.items()])
    lists = [v for v in parsed.values() if _records(v)]
    return _list_table(max(lists, key=len), name) if lists else None


def _told(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if plain(str(k)) not in IMAGES}
    return {"caption": value}


def _records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _list_table(found: Sequence[Any], name: str) -> Table | None:
    if _records(found):
        return records_table(name, [(f"entry {k} of {printable(name)}", one)
                                    for k, one in enumerate(found, 1)])
    pairs = [one for one in found if isinstance(one, list) and len(one) == 2]
    if pairs and len(pairs) == len(found):
        return records_table(name, [(f"entry {k} of {printable(name)}",
                                     {"image": one[0], "caption": one[1]})
                                    for k, one in enumerate(pairs, 1)])
    return None


def records_table(name: str, records: Iterable[tuple[str, dict[str, Any]]],
                  bad: Sequence[tuple[str, str]] = ()) -> Table:
    """The records under the names of all of them. A picture's folder, which Karpathy's files have
    apart as filepath, comes before its filename."""
    held = list(records)
    columns = dict.fromkeys(str(key) for _, one in held for key in one)
    if {"filename", "filepath", "sentences"} <= set(columns):
        del columns["filepath"]
        held = [(where, {**one, "filename": _joined(one.get("filepath"), one.get("filename"))})
                for where, one in held]
    rows = tuple((where, tuple(one.get(c) for c in columns)) for where, one in held)
    return Table(printable(name), tuple(columns), rows, tuple(bad))


def _joined(folder: Any, name: Any) -> Any:
    return f"{folder}/{name}" if isinstance(folder, str) and folder else name


def _all_columns(parsed: dict[str, Any]) -> bool:
    """Whether it is what pandas writes by columns: each a list, or a dictionary by row."""
    kinds = {type(v) for v in parsed.values()}
    return (len(parsed) > 1 and kinds in ({list}, {dict}) and any(
        plain(str(k)) in IMAGES for k in parsed)
        and len({len(v) for v in parsed.values()}) == 1)


def _columns_table(parsed: dict[str, Any], name: str) -> Table:
    columns = [list(v.values()) if isinstance(v, dict) else v for v in parsed.values()]
    rows = tuple((f"row {k} of {printable(name)}", cells)
                 for k, cells in enumerate(zip(*columns, strict=True), 1))
    return Table(printable(name), tuple(map(str, parsed)), rows)


def _coco(images: Sequence[dict[str, Any]], notes: Sequence[dict[str, Any]], kinds: Any,
          name: str) -> Table | None:
    """COCO (Chen et al. 2015, arXiv 1504.00325): captions of each image; or its kind, where each
    image has boxes of one kind alone."""
    names = {one.get("id"): one.get("name") for one in kinds} if _records(kinds) else {}
    captions: dict[Any, list[Any]] = {}
    found: dict[Any, dict[Any, None]] = {}
    for note in notes:
        if _hashable(note.get("image_id")):
            if note.get("caption"):
                captions.setdefault(note["image_id"], []).append(note["caption"])
            if _hashable(note.get("category_id")) and note.get("category_id") in names:
                found.setdefault(note["image_id"], {})[note["category_id"]] = None
    if not captions and (not found or any(len(own) > 1 for own in found.values())):
        return None
    rows = []
    for k, one in enumerate(images, 1):
        own = one.get("id") if _hashable(one.get("id")) else None
        file = one.get("file_name") or one.get("filename") or one.get("image")
        told = captions.get(own, []) if captions else [names[c] for c in found.get(own, {})]
        rows.append((f"image {k} of {printable(name)}", (file, told if captions else
                                                        (told or [None])[0])))
    return Table(printable(name), ("image", "captions" if captions else "label"), tuple(rows))


def _hashable(value: Any) -> bool:
    return isinstance(value, int | str)
