"""Reads WordNet 3.0's own files (Debian package wordnet-base); needed by the builder alone.

Formats: the manual pages wndb(5WN), cntlist(5WN) and morphy(7WN).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from explorer.base.errors import InputError

PARTS = ("noun", "verb", "adj", "adv")
LETTER = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
NUMBER = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}
Key = tuple[str, int]  # part of speech and offset: names a synset


@dataclass(frozen=True)
class Synset:
    """One meaning. lemmas: its words, spaces as spaces; kinds: lexicographer file number;
    above: hypernyms (of an adjective: its cluster's head); gloss: definition and examples."""

    lemmas: tuple[str, ...]
    kind: int
    above: tuple[Key, ...]
    gloss: str


@dataclass(frozen=True)
class WordNet:
    """synsets; senses: (part, lemma) -> keys, the most frequent first; counts: how often a lemma
    was tagged with a sense; exceptions: (part, irregular form) -> lemmas."""

    synsets: dict[Key, Synset]
    senses: dict[tuple[str, str], tuple[Key, ...]]
    counts: dict[tuple[str, Key], int]
    exceptions: dict[tuple[str, str], tuple[str, ...]]
    below: dict[Key, list[Key]] = field(default_factory=dict)

    def key(self, part: str, lemma: str, sense: int = 1) -> Key:
        return self.senses[part, lemma][sense - 1]

    def closure(self, roots: Iterable[Key]) -> set[Key]:
        """The synsets under some, themselves included."""
        todo = list(roots)
        found = set(todo)
        while todo:
            for child in self.below.get(todo.pop(), ()):
                if child not in found:
                    found.add(child)
                    todo.append(child)
        return found

    def frequency(self, part: str, lemma: str) -> int:
        """Times the lemma was tagged with any of its senses."""
        return sum(self.counts.get((lemma, k), 0) for k in self.senses.get((part, lemma), ()))


def _lines(folder: Path, name: str) -> list[str]:
    try:
        text = (folder / name).read_text("utf-8")
    except OSError:
        raise InputError(f"{folder} has no {name}: install WordNet 3.0 there (Debian package "
                         "wordnet-base)") from None
    return [line for line in text.splitlines() if line and not line.startswith(" ")]


def _synset(part: str, line: str) -> tuple[Key, Synset]:
    head, _, gloss = line.partition(" | ")
    f = head.split(" ")
    n = int(f[3], 16)
    lemmas = tuple(w.split("(")[0].replace("_", " ") for w in f[4 : 4 + 2 * n : 2])
    start = 5 + 2 * n
    pointers = [f[start + 4 * i : start + 4 * i + 4] for i in range(int(f[4 + 2 * n]))]
    up = ("&",) if f[2] == "s" else ("@", "@i")  # "s": an adjective in the cluster of a head
    above = tuple((LETTER[p[2]], int(p[1])) for p in pointers if p[0] in up)
    return (part, int(f[0])), Synset(lemmas, int(f[1]), above, gloss.strip())


def read(folder: Path) -> WordNet:
    """Raises InputError when a file is missing."""
    synsets: dict[Key, Synset] = {}
    senses: dict[tuple[str, str], tuple[Key, ...]] = {}
    exceptions: dict[tuple[str, str], tuple[str, ...]] = {}
    for part in PARTS:
        synsets.update(_synset(part, line) for line in _lines(folder, f"data.{part}"))
        for line in _lines(folder, f"index.{part}"):
            f = line.split()
            offsets = f[-int(f[2]) :]
            senses[part, f[0].replace("_", " ")] = tuple((part, int(o)) for o in offsets)
        for line in _lines(folder, f"{part}.exc"):
            form, *lemmas = (w.replace("_", " ") for w in line.split())
            exceptions[part, form] = tuple(lemmas)
    counts: dict[tuple[str, Key], int] = {}
    for line in _lines(folder, "cntlist.rev"):
        sense_key, number, count = line.split()
        lemma, _, rest = sense_key.partition("%")
        keys = senses.get((NUMBER[rest[0]], lemma.replace("_", " ")), ())
        if int(number) <= len(keys):
            counts[lemma.replace("_", " "), keys[int(number) - 1]] = int(count)
    below: dict[Key, list[Key]] = defaultdict(list)
    for key, synset in synsets.items():
        for parent in synset.above:
            below[parent].append(key)
    return WordNet(synsets, senses, counts, exceptions, dict(below))
