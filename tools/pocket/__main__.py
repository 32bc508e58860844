"""python -m explorer.pocket COMMAND --data DIR: makes and measures the embedded pair."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.pocket.base import ImageTower
    from tools.pocket.corpus import Known

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("pocket", "pocket-robust")


def harden(data: Path, work: Path) -> None:
    """The last stage: the text tower against reworded captions."""
    from explorer.models.library import Library
    from tools.pocket.harden import TextRecipe, TextStage

    TextStage(TextRecipe(), Library(), data, work).run()


def first_edition(folder: Path | None, data: Path, work: Path) -> tuple[Known, ImageTower]:
    """What the second edition goes on from: read from its folder, or built."""
    from tools.pocket.build import build
    from tools.pocket.first import read_first

    return read_first(folder, data, work) if folder else build(data, work)


def main() -> int:
    parser = argparse.ArgumentParser(prog="explorer.pocket", description=__doc__)
    parser.add_argument("command", choices=[
        "build", "second", "harden", "choose", "export", "sizes", "reach", "measure"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "pocket",
                        help="checkpoints; a later build goes on from them")
    parser.add_argument("--first", type=Path, help="folder with pocket/ and pocket-robust/ of the "
                        "first edition, for `second`: without it they are built")
    parser.add_argument("--models", default=",".join(NAMES))
    args = parser.parse_args()
    if not (args.data / "wordnet_classes.json").is_file():
        print(f"error: {args.data} has no wordnet_classes.json", file=sys.stderr)
        return 2
    from explorer.models.fast.convolution import keep_memory

    keep_memory()
    names = tuple(args.models.split(","))
    models = ROOT / "assets" / "models"
    if args.command == "build":
        from tools.pocket.build import build

        build(args.data, args.work)
    if args.command in ("build", "export"):
        from tools.pocket.export import export

        for name in names:
            export(name, args.work, models / name, args.first)
            if name == "pocket-robust" and args.command == "build":
                harden(args.data, args.work)  # on the image tower just written
                export(name, args.work, models / name, args.first)
    elif args.command == "second":
        from tools.pocket.second import second

        second(args.data, args.work, *first_edition(args.first, args.data, args.work))
        print("next: export, then harden, then export again")
    elif args.command == "harden":
        harden(args.data, args.work)
    elif args.command == "choose":
        from tools.pocket.choose import report

        print(report(args.data, args.work, first_edition(args.first, args.data, args.work)[0]))
    elif args.command in ("sizes", "reach"):
        from tools.pocket import reach, sizes
        from tools.pocket.measure import fill

        found = (sizes if args.command == "sizes" else reach).report(args.data)
        fill(ROOT / "docs" / "pocket.md", args.command, found)
    else:
        from explorer.models.library import Library
        from tools.pocket.measure import measure_all, write

        page = ROOT / "docs" / "pocket.md"
        measured = measure_all(args.data, Library(), names, args.work / "measured.json")
        write(measured, models, page)
        print(f"wrote the cards and {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
