"""All attacks side by side: python -m bench.attacks. Fills the tables of docs/attacks.md.

Accuracy under each attack of the three registries on a sample of an image set, and the seconds it
took; text attacks and the text halves of joint ones have the defaults of `evaluate`, the paper's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from bench.report import filled
from explorer.actions.arguments import parser as command_line
from explorer.actions.flags import make_attack
from explorer.analysis import metrics
from explorer.attacks.image.classic import IMAGE_ATTACKS
from explorer.attacks.joint import JOINT_ATTACKS
from explorer.attacks.registry import KINDS, Attack
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.device import describe_device
from explorer.data.sets import Examples, read_examples
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "attacks.md"
DATA = ROOT.parent / "shared" / "data" / "tiny_imagenet_val.parquet"
MODELS = ("pocket", "pocket-robust")
NAMES = {"image": list(IMAGE_ATTACKS), "text": list(TEXT_ATTACKS), "joint": list(JOINT_ATTACKS)}


def attack_of(kind: str, name: str, eps: str, words: int) -> Attack:
    """As `evaluate --eps EPS --words WORDS` makes it; characters as many as words."""
    args = command_line().parse_args([
        "evaluate", "--data=D", "--models=M", "--out=O", f"--eps={eps}", f"--words={words}",
        f"--chars={words}"])
    return make_attack(args, kind, name)


def measured(models: Iterable[str], kinds: Iterable[str], examples: Examples, eps: str,
             words: int) -> Iterator[tuple[str, str, metrics.Measured]]:
    """Yields (kind, name, row) as each is done; kind "" is no attack."""
    library = Library(keep=2)
    for model_name in models:
        model = library.load(model_name)
        batches = list(examples.batches(model.frame))
        model.encode_text(examples.captions)
        for kind, name in [("", "clean"), *((k, n) for k in kinds for n in NAMES[k])]:
            attack = attack_of(kind, name, eps, words) if kind else None
            began, hits = time.perf_counter(), list[Tensor]()
            for _, good in metrics.evaluate(model, attack, batches):
                hits.append(good)
            row = metrics.row(model_name, name, metrics.eps_of(attack), torch.cat(hits),
                              time.perf_counter() - began)
            print(f"{model_name}  {name}  {row.accuracy:.1%}  {row.seconds:.1f} s", flush=True)
            yield kind, name, row


def table(kind: str, rows: dict[tuple[str, str], metrics.Measured], models: Iterable[str],
          said: str) -> str:
    """A Markdown table: one line an attack, two columns a model."""
    names = list(models)
    head = ["attack", *(c for m in names for c in (f"{m}: accuracy", "seconds"))]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name in ["clean", *NAMES[kind]]:
        cells = []
        for model in names:
            row = rows[model, name]
            low, high = row.ci95
            cells += [f"{row.accuracy:.1%} ({low:.0%} to {high:.0%})",
                      "" if name == "clean" else f"{row.seconds:.0f}"]
        lines.append(f"| {name if name == 'clean' else f'`{name}`'} | {' | '.join(cells)} |")
    return f"{said}\n\n" + "\n".join(lines)


def main() -> int:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--data", type=Path, default=DATA, help="an image set with labels")
    flags.add_argument("--limit", type=int, default=200, help="images drawn (default 200)")
    flags.add_argument("--eps", default="1/255", help="default 1/255")
    flags.add_argument("--words", type=int, default=1, help="words, or characters (default 1)")
    flags.add_argument("--models", default=",".join(MODELS), help=f"default {','.join(MODELS)}")
    flags.add_argument("--kinds", default=",".join(KINDS), help="default image,text,joint")
    flags.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    flags.add_argument("--dry", action="store_true", help="print the tables, leave the page")
    args = flags.parse_args()
    keep_memory()
    models, kinds = args.models.split(","), args.kinds.split(",")
    examples = read_examples(args.data, args.limit, args.seed)
    rows = {}
    for _, name, row in measured(models, kinds, examples, args.eps, args.words):
        rows[row.model, name] = row
    n = min(row.n for row in rows.values())
    said = (f"{examples.name}, {n} images, {len(examples.captions)} class prompts, "
            f"ε = {args.eps}, {args.words} word{'s' * (args.words != 1)} (or characters); accuracy "
            f"with its 95 % interval (Wilson), seconds for all images. {describe_device()}, "
            f"{date.today().isoformat()}, by `python -m bench.attacks`.")
    page = PAGE.read_text("utf-8")
    for kind in kinds:
        text = table(kind, rows, models, said)
        page = filled(page, f"{kind} attacks", text)
        print(f"\n{kind}\n\n{text}")
    if not args.dry:
        PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
