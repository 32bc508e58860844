"""What is asked of a training run, and its form as JSON. No heavy import."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.training.recipe import Recipe

MOST_MINUTES = 7 * 24 * 60


@dataclass(frozen=True)
class TrainingPlan:
    """What is asked for. data, eval_data: paths or hf:NAME[:SPLIT]; base: id of a model or
    local-dir:FOLDER; name: id of the new model (default: the folder's name); save_every,
    probe_every: steps, 0 for a tenth of the run; probe_images: pictures measured; without
    eval_data they are held out of data, by the seed; folders: of more models; columns: of
    data's table, as --columns takes them; minutes: where the recipe has no steps, as many as
    take about so long here: the run times a few and writes down how many it does."""

    recipe: Recipe
    data: str
    base: str
    out: Path
    eval_data: str | None = None
    name: str | None = None
    save_every: int = 50
    probe_every: int = 0
    probe_images: int = 128
    folders: tuple[Path, ...] = ()
    cpu: bool = False
    columns: str = ""
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes <= MOST_MINUTES:
            raise InputError(f"the training must take more than 0 and at most {MOST_MINUTES:,} "
                             "minutes")

    def told(self) -> dict[str, Any]:
        """Plain data for run.json, from which a resumed run takes all but `out`."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "out"}
        return {**plain, "recipe": self.recipe.as_dict(),
                "folders": [str(folder) for folder in self.folders]}


def plan_of(told: Any, out: Path, file: str = "run.json") -> TrainingPlan:
    """The plan that `told` gave, also as it is in a run.json. Raises InputError when it is
    damaged; file: what it was read from."""
    known = {f.name for f in fields(TrainingPlan)}
    try:
        values = {k: v for k, v in told.items() if k in known}
        values["recipe"] = Recipe(**told["recipe"])
        values["folders"] = tuple(Path(folder) for folder in told["folders"])
        return TrainingPlan(**values, out=out)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} in {out} is damaged ({error}): start the run anew in another "
                         "folder") from None


def read_plan(path: Path, out: Path) -> TrainingPlan:
    """The plan in a file, to be carried out in `out`. Raises InputError when there is none."""
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path} holds no plan of a training run") from None
    return plan_of(told, out, path.name)
