"""Learning one change for all photos from the Attack tab: a form, a job that outlives the page, and
what has become of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.actions.learning import ABOUT, KIND, Wish
from explorer.attacks.image.perturbation import FORMATS
from explorer.attacks.request import MOST_SEED
from explorer.base.errors import InputError, sentence
from explorer.base.intervals import wilson
from explorer.base.progress import Progress
from explorer.data.registry import CROPS, listed, shipped
from explorer.jobs.job import BUSY, FINISHED, STOPPED, WAITING, Job
from explorer.jobs.threads import ThreadJobs
from explorer.results.views import esc
from explorer.server.gate import Gate
from explorer.ui.attack.opened import opened
from explorer.ui.shared.fields import Slider, number
from explorer.ui.shared.runs import LIGHT, PLAIN, error_line, heavy, status, told
from explorer.ui.shared.works import Orders, owner_of

WHOSE = [("the left one", "left"), ("the right one", "right"), ("both", "both")]
EVERY = 2.0  # seconds between two looks
MIMES = {".png": "image/png", ".npy": "application/octet-stream",
         ".safetensors": "application/octet-stream"}


class LearnForm:
    """The form, its job, and how far it is. data: the server's data folder, "" for none."""

    def __init__(self, works: ThreadJobs, gate: Gate, data: str) -> None:
        self.works, self.orders = works, Orders(works, gate, KIND)
        sets = [*shipped(), *listed(data or None)]
        self.known = {name: title for title, name in sets}
        self.timer = gr.Timer(EVERY, active=False)
        with gr.Accordion("Learn one change for all photos", open=False, elem_id="rx-learn"):
            self.data = gr.Dropdown(sets, value=CROPS, label="Photos to learn from",
                                    elem_id="rx-learn-data")
            self.whose = gr.Radio(WHOSE, value="left", label="Model it is to fool")
            self.eps = Slider(1, 16, 8, step=1, label="Budget ε: grey levels of 255")
            with gr.Row():
                self.photos = gr.Number(200, label="Photos, at most", precision=0, min_width=100)
                self.passes = gr.Number(40, label="Passes over them", precision=0, min_width=100)
            with gr.Row():
                self.go = gr.Button("Learn", elem_id="rx-learn-go", min_width=70)
                self.stop = gr.Button("Stop", elem_id="rx-learn-stop", min_width=60)
                self.on = gr.Button("Go on", elem_id="rx-learn-on", min_width=70)
            self.said = gr.HTML("", elem_id="rx-learn-said", **PLAIN)
            self.page = gr.HTML("", elem_id="rx-learn-page", **PLAIN)
            self.use = gr.Button("Add it to my photo", elem_id="rx-learn-use")

    def wire(self, demo: gr.Blocks, tab: Any) -> None:
        """Listens to presses. tab: the AttackTab, whose models, status line and choice it takes."""
        look: dict[str, Any] = {"fn": self.look, "inputs": None,
                                "outputs": [self.page, self.timer], **LIGHT}
        inputs = [self.data, self.whose, self.eps, self.photos, self.passes, tab.standard,
                  tab.robust, tab.seed]
        self.go.click(self.start, inputs, self.said, **heavy(KIND)).then(**look)
        self.stop.click(self.halt, None, self.said, **LIGHT).then(**look)
        self.on.click(self.go_on, None, self.said, **LIGHT).then(**look)
        self.use.click(self.used, None, [tab.status, *tab.choice.universal,
                                         tab.choice.perturbation], **LIGHT)
        self.timer.tick(**look)
        demo.load(**look)

    def _newest(self, request: gr.Request) -> Job | None:
        return next(iter(self.works.list(owner_of(request), KIND)), None)

    def asked(self, values: Sequence[Any]) -> Wish:
        """Raises InputError for values outside the rules."""
        data, whose, eps, photos, passes, left, right, seed = values
        if str(data) not in self.known:
            raise InputError("choose photos to learn from")
        models = {"left": (left,), "right": (right,), "both": tuple(dict.fromkeys((left, right)))}
        if str(whose) not in models:
            raise InputError("choose which model it is to fool")
        size = number(eps, "the budget ε must be a number")
        if not 1 <= size <= 16:
            raise InputError("the budget ε must be a number from 1 to 16")
        many, often, start = (_whole(n, what) for n, what in (
            (photos, "photos"), (passes, "passes"), (seed or 0, "seed")))
        return Wish(str(data), tuple(map(str, models[str(whose)])), size / 255, often, many, start)

    def start(self, request: gr.Request, *values: Any) -> str:
        def fill(_: Path) -> tuple[str, dict[str, Any]]:
            wish = self.asked(values)
            title = f"learnt on {' and '.join(wish.models)}"
            return title, {"fit": wish.as_dict(), "left_out": []}

        said, _ = self.orders.start(request, fill)
        return said

    def halt(self, request: gr.Request) -> str:
        return self.orders.stop(request, "")

    def go_on(self, request: gr.Request) -> str:
        job = self._newest(request)
        if job is None or not job.can_go_on:
            return told("There is nothing to go on with.")
        return str(self.orders.obey(request, "go_on", job.id)) or told("It goes on.")

    def look(self, request: gr.Request) -> tuple[str, Any]:
        """How far the visitor's newest one is, and whether to look again."""
        job = self._newest(request)
        return page(job), gr.Timer(active=job is not None and job.state in BUSY)

    def used(self, request: gr.Request) -> tuple[Any, ...]:
        """Sets the controls to add the newest finished one to the photo."""
        done = [job for job in self.works.list(owner_of(request), KIND) if job.state == FINISHED]
        if not done:
            return (error_line("Learn one first, and let it finish."), *[gr.skip()] * 5)
        return opened(str(done[0].folder / "perturbation.png"))


