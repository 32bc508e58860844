"""A file beside each picture that says what it shows, as WebDataset and img2dataset have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from explorer.base.errors import InputError
from explorer.data.archives import DAMAGED
from explorer.data.columns import CAPTIONS, LABELS, PICTURE_NAME, is_number, plain
from explorer.data.containers import Box
from explorer.data.encodings import decode
from explorer.data.json_lists import parse_json
from explorer.data.listings import ALONE, Listing, in_order
from explorer.data.tables import short
from explorer.data.text_tables import texts_of

BESIDE = (".txt", ".caption", ".cls", ".json")
ROLES = {"img", "image", "rgb", "photo", "label", "labels", "cls", "class", "caption", "captions",
         "text", "txt", "json", "seg", "segmentation", "mask", "depth", "meta", "key", "input",
         "target", "jpg", "jpeg", "png", "webp"}
NOT_SHOWN = {"seg", "segmentation", "mask", "depth"}  # a second picture of a sample
SECOND = "a second picture of the same sample"
Files = list[tuple[str, tuple[str, ...]]]  # name in the box, and what its ending says
Named = Callable[[list[str], str], list[str]]  # labels, what they are -> words


def key_of(name: str) -> tuple[str, tuple[str, ...]]:
    """("in/000", ("seg",)) of "in/000.seg.png": the sample, and what the parts of its ending but
    the last one say."""
    folder, slash, base = name.rpartition("/")
    parts = base.split(".")
    kept = parts[:-1] if len(parts) > 1 else parts
    roles: list[str] = []
    while len(kept) > 1 and kept[-1].lower() in ROLES:
        roles.insert(0, kept.pop().lower())
    return f"{folder}{slash}{'.'.join(kept)}", tuple(roles)


def read_companions(box: Box, inner: dict[str, str], pictures: dict[str, str], named: Named,
                    rest: Callable[[Iterable[str]], None]) -> Listing | None:
    """What the files beside the pictures say; None where less than half have one. They may lie in
    a folder of their own, as images/1.jpg and captions/1.txt. Captions go before labels. The same
    caption in two files counts once."""
    files: dict[str, Files] = {}
    for name, full in inner.items():
        if name.lower().endswith(BESIDE):
            key, roles = key_of(name)
            files.setdefault(key, []).append((full, roles))
    if not files:
        return None
    chosen, seconds = _pictures(pictures)
    with_one = {full: files[key] for key, full in chosen.items() if key in files}
    if 2 * len(with_one) < len(chosen):
        with_one = _apart(chosen, files)
    if not with_one or 2 * len(with_one) < len(chosen):
        return None
    wanted = {full for own in with_one.values() for full, _ in own}
    names = [full for full in box.files if full in wanted]
    roles_of = {full: roles for own in with_one.values() for full, roles in own}
    said = {}
    for name, raw in zip(names, box.contents(names), strict=True):
        held = raw if isinstance(raw, bytes) else _held(box, name)
        said[name] = _companion(name, roles_of[name], held)
    captions = {full: tuple(dict.fromkeys(short(
        [t for f, _ in own for t in said[f][0]], box.report, full)))
        for full, own in with_one.items()}
    labels = {full: [t for f, _ in own for t in said[f][1]][:1] for full, own in with_one.items()}
    if not any(captions.values()) and not any(labels.values()):
        return None
    rest(names)
    are_captions = any(captions.values())
    listed = captions if are_captions else _worded(labels, named)
    for full in seconds:
        box.report.add(SECOND, full)
    for full in chosen.values():
        if not listed.get(full):
            box.report.add(ALONE, full)
    ends = sorted({"." + ".".join([*roles_of[f], f.rsplit(".", 1)[-1]]) for f in names})
    box.report.how = f"a file beside each picture ({', '.join(ends)})"
    return in_order(box, {full: texts for full, texts in listed.items() if texts}, are_captions)


def _apart(chosen: dict[str, str], files: dict[str, Files]) -> dict[str, Files]:
    """Picture -> the files of its name in other folders, where names are given once alone."""
    bases = [key.rsplit("/", 1)[-1] for key in chosen]
    found: dict[str, Files] = {}
    for key, own in files.items():
        found.setdefault(key.rsplit("/", 1)[-1], []).extend(own)
    if len(set(bases)) < len(bases):
        return {}
    return {full: found[base] for base, full in zip(bases, chosen.values(), strict=True)
            if base in found}


def _worded(labels: dict[str, list[str]], named: Named) -> dict[str, tuple[str, ...]]:
    held = {full: own[0] for full, own in labels.items() if own}
    words = named(list(held.values()), "labels")
    return {full: (word,) for full, word in zip(held, words, strict=True)}


def _pictures(pictures: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """(sample -> its picture, second pictures such as masks)."""
    found: dict[str, Files] = {}
    for name, full in pictures.items():
        key, roles = key_of(name)
        found.setdefault(key, []).append((full, roles))
    chosen, seconds = {}, []
    for key, own in found.items():
        first = min(own, key=lambda one: bool(NOT_SHOWN & set(one[1])))
        chosen[key] = first[0]
        seconds += [full for full, _ in own if full != first[0]]
    return chosen, seconds


def _held(box: Box, name: str) -> bytes:
    try:
        return box.read(name)
    except InputError:
        box.report.add(DAMAGED, name)
        return b""


def _companion(name: str, roles: tuple[str, ...], raw: bytes) -> tuple[list[str], list[str]]:
    """(captions, labels) in a file beside a picture; each line of a .txt is a caption."""
    suffix = name[name.rfind("."):].lower()
    if suffix == ".cls" or (suffix == ".txt" and {"cls", "label", "class"} & set(roles)):
        return [], [line.strip() for line in decode(raw).strip().splitlines()[:1] if line.strip()]
    if suffix != ".json":
        return [line.strip() for line in decode(raw).splitlines() if line.strip()], []
    parsed = parse_json(raw)
    if not isinstance(parsed, dict):
        return ([], [str(parsed)]) if roles and isinstance(parsed, int | str) else ([], [])
    return _first(parsed, CAPTIONS), _first(parsed, LABELS)[:1]


def _first(parsed: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """The texts of the first key of these names that has any; words before numbers."""
    numbers: list[str] = []
    for name in names:
        for key, value in parsed.items():
            if plain(key) != name:
                continue
            texts = [t for t in texts_of(value) if t.strip() and not PICTURE_NAME.search(t)]
            if texts and not all(map(is_number, texts)):
                return texts
            numbers = numbers or texts
    return numbers
