"""The last outcome of each visitor, so that every tab speaks of the same attack.

Kept in this process alone, for a while, for so many visitors; never another visitor's.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Store(Generic[T]):
    """What each visitor saw last. keep: most visitors; seconds: how long an entry lives."""

    def __init__(self, keep: int = 64, seconds: float = 3600.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.keep, self.seconds, self.clock = keep, seconds, clock
        self._entries: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, session: str, value: T) -> None:
        """Remembers `value` for a session hash in place of what it had."""
        with self._lock:
            self._entries.pop(session, None)
            self._entries[session] = (self.clock(), value)
            self._drop()

    def last(self, session: str) -> T | None:
        """The session's value, or None when there is none or it has expired."""
        with self._lock:
            self._drop()
            entry = self._entries.get(session)
            return None if entry is None else entry[1]

    def forget(self, session: str) -> None:
        with self._lock:
            self._entries.pop(session, None)

    def _drop(self) -> None:
        oldest = self.clock() - self.seconds
        for session in [s for s, (when, _) in self._entries.items() if when < oldest]:
            del self._entries[session]
        while len(self._entries) > self.keep:
            self._entries.popitem(last=False)
