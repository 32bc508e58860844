"""What one exchanged word can do to a class prompt, whatever the tower: counted, no model asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from explorer.attacks.text.base import replace
from explorer.attacks.text.classic import BertAttack
from explorer.data.sets import TEMPLATE
from tools.pocket.words import class_names, names_of


def counts(names: list[str], classes: list[str]) -> dict[str, int]:
    """Of the classes' prompts: how many BERT-Attack's exchanges of one word can turn into another
    class's prompt, into a prompt that another class can become too, into one whose new word is a
    name; and how many into none of these. names: all that name a thing."""
    captions = [TEMPLATE.format(name) for name in classes]
    known, taken = {n.casefold() for n in names}, set(captions)
    made = [[(replace(caption, place, new), new) for place, row in enumerate(options)
             for new in row]
            for caption, options in zip(captions, BertAttack().proposals(captions, []),
                                        strict=True)]
    owners = Counter(text for row in made for text in {text for text, _ in row})
    another = [any(text in taken for text, _ in row) for row in made]
    shared = [any(owners[text] > 1 for text, _ in row) for row in made]
    named = [any(new.casefold() in known for _, new in row) for row in made]
    return {"classes": len(classes), "one word": sum(" " not in c for c in classes),
            "another": sum(another), "shared": sum(shared), "named": sum(named),
            "none": sum(not any(one) for one in zip(another, shared, named, strict=True))}


def report(data: Path) -> str:
    """The sentence of docs/pocket.md."""
    n = counts(names_of(data), class_names(data))
    return (f"Of the {n['classes']} class prompts of Tiny-ImageNet ({n['one word']} names are one "
            f"word), one exchanged word can turn {n['another']} into the prompt of another of "
            f"these classes, {n['shared']} into a prompt that a second class can become too, and "
            f"{n['named']} into a prompt whose new word names something else; "
            f"{n['none']} into none of these.\n")
