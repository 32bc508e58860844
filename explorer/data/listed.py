"""A table or a JSON among the files of a folder or an archive that lists its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.class_names import named
from explorer.data.companions import key_of
from explorer.data.containers import Box, Report
from explorer.data.encodings import decode
from explorer.data.finding import Finder, listing
from explorer.data.listings import Listing, in_order
from explorer.data.name_files import beside, is_names_file
from explorer.data.splits import choice, kind_of, parts_of, preferred
from explorer.data.tables import ENDINGS, LOOSE, TEXTS, Reading, Told, locate, parse, tell
from explorer.data.wording import no_words

STRANGER, UNLISTED, OTHER_TABLE = "not pictures", "not in the table", "a table that is not read"
MOST_TABLES = 60  # files that are looked at for a table
BOXES = re.compile(r"(instances|keypoints|panoptic|stuff)_\w+\.json$")
LIKELY = ("caption", "metadata", "label", "annotation", "result", "token", "train", "test", "val",
          "dataset", "karpathy", "list", "solution")


@dataclass(frozen=True, eq=False)
class Look:
    """A box under examination. inner: name below a folder that holds everything -> full name;
    pictures: those of inner that are pictures."""

    box: Box
    inner: dict[str, str]
    pictures: dict[str, str]
    reading: Reading

    def names_of(self, labels: list[str], what: str = "labels", report: Report | None = None,
                 ) -> list[str]:
        """Labels in words; files of names are looked for in the box and, where it is not a
        stranger's, beside and above it."""
        def files() -> Iterable[tuple[str, bytes]]:
            own = sorted((name for name in self.box.files if is_names_file(name)),
                         key=lambda name: (name.lower().endswith(".md"), name.count("/"), name))
            for name in own[:MOST_TABLES]:
                yield name, self.box.read(name)
            if not self.reading.stranger:
                yield from beside(self.box.path if self.box.path.is_dir() else
                                  self.box.path.parent)

        return named(labels, self.box.name, self.box.report if report is None else report, files,
                     what)

    def rest(self, used: Iterable[str]) -> None:
        """Notes the files that were of no use."""
        known = {*used, *self.pictures.values()}
        for full in self.inner.values():
            if full not in known and not is_names_file(full):
                self.box.report.add(STRANGER, full)


def _candidates(look: Look) -> list[str]:
    """Files that may be the table: likely ones and those at the top first."""
    stems = {key_of(name)[0] for name in look.pictures}
    fit = [n for n in look.inner if n.lower().endswith(ENDINGS) and key_of(n)[0] not in stems
           and not n.lower().endswith("_stats.json")]
    if any("caption" in name.rsplit("/", 1)[-1].lower() for name in fit):
        fit = [n for n in fit if not BOXES.search(n)]  # of COCO: hundreds of MB
    return sorted(fit, key=lambda n: (not any(word in n.lower() for word in LIKELY),
                                      n.count("/"), n))[:MOST_TABLES]


@dataclass(frozen=True, eq=False)
class _Found:
    """A table that fits: which pictures it lists, with their answers."""

    name: str
    kind: str
    told: Told
    listed: dict[str, tuple[str, ...]]
    report: Report


def by_table(look: Look) -> tuple[Listing | None, list[InputError]]:
    """(what the best table says, why tables that list pictures were of no use)."""
    found: list[_Found] = []
    troubles: list[InputError] = []
    loose: list[InputError] = []  # of texts that may be something else
    for name in _candidates(look):
        try:
            if (one := _try(look, name)) is not None:
                found.append(one)
        except InputError as error:
            if not is_names_file(name) or name.lower().endswith(TEXTS):
                (loose if name.lower().endswith(LOOSE) else troubles).append(error)
    if not found:
        return None, troubles or [error for error in loose if "--columns" in str(error)]
    wanted = look.reading.captions_first
    kinds = {one.kind for one in found if one.kind}
    kept = preferred(kinds, look.reading.training)
    best = max(found, key=lambda one: (one.told.are_captions if wanted else 0,
                                       one.kind in ("", kept), "lemma" not in one.name.lower(),
                                       len(one.listed), -one.name.count("/")))
    if not best.kind and not best.told.split:
        best = _of_lists(look, best)
    rest = [one for one in found if one.name != best.name]
    return _take(look, best, rest), troubles


def _of_lists(look: Look, best: _Found) -> _Found:
    """The part of a table that a list of names says is of the split that is read, as Flickr8k's
    testImages.txt does; the whole where there are no such lists."""
    finder = Finder(listing(look.pictures))
    kinds: dict[str, set[str]] = {}
    for name in _candidates(look):
        kind = parts_of(PurePosixPath(name).stem)[0]
        if not kind or name == best.name or not name.lower().endswith(".txt"):
            continue
        lines = decode(look.box.read(look.inner[name])).split("\n")
        at = [finder.find(line) for line in lines if line.strip()]
        if at and all(at):
            kinds.setdefault(kind, set()).update(look.pictures[str(one)] for one in at)
    if len(kinds) < 2:
        return best
    kept = preferred(kinds, look.reading.training)
    split = choice(list(kinds), look.reading.training)
    listed = {full: own for full, own in best.listed.items() if full in kinds[kept]}
    return replace(best, listed=listed, told=replace(best.told, split=split)) if listed else best


def _try(look: Look, name: str) -> _Found | None:
    """What a file says as a table; None where it is none. Raises InputError where it is one that
    is not understood, or lists no picture that is there."""
    table = parse(look.box.read(look.inner[name]), name)
    loose = name.lower().endswith(LOOSE)
    if table is None or (loose and len(table.columns) < 2):
        return None
    report = Report()
    told = tell(table, look.reading, report)
    if not told.entries:
        return None
    parts = [kind_of(part) for part in name.split("/")[:-1]]
    kind = parts_of(PurePosixPath(name).stem)[0] or next((p for p in reversed(parts) if p), "")
    finder = Finder(listing(look.pictures), name.rpartition("/")[0], split=kind)
    found = locate(told, finder, report, name)
    listed = {look.pictures[str(inside)]: answers for inside, answers in found.items()}
    if not told.are_captions:
        words = look.names_of([answers[0] for answers in listed.values()],
                              f"labels (column {told.chosen.answers[0]})", report)
        listed = {full: (word,) for full, word in zip(listed, words, strict=True)}
    elif bad := no_words([text for own in listed.values() for text in own]):
        raise InputError(f"the captions in {name}, column {told.chosen.answers[0]}, are no words, "
                         f"as “{printable(bad)}”: name another with --columns")
    return _Found(name, kind, told, listed, report)


def _take(look: Look, best: _Found, others: list[_Found]) -> Listing:
    """The listing of the chosen table; what it does not list is noted."""
    report = look.box.report
    report.take(best.report)
    report.how = f"the table {best.told.how}"
    split = best.told.split
    if best.kind and not split:
        split = choice(list(dict.fromkeys([best.kind, *(o.kind for o in others if o.kind)])),
                       look.reading.training)
    report.split = split
    for full in look.pictures.values():
        if full not in best.listed:
            report.add(UNLISTED if not split else "in another split, or not in the table", full)
    used = {look.inner[best.name]}
    for other in others:
        report.add(OTHER_TABLE, look.inner[other.name])
        used.add(look.inner[other.name])
    look.rest(used)
    return in_order(look.box, best.listed, best.told.are_captions)
