"""python -m tools.shipping [--check]     (make shipped)"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from explorer.models.library import Library
from tools.shipping import PICTURES, ship, stale, things


@contextmanager
def _own_cache() -> Iterator[None]:
    """A cache folder of its own, so that nothing old is taken for new."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("EXPLORER_CACHE")
        os.environ["EXPLORER_CACHE"] = folder
        try:
            yield
        finally:
            del os.environ["EXPLORER_CACHE"]
            if before is not None:
                os.environ["EXPLORER_CACHE"] = before


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes what comes with the app.")
    parser.add_argument("--check", action="store_true", help="say what is stale, make nothing")
    parser.add_argument("--photos", type=Path, default=PICTURES, metavar="FILE", help="photographs "
                        f"from which changes for all photos are learnt (default {PICTURES})")
    args = parser.parse_args()
    library = Library()
    with _own_cache():
        asked = things(library, args.photos)
        if not args.check:
            for line in ship(asked):
                print(line, flush=True)
    wrong = stale(asked)
    for line in wrong:
        print(f"stale: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
