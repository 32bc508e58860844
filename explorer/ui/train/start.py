"""What the buttons of the training form do: measure what a run will cost, and start it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.jobs.processes import ProcessJobs
from explorer.models.library import Library
from explorer.training.costs import Cost, measure
from explorer.training.plan import TrainingPlan
from explorer.ui.shared.runs import error_line, guarded, told
from explorer.ui.train.form import Draft, cost_sentence, read

FRESH = 900.0  # seconds for which a measured cost is used again


class Starter:
    """Both buttons' events; their inputs are the values of the form."""

    def __init__(self, library: Library, jobs: ProcessJobs) -> None:
        self.library, self.jobs = library, jobs
        self.costs: dict[TrainingPlan, tuple[float, Cost]] = {}

    def _cost(self, draft: Draft) -> Iterator[str | Cost]:
        """Words while it is measured, then the Cost; from memory where it was measured lately."""
        plan = draft.plan(self._folders())
        when, cost = self.costs.get(plan, (0.0, None))
        if cost is not None and time.monotonic() - when < FRESH:
            yield cost
            return
        for item in measure(plan, self.jobs.command):
            if isinstance(item, Cost):
                self.costs[plan] = (time.monotonic(), item)
            yield item

    def _folders(self) -> list[Path]:
        return list(dict.fromkeys([*self.library.folders, self.jobs.models]))

    def estimate(self, *values: Any) -> Iterator[str]:
        def work() -> Iterator[str]:
            draft = read(values, self.jobs.folder / "samples")
            for item in self._cost(draft):
                yield told(item if isinstance(item, str) else " ".join(
                    [draft.understood, cost_sentence(draft, item) + self._beside()]).strip())

        yield from guarded(work(), error_line)

    def _beside(self) -> str:
        busy = any(job.state == "running" for job in self.jobs.list())
        return " It was measured beside a run that is going on: alone it is faster." * busy

    def start(self, *values: Any) -> Iterator[tuple[Any, Any]]:
        def work() -> Iterator[str | tuple[str, str]]:
            draft = read(values, self.jobs.folder / "samples")
            name = draft.model_name()
            plan = replace(draft.plan(self._folders()), name=name)
            about = {"model": name, "base": draft.base, "method": draft.recipe.method,
                     "eps": draft.recipe.eps * 255, "data": draft.data_title,
                     "budget": draft.budget}
            run = self.jobs.train(plan.told(), draft.data, draft.copy, about)
            waits = self.jobs.get(run).state == "waiting"
            yield told(f"{name} {'waits for its turn' if waits else 'has started'}. You may close "
                       "this page: the run goes on, and is found here again. "
                       f"{draft.understood}".strip()), run

        for item in guarded(work(), error_line):
            yield item if isinstance(item, tuple) else (item, gr.skip())
