"""A perturbation that a visitor opens in the Attack tab."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.attacks.image.perturbation import SHIPPED, keep, open_perturbation
from explorer.base.errors import InputError, sentence
from explorer.base.progress import Progress
from explorer.ui.shared.runs import error_line, status

LABEL = "Open a perturbation (.png, .npy, .safetensors)"
MOST = 16  # grey levels that the budget's slider goes to


def opened(file: str | None) -> tuple[Any, ...]:
    """The status line, and the controls set to add it to the photo: kind, attack, norm, budget and
    which one. A file that cannot be used is refused in a sentence, and the controls stay."""
    try:
        if not file:
            raise InputError("choose a file first")
        found = open_perturbation(Path(file))
        name = keep(found)
    except InputError as error:
        return (error_line(sentence(error)), *[gr.skip()] * 5)
    size = round(found.size("linf") * 255, 3)
    budget = min(MOST, max(0.5, math.ceil(2 * size) / 2))
    high, wide = found.change.shape[1:]
    cut = f", cut to {MOST}/255 here" if size > MOST else ""
    said = (f"{found.name} is open: at most {size:.3g}/255 in a pixel value{cut}, {high} x {wide} "
            "pixels, resized where a model reads another size. Press Attack to add it.")
    return (status(Progress(said)), "image", "universal", "linf", budget,
            gr.update(choices=[*SHIPPED, (found.name, name)], value=name))
