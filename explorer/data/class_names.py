"""What classes are called: ids of WordNet, numbers and numbered names made words, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.columns import PICTURE_NAME, is_number
from explorer.data.containers import Report
from explorer.data.name_files import NUMBERED, WNID, Names, read_names

WNID_NAMED = re.compile(r"n\d{8}[-_ ]+(?=\D)(.+)")
STEMS = {"class", "klass", "label", "category", "categorie", "cluster", "group", "gruppe", "type",
         "kind", "id", "identity", "person", "subject", "patient", "folder", "dir", "directory",
         "batch", "part", "set", "sample", "session", "sequence", "seq", "scene", "c", "k", "g",
         "new folder", "untitled folder", "untitled", "neuer ordner", "nouveau dossier",
         "nueva carpeta", "folder copy", "new folder copy"}  # that say nothing with a number behind
STEM = re.compile(r"(\D*?)[\s_\-.#]*\(?(\d*)\)?")
DATE = re.compile(r"\d+([-_.:/\s]+\d+)+")
FLAGS = {"true", "false", "nan", "none", "null", "n/a"}
HEX = re.compile(r"[0-9a-f]{8,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)


def named(labels: Sequence[Any], where: str, report: Report,
          files: Callable[[], Iterable[tuple[str, bytes]]] = tuple, what: str = "labels",
          ) -> list[str]:
    """The class of each example in words. files: (name, contents) of what may hold names, asked
    for only where labels need them.

    Ids of WordNet become its names; whole numbers those of a file of names; the number before a
    name is dropped. Raises InputError for numbers and codes that nothing gives names to.
    """
    different = list(dict.fromkeys(_plain(label) for label in labels))
    if not different:
        return []
    words = {old: _tidy(old) for old in different}
    if all(WNID.fullmatch(name) for name in different):
        words = _of_wordnet(different, where, report, files)
    elif all(WNID_NAMED.fullmatch(name) for name in different):
        words = {n: _tidy(WNID_NAMED.fullmatch(n)[1]) for n in different}  # type: ignore[index]
        report.note("ids of WordNet before the class names were dropped")
    elif all(map(is_number, different)):
        words = _of_numbers(different, where, report, files, what)
    elif all(NUMBERED.fullmatch(name) for name in different):
        words = {n: _tidy(NUMBERED.fullmatch(n)[1]) for n in different}  # type: ignore[index]
        report.note("the numbers before the class names were dropped, as in "
                    f"{printable(different[0])}")
    elif all(map(_is_counted, different)) and any(name[-1:] in "0123456789)" for name in different):
        words = _of_counted(different, where, report, files)
    elif 2 * sum(map(is_code, different)) > len(different):
        raise InputError(f"the classes of {where} are codes such as {printable(different[0])}, and "
                         f"nothing says what they mean: {_add(where)}")
    _say_shared(words, report)
    return [words[_plain(label)] for label in labels]


def is_code(name: str) -> bool:
    """Whether a name is a number, a date, hexadecimal, or true or false, and no word."""
    return (is_number(name) or is_hex(name.strip()) or name.strip().lower() in FLAGS
            or DATE.fullmatch(name.strip()) is not None)


def _is_counted(name: str) -> bool:
    """class_0, cluster 3, New folder (2): a word that says nothing, and a number."""
    found = STEM.fullmatch(name.strip())
    return found is not None and " ".join(found[1].replace("_", " ").lower().split()) in STEMS


def _of_counted(names: Sequence[str], where: str, report: Report, files: Any) -> dict[str, str]:
    """By their numbers, where a file says what these mean."""
    numbers = {name: STEM.fullmatch(name.strip())[2] for name in names}  # type: ignore[index]
    if all(numbers.values()):
        try:
            words = _of_numbers(list(numbers.values()), where, report, files, "classes")
        except InputError:
            words = {}
        if words:
            return {name: words[number] for name, number in numbers.items()}
    raise InputError(f"the classes of {where} are only counted, as {printable(names[0])}, and "
                     f"nothing says what they mean: {_add(where)}")


def is_hex(name: str) -> bool:
    """693b08cb0e and deadbeef01, but not facade01."""
    if len(name) < 8 or not HEX.fullmatch(name):
        return False
    digits = sum(c.isdigit() for c in name)
    return digits > 2 or (digits > 0 and len(name) > 9)


def _tidy(name: str) -> str:
    return " ".join(name.replace("_", " ").split()) or name


def _plain(label: Any) -> str:
    """3 and 3.0 are the same label, "3"."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    text = str(label).strip()
    return text[:-2] if re.fullmatch(r"\d+\.0", text) else text


