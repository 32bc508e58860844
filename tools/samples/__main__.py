"""python -m tools.samples build --work DIR: makes the shipped data sets again, by hand."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from explorer.base.errors import InputError
from explorer.data.samples import NOTO
from tools.samples.build import build


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.samples", description=__doc__)
    parser.add_argument("command", choices=["build"])
    parser.add_argument("--work", type=Path, required=True,
                        help="where the packages are fetched to; npm and resvg-py are needed")
    args = parser.parse_args()
    try:
        count = build(args.work, NOTO.parent)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {count} emoji in two styles to {NOTO.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
