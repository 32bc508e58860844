"""English inflection by rule: plurals, third persons, -ing and -ed forms, and their way back.

The rules are WordNet's (its manual page morphy(7WN)) read in both directions; irregular forms come
from its exception lists, which the caller has.
"""

from __future__ import annotations

import re

# Form endings and what they become in the base form (morphy's rules of detachment).
DETACH: dict[str, tuple[tuple[str, str], ...]] = {
    "noun": (("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"),
             ("shes", "sh"), ("men", "man"), ("ies", "y")),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""),
             ("ied", "y"), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e"), ("ier", "y"), ("iest", "y")),
    "adv": (),
}
MEN = re.compile(r"(?<!hu)(?<!ger)(?<!ro)(?<!nor)(?<!sha)(?<!tali)(?<!otto)(?<!cay)(?<!cai)man$")
HISS = re.compile(r"(s|x|z|ch|sh)$")
DOUBLES = re.compile(r"^[^aeiouy]*[aeiouy][bdgklmnprt]$")  # one syllable: run, running


def with_s(word: str) -> str:
    """dogs, boxes, berries, firemen: a noun's regular plural, a verb's third person."""
    if MEN.search(word):
        return word[:-2] + "en"
    if HISS.search(word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def _stem(word: str) -> str:
    return word + word[-1] if DOUBLES.search(word) else word


def with_ing(word: str) -> str:
    """walking, riding, running, lying."""
    if word.endswith("ie"):
        return word[:-2] + "ying"
    if re.search(r"[^eoy]e$", word) and len(word) > 2:
        return word[:-1] + "ing"
    return _stem(word) + "ing"


def with_ed(word: str) -> str:
    """walked, parked, tried, stopped: the regular past."""
    if word.endswith("e"):
        return word + "d"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ied"
    return _stem(word) + "ed"


def with_er(word: str) -> tuple[str, str]:
    """larger and largest."""
    if word.endswith("e"):
        return word + "r", word + "st"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ier", word[:-1] + "iest"
    return _stem(word) + "er", _stem(word) + "est"


def bases(word: str, part: str) -> list[str]:
    """Base forms that a word could be a regular inflection of (not checked against a list)."""
    found = [word[: len(word) - len(end)] + new for end, new in DETACH[part]
             if word.endswith(end) and len(word) > len(end) + 1]
    if part == "verb":
        undoubled = re.match(r"(.*([bdgklmnprt]))\2(ing|ed)$", word)
        found += [undoubled[1]] if undoubled else []
        found += [word[:-4] + "ie"] if word.endswith("ying") else []
    if part == "noun" and word.endswith("ss"):
        return []
    return list(dict.fromkeys(found))
