"""Synonyms and co-hyponyms from WordNet 3.0, and which words are in its dictionary.

assets/words/thesaurus.tsv.gz has a line per meaning: part of speech; its words, each with the
number of that sense of the word and how often it was tagged; the lines of its hypernyms. Lines
that start with "!" are irregular forms. Fellbaum (ed.) 1998, WordNet, MIT Press.
"""

from __future__ import annotations

import gzip
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from explorer.attacks.language import inflect
from explorer.base.nltk_data import FOLDER
from explorer.base.words import stop_words

FILE = FOLDER.parent / "words" / "thesaurus.tsv.gz"
PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
SHORT = 5  # letters up to which an adjective is taken to have regular -er and -est
_lock = threading.Lock()


@dataclass(frozen=True)
class Swap:
    """A word that may stand in another's place: of the same meaning, or of the same kind."""

    word: str
    relation: Literal["synonym", "co-hyponym"]


class Entry(NamedTuple):
    """A word of a meaning. sense: its rank among the word's senses; tags: times it was tagged."""

    word: str
    sense: int
    tags: int


@dataclass(frozen=True)
class Thesaurus:
    """Meanings by number. parts, entries, above: of each; below: the other way; senses: (part,
    lower-case word) -> (entry, meaning); irregular: (part, form) -> base words; forms: back."""

    parts: list[str] = field(default_factory=list)
    entries: list[tuple[Entry, ...]] = field(default_factory=list)
    above: list[tuple[int, ...]] = field(default_factory=list)
    below: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    senses: dict[tuple[str, str], list[tuple[Entry, int]]] = field(
        default_factory=lambda: defaultdict(list))
    irregular: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    forms: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, line: str) -> None:
        part, words, *rest = line.rstrip("\n").split("\t")
        if part[0] == "!":
            self.irregular[PARTS[part[1]], words] = rest
            for base in rest:
                self.forms[PARTS[part[1]], base].append(words)
            return
        number, kind = len(self.parts), PARTS[part]
        found = []
        for item in words.split("|"):
            word, _, numbers = item.partition("~")
            sense, _, count = numbers.partition(",")
            found.append(Entry(word, int(sense or 1), int(count or 0)))
            self.senses[kind, word.lower()].append((found[-1], number))
        self.parts.append(kind)
        self.entries.append(tuple(found))
        self.above.append(tuple(number - int(step) for step in rest))
        for parent in self.above[-1]:
            self.below[parent].append(number)

    def kin(self, number: int) -> Iterator[Entry]:
        """Words of the meanings that share a hypernym with this one; of adjectives, those of the
        same cluster: a head and the words similar to it."""
        clusters = self.above[number]
        if self.parts[number] == "adj":
            for head in clusters or (number,):
                yield from self.entries[head] if clusters else ()
                clusters = (head,)
        for parent in clusters:
            for child in self.below.get(parent, ()):
                if child != number:
                    yield from self.entries[child]


def read(file: Path) -> Thesaurus:
    found = Thesaurus()
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            found.add(line)
    return found


@lru_cache(maxsize=1)
def _read() -> Thesaurus:
    return read(FILE)


def thesaurus() -> Thesaurus:
    """The embedded one, read once (about a second)."""
    with _lock:
        return _read()


def readings(word: str, book: Thesaurus) -> list[tuple[str, str, str]]:
    """(part, base word, ending) in which a word can be read; ending: "" or the inflection's."""
    found = []
    for part in PARTS.values():
        if (part, word) in book.senses:
            found.append((part, word, ""))
        irregular = book.irregular.get((part, word), [])
        for base in irregular or inflect.bases(word, part):
            if base != word and (part, base) in book.senses:
                found.append((part, base, _ending(part, word)))
    return found


def _ending(part: str, word: str) -> str:
    if part == "noun":
        return "s"
    if part == "adj":
        return "est" if word.endswith("est") else "er"
    return next((e for e in ("ing", "s") if word.endswith(e)), "ed")


