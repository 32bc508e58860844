"""What was understood of a set of pictures, in words: said before anything is measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.containers import Report
from explorer.data.pairs import open_image

FIRST = 5  # answers that are told in full
OPENED = 100  # pictures that a check opens


@dataclass(frozen=True)
class Understood:
    """pictures: that there are; captions: of all of them, 0 for classes; drawn: how many of the
    pictures are used; answers: what the pictures are
    told apart by, captions or prompts, in order; how and split: where they are read from."""

    name: str
    pictures: int
    captions: int
    drawn: int
    answers: tuple[str, ...]
    are_captions: bool
    how: str
    split: str
    notes: tuple[str, ...]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, name: str, source: Any, answers: Sequence[str], drawn: int) -> Understood:
        """source: with answers, are_captions and a report, as explorer.data.sources has them."""
        report: Report = source.report
        captions = sum(map(len, source.answers)) if source.are_captions else 0
        return cls(name, len(source.answers), captions, drawn, tuple(dict.fromkeys(answers)),
                   source.are_captions, report.how, report.split, tuple(report.notes),
                   tuple(report.sentences()))

    def sentences(self) -> list[str]:
        """What was understood, then what was guessed, then what was left out."""
        many = f"{self.pictures:,} picture{'s' * (self.pictures != 1)}"
        if self.drawn < self.pictures:
            many = f"{self.drawn:,} of {many}"
        if self.captions > self.pictures:
            many += f" with {self.captions:,} captions"
        read = ", ".join(part for part in (self.how, self.split) if part)
        kind = "caption" if self.are_captions else "answer"
        shown = ", ".join(f"“{answer}”" for answer in self.answers[:FIRST])
        more = f" and {len(self.answers) - FIRST:,} more" if len(self.answers) > FIRST else ""
        said = [f"{self.name}: {many}" + (f" ({read})." if read else "."),
                f"{len(self.answers):,} different {kind}{'s' * (len(self.answers) != 1)}: "
                f"{shown}{more}."]
        said += [f"{note[0].upper()}{note[1:]}." for note in self.notes]
        return [*said, *self.left_out]

    def paragraph(self) -> str:
        return " ".join(self.sentences())

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; only the first answers, of which there may be many thousands."""
        return {"data": self.name, "pictures": self.pictures,
                "captions": self.captions, "drawn": self.drawn,
                "answers": len(self.answers), "first_answers": list(self.answers[:FIRST]),
                "answers_are": "captions" if self.are_captions else "classes", "how": self.how,
                "split": self.split, "notes": list(self.notes), "left_out": list(self.left_out)}


def same_answer(name: str, answer: str, report: Report) -> str:
    """What to say of a set that tells nothing apart."""
    how = f" ({report.how})" if report.how else ""
    return " ".join([f"all images of {name} have the same answer, '{answer}'{how}: two different "
                     "ones are needed at least.", *report.sentences()]).removesuffix(".")


def unreadable(source: Any, chosen: Sequence[int], most: int = OPENED) -> str:
    """Opens up to `most` of the chosen pictures: a sentence on those that cannot be read, with the
    first one's cause, or "". Raises InputError where not one can be."""
    looked = list(chosen)[:most]
    bad: list[str] = []
    for example, raw in zip(looked, source.pictures(looked), strict=True):
        try:
            open_image(raw)
        except InputError as error:
            names = getattr(source, "names", None) or getattr(source, "paths", None)
            name = printable(str(names[example]).rsplit("/", 1)[-1]) if names else (
                f"picture {example + 1}")
            bad.append(f"{name}: {error}")
    if looked and len(bad) == len(looked):
        raise InputError(f"none of the first {len(looked)} pictures can be read; {bad[0]}")
    return (f"Of {'the first ' if len(looked) < len(chosen) else ''}{len(looked)} pictures "
            f"{len(bad)} cannot be read ({bad[0]}).") if bad else ""
