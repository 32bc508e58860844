"""A defended model is a model: pixels and strings in, unit features out, with the defence between
the picture and the image tower. All that runs and measures takes it in the place of the bare one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from explorer.attacks.defences.base import Defence, Eye
from explorer.base.randomness import PerImage
from explorer.models.encoder import DualEncoder

VIEWS = 512  # views of all pictures that are made at once
GRAPH = 64  # pictures whose activations are kept for one gradient; the others are read again


class Defended(DualEncoder):
    """A model behind a defence, as its owner runs it.

    seed: of the defence's random numbers, which depend on it and the picture alone, so the same
    picture gets the same answer in any batch. text: (K, D) features of the captions to choose from,
    for a defence that counts votes; see `facing`.
    """

    smooth = False

    def __init__(self, model: DualEncoder, defence: Defence, seed: int = 0,
                 text: Tensor | None = None) -> None:
        self.__dict__.update(model.__dict__)
        self.bare, self.defence, self.seed, self.text = model, defence, seed, text

    def facing(self, captions: Sequence[str]) -> Defended:
        """The same, knowing which captions there are to choose from."""
        return type(self)(self.bare, self.defence, self.seed, self.bare.encode_text(captions))

    def known(self) -> Known:
        """What an attacker who knows of the defence climbs."""
        return Known(self.bare, self.defence, self.seed, self.text)

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        if pixels.requires_grad:
            return self._answer(pixels, fast)
        some = max(1, VIEWS // self.defence.passes.forward)
        parts = [self.image_room.apart(len(part), lambda rows, part=part: self._answer(  # type: ignore[misc]
            part[rows], fast)) for part in pixels.split(some)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _answer(self, x: Tensor, fast: bool) -> Tensor:
        return self._read(self.defence, x, fast, self.seed)

    def _read(self, defence: Defence, x: Tensor, fast: bool, seed: int) -> Tensor:
        if not len(x):
            return torch.zeros(0, self.dim, device=self.device)
        x = x.to(self.device)

        def look(views: Tensor) -> Tensor:
            if not views.requires_grad or len(views) <= GRAPH:
                return self.bare.encode_image(views, fast=fast)
            parts = [checkpoint(self.bare.encode_image, part, fast, use_reentrant=False)
                     for part in views.split(GRAPH)]
            return torch.cat(parts)

        return defence.read(Eye(look, self.text, self.smooth), x, PerImage(seed, x))


class Known(Defended):
    """A defended model as an attacker sees it who knows the defence and its settings, but not the
    random numbers that will be drawn: smooth wherever it can be (straight through where the defence
    has no slope), and the mean over random numbers of his own.

    BPDA and EOT: Athalye, Carlini, Wagner 2018, arXiv 1802.00420, section 4; on adaptive attacks
    Tramèr et al. 2020, arXiv 2002.08347. Deviation: the mean is over features, not over losses.
    """

    smooth = True

    def _answer(self, x: Tensor, fast: bool) -> Tensor:
        cheap, draws = self.defence.cheaper(), self.defence.draws
        found = [self._read(cheap, x, fast, _own(self.seed, k)) for k in range(draws)]
        return found[0] if draws == 1 else F.normalize(torch.stack(found).mean(0), dim=1)


def _own(seed: int, draw: int) -> int:
    """A seed of the attacker's, far from the defender's, within 32 bits."""
    return (seed * 7_919 + 1_000_003 * (draw + 1)) % 2**31


def facing(model: DualEncoder, captions: Sequence[str]) -> DualEncoder:
    """A model that knows the captions, where it is one that counts votes for them."""
    return model.facing(captions) if isinstance(model, Defended) else model


def undefended(model: DualEncoder) -> DualEncoder:
    return model.bare if isinstance(model, Defended) else model


__all__ = ["Defended", "Known", "facing", "undefended"]
