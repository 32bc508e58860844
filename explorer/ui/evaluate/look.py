"""What the Evaluate tab shows: what has changed of an evaluation since the page was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from explorer.analysis.evaluation.rows import Table
from explorer.analysis.evaluation.work import table_of
from explorer.base.errors import InputError
from explorer.jobs.job import BUSY, WAITING, Job
from explorer.jobs.threads import ThreadJobs
from explorer.ui.evaluate import views
from explorer.ui.shared.looks import digest, only_new
from explorer.ui.shared.states import when
from explorer.ui.shared.works import owner_of

KIND = "evaluate"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # of evaluations laid side by side
Shown = dict[str, Any]


class EvaluateLook:
    """One page; `draw` is the handler of every event that may have changed it."""

    def __init__(self, works: ThreadJobs) -> None:
        self.works = works

    def arrive(self, request: gr.Request) -> tuple[Any, ...]:
        """The first look, which knows nothing of the timer: the tab may be open by now."""
        return self.draw(request, "", None, {}, [])

    def draw(self, request: gr.Request, asked: str, is_open: bool | None, shown: Shown,
             ticked: list[str]) -> tuple[Any, ...]:
        """What has changed since `shown`. asked: the evaluation that was pressed; ticked: those to
        lay beside it."""
        owner = owner_of(request)
        works = self.works.shown(owner, KIND)
        ids = [work.id for work in works]
        current = asked if asked in ids else ids[0] if ids else ""
        try:
            work = self.works.get(current, owner) if current else None
        except InputError:  # deleted from another tab just now
            work = None
        tables = [table_of(work)] if work else []
        beside = [other for other in works if other.id in ticked and other.id != current]
        tables += [table_of(other) for other in beside]
        drawn = self._drawn(works, work, tables, [other.id for other in beside])
        busy = any(other.state in BUSY for other in works)
        now: Shown = {
            **{name: digest(text) for name, text in drawn.items()}, "work": current,
            "timer": busy and is_open if is_open is not None else shown.get("timer")}

        only = only_new(shown, now)
        return (*(only(name, drawn[name]) for name in (
            "list", "said", "table", "curve", "found", "roc")),
                only("timer", gr.Timer(active=bool(now["timer"]))), now)

    def _drawn(self, works: Sequence[Job], work: Job | None, tables: list[Table], beside: list[str],
               ) -> dict[str, str]:
        ahead = self.works.ahead(work) if work and work.state == WAITING else 0
        said = tuple(work.wish.get("left_out", ())) if work else ()
        letters: dict[str, str] = {}
        if work is not None and len(tables) > 1:  # of the same name, as likely as not
            shown = [work, *(other for other in works if other.id in beside)]
            for letter, table, one in zip(LETTERS, tables, shown, strict=False):
                letters[one.id] = table.title = letter
                table.about["called"] = f"{one.title}, {when(one)}"
        return {"list": views.listing(works, work.id if work else "", letters),
                "said": views.state(work, tables[0] if tables else Table(), ahead, said),
                "table": views.table(tables) if tables else "",
                "curve": views.curve(tables) if tables else "",
                "found": views.harmed(tables) + views.found(tables), "roc": views.roc(tables)}
