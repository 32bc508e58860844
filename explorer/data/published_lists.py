"""Lists that the authors of known sets put beside their pictures, where no header explains them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from explorer.base.errors import InputError
from explorer.data.containers import Box
from explorer.data.encodings import decode
from explorer.data.finding import Finder, listing
from explorer.data.splits import choice, kind_of, parts_of, preferred

LISTED = 5  # lines of a list that are looked at before it is read
MOST_LISTS = 40


@dataclass(frozen=True)
class Published:
    """labels: the class of each picture, as the list gives it, by full name; used: the lists."""

    labels: dict[str, str]
    how: str
    split: str
    used: tuple[str, ...]


def read_published(box: Box, inner: dict[str, str], pictures: dict[str, str], training: bool,
                   ) -> Published | None:
    """What known lists say: CUB-200's (Wah et al. 2011), ImageNet's development kit, Food-101's
    (Bossard et al. 2014), and lines of a picture's path and its class, as DomainNet, Tiny-ImageNet
    and Caffe have them. None where there are none."""
    by_base: dict[str, str] = {}
    for name in sorted(inner, key=lambda n: -n.count("/")):
        by_base[name.rsplit("/", 1)[-1].lower()] = name
    for read in (_cub, _devkit, _food, _spaced):
        if (found := read(box, inner, pictures, by_base, training)) is not None:
            return found
    return None


def _lines(box: Box, full: str) -> list[str]:
    return [line.strip() for line in decode(box.read(full)).splitlines() if line.strip()]


def _pairs(box: Box, full: str) -> dict[str, str]:
    """Number -> the rest of its line."""
    return {key: rest.strip() for key, _, rest in (
        line.partition(" ") for line in _lines(box, full))}


def _cub(box: Box, inner: dict[str, str], pictures: dict[str, str], bases: dict[str, str],
         training: bool) -> Published | None:
    wanted = ("images.txt", "image_class_labels.txt", "classes.txt")
    if not all(name in bases for name in wanted):
        return None
    paths, classes, names = (_pairs(box, inner[bases[name]]) for name in wanted)
    used = [inner[bases[name]] for name in wanted]
    split = "all pictures"
    if "train_test_split.txt" in bases:
        parts = _pairs(box, inner[bases["train_test_split.txt"]])
        used.append(inner[bases["train_test_split.txt"]])
        paths = {k: p for k, p in paths.items() if (parts.get(k) == "1") == training}
        split = choice(["train", "test"], training)
    finder = Finder(listing(pictures), bases["images.txt"].rpartition("/")[0])
    labels = {}
    for key, path in paths.items():
        found = finder.find(path)
        if found is not None and classes.get(key) in names:
            labels[pictures[str(found)]] = names[classes[key]]
    return Published(labels, "CUB's lists images.txt, image_class_labels.txt and classes.txt",
                     split, tuple(used)) if labels else None


def _devkit(box: Box, inner: dict[str, str], pictures: dict[str, str], bases: dict[str, str],
            training: bool) -> Published | None:
    truth = next((n for n in bases if re.fullmatch(
        r"ilsvrc2012_validation_ground_truth\.txt", n)), None)
    flat = {int(m[1]): full for n, full in pictures.items()
            if (m := re.search(r"ILSVRC2012_val_(\d{8})\.\w+$", n))
            and not re.search(r"n\d{8}/[^/]+$", n)}
    if truth is None or not flat:
        return None
    if "meta.mat" not in bases:
        raise InputError(f"{box.name} has ImageNet's validation pictures and the numbers of their "
                         "classes, but not which class a number is: put meta.mat from "
                         "ILSVRC2012_devkit_t12/data beside ILSVRC2012_validation_ground_truth"
                         ".txt, or LOC_val_solution.csv from Kaggle into the folder, or sort the "
                         "pictures into one folder for each WordNet id")
    ids = _meta(box.read(inner[bases["meta.mat"]]), box.name)
    lines = _lines(box, inner[bases[truth]])
    labels = {full: ids[int(lines[k - 1])] for k, full in flat.items()
              if k <= len(lines) and lines[k - 1].isdecimal() and int(lines[k - 1]) in ids}
    if not labels:
        raise InputError(f"the ground truth of ImageNet in {box.name} names no class of meta.mat")
    return Published(labels, "ImageNet's development kit", "the split val",
                     (inner[bases[truth]], inner[bases["meta.mat"]]))


def _meta(raw: bytes, name: str) -> dict[int, str]:
    """ILSVRC2012_ID -> WordNet id."""
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(raw), squeeze_me=True)["synsets"]
        return {int(one["ILSVRC2012_ID"]): str(one["WNID"]) for one in synsets}
    except Exception as error:  # noqa: BLE001 - a parser of a binary format raises many kinds
        raise InputError(f"meta.mat in {name} cannot be read: {error}") from None


def _food(box: Box, inner: dict[str, str], pictures: dict[str, str], bases: dict[str, str],
          training: bool) -> Published | None:
    """meta/train.txt and meta/test.txt hold class/number."""
    lists = {kind: n for n in inner if re.search(r"(^|/)meta/(train|test)\.txt$", n)
             and (kind := n.rsplit("/", 1)[-1][:-4])}
    if not lists:
        return None
    kept = preferred(lists, training)
    finder = Finder(listing(pictures))
    labels = {pictures[str(found)]: line.split("/")[-2] for line in
              _lines(box, inner[lists[kept]]) if "/" in line
              and (found := finder.find(line)) is not None}
    return Published(labels, f"the list {lists[kept]}", choice(sorted(lists), training),
                     tuple(inner[n] for n in lists.values())) if labels else None


def _spaced(box: Box, inner: dict[str, str], pictures: dict[str, str], bases: dict[str, str],
            training: bool) -> Published | None:
    """Lines of a path and a class, apart by a blank or a tab."""
    finder: Finder | None = None
    found: dict[str, tuple[str, dict[str, str]]] = {}
    stems = {n.rsplit(".", 1)[0] for n in pictures}
    lists = [n for n in inner if n.lower().endswith((".txt", ".lst", ".list"))
             and n.rsplit(".", 1)[0] not in stems]
    for name in sorted(lists, key=lambda n: (n.count("/"), n))[:MOST_LISTS]:
        lines = _lines(box, inner[name])
        if not lines or not all(map(_split, lines[:LISTED])):
            continue
        finder = finder or Finder(listing(pictures), "")
        labels = {pictures[str(at)]: pair[1] for line in lines if (pair := _split(line))
                  and (at := finder.find(pair[0])) is not None}
        if labels:
            kind = parts_of(name.rsplit("/", 1)[-1].rsplit(".", 1)[0])[0] or next(
                (k for p in reversed(name.split("/")[:-1]) if (k := kind_of(p))), "")
            found[name] = kind, labels
    if not found:
        return None
    kinds = [kind for kind, _ in found.values() if kind]
    kept = preferred(kinds, training)
    fit = {n: labels for n, (kind, labels) in found.items() if kind == kept} or {
        n: labels for n, (_, labels) in found.items()}
    merged = {full: label for labels in fit.values() for full, label in labels.items()}
    return Published(merged, f"the list{'s' * (len(fit) > 1)} {', '.join(list(fit)[:3])}",
                     choice(list(dict.fromkeys(kinds)), training) if kinds else "",
                     tuple(inner[n] for n in found))


def _split(line: str) -> Sequence[str] | None:
    """("a/1.jpg", "3") of "a/1.jpg 3"; Tiny-ImageNet has a box behind the class."""
    match = re.fullmatch(r"(\S.*?\.(?:jpe?g|png|bmp|webp|tiff?|gif))[ \t]+(\d+|n\d{8})"
                         r"(?:[ \t]+\d+)*", line, re.IGNORECASE)
    return (match[1], match[2]) if match else None


