"""What the Failures tab shows: what has changed of a hunt since the page was last drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.analysis.failures.slices import AXES, OTHERS, Filter, Found, chosen, read_hunt
from explorer.jobs.job import BUSY, Job
from explorer.ui.failures import views
from explorer.ui.failures.cards import Sheet, gallery
from explorer.ui.failures.hunts import Hunts, shown_by
from explorer.ui.failures.saves import named_of
from explorer.ui.shared.looks import digest, only_new
from explorer.ui.shared.works import owner_of

KIND, ANY = "failures", "any"
PARTS = ("hunts", "state", "slices", "matrix", "gallery", "picked")


class Look:
    """`draw` is the handler of every event that may have changed what a page shows."""

    def __init__(self, hunts: Hunts) -> None:
        self.hunts = hunts

    def draw(self, request: gr.Request, asked: str, is_open: bool, mark: str,
             ticked: list[int], *controls: Any) -> tuple[Any, ...]:
        """What has changed since `mark`, for all of the view. asked: the hunt that was pressed;
        controls: as `Hunts.view` takes them. The mark comes from the page itself: an answer
        that comes late brings an old mark, so the next look puts right what it undid."""
        works, shown = self.hunts.works.shown(owner_of(request), KIND), shown_by(mark)
        ids = [work.id for work in works]
        hunt = asked if asked in ids else ids[0] if ids else ""
        work = self.hunts.works.get(hunt) if hunt else None
        found = read_hunt(work.folder) if work else Found("", (), ())
        view = self.hunts.view(*controls)
        if shown.get("hunt") != hunt or view.label >= len(found.captions):
            view = replace(view, label=OTHERS)
        roles = self.hunts.roles(work)
        drawn = self._drawn(works, work, found, view, roles, ticked)
        answers = sorted({case.label for case in found.cases},
                         key=lambda k: found.captions[k].lower())
        busy = any(other.state in BUSY for other in works)
        now = {"hunt": hunt, **{name: digest(text) for name, text in drawn.items()},
               "labels": digest(f"{hunt} {answers}"), "roles": digest(f"{hunt} {roles}"),
               "timer": digest(str(busy and is_open))}
        only = only_new(shown, now)
        axes = [(text.format(left=roles[0], right=roles[1]), name) for name, text in AXES.items()]
        return (
            *(only(name, drawn[name]) for name in PARTS),
            only("labels", gr.update(value=str(view.label) if view.label in answers else ANY,
                                     choices=[("any", ANY), *((found.captions[k], str(k))
                                                              for k in answers)])),
            only("roles", gr.update(choices=axes)),
            only("timer", gr.Timer(active=busy and is_open)), json.dumps(now))

    def _drawn(self, works: Sequence[Job], work: Job | None, found: Found, view: Filter,
               roles: tuple[str, str], ticked: Sequence[int]) -> dict[str, str]:
        named = named_of(found, view)
        page = chosen(found.cases, view, named)
        apart = [case for case in found.cases if view.slice in ("all", case.slice)]
        ahead = self.hunts.works.ahead(work) if work and work.state == "waiting" else 0
        before = tuple(work.wish.get("left_out", ())) if work else ()
        told = replace(found, left_out=(*before, *found.left_out))
        sheet = Sheet(work.folder if work else Path(), found, roles, set(ticked))
        return {"hunts": views.hunts(works, work.id if work else ""),
                "state": views.state(work, told, ahead, *roles),
                "slices": views.slices(found, view, *roles),
                "matrix": views.matrix(sheet, apart, view, named),
                "gallery": gallery(sheet, page, view),
                "picked": views.picked(len(ticked), len(page))}