def _whole(value: Any, what: str) -> int:
    refusal = f"{what} must be a whole number from 0 to {MOST_SEED}"
    found = number(value, refusal)
    if not 0 <= found <= MOST_SEED or found != int(found):
        raise InputError(refusal)
    return int(found)


def page(job: Job | None) -> str:
    """A job in words, with a bar while it goes on, and the change with its files at the end."""
    if job is None:
        return ""
    if job.state == WAITING:
        return told("Waiting for its turn.")
    if job.state in BUSY:
        return status(Progress(job.text or "Starting …", job.done, job.total))
    if job.state == STOPPED:
        return told(f"Stopped after {job.done} of {job.total} passes; Go on takes it up again.")
    if job.state != FINISHED:
        return error_line(f"It could not go on. {job.text}")
    try:
        return _finished(job)
    except (OSError, ValueError, KeyError) as error:
        return error_line(sentence(InputError(f"its files cannot be read ({type(error).__name__}): "
                                              "learn it again")))


def _finished(job: Job) -> str:
    about = json.loads((job.folder / ABOUT).read_text("utf-8"))
    links = " ".join(
        f'<a download="perturbation{suffix}" href="data:{MIMES[suffix]};base64,'
        f'{base64.b64encode((job.folder / f"perturbation{suffix}").read_bytes()).decode()}">'
        f"{suffix[1:]}</a>" for suffix in FORMATS)
    picture = base64.b64encode((job.folder / "perturbation.png").read_bytes()).decode()
    rates = "".join(f"<li>{esc(_rate(one))}</li>" for one in about["fooling"])
    return (f"<p>Learnt on {esc(', '.join(about['models']))} from {about['photos']} photos.</p>"
            f'<img src="data:image/png;base64,{picture}" alt="The change; grey is none" '
            f'width="160"><ul>{rates}</ul><p class="rx-files">Save it: {links}</p>')


def _rate(one: dict[str, Any]) -> str:
    low, high = wilson(int(one["changed"]), int(one["n"]))
    where = ("the photos it was learnt from" if one["data"] == "learnt from" else
             "the example photos")
    return (f"{one['model']}: another answer on {one['changed']} of {one['n']} "
            f"({low:.0%} to {high:.0%}) of {where}")
