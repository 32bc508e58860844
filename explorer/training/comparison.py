"""A trained model beside the one it started from, on pictures that it did not learn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from explorer.analysis.failures.hunt import HuntPlan, attack_all
from explorer.analysis.failures.slices import Found, read_hunt
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.jobs.job import write_text
from explorer.models.library import Library
from explorer.training.folder import RunFolder
from explorer.training.plan import plan_of
from explorer.training.probe import paper_attack
from explorer.training.run import read_data

PICTURES = 9
FOLDER, PLAN = "compared", "plan.json"


def compare(folder: Path, library: Library) -> Iterator[Progress]:
    """Attacks the first held-out pictures of a run, at the run's budget and among its captions, on
    its base and on the model that came out of it; what is found is kept in the run's folder, for
    as long as both have the weights that it was found with.

    folder: of the run. Raises InputError where nothing was held out, or where the data are not
    there any more.
    """
    started = RunFolder(folder).started()
    if started is None:
        raise InputError("the run's files are not there any more")
    plan = plan_of(started, folder)
    held_out = read_data(plan)[1]
    if held_out is None:
        raise InputError("no pictures were held out of this run, so there is nothing fair to "
                         "compare on")
    model = plan.name or folder.resolve().name
    few = replace(held_out, chosen=held_out.chosen[:PICTURES], labels=held_out.labels[:PICTURES])
    hunt = HuntPlan.of("", (plan.base, model), paper_attack(plan.recipe), limit=len(few),
                       seed=plan.recipe.seed)
    into = folder / FOLDER
    asked = {"hunt": hunt.as_dict(), "weights": [library.load(m).fingerprint for m in hunt.models]}
    told = json.dumps(asked) + "\n"
    if not (into / PLAN).is_file() or (into / PLAN).read_text("utf-8") != told:
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        write_text(into / PLAN, told)
    yield from attack_all(hunt, few, into, library)


def compared(folder: Path) -> tuple[HuntPlan, Found] | None:
    """What a run's comparison found so far; None before it was asked for."""
    try:
        hunt = HuntPlan.read(json.loads((folder / FOLDER / PLAN).read_text("utf-8"))["hunt"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return hunt, read_hunt(folder / FOLDER)
