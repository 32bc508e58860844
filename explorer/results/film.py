"""The steps of an attack as an animation: a PNG that moves (APNG), which browsers show and Pillow
writes; nothing is lost in it."""

from __future__ import annotations

import io
from collections.abc import Sequence

from numpy.typing import ArrayLike
from PIL import Image

from explorer.results.views import levels

EACH, ENDS = 100, 1_500  # milliseconds of a step, and of the first and the last picture


def film(frames: Sequence[ArrayLike]) -> bytes:
    """(3, H, W) pictures in [0, 1], one after the other, over and over -> an APNG."""
    pictures = [Image.fromarray(levels(frame)) for frame in frames]
    spans = [EACH] * len(pictures)
    spans[0] = spans[-1] = ENDS
    buffer = io.BytesIO()
    pictures[0].save(buffer, "PNG", save_all=True, append_images=pictures[1:], duration=spans,
                     loop=0)
    return buffer.getvalue()
