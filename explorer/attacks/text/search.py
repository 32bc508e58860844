"""Runs the searches of many captions side by side, so that candidates are scored in batches.

A text attack is a generator: it yields what it wants to know of one caption and is sent the
answer. It never sees the model, the goal or the batch. Constraints are applied here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

Encode = Callable[[Sequence[str]], Tensor]
FEW, CHECKED = 12, 2
"""Of more than FEW candidates, the best CHECKED at a rough look are read in full precision."""

TextLoss = Callable[[Tensor], Tensor]
"""(C, D) unit features of candidates -> (C,), larger is better for the attacker."""


@dataclass(frozen=True)
class Probe:
    """Scores of captions that only inform the search, such as one with a word left out."""

    texts: list[str]


@dataclass(frozen=True)
class Try:
    """Scores of candidate captions; -inf for one that a constraint refuses. Where candidates are
    first looked at roughly, only the best are scored; the others come out below them."""

    texts: list[str]


@dataclass(frozen=True)
class Gains:
    """For each word of a caption, the `k` whole words with the largest first-order gain."""

    text: str
    k: int


Search = Generator[Probe | Try | Gains, "Tensor | list[list[str]]", str]


class Slopes(Protocol):
    """First-order gains of word swaps; see explorer.attacks.text.tokens."""

    def gains(self, texts: Sequence[str], losses: Sequence[TextLoss], k: int,
              ) -> list[list[list[str]]]: ...


class Constraint(Protocol):
    def allows(self, candidates: Sequence[str], clean: Sequence[str]) -> list[bool]: ...


@dataclass
class BestCaption:
    """What a search came to: the best caption allowed, and each better one on the way.

    queries: captions scored for this one, repeats included.
    """

    clean: str
    value: float
    caption: str = ""
    trail: list[str] = field(default_factory=list)
    queries: int = 0
    refused: int = 0
    tried: int = 0

    def __post_init__(self) -> None:
        self.caption = self.caption or self.clean
        self.trail = self.trail or [self.clean]

    def offer(self, text: str, value: float) -> None:
        """Takes a text that is better by more than rounding, which batches of other sizes change:
        a word beyond the tower's limit does nothing."""
        if value > self.value + 1e-7 + 5e-6 * abs(self.value):
            self.caption, self.value = text, value
            self.trail.append(text)


@dataclass
class _Running:
    search: Search
    loss: TextLoss
    found: BestCaption
    wants: Probe | Try | Gains | None = None

    def advance(self, answer: Tensor | list[list[str]] | None) -> None:
        try:
            self.wants = next(self.search) if answer is None else self.search.send(answer)
        except StopIteration:
            self.wants = None


def side_by_side(
    searches: Sequence[Search], clean: Sequence[str], losses: Sequence[TextLoss], encode: Encode,
    constraints: Sequence[Constraint] = (), slopes: Slopes | None = None,
    rough: Encode | None = None,
) -> Iterator[list[BestCaption]]:
    """Runs one search a caption to its end; yields the state after each round of questions.

    losses: of each caption; rough: a faster encoder that chooses which candidates `encode` reads.
    What comes out is the best candidate that was ever read by `encode` and allowed, so a search
    cannot return anything that was not measured.
    """
    starts = encode(clean)
    running = [_Running(s, loss, BestCaption(text, float(loss(row[None])[0])))
               for s, text, loss, row in zip(searches, clean, losses, starts, strict=True)]
    found = [r.found for r in running]
    for one in running:
        one.advance(None)
    while active := [r for r in running if r.wants is not None]:
        _answer_gains([r for r in active if isinstance(r.wants, Gains)], slopes)
        _answer_scores([r for r in active if isinstance(r.wants, (Probe, Try))], encode,
                       constraints, rough)
        yield found
    yield found


def _answer_gains(asking: list[_Running], slopes: Slopes | None) -> None:
    if not asking:
        return
    assert slopes is not None, "this attack needs the gradient of the text tower"
    wants = [r.wants for r in asking if isinstance(r.wants, Gains)]
    ranked = slopes.gains([w.text for w in wants], [r.loss for r in asking], wants[0].k)
    for one, words in zip(asking, ranked, strict=True):
        one.found.queries += 1
        one.wants = None
        one.advance(words)


def _answer_scores(asking: list[_Running], encode: Encode, constraints: Sequence[Constraint],
                   rough: Encode | None) -> None:
    wanted = [r.wants for r in asking if isinstance(r.wants, (Probe, Try))]
    allowed = [torch.tensor(ok, dtype=torch.bool).nonzero()[:, 0]
               for ok in _allowed(asking, wanted, constraints)]
    chosen = allowed if rough is None else _promising(asking, wanted, allowed, rough)
    for one, want, fine, rows, scores in zip(asking, wanted, allowed, chosen, _scores(
            asking, wanted, chosen, encode), strict=True):
        values = torch.full((len(want.texts),), -torch.inf)
        if len(rows):
            values[fine] = scores.min() - 1
            values[rows] = scores
        one.found.queries += len(fine)
        if isinstance(want, Try):
            one.found.tried += len(want.texts)
            one.found.refused += len(want.texts) - len(fine)
            if len(rows):
                best = int(values.argmax())
                one.found.offer(want.texts[best], float(values[best]))
        one.wants = None
        one.advance(values)


def _promising(asking: list[_Running], wanted: Sequence[Probe | Try], allowed: Sequence[Tensor],
               rough: Encode) -> list[Tensor]:
    """All texts of a Probe and of a short Try, and of a long one the best at a rough look."""
    many = [rows if isinstance(want, Try) and len(rows) > FEW else rows[:0]
            for want, rows in zip(wanted, allowed, strict=True)]
    return [skimmed[scores.topk(CHECKED).indices] if len(skimmed) else rows
            for rows, skimmed, scores in zip(
                allowed, many, _scores(asking, wanted, many, rough), strict=True)]


def _scores(asking: list[_Running], wanted: Sequence[Probe | Try], rows: Sequence[Tensor],
            encode: Encode) -> list[Tensor]:
    """The scores of these texts of each question; all are encoded at once, each once."""
    picked = [[want.texts[i] for i in few.tolist()]
              for want, few in zip(wanted, rows, strict=True)]
    texts = sorted({text for few in picked for text in few})
    place = {text: i for i, text in enumerate(texts)}
    features = encode(texts) if texts else torch.empty(0)
    return [one.loss(features[[place[text] for text in few]]).float().cpu() if few
            else torch.empty(0) for one, few in zip(asking, picked, strict=True)]


def _allowed(asking: list[_Running], wanted: Sequence[Probe | Try],
             constraints: Sequence[Constraint]) -> list[list[bool]]:
    """Which texts of each question may be scored; all constraints see one flat batch."""
    verdicts = [[True] * len(w.texts) for w in wanted]
    for constraint in constraints:
        flat = [(i, j) for i, w in enumerate(wanted) if isinstance(w, Try)
                for j in range(len(w.texts)) if verdicts[i][j]]
        if not flat:
            continue
        good = constraint.allows([wanted[i].texts[j] for i, j in flat],
                                 [asking[i].found.clean for i, _ in flat])
        for (i, j), fine in zip(flat, good, strict=True):
            verdicts[i][j] = fine
    return verdicts
