"""How often: a bucket of tokens for each visitor, and a lock after wrong passwords."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 20_000


class Rate:
    """`per_minute` events for each key, in bursts of at most as many.

    A key that has been quiet for a minute has its whole bucket again. The newest MOST_KEYS keys
    are remembered. A clock that goes back gives nothing and takes nothing.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.clock = per_minute, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Takes one token: 0 when there was one, else the seconds until there is."""
        with self._lock:
            now = self.clock()
            tokens, when = self._left.pop(key, (float(self.per_minute), now))
            tokens = min(self.per_minute, tokens + max(0.0, now - when) * self.per_minute / 60)
            short = tokens < 1
            self._left[key] = (tokens if short else tokens - 1, now)
            while len(self._left) > MOST_KEYS:
                self._left.popitem(last=False)
            return (1 - tokens) * 60 / self.per_minute if short else 0.0


class LockOut:
    """Shuts a key out for `seconds` after `failures` failures within as many seconds."""

    def __init__(self, failures: int, seconds: float,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.failures, self.seconds, self.clock = failures, seconds, clock
        self._failed: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def remaining(self, key: str) -> float:
        """Seconds for which the key is still shut out; 0 when it is not."""
        with self._lock:
            times = self._recent(key)
            if len(times) < self.failures:
                return 0.0
            return min(self.seconds, max(0.0, times[-1] + self.seconds - self.clock()))

    def failed(self, key: str) -> None:
        with self._lock:
            self._failed[key] = [*self._recent(key), self.clock()][-self.failures:]
            self._failed.move_to_end(key)
            while len(self._failed) > MOST_KEYS:
                self._failed.popitem(last=False)

    def succeeded(self, key: str) -> None:
        with self._lock:
            self._failed.pop(key, None)

    def _recent(self, key: str) -> list[float]:
        now = self.clock()
        # A time in the future is from before the clock went back.
        return [t for t in self._failed.get(key, []) if 0 <= now - t < self.seconds]
