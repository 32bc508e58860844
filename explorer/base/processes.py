"""Processes that share one task: who this one is, its part of the work, and what all found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """rank: this process, from 0, the one that writes and speaks; count: of processes."""

    rank: int = 0
    count: int = 1
    device: str | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def part(self, n: int) -> range:
        """Which of the numbers 0 to n - 1 are this process's."""
        return range(self.rank, n, self.count)

    def gather(self, value: T) -> list[T]:
        """A plain Python value of each process, in their order, in every process."""
        if self.count == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: T) -> T:
        """The first process's value, in every process."""
        if self.count == 1:
            return value
        from torch import distributed

        box = [value]
        distributed.broadcast_object_list(box, 0)
        return box[0]


ALONE = Processes()


def join(device: str | None = None) -> Processes:
    """The processes that `accelerate launch` or torchrun started this one among; ALONE without.

    device: "cpu" keeps all of them there (gloo); None gives each the GPU of its number, if there
    are GPUs (NCCL).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Processes(device=device)
    from accelerate import PartialState  # type: ignore[import-untyped]

    state = PartialState(cpu=device == "cpu")
    return Processes(state.process_index, state.num_processes, str(state.device))
