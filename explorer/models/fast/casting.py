"""Weights in low precision, once.

Under autocast, a weight that needs no gradient is cast anew in each pass: for a large tower read
with few pictures that is a tenth of the time. Here is a second tower that shares all with the first
but the weights of its matrix products, which it holds cast. For passes with a gradient the results
are the same to the bit; without, attention goes a way of its own by the kind of its weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from explorer.models.fast.patches import PatchConv2d

LEAST = 8_000_000  # weights; below it casting costs nothing that could be noticed
PRODUCTS = (nn.Linear, NonDynamicallyQuantizableLinear, PatchConv2d)


def _weights(tower: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Modules and names of the weights that autocast casts: of linear layers, attention, and the
    projection at the end of open_clip's transformers."""
    for part in tower.modules():
        names: tuple[str, ...] = ()
        if type(part) in PRODUCTS:
            names = ("weight", "bias")
        elif isinstance(part, nn.MultiheadAttention):
            names = ("in_proj_weight", "in_proj_bias")
        elif part is tower:
            names = ("proj",)
        for name in names:
            held = getattr(part, name, None)
            if isinstance(held, nn.Parameter) and held.dtype == torch.float32:
                yield part, name


def _twin(tower: nn.Module, dtype: torch.dtype) -> nn.Module:
    shared = {id(t): t for t in (*tower.parameters(), *tower.buffers())}
    twin: nn.Module = copy.deepcopy(tower, shared)
    for part, name in list(_weights(twin)):
        cast = getattr(part, name).detach().to(dtype)
        setattr(part, name, nn.Parameter(cast, requires_grad=False))
    return twin


class CastTower:
    """The second tower of an image tower, made when it is first asked for and again after any
    weight has changed. None where it would not pay, or while weights are trained."""

    def __init__(self, least: int = LEAST) -> None:
        self.least, self._state = least, tuple[object, ...]()
        self._made: nn.Module | None = None

    def of(self, tower: nn.Module, dtype: torch.dtype) -> nn.Module | None:
        versions = trained = 0
        for parameter in tower.parameters():
            versions += parameter._version
            trained += parameter.requires_grad
        if trained:
            return None
        state = (id(tower), versions, dtype)
        if state != self._state:
            size = sum(getattr(*place).numel() for place in _weights(tower))
            self._made = _twin(tower, dtype) if size >= self.least else None
            self._state = state
        return self._made

    @property
    def weights_bytes(self) -> int:
        """Of what it holds beside the first tower."""
        made = self._made
        if made is None:
            return 0
        held: list[Tensor] = [p for p in made.parameters() if p.dtype != torch.float32]
        return sum(p.numel() * p.element_size() for p in held)
