"""A wider space for the second edition: the first one's, and more dimensions beside it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Linear

from tools.pocket.base import SECOND, Edition, ImageTower, TextHead

SHARE = 0.5  # of the usual length that a feature has in a new dimension at first


@torch.no_grad()
def widen(tower: ImageTower, text: TextHead, mean: Tensor, edition: Edition = SECOND,
          seed: int = 5) -> tuple[ImageTower, TextHead]:
    """Both towers with `edition.dim` dimensions, of which the first are as they were; the trunk is
    shared. mean: (1280,) of pooled features, which new dimensions do not see.

    Pictures get directions that the old head does not look at; texts get small random weights.
    """
    rng = torch.Generator().manual_seed(seed)
    old = tower.head.out_features
    wide, said = ImageTower(tower.trunk, edition), TextHead(edition)
    (inner, _, outer), (first, _, last) = list(text), list(said)
    known = tower.head.weight
    unseen = torch.linalg.svd(known, full_matrices=True).Vh[old:]
    turn = torch.linalg.qr(torch.randn(len(unseen), len(unseen), generator=rng)).Q
    new = turn[: edition.dim - old] @ unseen * torch.linalg.svdvals(known).mean() * SHARE
    wide.head.weight.copy_(torch.cat([known, new]))
    wide.head.bias.copy_(torch.cat([tower.head.bias, -(new @ mean)]))
    assert isinstance(inner, Linear) and isinstance(outer, Linear)
    assert isinstance(first, Linear) and isinstance(last, Linear)
    hidden = inner.out_features
    first.weight.normal_(0, 1 / 384**0.5, generator=rng)
    first.weight[:hidden] = inner.weight
    last.weight.normal_(0, 0.006, generator=rng)
    last.weight[:old, hidden:] *= 0.3
    last.weight[:old, :hidden] = outer.weight
    return wide, said
