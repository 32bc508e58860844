"""The sentences that the head learns from and is measured on: WordNet's texts and made captions."""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass

from explorer.attacks.language import inflect
from tools.language import patterns
from tools.language.wordnet import WordNet

HELD_OUT = 50  # one synset in so many, and one noun in HELD_OUT_NOUNS, is never trained on
HELD_OUT_NOUNS = 12
SLOT = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Sentence:
    """A text; kind: "definition", "example" or "caption"; focus: the words to be measured (all of
    them when empty)."""

    text: str
    kind: str
    focus: tuple[str, ...] = ()


def held_out(name: str, one_in: int) -> bool:
    """By a checksum of the name, so that the split is the same everywhere."""
    return zlib.crc32(name.encode()) % one_in == 0


def texts(wordnet: WordNet) -> tuple[list[Sentence], list[Sentence]]:
    """Definitions and examples of all synsets: those to learn from, and those held out."""
    train: list[Sentence] = []
    test: list[Sentence] = []
    for (part, offset), synset in wordnet.synsets.items():
        side = test if held_out(f"{part}{offset}", HELD_OUT) else train
        quoted = re.findall(r'"([^"]+)"', synset.gloss)
        plain = re.sub(r'"[^"]*"', "", synset.gloss).strip(" ;:,")
        if len(plain.split()) > 2:
            side.append(Sentence(plain, "definition"))
        side += [Sentence(q.strip(), "example") for q in quoted if len(q.split()) > 2]
    return train, test


class Captions:
    """Draws captions from the patterns; nouns by tagged frequency, from either side of a split."""

    def __init__(self, wordnet: WordNet, known: frozenset[str]) -> None:
        """known: words worth using although nobody has tagged them, such as the model's tokens."""
        self.plural = {lemmas[0]: form for (part, form), lemmas in wordnet.exceptions.items()
                       if part == "noun"}
        self.nouns: dict[str, list[tuple[str, float]]] = {}
        for slot, roots in patterns.ROOTS.items():
            kinds = wordnet.closure(wordnet.key("noun", lemma, sense) for lemma, sense in roots)
            weights = {}
            for key in kinds:
                for lemma in wordnet.synsets[key].lemmas:
                    if not lemma.isalpha() or not lemma.islower() or len(lemma) < 3:
                        continue
                    count = wordnet.counts.get((lemma, key), 0)
                    if wordnet.senses["noun", lemma][0] == key and (count or lemma in known):
                        weights[lemma] = (0.3 + count) ** 0.7
            self.nouns[slot] = sorted(weights.items())
        self.words = {slot: words.split() for slot, words in patterns.WORDS.items()}
        self.lines = [line for line in patterns.PATTERNS.splitlines() if line]

    def _noun(self, slot: str, unseen: bool, draw: random.Random) -> str:
        side = [(n, w) for n, w in self.nouns[slot] if held_out(n, HELD_OUT_NOUNS) == unseen]
        names, weights = zip(*(side or self.nouns[slot]), strict=True)
        noun: str = draw.choices(names, weights)[0]
        return noun

    def one(self, draw: random.Random, unseen: bool = False) -> Sentence:
        """One caption. unseen: noun slots hold held-out nouns, where they have any; its focus."""
        focus: list[str] = []

        def fill(match: re.Match[str]) -> str:
            slot = match[1]
            if slot in self.words:
                return draw.choice(self.words[slot])
            many = slot not in self.nouns
            noun = self._noun(slot.removesuffix("s") if many else slot, unseen, draw)
            form = self.plural.get(noun, inflect.with_s(noun)) if many else noun
            if held_out(noun, HELD_OUT_NOUNS):
                focus.append(form)
            return form

        line = draw.choice(self.lines)
        text = re.sub(r"\b(an?) (?=([aeiou])?)", lambda m: "an " if m[2] else "a ",
                      SLOT.sub(fill, line))
        return Sentence(text, "caption", tuple(focus) if unseen else ())
