"""python -m bench.reproduce [--config FILE.toml]: trains and measures every row, then writes the
page. What is done already is read from --work, so a stopped run goes on where it was."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.reproduce import config as settings
from bench.reproduce.report import write
from bench.reproduce.work import cells
from explorer.base.errors import InputError
from explorer.models.fast.convolution import keep_memory

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(prog="bench.reproduce", description=__doc__)
    flags.add_argument("--config", type=Path, default=Path(__file__).parent / "embedded.toml")
    flags.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data",
                       help="folder of the image sets the file names")
    flags.add_argument("--work", type=Path, help="models and cells (default build/NAME)")
    flags.add_argument("--page", type=Path, default=ROOT / "docs" / "reproduction.md")
    args = flags.parse_args(arguments)
    keep_memory()
    work = args.work or ROOT / "build" / args.config.stem
    try:
        config = settings.read(args.config)
        write(list(cells(config, args.data, work)), config, args.page, "make reproduce")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
