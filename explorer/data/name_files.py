"""Files that say what classes are called: lists of names, tables of ids, JSON, cards of the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from explorer.data.encodings import decode
from explorer.data.splits import parts_of

FILES = ("classnames", "class_names", "classes", "labels", "label_names", "labelnames", "names",
         "categories", "category_names", "class_list", "classlist", "synsets", "synset_words",
         "words", "loc_synset_mapping", "cat_to_name", "imagenet_class_index", "class_to_idx",
         "class_to_index", "idx_to_class", "id2label", "label2id", "label_map", "labelmap",
         "label_to_name", "class_mapping", "label_mapping", "class_indices")
ENDINGS = ("txt", "json", "names", "csv")
MAYBE = re.compile(r"(label|class|categor|cat|idx|id)[a-z]*_?(num)?_?(to|2|map|name|ind)|"
                   r"_(classes|labels|categories)$")  # cifar10_labels, label_num_to_disease_map
SURE = re.compile(r"class[-_ ]?names?\.|classes\.|readme\.md|.*(to_|label|class|cat).*\.json")
WNID = re.compile(r"n\d{8}")
NUMBERED = re.compile(r"\d+\s*[._\-) ]+\s*(?=[^\W\d_])(.+)")
MOST_NAMES = 4_000_000  # bytes of a file of names
Names = Mapping[int | str, str]  # a number or an id -> what it is called


def is_names_file(name: str) -> bool:
    """Whether a file is, by its name, one that says what classes are called."""
    stem, _, ending = name.rsplit("/", 1)[-1].lower().rpartition(".")
    if f"{stem}.{ending}" in ("readme.md", "config.json", "dataset_info.json"):
        return True
    plain = stem.replace("-", "_").replace(" ", "_")
    if plain in FILES and ending in ENDINGS:
        return True
    return ending in ("json", "txt") and bool(MAYBE.search(plain)) and not parts_of(plain)[0]


def read_names(name: str, raw: bytes) -> Names:
    """The names in a file: one a line in the order of the numbers; "3 cat" or "n02123045 tabby"
    a line; JSON or the head of a Hugging Face README with names by number. {} for none."""
    text = decode(raw[:MOST_NAMES]).lstrip("\ufeff")
    low = name.lower()
    if low.endswith(".json"):
        try:
            return _of_json(json.loads(text))
        except (ValueError, RecursionError):
            return {}
    if low.endswith(".md"):
        return _of_readme(text)
    lines = [line.strip().rstrip(",") for line in text.splitlines() if line.strip()]
    keyed = [re.fullmatch(r"(\d+|n\d{8})\s*[\s,:;=]\s*(\S.*)", line) for line in lines]
    if low.endswith(".csv") and lines and not keyed[0]:
        lines, keyed = lines[1:], keyed[1:]  # a header
    if lines and all(keyed):
        return {_number(m[1]): _clean(m[2]) for m in keyed if m}
    turned = [re.fullmatch(r"(\S.*?)\s*[\t,:;=]\s*(\d+)", line) for line in lines]
    if lines and all(turned):
        return {_number(m[2]): _clean(m[1]) for m in turned if m}
    return {k: _clean(line) for k, line in enumerate(lines)} if not low.endswith(".csv") else {}


def _number(text: str) -> int | str:
    return int(text[:9]) if text.isdecimal() else text


def _clean(text: str) -> str:
    """The first name, without quotes, and without the number or id that CUB and others prefix."""
    text = text.strip().strip("\"'").replace("_", " ").strip()
    prefixed = NUMBERED.fullmatch(text)
    text = prefixed[1] if prefixed else text
    return text.split(",")[0].strip().strip("\"'") or text


def _of_json(found: Any) -> dict[int | str, str]:
    if isinstance(found, list):
        found = {k: v.get("name") if isinstance(v, dict) else v for k, v in enumerate(found)}
    if not isinstance(found, dict):
        return {}
    for key in ("id2label", "names", "idx_to_class", "classes"):
        if isinstance(found.get(key), dict | list):
            return _of_json(found[key])
    names: dict[int | str, str] = {}
    for key, value in found.items():
        if isinstance(value, list) and value and isinstance(value[-1], str):
            value = value[-1]  # ["n01440764", "tench"]
        if isinstance(value, str) and (str(key).isdecimal() or WNID.fullmatch(str(key))):
            names[_number(str(key))] = _clean(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            names[value] = _clean(str(key))
    return names


def _of_readme(text: str) -> dict[int | str, str]:
    """The names in the head of a data set's card on the Hugging Face hub."""
    import yaml  # type: ignore[import-untyped]

    parts = re.split(r"^---\s*$", text, maxsplit=2, flags=re.MULTILINE)
    if len(parts) < 3:
        return {}
    try:
        info = yaml.safe_load(parts[1])["dataset_info"]
        features = (info[0] if isinstance(info, list) else info)["features"]
        held = [f["dtype"]["class_label"]["names"] for f in features
                if isinstance(f.get("dtype"), dict) and "class_label" in f["dtype"]]
    except (yaml.YAMLError, KeyError, TypeError, IndexError, AttributeError):
        return {}
    return _of_json({str(k): str(v) for k, v in held[0].items()}) if held and isinstance(
        held[0], dict) else {}


def beside(path: Path) -> Iterable[tuple[str, bytes]]:
    """The files of names in a folder and, where they are called so beyond doubt, in the one above
    it."""
    for folder, sure in ((path, False), (path.parent, True)):
        try:
            found = sorted(p for p in folder.iterdir() if is_names_file(p.name) and p.is_file()
                           and (not sure or SURE.match(p.name.lower()))
                           and p.stat().st_size < MOST_NAMES)
        except OSError:
            continue
        for one in found:
            try:
                yield one.name, one.read_bytes()
            except OSError:
                continue
