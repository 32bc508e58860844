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
LONG = 400
"""Characters of a caption above which a constraint that has to read candidates is asked of the
best at the rough look alone, until CHECKED are allowed: reading hundreds of words takes longest."""

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


def best_of(texts: list[str]) -> Generator[Try, Tensor | list[list[str]], tuple[int, float]]:
    """Tries candidates, one at least: the place of the best, and its score."""
    values = yield Try(texts)
    assert isinstance(values, Tensor)
    best = int(values.argmax())
    return best, float(values[best])


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
    late = [rough is not None and len(r.found.clean) > LONG for r in asking]
    everything = [list(range(len(w.texts))) for w in wanted]
    fits = _allowed(asking, wanted, everything, [c for c in constraints if not _costly(c)])
    costly = [c for c in constraints if _costly(c)]
    early = _allowed(asking, wanted, [[] if wait else fit for wait, fit in zip(
        late, fits, strict=True)], costly)
    allowed = [fit if wait else few for wait, fit, few in zip(late, fits, early, strict=True)]
    chosen = allowed if rough is None else _promising(asking, wanted, allowed, rough, late, costly)
    for one, want, fine, rows, scores in zip(asking, wanted, allowed, chosen, _scores(
            asking, wanted, chosen, encode), strict=True):
        values = torch.full((len(want.texts),), -torch.inf)
        if rows:
            values[fine] = scores.min() - 1
            values[rows] = scores
        one.found.queries += len(fine)
        if isinstance(want, Try):
            one.found.tried += len(want.texts)
            one.found.refused += len(want.texts) - (len(fine) if rows else 0)
            if rows:
                best = int(values.argmax())
                one.found.offer(want.texts[best], float(values[best]))
        one.wants = None
        one.advance(values)


def _costly(constraint: Constraint) -> bool:
    return bool(getattr(constraint, "costly", False))


def _promising(asking: list[_Running], wanted: Sequence[Probe | Try], allowed: Sequence[list[int]],
               rough: Encode, late: Sequence[bool], costly: Sequence[Constraint],
               ) -> list[list[int]]:
    """All texts of a Probe and of a short Try, and of a long one the best at a rough look. late:
    for which questions the `costly` constraints are asked only now, best candidates first."""
    many = [rows if isinstance(want, Try) and len(rows) > FEW else []
            for want, rows in zip(wanted, allowed, strict=True)]
    ranked = [[skimmed[k] for k in scores.argsort(descending=True, stable=True).tolist()]
              if skimmed else rows for rows, skimmed, scores in zip(
                  allowed, many, _scores(asking, wanted, many, rough), strict=True)]
    most = [CHECKED if skimmed else len(rows) for skimmed, rows in zip(many, ranked, strict=True)]
    chosen = [[] if wait else rows[:n] for rows, n, wait in zip(ranked, most, late, strict=True)]
    left = [rows if wait else [] for rows, wait in zip(ranked, late, strict=True)]
    while any(left):
        asked = [rows[:n - len(got)] for rows, n, got in zip(left, most, chosen, strict=True)]
        for got, new in zip(chosen, _allowed(asking, wanted, asked, costly), strict=True):
            got += new
        left = [rows[len(now):] if len(got) < n else [] for rows, now, got, n in zip(
            left, asked, chosen, most, strict=True)]
    return chosen


def _scores(asking: list[_Running], wanted: Sequence[Probe | Try], rows: Sequence[list[int]],
            encode: Encode) -> list[Tensor]:
    """The scores of these texts of each question; all are encoded at once, each once."""
    picked = [[want.texts[i] for i in few] for want, few in zip(wanted, rows, strict=True)]
    texts = sorted({text for few in picked for text in few})
    place = {text: i for i, text in enumerate(texts)}
    features = encode(texts) if texts else torch.empty(0)
    return [one.loss(features[[place[text] for text in few]]).float().cpu() if few
            else torch.empty(0) for one, few in zip(asking, picked, strict=True)]


def _allowed(asking: list[_Running], wanted: Sequence[Probe | Try], rows: Sequence[list[int]],
             constraints: Sequence[Constraint]) -> list[list[int]]:
    """Those of the rows of each question that may be scored, in their order; all constraints see
    one flat batch, and a Probe is none of theirs."""
    kept = [list(own) for own in rows]
    for constraint in constraints:
        flat = [(i, j) for i, w in enumerate(wanted) if isinstance(w, Try) for j in kept[i]]
        if not flat:
            continue
        good = constraint.allows([wanted[i].texts[j] for i, j in flat],
                                 [asking[i].found.clean for i, _ in flat])
        bad = {at for at, fine in zip(flat, good, strict=True) if not fine}
        kept = [[j for j in own if (i, j) not in bad] for i, own in enumerate(kept)]
    return kept
