"""Random numbers that depend on the seed and the picture, not on the batch it travels in."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Tensor

from explorer.base.errors import InputError


class PerImage:
    """One generator an image, seeded by (seed, image bytes).

    The same image and seed give the same numbers in any batch, order or device.
    """

    def __init__(self, seed: int, images: Tensor) -> None:
        """images: (N, 3, H, W)."""
        if not -(2**31) <= seed < 2**31:
            raise InputError(f"the seed must be a whole number of at most 32 bits, not {seed}")
        self.shape, self.device = images.shape[1:], images.device
        self.generators = []
        for image in images.detach().cpu().contiguous():
            key = zlib.crc32(image.numpy().tobytes(), seed & 0xFFFFFFFF)
            self.generators.append(torch.Generator().manual_seed(key + (seed << 32)))

    def _draw(self, make: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return torch.stack([make(shape, generator=g) for g in self.generators]).to(self.device)

    def uniform(self) -> Tensor:
        """(N, 3, H, W) in [0, 1)."""
        return self._draw(torch.rand, tuple(self.shape))

    def normal(self) -> Tensor:
        """(N, 3, H, W) standard normal."""
        return self._draw(torch.randn, tuple(self.shape))

    def scalar(self) -> Tensor:
        """(N,) in [0, 1)."""
        return self._draw(torch.rand, ())
