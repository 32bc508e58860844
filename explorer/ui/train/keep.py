"""What is done with a run that is there: its name and note, its model as a file, and its end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.base.errors import InputError, sentence
from explorer.jobs.processes import ProcessJobs, Run
from explorer.ui.shared.runs import LIGHT, PLAIN, error_line, obeyed, told

MOST_NAME, MOST_NOTE = 80, 2000


def pack(run: Run) -> Path:
    """The model folder as NAME.zip in the run's folder, made once. Raises InputError where there is
    no model."""
    model, made = run.folder / "model", run.folder / f"{run.folder.name}.zip"
    if not (model / "open_clip_config.json").is_file():
        raise InputError("this run has no model yet")
    if not made.is_file():
        aside = run.folder / ".packing"
        shutil.make_archive(str(aside), "zip", model)
        aside.with_suffix(".zip").replace(made)
    return made


class Keep:
    """The controls for `run_of(shown)`, the run that the page shows; `others` of the same list may
    be laid beside its curves."""

    def __init__(self, jobs: ProcessJobs) -> None:
        self.jobs = jobs
        self.beside = gr.Dropdown([("no other run", "")], value="", label="Curves beside those of",
                                  visible=False, elem_id="tr-beside")
        with gr.Accordion("Name, note, files", open=False, visible=False,
                          elem_id="tr-keep") as self.box:
            self.name = gr.Textbox(label="Name", max_length=MOST_NAME, elem_id="tr-name")
            self.note = gr.Textbox(label="Note", lines=2, max_length=MOST_NOTE, elem_id="tr-note")
            with gr.Row():
                self.save = gr.Button("Save", size="sm", elem_id="tr-save")
                self.packed = gr.Button("Download the model", size="sm", elem_id="tr-pack")
                self.delete = gr.Button("Delete the run", size="sm", elem_id="tr-delete")
            with gr.Row(visible=False, elem_id="tr-sure") as self.sure:
                self.yes = gr.Button("Yes: delete it, its model and its pictures for good",
                                     size="sm", variant="stop", elem_id="tr-yes")
                self.no = gr.Button("No, keep it", size="sm", elem_id="tr-no")
            self.said = gr.HTML("", elem_id="tr-kept", **PLAIN)
            self.file = gr.File(label="The model folder, zipped: open_clip opens it", visible=False,
                                interactive=False, elem_id="tr-model-file")

    def outputs(self) -> list[Any]:
        """What `shown` gives values for."""
        return [self.beside, self.box, self.name, self.note, self.sure, self.file]

    def shown(self, run: Run | None, others: Sequence[Run], beside: str) -> list[Any]:
        """For another run, or one in another state."""
        choices = [("no other run", ""), *((other.title, other.id) for other in others)]
        kept = beside if any(beside == other.id for other in others) else ""
        own = run is not None and not run.is_example
        return [gr.update(choices=choices, value=kept, visible=bool(others)),
                gr.update(visible=own),
                gr.update(value=run.title if run else ""),
                gr.update(value=run.note if run else ""), gr.update(visible=False),
                gr.update(value=None, visible=False)]

    def wire(self, shown: gr.State, look: Callable[[Any], Any]) -> None:
        """look: what follows an event that changed the list of runs."""
        look(self.save.click(self._label, [shown, self.name, self.note], self.said, **LIGHT))
        self.packed.click(self._pack, shown, [self.file, self.said], **LIGHT)
        for button, now in ((self.delete, True), (self.no, False)):
            button.click(lambda now=now: gr.update(visible=now), None, self.sure, **LIGHT)
        look(self.yes.click(self._delete, shown, [self.said, self.sure], **LIGHT))

    def _label(self, shown: dict[str, Any], name: str, note: str) -> str:
        return obeyed(lambda: self.jobs.label(str(shown.get("id")), name, note), told("Saved."))

    def _pack(self, shown: dict[str, Any]) -> tuple[Any, str]:
        try:
            made = pack(self.jobs.get(str(shown.get("id"))))
        except InputError as error:
            return gr.skip(), error_line(sentence(error))
        return gr.update(value=str(made), visible=True), ""

    def _delete(self, shown: dict[str, Any]) -> tuple[str, Any]:
        said = obeyed(lambda: self.jobs.delete(str(shown.get("id"))), told("Deleted."))
        return said, gr.update(visible=False)
