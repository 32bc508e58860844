"""The visitor's hunts and their single pictures, opened in the Attack tab."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import gradio as gr

from explorer.analysis.failures.hunt import HuntPlan, plan_of
from explorer.analysis.failures.slices import (
    AXES,
    OTHERS,
    SLICES,
    SORTS,
    Filter,
    Found,
    read_hunt,
)
from explorer.base.errors import InputError
from explorer.jobs.job import Job
from explorer.jobs.threads import ThreadJobs
from explorer.models.library import Library
from explorer.server.gate import Gate
from explorer.ui.failures.views import names
from explorer.ui.shared.choice import AttackChoice
from explorer.ui.shared.opening import noticed, pressed, values
from explorer.ui.shared.works import owner_of

TOKEN = re.compile(r"[0-9a-f-]{0,40}")


class Hunts:
    """What handlers of the Failures tab share. choice: of the Attack tab, which opens pictures."""

    def __init__(self, library: Library, works: ThreadJobs, gate: Gate,
                 choice: AttackChoice) -> None:
        self.library, self.works, self.gate, self.choice = library, works, gate, choice

    def roles(self, work: Job | None) -> tuple[str, str]:
        """What a hunt's models are called."""
        if work is None:
            return "left", "right"
        models, kinds = plan_of(work).models, []
        for name in models:
            try:
                kinds.append(self.library.card(name).kind)
            except InputError:
                kinds.append("")
        return names(models, kinds)

    def read(self, hunt: str, request: gr.Request) -> tuple[Job, HuntPlan, Found]:
        """A hunt of this visitor. Raises InputError where there is none."""
        if not hunt:
            raise InputError("start a hunt first")
        work = self.works.get(hunt, owner_of(request))
        return work, plan_of(work), read_hunt(work.folder)

    @staticmethod
    def view(where: dict[str, Any], label: str, sort: str, falling: bool, low: Any, high: Any,
             layout: str, axes: str) -> Filter:
        """The view of what the controls hold; what they cannot hold counts as nothing chosen."""
        cell, ranged = where.get("cell"), sort != "label"
        return Filter(
            slice=where["slice"] if where.get("slice") in SLICES else "all",
            label=int(label) if str(label).isdecimal() else OTHERS,
            cell=(int(cell[0]), int(cell[1])) if cell else None,
            axes=axes if axes in AXES else "models",
            sort=sort if sort in SORTS else "place", descending=bool(falling),
            low=_bound(low) if ranged else None, high=_bound(high) if ranged else None,
            page=int(where.get("page", 0)), table=layout == "table")

    def open(self, mark: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        """One picture, with everything set as the hunt had it."""
        with noticed():
            work, plan, found = self.read(shown_by(mark).get("hunt", ""), request)
            return values(work.folder, plan, found, pressed(found, event), self.choice)


def shown_by(mark: str) -> dict[str, str]:
    """What a page says it shows; what is not as we wrote it is not shown."""
    try:
        raw = json.loads(mark or "{}")
    except (ValueError, RecursionError):
        return {}
    return {name: value for name, value in raw.items() if isinstance(value, str)
            and TOKEN.fullmatch(value)} if isinstance(raw, dict) else {}


def _bound(value: Any) -> float | None:
    """What a box for a number holds; None for nothing, or for what is no number."""
    try:
        number = float(str(value).strip().replace(",", ".").replace("\u2212", "-"))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
