"""Arrays that are dear to compute, kept on disk under a name made from their content.

Files are NumPy's .npz without pickles, written beside their place and moved there at once, so that
a reader never sees half a file. Whatever cannot be read or written is computed again, not an error.
What is the same for everybody comes with the app, under the same names (`make shipped`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from explorer.base.paths import SHIPPED
from explorer.base.settings import CACHE

KEEP = 64  # files; the oldest go first
LOG = logging.getLogger(__name__)
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
Arrays = dict[str, np.ndarray]


def folder() -> Path:
    """EXPLORER_CACHE when it is set, else the system's place for caches."""
    named = os.environ.get(CACHE)
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "clip-robustness-explorer"


def key(kind: str, parts: Iterable[str | bytes | np.ndarray]) -> str:
    """A name from content: `kind`, then a hash of every part with its length or shape."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            part = np.ascontiguousarray(part).tobytes()
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return f"{kind}-{digest.hexdigest()[:32]}"


def load(name: str) -> Arrays | None:
    """The arrays saved under a key or shipped under it; None when there are none to be read."""
    path = folder() / f"{name}.npz"
    try:
        found = _read(path)
        os.utime(path)  # used now, so not the oldest
        return found
    except FileNotFoundError:
        pass
    except DAMAGED as error:
        LOG.warning("a cached file cannot be read and is made again: %s", error)
    try:
        return _read(SHIPPED / f"{name}.npz")
    except FileNotFoundError:
        return None
    except DAMAGED as error:
        LOG.warning("a file that came with the app cannot be read: %s", error)
        return None


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as held:
        return {k: held[k] for k in held.files}


def save(name: str, arrays: Arrays) -> bool:
    """Writes arrays under a key at once or not at all; False when the disk does not let us."""
    home = folder()
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle, raw = tempfile.mkstemp(suffix=".part", dir=home)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            os.replace(raw, home / f"{name}.npz")
        except BaseException:
            Path(raw).unlink(missing_ok=True)
            raise
        files = sorted(home.glob("*.npz"), key=lambda p: p.stat().st_mtime)
        for old in files[:-KEEP]:
            old.unlink(missing_ok=True)
    except OSError as error:
        LOG.warning("the cache folder cannot be written: %s", error)
        return False
    return True
