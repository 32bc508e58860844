"""The example photos as a strip of cards that run at one click."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from explorer.data.examples import Example
from explorer.results.views import Keep, esc, inline

JPEG = "image/jpeg"

PICK = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('[data-example]');
  if (card) trigger('click', {id: card.dataset.example});
});
"""


def strip(examples: dict[str, Example], keep: Keep = inline) -> str:
    """A row of buttons with thumbnails; names are text, so pictures need no alternative."""
    cards = "".join(
        f'<button type="button" class="rx-card" data-example="{esc(e.id)}" title="{esc(e.alt)}">'
        f'<img src="{keep(_thumbnail(e.path), JPEG)}" alt=""><span>{esc(e.title)}</span></button>'
        for e in examples.values())
    return f'<div class="rx-strip" role="group" aria-label="Example photos">{cards}</div>'


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
