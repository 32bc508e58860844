"""The commands `evaluate` and `compare`: from flags to a plan, from a table to words and a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from explorer.actions.flags import make_attack
from explorer.actions.terminal import device_named, model_names, names_of, print_table
from explorer.analysis.evaluation.cost import Cost, estimate
from explorer.analysis.evaluation.exports import FORMATS, export, measures
from explorer.analysis.evaluation.guards import Guards
from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import (
    Asked,
    EvaluationPlan,
    harmed,
    pixel_half,
    read_budgets,
)
from explorer.analysis.evaluation.rows import ACCURACY, Score, Table, load_table
from explorer.analysis.evaluation.run import Evaluation
from explorer.analysis.evaluation.sets import open_set, split_names
from explorer.attacks.amounts import NORMS
from explorer.attacks.corruptions.base import SEVERITIES
from explorer.attacks.corruptions.registry import corruptions_named
from explorer.attacks.image.base import USUAL_EPS
from explorer.attacks.registry import kind_named
from explorer.base.errors import InputError
from explorer.base.processes import ALONE, Processes, join
from explorer.base.progress import Progress
from explorer.data.columns import Given
from explorer.data.tasks import RETRIEVAL
from explorer.data.understood import unreadable
from explorer.models.library import Library
from explorer.results import saving

PARTIAL, NONE = 1, 2
DRY = "pocket"  # stands for the models where none is opened


def evaluate(args: argparse.Namespace) -> int:
    """Measures a table and writes it; 1 when a part of it could not be measured. With --dry-run
    only what is understood of the data is said."""
    if args.models is None and not args.dry_run:
        raise InputError("the following arguments are required: --models")
    plan = make_plan(args)
    if args.dry_run:
        return dry_run(plan, args.data_root)
    if args.out is None:
        raise InputError("give --out: a file that ends in .json, .csv, .md or .tex (or --dry-run, "
                         "which says only what is understood of the data)")
    suffix = _suffix(args.out)
    saving.check_writable(args.out.parent)
    device = device_named(args.device)
    library, _ = model_names(args)
    crew = join(device)
    if args.estimate:
        return _estimate(plan, library, args, crew)
    store = Store(args.keep, rank=crew.rank)
    table = measure(plan, library, store, args, crew)
    if not crew.first:
        return 0
    saving.write_files(args.out.parent, {args.out.name: export([table], suffix)})
    print_table(lines_of([table]))
    for one in table.as_dict()["sets"]:
        if one["skipped"]:
            print(f"left out: {one['skipped']} of {one['drawn']} images, which cannot be read or "
                  "judged")
        for note in one.get("notes", ()):
            print(note)
    for sentence in table.left_out:
        print(f"left out: {' '.join(sentence.split())}")
    return PARTIAL if table.left_out else 0


def dry_run(plan: EvaluationPlan, root: Path | None) -> int:
    """Says what is understood of each set, and measures nothing; 1 when one cannot be used, 2 when
    none can."""
    refused = 0
    for name in plan.sets:
        try:
            data = open_set(name, plan, root).data
            print(" ".join([*data.understood.sentences(), unreadable(data.source, data.chosen)]
                           ).strip())
        except InputError as error:
            if len(plan.sets) == 1:
                raise
            print(f"{name}: cannot be used: {error}")
            refused += 1
    return NONE if refused == len(plan.sets) else PARTIAL if refused else 0


def measure(plan: EvaluationPlan, library: Library, store: Store, args: argparse.Namespace,
            crew: Processes = ALONE) -> Table:
    """Runs the plan behind a progress bar."""
    running = Evaluation(plan, library, store, args.data_root, device=crew.device, crew=crew,
                         title=args.out.stem)
    told = not crew.first
    with tqdm(unit="image", leave=False, disable=None if crew.first else True) as bar:
        for event in running.steps():
            if not told and running.table.sets:
                for one in running.table.sets:
                    bar.write(" ".join(one["understood"]))
                told = True
            if isinstance(event, Progress):
                bar.total = event.total
                bar.set_description(event.text[:60], refresh=False)
                bar.update(event.done - bar.n)
    return running.table


def compare(args: argparse.Namespace) -> None:
    """Lays tables that `evaluate` wrote as JSON side by side."""
    tables = []
    for path in args.tables:
        table = load_table(path)
        table.title = table.title or path.stem
        tables.append(table)
    titles = [table.title for table in tables]
    for path, table in zip(args.tables, tables, strict=True):
        if titles.count(table.title) > 1:
            table.title = str(path)
    lines = lines_of(tables)
    if args.out is not None:
        content = export(tables, _suffix(args.out))
        saving.write_files(args.out.parent, {args.out.name: content})
    print_table(lines)


def _suffix(out: Path) -> str:
    """The ending of --out, which says the format."""
    if out.is_dir():
        raise InputError(f"{out} is a folder: --out must be a file")
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"--out must end in one of {', '.join(FORMATS)}, which says the format, "
                         f"not '{out.name}'")
    return out.suffix.lower()


def _estimate(plan: EvaluationPlan, library: Library, args: argparse.Namespace,
              crew: Processes) -> int:
    if crew.first:
        for event in estimate(plan, library, args.data_root, device=crew.device):
            if isinstance(event, Cost):
                print(event.sentence())
    return 0


def make_plan(args: argparse.Namespace) -> EvaluationPlan:
    """What the flags ask for. Raises InputError for mistakes in them."""
    given = Given.of(args.columns)
    return EvaluationPlan(tuple(name for text in args.data for name in split_names(text)),
                tuple(names_of(args.models or DRY, "models")), asked_of(args), args.task,
                args.limit, args.seed, args.batch, str(given))


def asked_of(args: argparse.Namespace) -> tuple[Asked, ...]:
    """A column for each of --attacks and, where it changes pixels, each of --eps, and for each
    of --corruptions and --severities; all behind each of --defence."""
    usual = {"image": args.image_attack, "text": args.text_attack, "joint": args.joint_attack}
    budgets = [USUAL_EPS[args.norm]] if args.eps is None else read_budgets(args.eps)
    found = []
    for name in names_of(args.attacks, "attacks"):
        if name == "clean":
            found.append(Asked(name))
            continue
        kind, own = (name, usual[name]) if name in usual else (kind_named(name), name)
        for number, eps in enumerate(budgets):
            attack = make_attack(argparse.Namespace(**{**vars(args), "eps": eps}), kind, own)
            half = pixel_half(attack)
            if number == 0 or (half is not None and half.norm in NORMS):
                found.append(Asked(name, attack))
    if args.corruptions:
        severities = [_severity(said) for said in names_of(args.severities, "severities")]
        found += harmed(corruptions_named(names_of(args.corruptions, "corruptions"), severities))
    defences = None if args.defence is None else names_of(args.defence, "defence")
    return Guards.named(defences, args.attacker).columns(found)


def _severity(said: str) -> int:
    try:
        return int(said)
    except ValueError:
        raise InputError(f"--severities must be whole numbers from 1 to {SEVERITIES[-1]}, with one "
                         f"comma between them, not '{said[:40]}'") from None


def lines_of(tables: Sequence[Table]) -> list[list[str]]:
    """The table as it is printed: one line a row; columns that would not tell anything are left
    out."""
    export(tables, ".json")  # refuses what does not go together
    several = len(tables) > 1
    sets = len({row.data for table in tables for row in table.rows}) > 1
    retrieval = tables[0].task == RETRIEVAL
    first = ["evaluation"] * several + ["data"] * sets + ["model", "attack"]
    if not retrieval:
        lines = [[*first, "eps", "n", "accuracy", "95 % interval", "seconds"]]
    else:
        names = measures(tables)
        lines = [[*first, "eps", *names, "images", "captions", "seconds"]]
    for table in tables:
        for row in table.rows:
            start = [table.title] * several + [row.data] * sets + [row.model, row.line,
                                                                   row.budget or "-"]
            seconds = f"{row.seconds:.1f}"
            if retrieval:
                lines.append([*start, *(_share(row.scores.get(name)) for name in names),
                              str(row.n), str(row.detail["captions"]), seconds])
            else:
                score = row.scores[ACCURACY]
                low, high = score.ci95
                lines.append([*start, str(row.n), f"{score.share:.1%}", f"{low:.1%} - {high:.1%}",
                              seconds])
    return lines


def _share(score: Score | None) -> str:
    """12.5 % (3-30), or - where there is none, as for k of the gallery's size."""
    if score is None:
        return "-"
    low, high = score.ci95
    return f"{score.share:.1%} ({low * 100:.0f}-{high * 100:.0f})"
