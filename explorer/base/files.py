"""Reading files that somebody names."""

from __future__ import annotations

from pathlib import Path

from explorer.base.errors import InputError


def printable(name: str) -> str:
    """A name from a stranger, fit for a sentence."""
    return "".join(c if c.isprintable() else "?" for c in name[:80])


def read_start(path: Path, most: int, what: str = "") -> bytes:
    """A whole file, or `most` bytes and one more of a larger one. what: words before its name,
    with the space after them. Raises InputError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise InputError(f"cannot read {what}{printable(path.name)}: {reason}") from None