def _say_shared(words: Mapping[str, str], report: Report) -> None:
    """Classes of the same name count as one answer, and that is said."""
    shared: dict[str, list[str]] = {}
    for old, new in words.items():
        shared.setdefault(" ".join(new.split()), []).append(old)
    for new, olds in shared.items():
        if len(olds) > 1:
            shown = ", ".join(printable(one) for one in olds[:4])
            report.note(f"“{printable(new)}” is the name of {len(olds)} classes ({shown}) and "
                        "counts as one answer")


# --- WordNet --------------------------------------------------------------------------------


def imagenet_names() -> dict[str, str]:
    """WordNet id -> the class name that CLIP is asked about (Radford et al. 2021)."""
    import open_clip
    from timm.data.imagenet_info import ImageNetInfo

    wnids = ImageNetInfo().label_names()  # type: ignore[no-untyped-call]
    return dict(zip(wnids, open_clip.IMAGENET_CLASSNAMES, strict=True))


@cache
def _lemmas() -> dict[str, str]:
    """The first name of each of ImageNet-21k's 21,844 ids, as timm ships them from WordNet 3.0."""
    from importlib.resources import files

    text = (files("timm.data") / "_info" / "imagenet_synset_to_lemma.txt").read_text("utf-8")
    rows = (line.split("\t", 1) for line in text.splitlines() if "\t" in line)
    return {wnid: names.split(",")[0].strip() for wnid, names in rows}


def _of_wordnet(ids: Sequence[str], where: str, report: Report, files: Any) -> dict[str, str]:
    known = imagenet_names()
    if not set(ids) <= set(known):
        known = {**_lemmas(), **known}
    absent = [wnid for wnid in ids if wnid not in known]
    if absent:
        for _, names in _read_all(files):
            known = {**known, **{str(k): v for k, v in names.items()}}
        absent = [wnid for wnid in ids if wnid not in known]
    if absent:
        raise InputError(f"{absent[0]} in {where} is no id of ImageNet's classes: add a words.txt "
                         "with the id and the name on each line")
    report.note(f"ids of WordNet became its names, as {ids[0]} “{known[ids[0]]}”")
    return {wnid: known[wnid] for wnid in ids}


# --- numbers --------------------------------------------------------------------------------


def _of_numbers(labels: Sequence[str], where: str, report: Report, files: Any, what: str,
                ) -> dict[str, str]:
    if odd := [label for label in labels if not float(label).is_integer()]:
        raise InputError(f"the {what} of {where} are numbers such as {odd[0]}, which name no "
                         "class: name another column with --columns")
    numbers = {label: int(float(label)) for label in labels}
    low, high = min(numbers.values()), max(numbers.values())
    short = ""
    for file, names in _read_all(files):
        counted = {k: v for k, v in names.items() if isinstance(k, int)}
        shift = 1 if low == 1 and high == len(counted) and 0 in counted else 0
        if counted and all(n - shift in counted for n in numbers.values()):
            report.note(f"what the numbers mean is read from {printable(file)}"
                        + (", counted from 1" if shift else ""))
            return {label: counted[n - shift] for label, n in numbers.items()}
        if counted and not short:
            short = (f" ({printable(file)} names {len(counted)} class"
                     f"{'es' * (len(counted) != 1)}, and the labels go from {low} to {high})")
    raise InputError(f"the {what} of {where} are numbers, {low} to {high}, and nothing says "
                     f"what they mean{short}: {_add(where)}")


def _add(where: str) -> str:
    return (f"put a file classnames.txt beside {where} or in it, with one name a line (the first "
            "for label 0), or use words")


def _read_all(files: Any) -> Iterable[tuple[str, Names]]:
    for name, raw in files():
        found = read_names(name, raw)
        if found and all(any(c.isalpha() for c in v) for v in found.values()) and not all(
                is_code(v) or PICTURE_NAME.search(v) for v in found.values()):
            yield name, found
