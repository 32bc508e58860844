"""What an image attacker may change: an L-inf or L2 ball around the clean pixels.

All sizes are in [0, 1] pixel units, before any normalisation; images are (N, 3, H, W).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.attacks.amounts import NORMS
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage


def norm_of(delta: Tensor, norm: str) -> Tensor:
    """(N,) L-inf or L2 norm of (N, ...) differences."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


@dataclass(frozen=True)
class Ball:
    """An L-inf or L2 ball of radius eps, cut with the pixel box [0, 1]."""

    norm: str
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise InputError(f"norm must be one of {', '.join(NORMS)}, not '{self.norm}'")
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise InputError("eps must be a finite number of at least 0")
        if self.norm == "linf" and self.eps > 1:
            raise InputError("an L-inf eps above 1 (255/255) is wider than the pixel range")

    def distance(self, x: Tensor, clean: Tensor) -> Tensor:
        return norm_of(x - clean, self.norm)

    def project(self, x: Tensor, clean: Tensor) -> Tensor:
        """Nearest point in the ball, then clipped to [0, 1] (which stays in the ball)."""
        if self.norm == "linf":
            return torch.minimum(torch.maximum(x, clean - self.eps), clean + self.eps).clamp(0, 1)
        delta = x - clean
        size = norm_of(delta, "l2").clamp_min(1e-12)
        shrink = (self.eps / size).clamp(max=1).view(-1, 1, 1, 1)
        return (clean + delta * shrink).clamp(0, 1)

    def direction(self, grad: Tensor) -> Tensor:
        """Steepest ascent of unit length in this norm; zero where the gradient is zero."""
        if self.norm == "linf":
            return grad.sign()
        return grad / norm_of(grad, "l2").clamp_min(1e-12).view(-1, 1, 1, 1)

    def start(self, clean: Tensor, random: PerImage) -> Tensor:
        """A random point: uniform in the L-inf ball; in L2, uniform in volume."""
        if self.norm == "linf":
            return self.project(clean + self.eps * (random.uniform() * 2 - 1), clean)
        noise = random.normal()
        radius = random.scalar() ** (1 / clean[0].numel())
        size = (self.eps * radius / norm_of(noise, "l2")).view(-1, 1, 1, 1)
        return self.project(clean + noise * size, clean)

    def quantise(self, x: Tensor, clean: Tensor) -> Tensor:
        """x on the 8-bit grid, still in the ball: what a PNG of the attack holds.

        `clean` must be on the grid. Each change, counted in grey levels, is rounded to a whole
        number. L-inf: the nearest one allowed. L2, where plain rounding leaves the ball:
        fractions below a threshold found by bisection are rounded towards the clean pixel,
        which never lengthens the change.
        """
        if self.norm == "linf" and x.dtype == clean.dtype == torch.float32:
            return self._nearest(x, clean)
        levels = ((x - clean) * 255).double()
        low = levels.abs().floor()
        part = levels.abs() - low
        limit = self.eps * 255 + 1e-6
        most = math.floor(limit) if self.norm == "linf" else math.inf

        def rounded(threshold: Tensor) -> Tensor:
            up = part >= threshold.view(-1, 1, 1, 1)
            return (low + up).clamp(max=most) * levels.sign()

        def fits(threshold: Tensor) -> Tensor:
            return norm_of(rounded(threshold), self.norm) <= limit

        none = torch.full((len(x),), 0.5, dtype=torch.double, device=x.device)
        inside, outside = torch.full_like(none, 1.5), none.clone()
        ok = fits(none)
        if not bool(ok.all()):
            for _ in range(40):
                middle = (inside + outside) / 2
                good = fits(middle)
                inside = torch.where(good, middle, inside)
                outside = torch.where(good, outside, middle)
        whole = rounded(torch.where(ok, none, inside))
        base = (clean.double() * 255).round()
        return ((base + whole).clamp(0, 255) / 255).to(clean.dtype)

    def _nearest(self, x: Tensor, clean: Tensor) -> Tensor:
        """`quantise` in L-inf, in float32, where whole numbers up to 255 and the fractions of a
        level are exact: the same bits in less than half the time."""
        levels = (x - clean) * 255
        size = levels.abs()
        low = size.floor()
        whole = low.add_(size.sub_(low) >= 0.5).clamp_(max=math.floor(self.eps * 255 + 1e-6))
        whole *= levels.sign_()
        return whole.add_((clean * 255).round_()).clamp_(0, 255).div_(255)
