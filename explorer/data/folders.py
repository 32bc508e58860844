"""What the folders of pictures mean: splits, domains, classes, or nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from explorer.data.splits import choice, preferred, split_folders

PLAIN = {"images", "image", "img", "imgs", "jpegimages", "pictures", "photos", "pics", "data",
         "jpg", "jpegs", "jpeg", "png", "dataset", "raw", "all", "files", "archive", "input",
         "download", "downloads", "images_original", "original"}
MARKS = {"annotations", "annotation", "trimaps"}
ASIDE = {"labels", "masks", "mask", "segmentations", "segmentation", "segmentationclass",
         "segmentationobject", "segs", "groundtruth", "gt", "attributes", "parts", "depth",
         "preview", "previews", "thumbnails", "thumbs", *MARKS}
OTHER_SPLIT, OUTSIDE = "in another split", "not in the folder of a class"
ALIKE = 0.5  # part of the class folders that domains have in common


def beside_pictures(names: Iterable[str]) -> list[str]:
    """Pictures that are no photos: in a folder of annotations, or of masks beside one of images.
    None where there would be no others."""
    held = list(names)
    folders = {name.rsplit("/", 1)[0].lower() for name in held if "/" in name}
    tops = {"/".join(f.split("/")[:k]) for f in folders for k in range(1, f.count("/") + 2)}

    def aside(name: str) -> bool:
        parts = name.lower().split("/")[:-1]
        for k, part in enumerate(parts):
            base = "/".join(parts[:k])
            if part in MARKS or (part in ASIDE and any(
                    f"{base}/{plain}".lstrip("/") in tops for plain in PLAIN)):
                return True
        return False

    found = [name for name in held if aside(name)]
    return found if len(found) < len(held) else []


@dataclass
class Tree:
    """classes: the class folder of each picture that has one; split: what is said of it; left:
    picture -> why it is left out; how: in words, how it was understood;
    note: what else there is to say."""

    classes: dict[str, str] = field(default_factory=dict)
    split: str = ""
    left: dict[str, str] = field(default_factory=dict)
    how: str = ""
    note: str = ""


def of_split(names: Iterable[str], training: bool,
             ) -> tuple[list[str], dict[str, str], str, int]:
    """(the names of the split that is read, or all; why each other one is left out; what is said;
    how deep the folders of splits lie, or -1).

    Splits are folders side by side: at the top, below folders that hold everything, below
    domains, or inside each class.
    """
    held = [(name, name.split("/")[:-1]) for name in names]
    for depth in range(max((len(f) for _, f in held), default=0)):
        level = Counter(f[depth] for _, f in held if len(f) > depth)
        found = split_folders(level)
        found = found if found and _everywhere(held, depth, found) else {}
        if found:
            kept = preferred(found, training)
            of = {folder: kind for kind, folders in found.items() for folder in folders}
            left = {name: (OTHER_SPLIT if len(f) > depth and f[depth] in of else OUTSIDE)
                    for name, f in held if len(f) <= depth or of.get(f[depth]) != kept}
            return [n for n, _ in held if n not in left], left, choice(list(found), training), depth
    return [name for name, _ in held], {}, "", -1


def _everywhere(held: list[tuple[str, list[str]]], depth: int, found: dict[str, list[str]],
                ) -> bool:
    """Whether the folders at a depth are splits in most of the folders above it, and not classes
    that happen to be called so in one."""
    folders = {name for own in found.values() for name in own}
    parents: dict[tuple[str, ...], set[str]] = {}
    for _, f in held:
        if len(f) > depth:
            parents.setdefault(tuple(f[:depth]), set()).add(f[depth])
    fit = sum(bool(own & folders) for own in parents.values())
    return 2 * fit > len(parents)


def grow(names: Iterable[str], training: bool = False) -> Tree:
    """The class of each picture by its folders, names being paths with "/" between folders.

    Folders that hold everything, splits and plain names such as "images" are stepped over. Where
    folders side by side have the same folders inside, they are domains of the same classes (PACS,
    Office-Home). Else the first folder that tells pictures apart is the class, as torchvision's
    ImageFolder has it.
    """
    kept, left, split, depth = of_split(names, training)
    tree = Tree(left=left, split=split)
    paths = {name: _stepped(name, depth) for name in kept}
    while len({f[0] for f in paths.values() if f}) == 1 and all(len(f) > 1 for f in paths.values()):
        paths = {name: f[1:] for name, f in paths.items()}
    level = _class_level(list(paths.values()))
    tree.classes = {name: f[level] for name, f in paths.items() if len(f) > level}
    tree.how = "one folder a class"
    if level:
        domains = sorted({f[0] for f in paths.values() if f})
        shown = ", ".join(domains[:4]) + (" ..." if len(domains) > 4 else "")
        tree.how += f", below {len(domains)} folders that share them or sort them ({shown})"
    below = {f[level + 1] for f in paths.values() if len(f) > level + 1}
    if len(below) > 1 and len(set(tree.classes.values())) > 1:
        shown = ", ".join(sorted(below)[:3]) + (" ..." if len(below) > 3 else "")
        tree.note = f"folders inside a class are not told apart ({shown})"
    for name in kept:
        if name not in tree.classes:
            tree.left[name] = OUTSIDE
    return tree


def _stepped(name: str, depth: int) -> list[str]:
    """The folders of a picture without that of its split, which some archives have twice, and
    without plain ones."""
    folders = name.split("/")[:-1]
    if 0 <= depth < len(folders):
        split = folders.pop(depth)
        while depth < len(folders) and folders[depth].lower() == split.lower():
            folders.pop(depth)
    return [f for f in folders if f.lower() not in PLAIN]


def _class_level(paths: list[list[str]]) -> int:
    """0 where the first folder is the class; 1 where it is a domain or a letter of the alphabet."""
    inside: dict[str, set[str]] = {}
    direct = set()
    for f in paths:
        if len(f) > 1:
            inside.setdefault(f[0], set()).add(f[1])
        elif f:
            direct.add(f[0])
    if len(inside) < 2 or direct:
        return 0
    if all(re.fullmatch(r"[A-Za-z]", top) for top in inside):
        return 1  # SUN397: a/abbey
    every = Counter(name for own in inside.values() for name in own)
    shared = sum(many > 1 for many in every.values())
    return 1 if len(every) > 1 and shared >= ALIKE * len(every) else 0
