"""What all tabs that start runs share: the status line, a mistake in words, tickets."""

from __future__ import annotations

import itertools
from typing import Any

import gradio as gr

from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.results.views import esc

DEVICE = "device"  # who runs next is the gate's to say; here they only wait
WAIT = 64
PLAIN: dict[str, Any] = {"padding": False, "apply_default_css": False}


def status(progress: Progress) -> str:
    bar = ""
    if progress.total:
        bar = (f'<progress max="{progress.total}" value="{progress.done}" '
               f'aria-label="{esc(progress.text)}"></progress> step {progress.done} of '
               f"{progress.total}")
    return f'<p class="rx-status" role="status">{esc(progress.text)} {bar}</p>'


DONE = status(Progress("Done."))
IDLE = status(Progress("Nothing is running."))
STOPPED = status(Progress("Stopped. What was finished is still below."))
OURS = ("Something failed on our side; the server's log has the details. The next attack can go "
        "ahead.")


def told(text: str) -> str:
    return f'<p class="rx-status" role="status">{esc(text)}</p>'


def error_line(sentence: str) -> str:
    return f'<p class="rx-status rx-error" role="alert">{esc(sentence)}</p>'


def in_line(before: int) -> str:
    """The visitor's place in the queue."""
    many = f"{before} run{'s' if before > 1 else ''}"
    said = esc(f"Waiting for the device: {many} before yours.")
    return (f'<p class="rx-status" role="status">{said} <progress aria-label="{said}">'
            "</progress></p>")


def sentence(error: InputError) -> str:
    """Its message as a sentence of its own."""
    said = str(error)
    return f"{said[:1].upper()}{said[1:]}."


def lines(text: str) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


class Tickets:
    """Which run of a visitor may go on: that of the newest press, until it is stopped.

    A run, waiting or running, goes by the number it was given when the button was pressed.
    """

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def take(self, request: gr.Request) -> int:
        number = next(self._numbers)
        self._newest[str(request.session_hash)] = number
        return number

    def holds(self, request: gr.Request, number: int) -> bool:
        return self._newest.get(str(request.session_hash)) == number

    def replaced(self, request: gr.Request, number: int) -> bool:
        """Whether a newer one was taken, and not this one given back."""
        return self._newest.get(str(request.session_hash), number) != number

    def stop(self, request: gr.Request) -> bool:
        """Takes the visitor's ticket back; False when there is none."""
        return self._newest.pop(str(request.session_hash), None) is not None

    def done(self, request: gr.Request, number: int) -> None:
        if self.holds(request, number):
            self.stop(request)
