"""How a folder or an archive says what is in its pictures.

Tried in order: a table or a JSON that lists them, a file beside each picture (as WebDataset has
it), folders of classes, and the words of the file names. What was understood is told in the box's
report, and so is why nothing was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.companions import read_companions
from explorer.data.containers import Box
from explorer.data.folders import beside_pictures, grow, of_split
from explorer.data.listed import UNLISTED, Look, by_table
from explorer.data.listings import Listing, in_order, is_picture, pictures_of
from explorer.data.published_lists import read_published
from explorer.data.splits import kind_of
from explorer.data.tables import Reading
from explorer.data.wording import no_words, told_by_names

WORDLESS = "no words in the file name"
MASK = "masks and the like, in a folder beside the images"


def read_layout(box: Box, reading: Reading | None = None) -> Listing:
    """What the pictures of a box show. Raises InputError where nothing in it says so, with what
    was found instead."""
    reading = reading or Reading()
    inner = _without_top(box.files)
    there = set(pictures_of(box))
    pictures = {n: full for n, full in inner.items() if full in there}
    masks = set(beside_pictures(pictures))
    for name in masks:
        box.report.add(MASK, pictures[name])
    look = Look(box, inner, {n: full for n, full in pictures.items() if n not in masks}, reading)
    if not look.pictures:
        raise InputError(f"there are no images in {box.name}{_instead(box)}")
    found, troubles = by_table(look)
    for read in (_by_list, _by_companions):
        found = found or read(look)
    found = found or _by_folder(look, bool(troubles))
    if found is None and troubles:
        raise troubles[0]
    found = found or _by_words(look)
    if found is None:
        raise InputError(_nothing(look))
    texts = [text for own in found.answers for text in own]
    if found.are_captions and (bad := no_words(texts)):
        raise InputError(f"the captions of {box.name} are no words, as “{printable(bad)}” "
                         f"({box.report.how}): give captions in words")
    return found


def _without_top(files: Iterable[str]) -> dict[str, str]:
    """Names -> names in the box, without folders that everything is in."""
    inner = {name: name for name in files}
    while inner and len({name.split("/", 1)[0] for name in inner}) == 1 and all(
            "/" in name for name in inner):
        below = {name.split("/", 1)[1]: full for name, full in inner.items()}
        if kind_of(next(iter(inner)).split("/", 1)[0]):
            break  # the only split, which is said
        if not any("/" in name for name in below) and all(map(is_picture, below)):
            break  # a class, or a plain folder of pictures
        inner = below
    return inner


def _instead(box: Box) -> str:
    """What a box without pictures holds, and what was left out of it and why."""
    ends = Counter(PurePosixPath(name).suffix.lower() or "no ending" for name in box.files)
    held = ", ".join(f"{many:,} of {end}" if end == "no ending" else f"{many:,} {end}"
                     for end, many in ends.most_common(4))
    said = [f"it holds files of other kinds ({printable(held)})"] if held else []
    return "".join(f": {s}" for s in [" ".join([*said, *box.report.sentences()])] if s)


def _nothing(look: Look) -> str:
    """Why nothing says what the pictures show."""
    name, shown = look.box.name, next(iter(look.pictures))
    base = shown.rsplit("/", 1)[-1]
    if base.startswith("ILSVRC2012_val_"):
        return (f"{name} holds ImageNet's validation pictures without their classes: put LOC_val_"
                "solution.csv (Kaggle), or from ILSVRC2012_devkit_t12/data both meta.mat and "
                "ILSVRC2012_validation_ground_truth.txt, into it, or sort the pictures into one "
                "folder for each WordNet id")
    return (f"{name} has no sub-folders of classes and no table that says what its images show, "
            f"and their names ({printable(base)}) are no words: make one folder for each class, "
            "put a .txt file with the caption beside each image, or add captions.csv with the "
            "columns image and caption")


# --- lists of published sets, files beside pictures, folders and names ------------------------


def _by_list(look: Look) -> Listing | None:
    found = read_published(look.box, look.inner, look.pictures, look.reading.training)
    if found is None:
        return None
    look.rest(found.used)
    for full in look.pictures.values():
        if full not in found.labels:
            look.box.report.add(UNLISTED, full)
    look.box.report.how, look.box.report.split = found.how, found.split
    words = look.names_of(list(found.labels.values()))
    return in_order(look.box, {full: (word,) for full, word in zip(found.labels, words,
                                                                  strict=True)}, False)


def _by_companions(look: Look) -> Listing | None:
    kept, left, split, _ = of_split(look.pictures, look.reading.training)
    found = read_companions(look.box, look.inner, {n: look.pictures[n] for n in kept},
                            look.names_of, look.rest)
    if found is not None:
        look.box.report.split = split
        for name, why in left.items():
            look.box.report.add(why, look.pictures[name])
    return found


def _by_folder(look: Look, other: bool) -> Listing | None:
    """other: something else there would say it, so that one folder alone is no class."""
    tree = grow(look.pictures, look.reading.training)
    classes = set(tree.classes.values())
    if not classes or (len(classes) == 1 and (other or told_by_names(look.pictures)[0])):
        return None
    report = look.box.report
    words = look.names_of(list(tree.classes.values()), "class folders")
    for name, why in tree.left.items():
        report.add(why, look.pictures[name])
    report.how, report.split = tree.how, tree.split
    if tree.note:
        report.note(tree.note)
    look.rest(())
    return in_order(look.box, {look.pictures[name]: (word,) for name, word in zip(
        tree.classes, words, strict=True)}, False)


def _by_words(look: Look) -> Listing | None:
    kept, left, split, _ = of_split(look.pictures, look.reading.training)
    said, are_classes = told_by_names({n: look.pictures[n] for n in kept})
    if not said:
        return None
    report = look.box.report
    for name, why in left.items():
        report.add(why, look.pictures[name])
    for name in kept:
        if look.pictures[name] not in said:
            report.add(WORDLESS, look.pictures[name])
    report.how, report.split = "the words of the file names", split
    look.rest(())
    return in_order(look.box, {full: (words,) for full, words in said.items()}, not are_classes)
