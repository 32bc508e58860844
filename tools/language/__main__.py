"""python -m tools.language build|measure --wordnet DIR: makes and measures assets/words."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.language", description=__doc__)
    parser.add_argument("command", choices=["build", "measure"])
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"),
                        help="folder of WordNet 3.0 (Debian package wordnet-base)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "words",
                        help="checkpoints; a later build goes on from them")
    parser.add_argument("--steps", type=int, help="of training, instead of the recipe's")
    args = parser.parse_args(arguments)
    if args.steps is not None and args.steps < 2:
        parser.error("--steps must be 2 or more")
    from explorer.base.errors import InputError

    words = ROOT / "assets" / "words"
    try:
        if args.command == "build":
            from tools.language.build import build
            from tools.language.train import of_length

            build(args.wordnet, args.work, words, of_length(args.steps))
        else:
            from explorer.attacks.language.embedded import EmbeddedLM
            from tools.language import measure, wordnet

            source = wordnet.read(args.wordnet)
            model = EmbeddedLM()
            numbers = measure.measure(source, model)
            print(measure.write(numbers, model, words / "card.json", ROOT / "docs" / "words.md"))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
