"""The states of jobs in words and marks, the same in every list of them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from explorer.jobs.job import (
    BUSY,
    FAILED,
    FINISHED,
    INTERRUPTED,
    PAUSED,
    RUNNING,
    STOPPED,
    STOPPING,
    WAITING,
    Job,
)
from explorer.results.views import esc

MARKS = {WAITING: "…", RUNNING: "▶", PAUSED: "❚❚", STOPPING: "■", FINISHED: "✓", STOPPED: "■",
         FAILED: "✗", INTERRUPTED: "!"}


def badge(job: Job, prefix: str, more: str = "") -> str:
    """A job's state as HTML, of the classes PREFIX-state and PREFIX-STATE."""
    if job.is_example:
        return (f'<span class="{prefix}-state {prefix}-{job.state}"><span aria-hidden="true">★'
                "</span> example</span>")
    return (f'<span class="{prefix}-state {prefix}-{job.state}"><span aria-hidden="true">'
            f"{MARKS[job.state]}</span> {job.state}{more}</span>")


def when(job: Job) -> str:
    """When it was asked for."""
    if job.is_example:
        return "came with the app"
    return time.strftime("%d %b, %H:%M", time.localtime(job.created))


def truth(value: bool) -> str:
    """For an attribute of HTML."""
    return "true" if value else "false"


def job_button(job: Job, css: str, pressed: bool, inside: str) -> str:
    """A job in a list of them. css: its class; inside: HTML."""
    return (f'<button type="button" class="{css}" data-do="look" data-id="{esc(job.id)}" '
            f'data-key="look-{esc(job.id)}" aria-pressed="{truth(pressed)}">{inside}</button>')


def job_list(css: str, label: str, items: Iterable[str]) -> str:
    """label: what they are, for who does not see them."""
    return f'<div class="{css}" role="group" aria-label="{esc(label)}">{"".join(items)}</div>'


def orders(job: Job, prefix: str, delete: str) -> str:
    """What can be done with a job of a visitor that is over, as buttons; parts.js asks before it
    deletes. delete: what that button says."""
    if job.state in BUSY or job.is_example:
        return ""

    def button(does: str, key: str, text: str) -> str:
        return (f'<button type="button" data-do="{does}" data-id="{esc(job.id)}" '
                f'data-key="{key}" id="{prefix}-{key}">{text}</button> ')

    again = button("go_on", "go_on", "Go on") if job.can_go_on else ""
    return f'<span class="rx-orders">{again}{button("ask", "delete", delete)}</span>'
