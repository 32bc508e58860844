"""Defences that look at several views of a picture and answer once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attacks.defences.base import Defence, Eye, Passes, same, setting, unit_mean
from explorer.base.randomness import PerImage


def looks(eye: Eye, views: Tensor) -> Tensor:
    """(N, V, 3, H, W) -> (N, V, D) unit features."""
    features = eye.look(views.flatten(0, 1))
    found: Tensor = features.unflatten(0, views.shape[:2])
    return found


def cropped(x: Tensor, top: Tensor, left: Tensor, high: Tensor, wide: Tensor,
            flip: Tensor | None = None) -> Tensor:
    """A window of each picture, brought to the whole size; differentiable. All (N,), as shares of
    the sides; flip: where true, the window is mirrored."""
    zero = torch.zeros_like(wide)
    across = wide if flip is None else torch.where(flip, -wide, wide)
    theta = torch.stack([torch.stack([across, zero, 2 * left + wide - 1], 1),
                         torch.stack([zero, high, 2 * top + high - 1], 1)], 1)
    grid = F.affine_grid(theta.to(x), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Ensemble(Defence):
    """The mean over twelve fixed views: the picture, four corners of it and its middle, and the
    mirror image of each.

    Deviation: unit features are averaged in place of logits, which for CLIP wins the same caption.
    """

    title = "Flips and crops (TTE)"
    source = "Pérez et al. 2021, arXiv 2107.14110, section 3"

    share: float = setting(0.9, "Size of a crop", "its side, as a share of the picture's", low=0.3,
                           high=1.0, step=0.05)

    @property
    def passes(self) -> Passes:
        return Passes(12)

    def read(self, eye: Eye, x: Tensor, random: PerImage) -> Tensor:
        rest, ones = 1 - self.share, torch.ones(len(x), device=x.device)
        windows = [(0.0, 0.0, 1.0), *((top, left, self.share) for top, left in (
            (0.0, 0.0), (0.0, rest), (rest, 0.0), (rest, rest), (rest / 2, rest / 2)))]

        def view(k: int) -> Tensor:
            top, left, side = windows[k // 2]
            seen = x if side == 1 else cropped(x, top * ones, left * ones, side * ones, side * ones)
            return seen.flip(-1) if k % 2 else seen

        return unit_mean(looks(eye, same(12, view)))


@dataclass(frozen=True)
class ReliableViews(Defence):
    """Many random crops, each weighted by how well it agrees with those nearest to it, so that the
    views on which the attack still works count less. Without the prompt tuning of the paper.

    Deviations: crops and mirror images without AugMix's change of colours; 16 views in place of 64,
    and as many neighbours in proportion; crops hold at least 30 % of the picture, not 8 %.
    """

    title = "Reliable views (R-TPT)"
    source = ("Sheng et al. 2025 (R-TPT), CVPR, arXiv 2504.11195, reliability-based ensembling; "
              "weights as in the authors' code")
    random = True

    views: int = setting(16, "Views", "how many; the picture itself is the first", low=2, high=128,
                         step=1)
    least: float = setting(0.3, "Smallest crop", "its area, as a share of the picture's", low=0.05,
                           high=1.0, step=0.05)
    temperature: float = setting(0.01, "Temperature", "how sharply reliable views are preferred, "
                                 "in cosine", low=0.001, high=1.0, step=0.001)

    @property
    def passes(self) -> Passes:
        return Passes(self.views)

    def weights(self, features: Tensor) -> Tensor:
        """(N, V) that sum to 1, of (N, V, D) unit features: softmax of the mean cosine to the
        nearest third of the other views, over the temperature."""
        near = features @ features.transpose(1, 2)
        own = torch.eye(near.shape[1], dtype=torch.bool, device=near.device)
        k = max(1, min(near.shape[1] - 1, round(near.shape[1] * 20 / 64)))
        close = near.masked_fill(own, -torch.inf).topk(k, dim=2).values.mean(2)
        return torch.softmax(close / self.temperature, 1)

    def read(self, eye: Eye, x: Tensor, random: PerImage) -> Tensor:
        def view(k: int) -> Tensor:
            if k == 0:
                return x
            area, ratio, top, left, flip = (random.scalar() for _ in range(5))
            side = (self.least + (1 - self.least) * area).sqrt()
            stretch = (4 / 3) ** (ratio - 0.5)  # a ratio of the sides from 3/4 to 4/3
            high, wide = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
            return cropped(x, top * (1 - high), left * (1 - wide), high, wide, flip < 0.5)

        features = looks(eye, same(self.views, view))
        return unit_mean(features, self.weights(features))


def tilted(x: Tensor, corners: Tensor) -> Tensor:
    """Each picture seen in perspective: its corners (top left, top right, bottom right, bottom
    left) go to `corners` (N, 4, 2), as x and y in [-1, 1]; black outside. Differentiable.

    The map from the new picture to the old one is a homography, the solution of eight equations.
    """
    old = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], device=x.device)
    u, v = corners[..., 0], corners[..., 1]
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    rows = [torch.stack([u, v, one, zero, zero, zero, -u * old[:, 0], -v * old[:, 0]], 2),
            torch.stack([zero, zero, zero, u, v, one, -u * old[:, 1], -v * old[:, 1]], 2)]
    right = torch.cat([old[:, 0], old[:, 1]]).expand(len(x), 8)
    a = torch.linalg.solve(torch.cat(rows, 1), right)
    height, width = x.shape[-2:]
    down = ((torch.arange(height, device=x.device) * 2 + 1) / height - 1)[:, None]
    across = ((torch.arange(width, device=x.device) * 2 + 1) / width - 1)[None]
    p = [a[:, k, None, None] for k in range(8)]
    depth = p[6] * across + p[7] * down + 1
    grid = torch.stack([(p[0] * across + p[1] * down + p[2]) / depth,
                        (p[3] * across + p[4] * down + p[5]) / depth], 3)
    return F.grid_sample(x, grid.to(x), mode="bilinear", padding_mode="zeros", align_corners=False)


@dataclass(frozen=True)
class AGC(Defence):
    """The feature is turned towards, and past, the mean feature of many views in random
    perspective; the further the views are from the picture and the closer to each other, the
    further it turns.

    Deviations: 16 views in place of 32, made of the picture at the model's input size, bilinear.
    """

    title = "Geodesic correction (AGC)"
    source = ("Li et al. 2026 (AGC: Adaptive Geodesic Correction), arXiv 2605.15584; formulas and "
              "numbers as in the authors' code")
    random = True

    views: int = setting(16, "Views", "in random perspective", low=2, high=128, step=1)
    calm: float = setting(0.45, "Least turn", "as a share of the way to the views' mean, when the "
                          "views agree with the picture", low=0.0, high=5.0, step=0.05)
    most: float = setting(2.25, "Largest turn", "the same when they are at right angles to it",
                          low=0.0, high=5.0, step=0.05)
    tilt: float = setting(0.5, "Tilt", "how far a corner moves in, as a share of half the side",
                          low=0.0, high=0.9, step=0.05)

    @property
    def passes(self) -> Passes:
        return Passes(1 + self.views)

    def turn(self, base: Tensor, views: Tensor) -> Tensor:
        """(N,) how far to turn: from `calm` to `most`, growing with attack^0.9 * trust, where
        attack is 1 - the mean cosine of picture and views, trust (1 + mean cosine of two views)/2.

        base: (N, D), views: (N, V, D), unit length.
        """
        attack = (1 - torch.einsum("nd,nvd->nv", base, views)).mean(1).clamp(0, 1)
        n = views.shape[1]
        pairs = views.sum(1).square().sum(1) - views.square().sum((1, 2))  # all but the diagonal
        trust = ((pairs / (n * (n - 1)) + 1) / 2).clamp(0, 1)
        score = (attack.clamp_min(1e-12) ** 0.9 * trust).clamp(0, 1)
        return self.calm + (self.most - self.calm) * score

    @staticmethod
    def push(base: Tensor, anchor: Tensor, turn: Tensor) -> Tensor:
        """(N, D) on the great circle from base through anchor, at `turn` (N,) of their angle."""
        cosine = (base * anchor).sum(1).clamp(-1 + 1e-6, 1 - 1e-6)
        angle = torch.arccos(cosine)
        tangent = F.normalize(anchor - cosine[:, None] * base, dim=1)
        step = (turn * angle)[:, None]
        return F.normalize(torch.cos(step) * base + torch.sin(step) * tangent, dim=1)

    def read(self, eye: Eye, x: Tensor, random: PerImage) -> Tensor:
        ends = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], device=x.device)

        def view(_: int) -> Tensor:
            moves = torch.stack([random.scalar() for _ in range(8)], 1).view(-1, 4, 2)
            return tilted(x, ends * (1 - self.tilt * moves))

        features = looks(eye, torch.cat([x[:, None], same(self.views, view)], 1))
        base, views = features[:, 0], features[:, 1:]
        return self.push(base, unit_mean(views), self.turn(base, views))
