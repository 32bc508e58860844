"""What was installed where a number was measured."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from explorer import __version__


@lru_cache
def versions() -> dict[str, str]:
    """Releases a result depends on."""
    found = {"explorer": __version__, "python": platform.python_version()}
    for package in ("torch", "open_clip_torch", "timm", "transformers", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
