"""Every defence and detector side by side: python -m bench.defences. Fills docs/defences.md.

Goes on where it was ended: finished numbers are kept in --keep under the weights that they were
measured on, so that after a change of the weights all are measured anew, and else none.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median

import torch

from bench.report import filled
from explorer.analysis.evaluation.detection import Detection
from explorer.analysis.evaluation.guards import Guards
from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan, spread
from explorer.analysis.evaluation.rows import ACCURACY, CLEAN, Row, Score, Table
from explorer.analysis.evaluation.run import Evaluation
from explorer.analysis.evaluation.watched import watched
from explorer.attacks.defences.detect import DETECTORS
from explorer.attacks.defences.model import Defended
from explorer.attacks.defences.registry import DEFENCES
from explorer.attacks.defences.vote import NoiseVote
from explorer.attacks.image.classic import PGD
from explorer.base.device import describe_device
from explorer.base.progress import Progress
from explorer.data.sets import Examples, read_examples
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "defences.md"
DATA = ROOT.parent / "shared" / "data" / "tiny_imagenet_val.parquet"
KEEP = ROOT / "runs" / "defences"
MODELS = ("pocket", "pocket-robust")
LEVELS = (1, 4)  # grey levels
BATCH, TIMED = 16, 5


def attacks() -> list[Asked]:
    """Clean, and PGD-10 at each budget."""
    return [Asked(CLEAN), *spread("pgd", PGD(), [level / 255 for level in LEVELS])]


def measured(args: argparse.Namespace, library: Library) -> Table:
    """Accuracy of every model, attack, defence and attacker, and what detectors did; kept as it
    goes."""
    guards = Guards((None, *(DEFENCES[name]() for name in args.defences)), (False, True))
    seen = watched(DETECTORS, [one.attack for one in attacks()], (False, True))
    plan = EvaluationPlan((str(args.data),), tuple(args.models), guards.columns(attacks()),
                          limit=args.limit, seed=args.seed, batch=BATCH, watched=seen)
    running = Evaluation(plan, library, Store(args.keep))
    for event in running.steps():
        if isinstance(event, Row) and event.whole:
            print(f"{event.model}  {event.column}  {said(event.scores[ACCURACY])}  "
                  f"{event.seconds:.0f} s", flush=True)
        elif isinstance(event, Detection):
            print(f"{event.budget} {event.sentence()}", flush=True)
        elif isinstance(event, Progress) and args.verbose:
            print(event.text, flush=True)
    return running.table


def said(score: Score) -> str:
    low, high = score.ci95
    return f"{score.share:.1%} ({low:.0%} to {high:.0%})"


def seconds(model: DualEncoder, picture: torch.Tensor, captions: Sequence[str]) -> dict[str, float]:
    """Seconds to read one photo, plainly ("") and behind each defence: medians of TIMED, taking
    turns."""
    guards: dict[str, DualEncoder] = {"": model}
    for name, kind in DEFENCES.items():
        guards[name] = Defended(model, kind()).facing(captions)
    took: dict[str, list[float]] = {name: [] for name in guards}
    with torch.no_grad():
        for turn in range(TIMED + 1):
            for name, guard in guards.items():
                began = time.perf_counter()
                guard.encode_image(picture)
                if turn:  # the first warms up
                    took[name].append(time.perf_counter() - began)
    return {name: median(times) for name, times in took.items()}


def table(found: Table, model: str, took: dict[str, float], names: Sequence[str]) -> str:
    """One model: a line a defence."""
    rows = {(r.line, round(r.eps * 255)): r.scores[ACCURACY] for r in found.rows
            if r.model == model}
    head = ["defence", "passes", "ms a photo", "clean"]
    for level in LEVELS:
        head += [f"{level}/255, does not know", f"{level}/255, knows"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name in ["", *names]:
        after = f" behind {name}" if name else ""
        cells = [f"`{name}`" if name else "none",
                 str(DEFENCES[name]().passes) if name else "1 forward", f"{took[name] * 1e3:.0f}",
                 said(rows[f"{CLEAN}{after}", 0])]
        for level in LEVELS:
            blind = rows[f"pgd{after}", level]
            aware = rows[f"pgd{after} (known)", level] if name else blind
            cells += [said(blind), said(aware) if name else "the same"]
        lines.append(f"| {' | '.join(cells)} |")
    return f"**{model}**\n\n" + "\n".join(lines)


def votes(model: DualEncoder, examples: Examples) -> str:
    """What the certificates of the vote are worth on clean photos."""
    defence, ballots, right = NoiseVote(), [], []
    for pairs in examples.batches(model.frame, BATCH):
        text = model.encode_text(pairs.captions)
        mine = defence.ballots(model.encode_image, pairs.images.to(model.device), text)
        ballots += mine
        right += [one.answer == label for one, label in zip(mine, pairs.labels.tolist(),
                                                            strict=True)]
    sure = [one.radius for one, good in zip(ballots, right, strict=True)
            if good and one.radius is not None]
    gone = sum(one.answer is None for one in ballots)
    middle = f"{median(sure):.3f}" if sure else "none"
    return (f"`noise-vote` on {model.card.id}, clean: abstains on {gone} of {len(ballots)}; right "
            f"with a certified radius on {len(sure)}, whose median is {middle} (L2).")


def detector_table(found: Sequence[Detection]) -> str:
    head = ["model", "detector", "budget", "attacker", "AUC (95 %)", "found at 5 % false alarms",
            "clean", "attacked"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for one in found:
        low, high = one.ci95 if one.attacked else (0.0, 0.0)
        told = [f"{one.area:.2f} ({low:.2f} to {high:.2f})", f"{one.hits:.0%}"] if (
            one.attacked) else ["–", "–"]
        cells = [one.model, f"`{one.detector}`", one.budget,
                 "knows" if one.aware else "does not know", *told, str(len(one.clean)),
                 str(len(one.attacked))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def flags(argv: Sequence[str] | None) -> argparse.Namespace:
    own = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    own.add_argument("--data", type=Path, default=DATA, help="an image set with labels")
    own.add_argument("--limit", type=int, default=200, help="images drawn (default 200)")
    own.add_argument("--models", default=",".join(MODELS), help=f"default {','.join(MODELS)}")
    own.add_argument("--defences", default=",".join(DEFENCES), help="default all")
    own.add_argument("--keep", type=Path, default=KEEP, help="where finished numbers are kept")
    own.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    own.add_argument("--verbose", action="store_true", help="say every step")
    own.add_argument("--models-dir", type=Path, action="append", default=[],
                     help="a folder of model folders to offer as well")
    own.add_argument("--page", type=Path, default=PAGE, help="what is filled")
    args = own.parse_args(argv)
    args.models, args.defences = args.models.split(","), args.defences.split(",")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = flags(argv)
    keep_memory()
    args.keep.mkdir(parents=True, exist_ok=True)
    library = Library(args.models_dir, keep=len(args.models))
    found = measured(args, library)
    examples = read_examples(args.data, args.limit, args.seed)
    n = min(row.n for row in found.rows)
    about = (f"{examples.name}, {n} images, {len(examples.captions)} class prompts, PGD with 10 "
             "steps of 1/255 (L∞); accuracy with its 95 % interval (Wilson). "
             f"Seed {args.seed}; {describe_device()}, {date.today().isoformat()}, by `python -m "
             "bench.defences`.")
    parts, notes = [about], []
    for name in args.models:
        model = library.load(name)
        first = next(examples.batches(model.frame, 1))
        took = seconds(model, first.images, examples.captions)
        parts.append(table(found, name, took, args.defences))
        if "noise-vote" in args.defences:
            notes.append(votes(model, examples))
    page = filled(args.page.read_text("utf-8"), "defences", "\n\n".join([*parts, *notes]))
    page = filled(page, "detectors", f"{about}\n\n{detector_table(found.detections)}")
    args.page.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
