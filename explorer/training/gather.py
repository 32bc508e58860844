"""What the processes of a run tell each other; with one process, nothing."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, distributed

from explorer.base.processes import Processes

T = TypeVar("T")


def world() -> tuple[int, int]:
    """(number of this process, number of processes)."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def gather(x: Tensor) -> Tensor:
    """(n, ...) of each process -> (processes x n, ...), in their order; differentiable.

    Each process must hold n rows. The gradient of a row is summed over the processes that used
    it, so averaged weight gradients are those of one process on the joined batch.
    """
    if world()[1] == 1:
        return x
    if not x.requires_grad:
        parts = [torch.empty_like(x) for _ in range(world()[1])]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)
    from torch.distributed.nn.functional import all_gather

    return torch.cat(tuple(all_gather(x.contiguous())))


def gather_objects(value: T) -> list[T]:
    """One plain Python value of each process, in their order."""
    return Processes(*world()).gather(value)


def from_first(value: T) -> T:
    """The first process's value, in every process."""
    return Processes(*world()).from_first(value)
