"""The example photos as a strip of cards that run at one click."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from explorer.data.examples import GROUPS, SCENES, THINGS, Example
from explorer.results.views import Keep, esc, inline

JPEG = "image/jpeg"
HEADS = {THINGS: "Things", SCENES: "Scenes"}

PICK = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('[data-example]');
  if (card) trigger('click', {id: card.dataset.example});
});
"""


def strip(examples: dict[str, Example], keep: Keep = inline) -> str:
    """A row of buttons with thumbnails for each group of examples; names are text, so pictures need
    no alternative."""
    rows = "".join(_row(group, [e for e in examples.values() if e.group == group], keep)
                   for group in GROUPS)
    return f'<div class="rx-strips">{rows}</div>'


def _row(group: str, examples: list[Example], keep: Keep) -> str:
    cards = "".join(
        f'<button type="button" class="rx-card" data-example="{esc(e.id)}" title="{esc(e.alt)}">'
        f'<img src="{keep(_thumbnail(e.path), JPEG)}" alt=""><span>{esc(e.title)}</span></button>'
        for e in examples)
    return (f'<section class="rx-strip" role="group" aria-label="Example photos: {group}">'
            f"<h3>{HEADS[group]}</h3>{cards}</section>")


def _thumbnail(path: Path, side: int = 128) -> bytes:
    """Decoration only, so JPEG is small and good enough here."""
    with Image.open(path) as image:
        square = min(image.size)
        left, top = (image.width - square) // 2, (image.height - square) // 2
        small = image.convert("RGB").resize(
            (side, side), Image.Resampling.LANCZOS, box=(left, top, left + square, top + square))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
