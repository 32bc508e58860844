"""Pictures and files of results, kept for pages that fetch them when they are looked at.

An address comes from the content and from a key that this process alone knows: who has not been
given it cannot guess it, and the same picture is sent once, however often a page is drawn.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

ENDINGS = {"image/png": "png", "application/zip": "zip", "application/json": "json",
           "application/octet-stream": "npy",
           "image/jpeg": "jpg", "text/javascript": "js"}
KINDS = {ending: mime for mime, ending in ENDINGS.items()}
NAME = re.compile(r"/kept/([0-9a-f]{32}\.[a-z]{2,4})")
FOR_EVER = "private, max-age=31536000, immutable"  # the name changes with the content
MOST = 1_000_000_000


@dataclass
class Entry:
    size: int
    when: float


class Kept:
    """Files in `folder` for `seconds` after they were last named, at most `most` bytes together;
    the oldest go first. root: the path under which a proxy serves the app. Safe between threads."""

    def __init__(self, folder: Path, seconds: float = 3600, root: str = "", most: int = MOST,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.seconds, self.root = folder / "kept", seconds, root.rstrip("/")
        self.most, self.clock = most, clock
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._pinned: set[str] = set()
        self._lock = threading.Lock()

    def put(self, raw: bytes, mime: str) -> str:
        """Keeps a file; returns its address. mime: one of ENDINGS."""
        mark = hashlib.blake2b(raw, key=self._key, digest_size=16).hexdigest()
        name = f"{mark}.{ENDINGS[mime]}"
        with self._lock:
            if name not in self._entries:
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_bytes(raw)
            self._entries[name] = Entry(len(raw), self.clock())
            self._entries.move_to_end(name)
            self._drop()
        return f"{self.root}/kept/{name}"

    def pin(self, page: str) -> None:
        """Keeps for good what a page names."""
        with self._lock:
            self._pinned |= set(NAME.findall(page))

    def renew(self, page: str) -> bool:
        """Names again what a page names; False where something of it is not kept any more."""
        with self._lock:
            names = set(NAME.findall(page))
            if not names <= set(self._entries):
                return False
            for name in names:
                self._entries[name].when = self.clock()
                self._entries.move_to_end(name)
        return True

    def own(self, raw: bytes, mime: str) -> str:
        """Keeps a file of the app itself for good; returns its address."""
        address = self.put(raw, mime)
        self.pin(address)
        return address

    def size(self) -> int:
        """Bytes of all files."""
        with self._lock:
            return sum(entry.size for entry in self._entries.values())

    def sweep(self) -> int:
        """Deletes what is too old; returns how many files went."""
        with self._lock:
            return self._drop()

    def _drop(self) -> int:
        total, gone = sum(entry.size for entry in self._entries.values()), []
        for name, entry in self._entries.items():
            if name in self._pinned:
                continue
            if total <= self.most and self.clock() - entry.when <= self.seconds:
                break
            total -= entry.size
            gone.append(name)
        for name in gone:
            del self._entries[name]
            with suppress(OSError):
                (self.folder / name).unlink()
        return len(gone)

    def routes(self) -> list[Route]:
        def send(request: Request) -> Response:
            name = request.path_params["name"]
            with self._lock:
                held = name in self._entries
            if not held:
                return JSONResponse({"error": "this file is not kept any more"}, 404,
                                    headers={"cache-control": "no-store"})
            return FileResponse(self.folder / name, headers={"cache-control": FOR_EVER},
                                media_type=KINDS[name.rpartition(".")[2]])

        return [Route("/kept/{name}", send, methods=["GET", "HEAD"])]
