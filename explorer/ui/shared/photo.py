"""The pictures that a visitor gives, as the files they were, looked at when they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from explorer.base.errors import InputError
from explorer.base.files import printable
from explorer.data.pairs import open_image
from explorer.data.uploads import packed
from explorer.ui.shared.runs import error_line

SHOWN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")  # by all browsers
LOOKED_AT, NAMED = 100, 3  # loose photos that are opened when they arrive, and named
LOOK: dict[str, Any] = {"concurrency_id": "photo", "concurrency_limit": 2,
                        "show_progress": "hidden", "api_visibility": "private"}


class Photo(gr.Image):
    """gr.Image that hands over the file as it was sent, so that we decode it, with our words."""

    is_template = True

    def preprocess(self, payload: Any) -> str | None:
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            return str(super().preprocess(payload))
        return str(payload.path) if payload.path else None


def look_at(photo: str) -> Image.Image | None:
    """Opens a photo that has just arrived. Where browsers cannot show its kind, the picture that
    is read of it, exactly; else None. Raises InputError where it cannot be read."""
    image = open_image(Path(photo))
    try:
        with Image.open(photo) as file:
            shown = file.format in SHOWN and not file.mode.startswith(("I", "F"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        shown = False
    return None if shown else image


def files_line(files: Sequence[Any] | None) -> str:
    """What to say of several files that have just arrived: an error line on photos that cannot be
    read, else ""."""
    photos = [path for path in (Path(str(one)) for one in files or []) if not packed(path)]
    bad = [(path, why) for path in photos[:LOOKED_AT] if (why := _fault(path))]
    if not bad:
        return ""
    said = "; ".join(f"{printable(path.name)}: {why}" for path, why in bad[:NAMED])
    more = f", and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    rest = "the others are used" if len(bad) < len(photos) else "choose others"
    return error_line(f"{len(bad):,} of {len(photos):,} file{'s' * (len(photos) != 1)} cannot be "
                      f"read ({said}{more}): {rest}.")


def _fault(path: Path) -> str:
    try:
        open_image(path)
    except InputError as error:
        return str(error)
    return ""
