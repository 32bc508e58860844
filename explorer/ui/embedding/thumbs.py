"""Small pictures for hovering: decoration, so JPEG is good enough."""

from __future__ import annotations

from typing import Any

from PIL import Image

from explorer.analysis.embedding.state import jpeg_uri
from explorer.data.examples import Example
from explorer.data.pairs import to_image
from explorer.results.outcome import Part

SIDE = 96


def thumb(image: Image.Image) -> str:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return jpeg_uri(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX, box=box))


def example_thumbs(examples: dict[str, Example]) -> dict[str, str]:
    """By point key; opened once, with the page."""
    found = {}
    for i, example in enumerate(examples.values()):
        with Image.open(example.path) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            found[f"example:{i}"] = thumb(image)
    return found


def thumbs_of(part: Part) -> dict[str, str]:
    """Clean, attacked and noisy picture of one model's result, by point key."""
    def small(pixels: Any) -> str:
        return thumb(to_image(pixels))

    found = {}
    if part.result is not None:
        found = {"clean": small(part.result.images[0]),
                 "attacked": small(part.result.adversarial_images[0])}
    if part.noise is not None:
        found["noise"] = small(part.noise.adversarial_images[0])
    return found
