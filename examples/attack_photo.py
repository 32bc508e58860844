"""Attacks a photo of yours on a standard and on a robust CLIP, and keeps what came out.

    .venv/bin/python examples/attack_photo.py cat.jpg "a photo of a cat" "a photo of a dog"

The first caption is the true one. Without a photo it takes an example that comes with the app. It
prints what happened, and writes a bundle that replays, a page that opens offline, and the attacked
pictures to the folder of --out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the app is run from its folder, not installed

import explorer  # noqa: E402
from explorer.base.errors import InputError  # noqa: E402
from explorer.data.pairs import to_image  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Attack a photo on two models, and keep the case.")
    parser.add_argument("photo", nargs="?", default="example:cat", help="a file, or example:cat")
    parser.add_argument("captions", nargs="*", help="what to choose from; the first one is true")
    parser.add_argument("--eps", default="1/255", help="the most that a pixel may move")
    parser.add_argument("--kind", choices=["image", "text", "joint"], default="image",
                        help="what may change: the photo, its caption, or both")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    budget = {} if args.kind == "text" else {"eps": args.eps}
    try:
        case = explorer.attack(args.photo, args.captions, kind=args.kind, **budget)
        case.save(args.out / "case.zip")
        case.save(args.out / "case.html")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for sentence in case.sentences:
        print(sentence)
    for model, result in case.results.items():
        to_image(result.adversarial_images[0]).save(args.out / f"{model}.png")
    print(f"Kept in {args.out}: case.zip, case.html and a picture for each model. Check it again "
          f"with: python -m explorer replay {args.out / 'case.zip'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
