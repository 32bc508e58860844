"""A patch on the photo that one could print."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from explorer.attacks.image.area import VisibleAttack
from explorer.attacks.image.base import Loss, Steps, gradient, keep, setting, steps_setting
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.data.pairs import to_image

DPI = 300
POINT = "point"
PLACES = ("random", "centre", "top left", "top right", "bottom left", "bottom right", POINT)


def side_of(share: float, height: int, width: int, disc: bool) -> int:
    """Side of the square, or diameter of the disc, in pixels, that covers at most a share of the
    photo; 0 where not even one pixel does."""
    side = math.sqrt(share * height * width * (4 / math.pi if disc else 1))
    side = min(int(side + 1e-6), height, width)
    while side and float(mask_of(side, disc).sum()) > share * height * width + 1e-6:
        side -= 1
    return side


def mask_of(side: int, disc: bool) -> Tensor:
    """(side, side) 1 where the patch is."""
    if not disc:
        return torch.ones(side, side)
    line = torch.arange(side) + 0.5 - side / 2
    return ((line[:, None] ** 2 + line[None] ** 2) <= (side / 2) ** 2).float()


@dataclass(frozen=True)
class Patch(VisibleAttack):
    """A square or disc of its own, learnt for each photo, that covers a share of it; its colours
    are free. Each step puts it at places, sizes and in light of its own and averages, so that it
    may be printed and need not lie exactly; at last it is put at its place, in full size.

    Deviations: one patch a photo, where the paper learns one for all; no rotation; steps of
    the sign of the gradient.
    """

    title = "Patch: something to print"
    source = "Brown et al. 2017, arXiv 1712.09665, section 2; expectation over transformations"

    steps: int = steps_setting(40)
    views: int = setting(2, "Views a step", "how many places, sizes and lights are averaged", low=1,
                         high=16, step=1)
    disc: bool = setting(False, "Round", "a disc in the place of a square")
    place: str = setting("random", "Place", "where it lies in the end; a click on the photo makes "
                         "it a point", choices=PLACES)
    across: float = setting(0.5, "Point, across", "its middle, as a share of the width from the "
                            "left", low=0.0, high=1.0, step=0.01)
    down: float = setting(0.5, "Point, down", "its middle, as a share of the height from the top",
                          low=0.0, high=1.0, step=0.01)
    strength: float = setting(0.5, "Spread of the views", "0: always at its place, in full size; "
                              "1: anywhere, down to half its size, light by up to 30 %", low=0.0,
                              high=1.0, step=0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.place not in PLACES:
            raise InputError(f"the place must be one of {', '.join(PLACES)}, not "
                             f"'{str(self.place)[:40]}'")
        for name, value in (("spread of the views", self.strength),
                            ("point's place across", self.across),
                            ("point's place down", self.down)):
            if not 0 <= value <= 1:
                raise InputError(f"the {name} must be a number from 0 to 1")

    def _corner(self, x: Tensor, side: int, random: PerImage) -> Tensor:
        """(N, 2) the upper left corner of the patch, in pixels."""
        room = torch.tensor([x.shape[-2] - side, x.shape[-1] - side], device=x.device)
        if self.place == "random":
            share = torch.stack([random.scalar(), random.scalar()], 1)
            return (share * (room + 1)).floor().clamp(max=room)
        if self.place == POINT:
            sides = torch.tensor([x.shape[-2], x.shape[-1]], device=x.device)
            at = torch.tensor([self.down, self.across], device=x.device) * sides - side / 2
            return at.round().clamp(min=0).minimum(room.float()).expand(len(x), 2)
        words = self.place.split()
        corner = [0.0 if words[0] == "top" else 1.0, 0.0 if words[-1] == "left" else 1.0]
        share = torch.tensor([0.5, 0.5] if self.place == "centre" else corner, device=x.device)
        return (share * room).floor().expand(len(x), 2)

    def _put(self, x: Tensor, patch: Tensor, corner: Tensor, zoom: Tensor, light: Tensor) -> Tensor:
        """(N, 3, H, W) the patch (N, 3, s, s) on the photo, at zoom (N,) of its size and with its
        middle where `corner` puts it; light: (N,) factors. Differentiable."""
        side = patch.shape[-1]
        height, width = x.shape[-2:]
        middle = corner + side / 2

        def line(n: int, at: Tensor) -> Tensor:
            pixels = torch.arange(n, device=x.device) + 0.5
            return (pixels[None] - at[:, None]) / (zoom[:, None] * side / 2)

        down, across = line(height, middle[:, 0]), line(width, middle[:, 1])
        grid = torch.stack([across[:, None].expand(-1, height, -1),
                            down[:, :, None].expand(-1, -1, width)], 3)
        colours = F.grid_sample(patch, grid, mode="bilinear", padding_mode="border",
                                align_corners=False) * light.view(-1, 1, 1, 1)
        inside = (grid**2).sum(3) <= 1 if self.disc else (grid.abs() <= 1).all(3)
        return torch.where(inside[:, None], colours.clamp(0, 1), x)

    def _laid(self, x: Tensor, patch: Tensor, corner: Tensor) -> Tensor:
        ones = torch.ones(len(x), device=x.device)
        return self._put(x, patch, corner, ones, ones)

    def _seen(self, x: Tensor, patch: Tensor, corner: Tensor, random: PerImage) -> Tensor:
        """One random view of the photo with the patch."""
        side, s = patch.shape[-1], self.strength
        room = torch.tensor([x.shape[-2] - side, x.shape[-1] - side], device=x.device)
        away = torch.stack([random.scalar(), random.scalar()], 1) * room
        light = 1 + 0.6 * s * (random.scalar() - 0.5)
        zoom = 1 - 0.5 * s * random.scalar()
        return self._put(x, patch, corner + s * (away - corner), zoom, light)

    def iterate(self, loss: Loss, x: Tensor, random: PerImage) -> Steps:
        side = side_of(self.eps, x.shape[-2], x.shape[-1], self.disc)
        if side == 0:
            for _ in range(self.steps):
                yield x
            return x
        corner = self._corner(x, side, random)
        patch = random.uniform()[..., :side, :side]
        best, best_value = self._laid(x, patch, corner), torch.full((len(x),), -torch.inf,
                                                                    device=x.device)
        for step in range(self.steps):
            slope = torch.zeros_like(patch)
            for _ in range(self.views if self.strength else 1):
                slope += gradient(lambda p: loss(self._seen(x, p, corner, random) if self.strength
                                                 else self._laid(x, p, corner)), patch)[1]
            size = 0.1 * (1 - 0.9 * step / self.steps)
            patch = (patch + size * slope.sign()).clamp(0, 1)
            laid = self._laid(x, patch, corner)
            with torch.no_grad():
                value = loss(laid)
            best, best_value = keep(value > best_value, laid, best), torch.maximum(value,
                                                                                   best_value)
            yield laid
        return best


def printable(clean: Tensor, attacked: Tensor, centimetres: float = 5.0) -> bytes:
    """The patch of a photo (3, H, W) as a PNG at 300 dpi, its longer side so many centimetres;
    clear around a disc. Raises InputError where nothing was covered."""
    changed = (clean != attacked).any(0)
    if not bool(changed.any()):
        raise InputError("nothing of this photo is covered: there is nothing to print")
    rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
    window = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    picture = to_image(attacked[(slice(None), *window)]).convert("RGBA")
    picture.putalpha(Image.fromarray((changed[window] * 255).byte().numpy()))
    factor = centimetres / 2.54 * DPI / max(picture.size)
    side = [max(1, round(n * factor)) for n in picture.size]
    buffer = io.BytesIO()
    picture.resize(side, Image.Resampling.NEAREST).save(buffer, "PNG", dpi=(DPI, DPI))
    return buffer.getvalue()
