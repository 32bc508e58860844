"""Measures all that docs/performance.md shows, and writes it there, section by section."""

from __future__ import annotations

import sys

from bench import growth, peers, roofline, start, text, versions
from bench.before import default
from bench.report import put
from explorer.base.paths import ASSETS
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library


def main() -> int:
    keep_memory()
    library, folder, before = Library(), ASSETS / "models" / "pocket", default()
    put(start.section(library, before))
    put(versions.section(before))
    model = library.load("pocket")
    put(peers.section(model, folder))
    put(roofline.section(roofline.measured((1, 32), 3)))
    put(text.section(model, folder))
    put(growth.section(model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
