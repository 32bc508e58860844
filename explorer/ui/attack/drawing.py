"""The Attack tab's form for drawing a caption into the photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from explorer.attacks.drawing import EPS, drawn
from explorer.attacks.request import Request
from explorer.base.errors import InputError
from explorer.ui.shared.fields import Slider, number
from explorer.ui.shared.runs import lines

STARTS = [("my photo", "photo"), ("plain grey", "grey")]
FIRST = "a photo of a dog"


class DrawingForm:
    """A caption, where to begin, how far to go, and the button."""

    def __init__(self) -> None:
        with gr.Accordion("Draw a caption into the photo", open=False, elem_id="rx-drawing"):
            self.caption = gr.Textbox(FIRST, label="What the models are to see", max_lines=1,
                                      elem_id="rx-draw-caption",
                                      info="many steps towards these words: noise on a standard "
                                           "model, shapes on a robust one")
            self.start = gr.Radio(STARTS, value="photo", label="Begin with",
                                  elem_id="rx-draw-start")
            self.eps = Slider(1, EPS, EPS, step=1, elem_id="rx-draw-eps",
                              label="Budget ε (L2, pixels in 0 to 1)")
            self.go = gr.Button("Draw", elem_id="rx-draw")

    def components(self) -> list[gr.components.Component]:
        return [self.caption, self.start, self.eps]

    def asked(self, values: Sequence[Any], photo: str | None, captions: str, true: str,
              **more: Any) -> Request:
        """What the form asks for. Raises InputError for values outside the rules."""
        caption, start, eps = values
        size = number(eps, f"the budget ε must be a number from 1 to {EPS:g}")
        if not 1 <= size <= EPS:
            raise InputError(f"the budget ε must be a number from 1 to {EPS:g}")
        settings = {"eps": size}
        if start == "grey":
            return drawn(str(caption or ""), None, (), 0, settings, **more)
        return drawn(str(caption or ""), photo or "", lines(captions), true or 0, settings, **more)
