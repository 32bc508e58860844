"""Square Attack: random search over squares, by the values of the loss alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.attacks.image.base import ImageAttack, Loss, Steps, keep, setting
from explorer.attacks.objective import Objective, Plain, ask, margin, part_of
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries
MOST_QUERIES = 5000
Draw = Callable[[], float]


def share_of(query: int, queries: int, first: float) -> float:
    """The share of the picture that query number `query` (from 0) changes: `first`, halved after
    10, 50, 200, 500, 1000, ... of 10,000 queries, scaled to the number there are (section 3.3)."""
    place = query * 10_000 // queries
    return float(first / 2 ** sum(place > h for h in HALVINGS))


def side_of(share: float, size: int, norm: str) -> int:
    """Side of the square in pixels; in L2 at least 3 and odd (sections 3.3 and 3.4)."""
    side = max(1, round(size * math.sqrt(share)))
    if norm == "l2":
        side = max(3, side) | 1
    return min(side, size - 1 if norm == "linf" else size - 1 + size % 2)


def bump(side: int) -> Tensor:
    """(side, side) a hill above a hollow, of unit L2 norm together (section 3.4)."""
    top = side // 2
    both = torch.cat([hill(top, side), -hill(side - top, side)])
    size: Tensor = both.norm()
    return both / size


def hill(height: int, width: int) -> Tensor:
    """(height, width) largest in the middle: squares around it, each one pixel wider on all sides,
    add 1, 1/4, 1/9, ... until they fill the window."""
    down = (torch.arange(height) - height // 2).abs().view(-1, 1)
    across = (torch.arange(width) - width // 2).abs().view(1, -1)
    parts = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float) ** 2
    return parts.flip(0).cumsum(0).flip(0)[torch.maximum(down, across)]


@dataclass(frozen=True)
class Square(ImageAttack):
    """Tries random squares of colour and keeps those that help; it asks only for the model's
    answers, never for a gradient, and stops for an image once it is broken.

    It climbs the margin of the best wrong caption; for goals that tell no captions apart
    (similarity, embedding), the goal's own score. Deviation: at its start in L2 the hills and
    hollows tile the whole picture with sides of a fifth of it.
    """

    title = "Square: black-box, random squares"
    source = "Andriushchenko et al. 2020, arXiv 1912.00049, algorithms 1 to 3"

    queries: int = setting(200, "Queries", "how often the model is asked at most", low=20,
                           high=MOST_QUERIES, step=20)
    first: float = setting(0.8, "First share", "the part of the picture that the first squares "
                           "cover", low=0.05, high=0.95, step=0.05)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.first < 1:
            raise InputError("the first share must be a number between 0 and 1")

    @property
    def total(self) -> int:
        return self.queries

    @torch.no_grad()
    def _start(self, clean: Tensor, random: PerImage) -> Tensor:
        """Vertical stripes of +-eps (L-inf); tiles of hills and hollows (L2)."""
        u = random.uniform()
        if self.norm == "linf":
            return self.ball.project(clean + self.eps * (u[:, :, :1] - 0.5).sign(), clean)
        height, width = clean.shape[-2:]
        tile = max(3, min(height, width) // 5)
        sign = (u - 0.5).sign()
        pattern = torch.zeros_like(clean)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                room = pattern[:, :, top : top + tile, left : left + tile]
                cut = bump(tile).to(clean.device)[: room.shape[2], : room.shape[3]]
                room += cut * sign[:, :, top, left, None, None]
        return self.ball.project(clean + self.eps * self.ball.direction(pattern), clean)

    def _move(self, x: Tensor, clean: Tensor, side: int, draw: Draw) -> Tensor:
        """(3, H, W) one image with one more square."""
        def place() -> tuple[slice, slice]:
            top, left = (int(draw() * (size - side + 1)) for size in x.shape[-2:])
            return slice(top, top + side), slice(left, left + side)

        if self.norm == "linf":
            rows, columns = place()
            signs = torch.tensor([1.0 if draw() < 0.5 else -1.0 for _ in range(len(x))])
            new = x.clone()
            new[:, rows, columns] += 2 * self.eps * signs.to(x.device).view(-1, 1, 1)
            return self.ball.project(new[None], clean[None])[0]
        return self._move_mass(x, clean, place(), place(), side, draw)

    def _move_mass(self, x: Tensor, clean: Tensor, to: tuple[slice, slice],
                   away: tuple[slice, slice], side: int, draw: Draw) -> Tensor:
        """Algorithm 3: the change in window `away` is taken off, and all the length that frees,
        with what was unused, goes to window `to`."""
        change = x - clean
        unused = (self.eps**2 - float(change.square().sum())) / len(x)
        both = torch.zeros_like(change, dtype=torch.bool)
        both[:, to[0], to[1]] = both[:, away[0], away[1]] = True
        room = ((change * both).square().sum((1, 2)) + max(unused, 0.0)).sqrt()
        pattern = bump(side).to(x.device)
        pattern = pattern.T if draw() < 0.5 else pattern
        signs = torch.tensor([1.0 if draw() < 0.5 else -1.0 for _ in range(len(x))])
        old = change[:, to[0], to[1]]
        old = old / old.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1)
        new = signs.to(x.device).view(-1, 1, 1) * pattern + old
        new = new / new.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1)
        change = change.clone()
        change[:, away[0], away[1]] = 0
        change[:, to[0], to[1]] = new * room.view(-1, 1, 1)
        return self.ball.project((clean + change)[None], clean[None])[0]

    def _try(self, x: Tensor, clean: Tensor, query: int, random: PerImage) -> Tensor:
        side = side_of(share_of(query, self.queries, self.first), min(x.shape[-2:]), self.norm)
        moved = []
        for one, before, g in zip(x, clean, random.generators, strict=True):
            draws = iter(torch.rand(8, generator=g).tolist())
            moved.append(self._move(one, before, side, lambda d=draws: next(d)))  # type: ignore[misc]
        return torch.stack(moved)

    @torch.no_grad()
    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        clean, asked = x, ask(loss).using(margin)
        best = self._start(clean, random)
        value, hit = asked.look(best)
        left = self._open(asked, best, clean, torch.arange(len(x), device=x.device), hit)
        yield best
        for query in range(1, self.queries):
            if not len(left):
                break
            moved = self._try(best[left], clean[left], query - 1, part_of(random, left))
            new, hit = asked.subset(left).look(moved)
            better = hit | (new > value[left])
            best = best.index_copy(0, left, keep(better, moved, best[left]))
            value = value.index_copy(0, left, torch.where(better, new, value[left]))
            yield best
            left = self._open(asked, best, clean, left, hit)
        return best

    def _open(self, asked: Objective | Plain, best: Tensor, clean: Tensor, left: Tensor,
              hit: Tensor) -> Tensor:
        """The images among `left` that are not broken as they would be saved, on the 8-bit grid.
        hit: (len(left),) broken before rounding."""
        done = hit.clone()
        if bool(hit.any()):
            rows = left[hit]
            done[hit] = asked.subset(rows).reached(self.ball.quantise(best[rows], clean[rows]))
        return left[~done]
