"""What one run found out, as far as it has come: the hinge between running and drawing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from explorer.models.cards import Card

if TYPE_CHECKING:
    from explorer.attacks.result import Reading, Result


@dataclass(frozen=True)
class Flip:
    """Smallest whole number of grey levels that met the goal, or None up to `tried`.

    level 0: the clean picture is wrong already.
    """

    level: int | None
    tried: int


@dataclass(frozen=True)
class Control:
    """A harmless change beside an attack. l2: its distance, pixels in 0 to 1; answer: the caption
    that the model finds most alike then, with its probability; changed: another one than before."""

    name: str
    l2: float
    answer: str
    probability: float
    changed: bool


@dataclass
class Part:
    """What is known of one model so far; drawn as soon as it is there. alone: the halves of a
    joint attack, "image" and "text", each on its own at the same budget; harmless: changes that
    everybody knows, at about the same distance; files: to be saved from the page; live: the app is
    behind it, so that its buttons work."""

    card: Card
    result: Result | None = None
    noise: Result | None = None
    harmless: tuple[Control, ...] = ()
    flip: Flip | None = None
    flip_searched: bool = True
    alone: dict[str, Result] = field(default_factory=dict)
    files: bool = True
    live: bool = True


@dataclass
class Outcome:
    """Everything a run shows. grid: (made by, read by) -> (result, clean and adversarial);
    bundle: the whole case as a zip, once it is complete; link: an address that asks the same."""

    alt: str
    parts: list[Part]
    grid: dict[tuple[int, int], tuple[Result, Reading, Reading]] = field(default_factory=dict)
    bundle: bytes | None = None
    link: str = ""

    def now(self) -> Outcome:
        """As it is at this moment, for whoever draws it while the run goes on."""
        parts = [replace(p, alone=dict(p.alone)) for p in self.parts]
        return replace(self, parts=parts, grid=dict(self.grid))

    def light(self) -> Outcome:
        """A copy without the pictures of every step, to be kept for the other tabs."""
        parts = [replace(p, result=_without_frames(p)) for p in self.parts]
        return Outcome(self.alt, parts, link=self.link)

    def sketch(self) -> Outcome:
        """What is drawn while the run goes on: without the steps and the files to save, which are
        most of a page and would be sent again with every piece of news."""
        parts = [replace(p, result=_without_frames(p), files=False) for p in self.parts]
        return replace(self, parts=parts)


def _without_frames(part: Part) -> Result | None:
    return part.result and replace(part.result, frames=None)