def inflected(word: str, part: str, ending: str, book: Thesaurus) -> str | None:
    """The word with an ending; None where it takes none ("beautiful"), or where English has two
    forms for it ("wrote", "written")."""
    if not ending:
        return word
    if " " in word:  # "domestic dogs", but "going away"
        first, _, rest = word.partition(" ")
        if part == "verb":
            done = inflected(first, part, ending, book)
            return done and f"{done} {rest}"
        first, _, last = word.rpartition(" ")
        done = inflected(last, part, ending, book)
        return done and f"{first} {done}"
    odd = book.forms.get((part, word), [])
    if part == "noun":
        return odd[0] if odd else inflect.with_s(word)
    if part == "adj":
        regular = inflect.with_er(word)[ending == "est"] if len(word) <= SHORT else None
        return next((f for f in odd if f.endswith(ending)), regular)
    if ending == "s":
        return inflect.with_s(word)
    if ending == "ing":
        return next((f for f in odd if f.endswith("ing")), inflect.with_ing(word))
    past = [f for f in odd if not f.endswith("ing")]
    if any(not f.endswith("ed") for f in past):
        return None
    return past[0] if past else inflect.with_ed(word)


def _senses(word: str, book: Thesaurus) -> list[tuple[Entry, str, str, int]]:
    """The senses of a word, those of its most frequent part of speech first; names only of a word
    that is nothing else."""
    found = [(entry, part, ending, number) for part, base, ending in readings(word, book)
             for entry, number in book.senses[part, base]]
    common = [row for row in found if row[0].word.islower()]
    weight: dict[str, int] = defaultdict(int)
    for entry, part, *_ in common or found:
        weight[part] += entry.tags
    return sorted(common or found, key=lambda r: (-weight[r[1]], -r[0].tags, r[0].sense, r[3]))


@lru_cache(maxsize=8192)
def _swaps(word: str, phrases: bool) -> tuple[Swap, ...]:
    book, low = thesaurus(), word.lower()
    senses = _senses(low, book)
    found: dict[str, Swap] = {}

    def take(entries: Iterable[Entry], own: Entry, part: str, ending: str,
             relation: Literal["synonym", "co-hyponym"]) -> None:
        for entry in sorted(entries, key=lambda e: (-e.tags, e.sense, e.word)):
            proper = not entry.word.islower() and (own.word.islower() or bool(ending))
            if proper or (" " in entry.word and not phrases):
                continue
            new = inflected(entry.word, part, ending, book)
            if new and new.lower() != low:
                found.setdefault(new.lower(), Swap(new, relation))

    for own, part, ending, number in senses:
        take(book.entries[number], own, part, ending, "synonym")
    for own, part, ending, number in senses:
        take(book.kin(number), own, part, ending, "co-hyponym")
    return tuple(found.values())


def swaps(word: str, phrases: bool = False) -> list[Swap]:
    """Synonyms, then co-hyponyms (words under the same hypernym), those of the word's most frequent
    sense first and the more frequent first within a sense; inflected as the word is.

    phrases: also entries of several words ("domestic dog"). Unknown words have none; of one with
    an 's they are those of the word before it, with the same ending.
    """
    found = _swaps(word, phrases)
    if not found and word[-2:].lower() in ("'s", "\u2019s"):
        return [Swap(s.word + word[-2:], s.relation) for s in _swaps(word[:-2], phrases)]
    return list(found)


@lru_cache(maxsize=1)
def _dictionary() -> frozenset[str]:
    book, found = thesaurus(), set(stop_words())
    for part, word in book.senses:
        if " " in word or len(word) < 2:
            continue
        found.add(word)
        if part == "adv" or not word.isalpha():
            continue
        endings = {"noun": ("s",), "verb": ("s", "ing", "ed"), "adj": ("er", "est")}[part]
        found.update(form for e in endings if (form := inflected(word, part, e, book)))
    found.update(form for _, form in book.irregular if " " not in form)
    return frozenset(found)


def dictionary() -> frozenset[str]:
    """Single words of WordNet, their inflections and the stop words, lower case; of single letters
    only "a" and "i"."""
    thesaurus()
    return _dictionary()


def is_word(word: str) -> bool:
    """Whether a word is in the dictionary, whatever its case."""
    return word.lower() in dictionary()
