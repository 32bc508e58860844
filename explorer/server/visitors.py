"""Which page and which file belongs to whom, and what goes when a visitor has gone.

A visitor is a random cookie. Who sends none (a script, a page framed on another site) shares
nothing either: their files lie under names that only their content gives.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress

MOST = 20_000
GRACE = 120.0  # seconds: a page that is loaded again has not gone


class Visitors:
    """The newest MOST pages and files, and the open connections of each visitor.

    public: files of the app's own, which stay everybody's when a visitor sends the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic,
                 public: Iterable[str] = ()) -> None:
        self.clock, self.public = clock, {os.path.realpath(p) for p in public}
        self._pages: OrderedDict[str, str] = OrderedDict()
        self._files: OrderedDict[str, set[str]] = OrderedDict()
        self._open: dict[str, int] = {}
        self._left: dict[str, float] = {}
        self._lock = threading.Lock()

    def owns(self, session: str, visitor: str) -> bool:
        """Whether a page's session is this visitor's; the first who uses one has it."""
        with self._lock:
            owner = self._pages.setdefault(session, visitor)
            self._pages.move_to_end(session)
            while len(self._pages) > MOST:
                self._pages.popitem(last=False)
            return owner == visitor

    def sent(self, paths: Iterable[str], visitor: str) -> None:
        """Remembers files as this visitor's; the same file may be several visitors'."""
        with self._lock:
            for path in paths if visitor else ():
                place = os.path.realpath(path)
                if place not in self.public:
                    self._files.setdefault(place, set()).add(visitor)
                    self._files.move_to_end(place)
            while len(self._files) > MOST:
                self._files.popitem(last=False)

    def may_use(self, path: str, visitor: str) -> bool:
        """False for a file that only other visitors have sent."""
        with self._lock:
            owners = self._files.get(os.path.realpath(path))
            return owners is None or visitor in owners

    def opened(self, visitor: str) -> None:
        with self._lock:
            self._left.pop(visitor, None)
            self._open[visitor] = self._open.get(visitor, 0) + 1

    def closed(self, visitor: str) -> None:
        with self._lock:
            self._open[visitor] = self._open.get(visitor, 1) - 1
            if self._open[visitor] <= 0:
                del self._open[visitor]
                self._left[visitor] = self.clock()

    def sweep(self) -> int:
        """Deletes the files of visitors who left over GRACE seconds ago; returns how many."""
        with self._lock:
            gone = {v for v, when in self._left.items() if self.clock() - when > GRACE}
            for visitor in gone:
                del self._left[visitor]
            doomed = []
            for path, owners in list(self._files.items()):
                if owners & gone:
                    owners -= gone
                    if not owners:
                        doomed.append(path)
                        del self._files[path]
        for path in doomed:
            with suppress(OSError):
                os.unlink(path)
        return len(doomed)
