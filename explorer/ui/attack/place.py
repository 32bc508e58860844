"""A click on the photo as a place in what a model sees of it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from explorer.data.pairs import open_image


def share_of(point: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
    """(across, down) in [0, 1] of the square in the middle of a picture, which is what models that
    cut off the longer side see. point, size: in pixels, across first."""
    side = min(size)
    found = [min(1.0, max(0.0, (at - (whole - side) / 2) / side))
             for at, whole in zip(point, size, strict=True)]
    return round(found[0], 2), round(found[1], 2)


def clicked(photo: str | None, attack: str, event: gr.SelectData) -> tuple[Any, Any, Any]:
    """Place, across and down of a patch; nothing changes for other attacks."""
    at = event.index
    if attack != "patch" or not photo or not isinstance(at, list | tuple) or len(at) != 2:
        return gr.skip(), gr.skip(), gr.skip()
    across, down = share_of((float(at[0]), float(at[1])), open_image(photo).size)
    return "point", across, down
