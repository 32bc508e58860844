"""The states of jobs in words and marks, the same in every list of them."""

from __future__ import annotations

import time

from explorer.jobs.job import (
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
