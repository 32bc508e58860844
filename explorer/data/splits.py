"""The parts into which sets are split, by the names that folders, files and columns give them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TRAIN, VAL, TEST = "train", "val", "test"
WORDS = {"train": TRAIN, "training": TRAIN, "trainset": TRAIN, "restval": TRAIN, "tr": TRAIN,
         "trn": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "dev": VAL,
         "development": VAL, "validate": VAL, "eval": VAL, "evaluation": VAL, "valset": VAL,
         "test": TEST, "testing": TEST, "tst": TEST, "testset": TEST, "holdout": TEST,
         "pred": "pred", "prediction": "pred", "unlabeled": "unlabelled",
         "unlabelled": "unlabelled", "extra": "extra"}
FILLERS = {"set", "data", "images", "image", "imgs", "img", "folder", "dataset", "split", "part",
           "jpg", "jpeg", "png", "pictures", "photos", "seg", "crop", "resized"}
ORDERS = {False: (TEST, VAL, TRAIN), True: (TRAIN, VAL, TEST)}  # True: for training
WHY = {False: "one that measures reads test, else val", True: "one that trains reads train"}


def parts_of(name: str) -> tuple[str, str]:
    """("train", "") of "training_set", "Train" or "train2017"; ("val", "captions") of
    "captions_val2017"; ("", name) of one that names no split."""
    tokens = [t for t in re.split(r"[\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
              if t]
    found = [WORDS[token] for token in tokens if token in WORDS]
    if len(set(found)) != 1:
        return "", name.lower()
    return found[0], " ".join(t for t in tokens if t not in WORDS and t not in FILLERS)


def kind_of(name: str) -> str:
    """The split that a name is and says nothing beside: "test" of "test_set"; "" of "test tube"."""
    kind, rest = parts_of(name)
    return "" if rest else kind


def split_folders(names: Iterable[str]) -> dict[str, list[str]]:
    """Split -> the folders of it, where folders side by side are splits and no classes; else {}.

    They are when all of them are, or at least two splits are among them; "cats_train" beside
    "cats_test" are, too. A lone "train" among animals is a vehicle.
    """
    names = list(names)
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        kind, rest = parts_of(name)
        if kind:
            found.setdefault(rest, {}).setdefault(kind, []).append(name)
    if not found:
        return {}
    best = max(found.values(), key=len)
    kinds = set(best) & {TRAIN, VAL, TEST}
    whole = sum(map(len, best.values())) == len(names)
    alone = len(names) == 1 and whole and best is found.get("")
    if (len(kinds) >= 2) or alone or (len(names) > 1 and whole and kinds and "" in found
                                      and len(best) > 1):
        return best
    return {}


def preferred(kinds: Iterable[str], training: bool) -> str:
    """The split that is read of those there are."""
    there = list(kinds)
    return next((kind for kind in ORDERS[training] if kind in there), there[0] if there else "")


def choice(kinds: Sequence[str], training: bool) -> str:
    """What is said about the split that is read, where there are several."""
    kept = preferred(kinds, training)
    others = [kind for kind in kinds if kind != kept]
    if not others:
        return f"the split {kept}, the only one there is"
    verb = "is" if len(others) == 1 else "are"
    return f"the split {kept}; {WHY[training]}, and {' and '.join(others)} {verb} left alone"
