"""Running out of memory: recognised, and met with smaller batches instead of an end."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TypeVar

import torch
from torch import Tensor

from explorer.base.errors import InputError

T = TypeVar("T")
CALM = 16  # batches that fit before twice as many rows are tried again
WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
LIKELY = ("could not create a primitive", "could not create a memory object")  # as oneDNN says it


class OutOfMemoryError(InputError):
    """Not even one row fits; said in a sentence, as it is the caller who can ask for less."""

    def __init__(self) -> None:
        super().__init__("the device ran out of memory: use a smaller model, fewer captions or "
                         "fewer pictures")


def out_of_memory(error: BaseException) -> bool:
    """Whether it was memory: Python's, a GPU's, or a CPU's, which PyTorch only tells in words."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError | OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _says(error, WORDS)


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    said = str(error).lower()
    return any(part in said for part in words)


def release() -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):
            torch.cuda.empty_cache()


class Room:
    """How many rows of a batch go at once: at most `limit` (None: all), and as many as have been
    found to fit into memory.

    most: what goes now. It halves at each failure, and doubles after CALM batches without one,
    since the memory may have been somebody else's for a while.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = self.most = limit
        self._calm = 0

    def spread(self, n: int, work: Callable[[slice], Generator[T, None, Tensor]],
               ) -> Generator[T, None, Tensor]:
        """What `work` returns for all of n rows, joined along the first axis. Where memory runs
        out, it is called again with half as many. Raises OutOfMemoryError when one is too many.
        """
        parts: list[Tensor] = []
        done = 0
        while done < n or not parts:
            rows, failed = slice(done, min(n, done + (self.most or n))), False
            try:
                parts.append((yield from work(rows)))
            except (MemoryError, RuntimeError, OutOfMemoryError) as error:
                if not (out_of_memory(error)
                        or (_says(error, LIKELY) and rows.stop - rows.start > 1)):
                    raise
                failed = True  # what follows must wait until the error lets go of its tensors
            if failed:
                self._less(rows.stop - rows.start)
            else:
                done = rows.stop
                self._fitted()
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def apart(self, n: int, work: Callable[[slice], Tensor]) -> Tensor:
        """`spread` for work that takes no steps."""
        def at_once(rows: slice) -> Generator[None, None, Tensor]:
            yield from ()
            return work(rows)

        steps = self.spread(n, at_once)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                joined: Tensor = stop.value
                return joined

    def _less(self, rows: int) -> None:
        release()
        if rows < 2:
            raise OutOfMemoryError
        self.most, self._calm = rows // 2, 0

    def _fitted(self) -> None:
        if self.most == self.limit:
            return
        self._calm += 1
        if self.most is not None and self._calm >= CALM:
            twice = 2 * self.most
            self.most = twice if self.limit is None else min(twice, self.limit)
            self._calm = 0
