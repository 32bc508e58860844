"""A model of the visitor's own on the Train tab: two files in, a model in every list out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.base.errors import InputError
from explorer.models.library import Library
from explorer.models.uploads import bring
from explorer.server.gate import Gate
from explorer.ui.shared.runs import DEVICE, PLAIN, heavy, in_turn, told
from explorer.ui.train.form import base_choices

KINDS = [("standard", "standard"), ("robust: fine-tuned against attacks", "robust")]
HINT = ('<p class="tr-hint">Weights as safetensors and their open_clip_config.json: of a model '
        "that was trained here, or of one of open_clip's own architectures; or model.safetensors "
        "and config.json of a CLIP that transformers saved. Everybody who opens this page can then "
        "choose it.</p>")


class BringModel:
    """The controls; `wire` says which lists of models grow. folder: one of the library's."""

    def __init__(self, library: Library, folder: Path, gate: Gate) -> None:
        self.library, self.folder, self.gate = library, folder, gate
        with gr.Accordion("Add a model of your own", open=False, elem_id="tr-own"):
            gr.HTML(HINT, **PLAIN)
            with gr.Row():
                self.weights = gr.File(label="Weights (.safetensors)", height=110, scale=1,
                                       file_types=[".safetensors"], elem_id="tr-weights")
                self.config = gr.File(label="open_clip_config.json", height=110, scale=1,
                                      file_types=[".json"], elem_id="tr-config")
            with gr.Row():
                self.name = gr.Textbox(label="Name, as it will be listed", max_length=40,
                                       elem_id="tr-name")
                self.kind = gr.Dropdown(KINDS, value="standard", label="Kind", elem_id="tr-kind")
            self.add = gr.Button("Check and add it", elem_id="tr-bring")
            self.said = gr.HTML("", elem_id="tr-brought", **PLAIN)

    def wire(self, lists: list[Any]) -> None:
        self.lists = len(lists)
        self.add.click(self._add, [self.weights, self.config, self.name, self.kind],
                       [self.said, *lists], **heavy(DEVICE))

    def _add(self, weights: str | None, config: str | None, name: str, kind: str,
             request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """The model is opened once to see that it works, so this waits for the device."""
        skips = [gr.skip()] * self.lists

        def work() -> Iterator[tuple[Any, ...]]:
            if not weights or not config:
                raise InputError("choose both files first: the weights and their config")
            yield told("Checking the model …"), *skips
            card = bring(self.library, self.folder, Path(weights), Path(config), name.strip(), kind)
            choices = gr.update(choices=base_choices(self.library))
            yield told(f"{card.id} is in the lists of models now."), *[choices] * self.lists

        yield from in_turn(self.gate, request, work, tuple, lambda line: (line, *skips))
