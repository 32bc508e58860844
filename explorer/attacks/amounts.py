"""Names and numbers of what an attacker may do, as people write them."""

from __future__ import annotations

import math

from explorer.base.errors import InputError

NORMS = ("linf", "l2")
AREA = "area"  # in the place of a norm


def parse_eps(text: str | float) -> float:
    """Reads a budget such as "1/255", "0.004" or a number, in [0, 1] pixel units.

    Raises InputError for anything that is not a finite number of at least 0.
    """
    try:
        if isinstance(text, str) and "/" in text:
            top, bottom = text.split("/")
            value = float(top) / float(bottom)
        else:
            value = float(text)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        raise InputError(
            f"eps must be a number or a fraction such as 1/255, not '{text}'") from None
    if not math.isfinite(value) or value < 0:
        raise InputError(f"eps must be a finite number of at least 0, not '{text}'")
    return value


def strong_words(name: str, severity: int) -> str:
    """"fog 3", or the name alone where there is no severity."""
    return f"{name} {severity}" if severity else name


def behind_words(label: str, aware: bool) -> str:
    """" behind jpeg", or " behind jpeg (known)" for an attacker who knows of it; "" for none."""
    return f" behind {label}{' (known)' * aware}" if label else ""
