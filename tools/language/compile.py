"""Writes WordNet as the compact file that explorer.attacks.language.thesaurus reads."""

from __future__ import annotations

import gzip
from pathlib import Path

from tools.language.wordnet import Key, WordNet

LETTERS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


def order(wordnet: WordNet) -> list[Key]:
    """All meanings, each soon after one of its hypernyms."""
    seen: set[Key] = set()
    found: list[Key] = []
    roots = [k for k, s in wordnet.synsets.items() if not s.above]
    todo = [*reversed(wordnet.synsets), *reversed(roots)]
    while todo:
        key = todo.pop()
        if key not in seen:
            seen.add(key)
            found.append(key)
            todo.extend(reversed(wordnet.below.get(key, [])))
    return found


def lines(wordnet: WordNet) -> list[str]:
    """The file's lines; a hypernym is written as how many meanings it stands before its own."""
    keys = order(wordnet)
    place = {key: i for i, key in enumerate(keys)}
    found = []
    for i, key in enumerate(keys):
        synset, items = wordnet.synsets[key], []
        for lemma in dict.fromkeys(synset.lemmas):
            senses = wordnet.senses.get((key[0], lemma.lower()), (key,))
            sense = senses.index(key) + 1 if key in senses else len(senses) + 1
            count = wordnet.counts.get((lemma.lower(), key), 0)
            numbers = f"{sense if sense > 1 else ''}{f',{count}' if count else ''}"
            items.append(f"{lemma}~{numbers}" if numbers else lemma)
        steps = [str(i - place[parent]) for parent in synset.above]
        found.append("\t".join([LETTERS[key[0]], "|".join(items), *steps]))
    for (part, form), bases in wordnet.exceptions.items():
        found.append("\t".join(["!" + LETTERS[part], form, *bases]))
    return found


def write(wordnet: WordNet, file: Path) -> None:
    text = "\n".join(lines(wordnet)) + "\n"
    file.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
