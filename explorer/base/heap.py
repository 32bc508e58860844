"""Memory that was freed and that the process still holds, and giving it back.

`keep_memory` (models/fast/convolution.py) tells glibc's malloc to keep what is freed, since runs
use the same memory again and again. Between runs others could use it.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache


class _Info(ctypes.Structure):
    """mallinfo2 of <malloc.h>, in bytes; fordblks is what is free."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost"))


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallinfo2.restype = _Info
        libc.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError):
        return None  # another system, or a C library that does not tell
    return libc


def free_bytes() -> int:
    """What malloc holds and nobody uses: some of it is given back already, page by page. 0 where
    the system does not tell."""
    libc = _libc()
    return 0 if libc is None else int(libc.mallinfo2().fordblks)


def give_back() -> None:
    """Gives all free pages back to the system; the next run asks for them anew."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)
