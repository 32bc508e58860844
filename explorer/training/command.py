"""The `train` command: flags to a plan, a plan to a run, events to lines of text."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from explorer.attacks.amounts import parse_eps
from explorer.base.errors import InputError
from explorer.training.errors import TrainingError
from explorer.training.events import End, Event, Note, Probe, TrainingStep
from explorer.training.folder import RunFolder
from explorer.training.gather import world
from explorer.training.plan import TrainingPlan, plan_of, read_plan
from explorer.training.recipe import Recipe
from explorer.training.run import read_data, run

FAILED, INTERRUPTED = 1, 130
RUN_FLAGS = ("data", "columns", "base", "eval_data", "name", "save_every", "probe_every",
             "probe_images", "minutes")


def given_recipe(args: argparse.Namespace) -> dict[str, Any]:
    """The recipe's settings that flags were given for."""
    values = {f.name: getattr(args, f.name) for f in dataclasses.fields(Recipe)}
    found = {name: value for name, value in values.items() if value is not None}
    for name in ("eps", "inner_step"):
        if name in found:
            found[name] = parse_eps(found[name])
    return found


def make_plan(args: argparse.Namespace) -> TrainingPlan:
    """The plan of a command line; with --resume that of the folder, which flags may only
    repeat."""
    recipe = given_recipe(args)
    flags = {name: getattr(args, name) for name in RUN_FLAGS}
    given = {name: value for name, value in flags.items() if value is not None}
    for name in ("save_every", "probe_every", "probe_images"):
        low = 1 if name == "save_every" else 0
        if given.get(name, low) < low:
            raise InputError(f"--{name.replace('_', '-')} must be at least {low}")
    if "minutes" in given and {"steps", "epochs"} & recipe.keys():
        raise InputError("give --minutes, or --steps or --epochs, not both")
    told = RunFolder(args.out).started() if args.resume else None
    if told is None and args.plan is not None:
        if recipe or given or args.models_dir or args.device:
            raise InputError("the plan says it all: give --plan, or the settings, not both")
        return read_plan(args.plan, args.out)
    if told is None:
        if "data" not in given:
            raise InputError("give --data: a file, a folder, or hf:NAME of pictures to train on")
        return TrainingPlan(Recipe(**recipe), base=given.pop("base", "pocket"), out=args.out,
                    folders=tuple(args.models_dir), cpu=args.device == "cpu", **given)
    plan = plan_of(told, args.out)
    before = {**plan.recipe.as_dict(), **plan.told()}
    for name, value in {**recipe, **given}.items():
        if before[name] != value:
            raise InputError(f"the run in {args.out} was started with {name} {before[name]}: "
                             f"resume it without --{name.replace('_', '-')}, or start a new one")
    return plan


def train(args: argparse.Namespace) -> None:
    """Runs or resumes a run. Exits with status 1 and a sentence when it cannot go on."""
    plan = make_plan(args)
    if args.dry_run:
        print(read_data(plan)[0].understood.paragraph())
        return
    try:
        for event in run(plan, args.resume):
            if world()[0] == 0:
                print(line(event), flush=True)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(FAILED) from None
    except KeyboardInterrupt:
        print(f"interrupted: --out {plan.out} --resume goes on from the last checkpoint",
              file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def line(event: Event) -> str:
    """An event as one line for a person."""
    if isinstance(event, TrainingStep):
        terms = ", ".join(f"{name} {value:.4g}" for name, value in event.losses.items())
        return (f"step {event.index}/{event.total}: {terms} ({event.images_per_s:.1f} images/s, "
                f"{duration(event.eta_s)} left)")
    if isinstance(event, Probe):
        return (f"after step {event.index}: clean {event.clean:.1%}, under PGD-{event.steps} at "
                f"{event.eps * 255:g}/255 {event.robust:.1%} ({event.n} held-out images)")
    if isinstance(event, Note):
        return event.text
    assert isinstance(event, End)
    return f"{event.reason} after step {event.step}, {duration(event.hours * 3600)} of training"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
