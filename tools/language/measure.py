"""How often the embedded head finds a masked word: the figures of its card and of docs/words.md."""

from __future__ import annotations

import json
import platform
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from explorer.attacks.language.embedded import EmbeddedLM
from explorer.base.intervals import wilson
from explorer.base.words import spans
from tools.language.corpus import Captions, Sentence, texts
from tools.language.wordnet import WordNet

EACH = 1000  # masked words a row, one of each sentence
TITLES = {
    "definition": "WordNet definitions, held out",
    "example": "WordNet examples, held out",
    "caption word": "any word of captions made with held-out nouns",
    "caption noun": "the held-out nouns themselves",
}
SHOWN = (
    "a photo of a dog", "a man riding a wave on top of a surfboard",
    "a red car parked in front of a building", "two children playing soccer in the park",
    "a cat sleeping on a couch next to a laptop", "a plate of food on a wooden table",
    "a woman in a blue dress holding an umbrella", "a bird sitting on a branch of a tree",
    "a black and white photo of an old train", "people walking down a busy street at night",
)


@dataclass(frozen=True)
class Probe:
    """A sentence and the number of the word in it that has to be found."""

    text: str
    word: int


def probes(sentences: Sequence[Sentence], known: frozenset[str], seed: int = 0) -> list[Probe]:
    """One word of each sentence, drawn among its focus or else among all; only words that the model
    could say at all (`known`), and at most EACH."""
    draw, found = random.Random(seed), []
    for sentence in sentences:
        words = [s.word.lower() for s in spans(sentence.text)]
        fit = [i for i, w in enumerate(words)
               if w in known and (not sentence.focus or w in sentence.focus)]
        if fit:
            found.append(Probe(sentence.text, draw.choice(fit)))
    draw.shuffle(found)
    return found[:EACH]


def sets(wordnet: WordNet, known: frozenset[str]) -> dict[str, list[Probe]]:
    """What is measured, by kind."""
    _, held = texts(wordnet)
    captions, draw = Captions(wordnet, known), random.Random("measure")
    made = [captions.one(draw, unseen=True) for _ in range(3 * EACH)]
    return {
        "definition": probes([s for s in held if s.kind == "definition"], known),
        "example": probes([s for s in held if s.kind == "example"], known),
        "caption word": probes([Sentence(s.text, s.kind) for s in made], known),
        "caption noun": probes([s for s in made if s.focus], known),
    }


def ranks(model: EmbeddedLM, found: Sequence[Probe]) -> tuple[int, int]:
    """How many of the words are first, and how many among the first ten, with the word masked."""
    first = ten = 0
    for part in range(0, len(found), 64):
        chunk = found[part : part + 64]
        for probe, best in zip(chunk, model.best([(p.text, p.word) for p in chunk], 10),
                               strict=True):
            word = spans(probe.text)[probe.word].word.lower()
            first += best[0].word == word
            ten += any(c.word == word for c in best)
    return first, ten


def measure(wordnet: WordNet, model: EmbeddedLM) -> dict[str, dict[str, Any]]:
    """{kind: {"n", "top1": {"accuracy", "ci95"}, "top10": the same}}."""
    known = frozenset(t for t, ok in zip(model.words.texts, model.words.spaced, strict=True) if ok)
    numbers: dict[str, dict[str, Any]] = {}
    for kind, found in sets(wordnet, known).items():
        first, ten = ranks(model, found)
        numbers[kind] = {"n": len(found)}
        for name, hits in (("top1", first), ("top10", ten)):
            numbers[kind][name] = {"accuracy": hits / len(found),
                                   "ci95": list(wilson(hits, len(found)))}
    return numbers


def _cell(entry: dict[str, Any]) -> str:
    low, high = entry["ci95"]
    return f"{entry['accuracy'] * 100:.1f} % ({low * 100:.1f} to {high * 100:.1f})"


def table(numbers: dict[str, dict[str, Any]], steps: int) -> str:
    """The figures in Markdown. steps: of the head's training."""
    lines = ["| masked word | n | first | among the first ten |", "|---|---|---|---|"]
    lines += [f"| {TITLES[kind]} | {row['n']:,} | {_cell(row['top1'])} | {_cell(row['top10'])} |"
              for kind, row in numbers.items()]
    foot = (f"95 % Wilson intervals; head trained for {steps:,} steps; float32, "
            f"{platform.machine()}, {date.today().isoformat()}.")
    return "\n".join([*lines, "", foot, ""])


def shown(model: EmbeddedLM) -> str:
    """Ten captions, and the model's words for each of their content words, in Markdown."""
    from explorer.base.words import is_stop

    lines = ["| caption | as it is | with the word masked |", "|---|---|---|"]
    plain, masked = model.fill(SHOWN, 4), model.fill(SHOWN, 4, masked=True)
    for caption, left, right in zip(SHOWN, plain, masked, strict=True):
        cells = ["<br>".join(f"{s.word}: {', '.join(c.word for c in row)}"
                             for s, row in zip(spans(caption), side, strict=True)
                             if not is_stop(s.word)) for side in (left, right)]
        lines.append(f"| {caption} | {cells[0]} | {cells[1]} |")
    return "\n".join([*lines, ""])


def fill_page(page: Path, name: str, body: str) -> None:
    """Puts `body` between the marks of a section of a Markdown page."""
    text = page.read_text("utf-8")
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not marks.search(text):
        raise ValueError(f"{page.name} has no section {name}")
    page.write_text(marks.sub(lambda m: m[1] + body + m[2], text), encoding="utf-8")


def write(numbers: dict[str, dict[str, Any]], model: EmbeddedLM, card: Path, page: Path) -> str:
    """Into card.json and docs/words.md; returns the table."""
    old = json.loads(card.read_text("utf-8"))
    card.write_text(json.dumps({**old, "numbers": numbers}, indent=2) + "\n", encoding="utf-8")
    figures = table(numbers, old["recipe"]["steps"])
    fill_page(page, "figures", figures)
    fill_page(page, "captions", shown(model))
    return figures
