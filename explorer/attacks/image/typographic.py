"""A word written on the photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from explorer.attacks.image.area import VisibleAttack
from explorer.attacks.image.base import Loss, Steps, setting
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage

LINES = ("bottom", "middle", "top")
LETTERS = 60


@dataclass(frozen=True)
class Typographic(VisibleAttack):
    """A word written on the photo, on paper or straight on it; no gradient and no question to the
    model. It fools a CLIP that has learnt to read; one that cannot read holds, and that says
    nothing about its robustness. Cut to fit where its area would be larger than the budget.
    """

    title = "Typographic: a word on the photo"
    source = "Goh et al. 2021, Multimodal neurons, Distill 6(3), section on typographic attacks"

    blind = True

    eps: float = setting(0.2, "Area", "that the paper, or the letters, may cover, as a share of "
                         "the photo", low=0.0, high=0.5, step=0.01)
    word: str = setting("iPod", "Word", "what is written")
    size: float = setting(0.2, "Size", "height of the letters, as a share of the photo's height",
                          low=0.02, high=1.0, step=0.01)
    place: str = setting("middle", "Place", "where it is written", choices=LINES)
    paper: bool = setting(True, "Paper", "black letters on a white label; else white letters")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.word, str) or not self.word.strip():
            raise InputError("write a word: an empty one leaves the photo as it is")
        if len(self.word) > LETTERS or not self.word.isprintable():
            raise InputError(f"the word must be one line of at most {LETTERS} characters")
        if self.place not in LINES:
            raise InputError(f"the place must be one of {', '.join(LINES)}, not "
                             f"'{str(self.place)[:40]}'")
        if not 0 < self.size <= 1:
            raise InputError("the size of the letters must be a share of the photo, above 0 and at "
                             "most 1")

    def _label(self, height: int, width: int) -> tuple[Tensor, Tensor] | None:
        """((3, H, W) colours, (H, W) where they are) in the largest size within the budget; None
        where none fits."""
        for points in range(max(4, round(self.size * height)), 3, -1):
            drawn = self._drawn(points, height, width)
            if drawn is not None and float(drawn[1].float().mean()) <= self.eps:
                return drawn
        return None

    def _drawn(self, points: int, height: int, width: int) -> tuple[Tensor, Tensor] | None:
        font = ImageFont.load_default(points)
        left, top, right, bottom = font.getbbox(self.word)
        edge = max(1, points // 6) if self.paper else 0
        wide, high = int(right - left) + 2 * edge, int(bottom - top) + 2 * edge
        if wide > width or high > height:
            return None
        down = {"top": 0, "middle": (height - high) // 2, "bottom": height - high}[self.place]
        across = (width - wide) // 2
        letters = Image.new("L", (width, height), 0)
        at = (across + edge - left, down + edge - top)
        ImageDraw.Draw(letters).text(at, self.word, 255, font)
        ink = torch.frombuffer(bytearray(letters.tobytes()), dtype=torch.uint8).view(height, width)
        if self.paper:
            where = torch.zeros(height, width, dtype=torch.bool)
            where[down : down + high, across : across + wide] = True
            return (1 - ink.float() / 255).expand(3, -1, -1), where
        return torch.ones(3, height, width), ink > 127

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        drawn = self._label(*x.shape[-2:])
        if drawn is not None:
            colours, where = (part.to(x.device) for part in drawn)
            x = torch.where(where, colours, x)
        yield x
        return x
