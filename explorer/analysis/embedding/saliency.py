"""Where a picture's similarity to a caption comes from: two ways to ask, for any image tower.

Both need pixels in and a cosine out, nothing of the tower's inside, so convolutional networks and
vision transformers are read alike. Maps are (H, W) float32 on the CPU; the weights get no gradient.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.base.errors import InputError
from explorer.models.encoder import DualEncoder

METHODS = ("gradient", "occlusion")
BATCH = 32
Progress = Generator[tuple[int, int], None, Tensor]


def _check(model: DualEncoder, image: Tensor, text: Tensor) -> None:
    wanted = (3, model.frame.height, model.frame.width)
    if image.shape != wanted:
        raise InputError(f"the picture must be {wanted} for this model")
    if text.shape != (model.dim,) or not bool(torch.isfinite(text).all()):
        raise InputError(f"the caption's features must be {model.dim} finite numbers")


def gradient_map(model: DualEncoder, image: Tensor, text: Tensor, noisy: int = 16,
                 spread: float = 0.1, seed: int = 0) -> Progress:
    """How strongly the cosine reacts to each pixel: the length over colours of its gradient
    (Simonyan et al. 2014, arXiv 1312.6034), averaged over `noisy` copies with Gaussian noise of
    standard deviation `spread` (SmoothGrad, Smilkov et al. 2017, arXiv 1706.03825); noisy 0: the
    plain gradient. Cosine a unit of pixel value, at least 0. Yields (copies done, copies).

    image: (3, H, W) in [0, 1]; text: (D,) unit features. Raises InputError for other shapes.
    """
    _check(model, image, text)
    generator = torch.Generator().manual_seed(seed)
    copies, caption = max(noisy, 1), text.to(model.device)
    total = torch.zeros(image.shape[1:])
    for done in range(copies):
        yield done, copies
        noise = spread * torch.randn(image.shape, generator=generator) if noisy else 0.0
        x = (image + noise)[None].to(model.device).requires_grad_(True)
        cosine = (model.encode_image(x) @ caption).sum()
        (slope,) = torch.autograd.grad(cosine, x)
        total += slope[0].norm(dim=0).cpu()
    return total / copies


def occlusion_map(model: DualEncoder, image: Tensor, text: Tensor, cells: int = 8) -> Progress:
    """How much the cosine falls when a square is covered by the picture's mean colour (Zeiler and
    Fergus 2014, arXiv 1311.2901): a square is 1 / cells of the shorter side and moves by half of
    itself; a pixel's value is the mean over the squares that cover it. Positive where the caption
    is supported, negative where covering helps it. Yields (squares done, squares). Else as above.
    """
    _check(model, image, text)
    height, width = image.shape[1:]
    side = max(2, min(height, width) // cells)
    down, across = (sorted({*range(0, size - side, max(1, side // 2)), size - side})
                    for size in (height, width))
    corners = [(y, x) for y in down for x in across]
    colour = image.mean((1, 2))[:, None, None]
    caption = text.to(model.device)
    drop, covered = torch.zeros(height, width), torch.zeros(height, width)
    with torch.no_grad():
        whole = float((model.encode_image(image[None]) @ caption)[0])
        for start in range(0, len(corners), BATCH):
            yield start, len(corners)
            part = corners[start : start + BATCH]
            batch = image.repeat(len(part), 1, 1, 1)
            for picture, (y, x) in zip(batch, part, strict=True):
                picture[:, y : y + side, x : x + side] = colour
            cosines = (model.encode_image(batch) @ caption).cpu()
            for value, (y, x) in zip(cosines, part, strict=True):
                drop[y : y + side, x : x + side] += whole - float(value)
                covered[y : y + side, x : x + side] += 1
    return drop / covered.clamp_min(1)


def saliency(method: str, model: DualEncoder, image: Tensor, text: Tensor, seed: int = 0,
             ) -> Progress:
    """The map of a method in METHODS, with its progress. Raises InputError for another name."""
    if method == "gradient":
        return (yield from gradient_map(model, image, text, seed=seed))
    if method == "occlusion":
        return (yield from occlusion_map(model, image, text))
    raise InputError(f"the method must be one of {', '.join(METHODS)}, not '{method}'")


@dataclass(frozen=True, eq=False)
class Saliency:
    """One model's maps of one caption. clean, adversarial: (S, S); cosines: before and after."""

    model: str
    method: str
    caption: str
    clean: Tensor
    adversarial: Tensor
    cosines: tuple[float, float]

    @property
    def difference(self) -> Tensor:
        return self.adversarial - self.clean

    @property
    def agreement(self) -> float | None:
        """Correlation of the two maps over pixels, -1 to 1; None when one of them is flat."""
        a, b = self.clean.flatten() - self.clean.mean(), self.adversarial.flatten() - (
            self.adversarial.mean())
        size = float(a.norm() * b.norm())
        return float(a @ b) / size if size > 1e-12 else None


def ninths(values: Tensor) -> Tensor:
    """(3, 3) share of a map's weight, without its sign, in each ninth of the picture; sums to 1
    (all zero for a map of zeros). The map in words and tables."""
    pooled = F.adaptive_avg_pool2d(values.abs()[None, None], 3)[0, 0]
    total = pooled.sum()
    return pooled / total if float(total) > 0 else pooled
