"""Finished attacks on photos that everybody may see, so that a link to one, the browser's Back and
a reload show it at once."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from explorer.results.outcome import Outcome
from explorer.server.kept import Kept

MOST = 16  # a page and its light outcome take some megabytes


class Cases:
    """Pages and outcomes by their address. kept: where the pages' pictures are, None where they
    are part of the pages. Safe between threads."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.kept = kept
        self._found: OrderedDict[str, tuple[str, Outcome]] = OrderedDict()
        self._lock = Lock()

    def put(self, key: str, page: str, outcome: Outcome) -> None:
        """outcome: as `light` leaves it. The first of all is what pages open on: its pictures stay
        for good."""
        if self.kept is not None and not self._found:
            self.kept.pin(page)
        with self._lock:
            self._found[key] = page, outcome
            self._found.move_to_end(key)
            while len(self._found) > MOST:
                self._found.popitem(last=False)

    def outcomes(self) -> list[Outcome]:
        """Of all cases, the newest last."""
        with self._lock:
            return [outcome for _, outcome in self._found.values()]

    def get(self, key: str) -> tuple[str, Outcome] | None:
        """None also where pictures of the page are gone."""
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
        if found is None or (self.kept is not None and not self.kept.renew(found[0])):
            return None
        return found
