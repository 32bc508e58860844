"""Tiny-ImageNet as one memory-mapped array, and augmentation for batches of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def load_training(data: Path, work: Path, classes: list[str]) -> tuple[np.ndarray, Tensor]:
    """Decodes tiny_imagenet_train once: (N, 64, 64, 3) uint8 on disk, (N,) labels of 1000."""
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(data / "tiny_imagenet_train.parquet")
    place = {w: i for i, w in enumerate(classes)}
    labels = torch.tensor([place[w] for w in table["wnid"].to_pylist()])
    target = work / "tiny_imagenet_train.npy"
    if not target.exists():
        aside = target.with_suffix(".part.npy")
        shape = (table.num_rows, 64, 64, 3)
        array = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=shape)
        for i, cell in enumerate(table["image"]):
            raw = cell.as_py()
            raw = raw["bytes"] if isinstance(raw, dict) else raw
            array[i] = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))
        array.flush()
        aside.rename(target)
    return np.load(target, mmap_mode="r"), labels


def upscale(batch: np.ndarray, size: int) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, size, size) in [0, 1], bicubic, not augmented."""
    x = torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2).float() / 255
    return F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)


def augment(batch: np.ndarray, size: int, rng: torch.Generator, lowest: int = 24) -> Tensor:
    """Random crop, flip, light, and down-scaling to as few as `lowest` pixels a side.

    (N, S, S, 3) uint8 -> (N, 3, size, size) in [0, 1]. The resolution is drawn per batch.
    """
    x = torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2).float() / 255
    n = len(x)
    if torch.rand((), generator=rng) < 0.4:
        side = int(torch.randint(lowest, batch.shape[1] + 1, (), generator=rng))
        x = F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    scale = 0.65 + 0.35 * torch.rand(n, generator=rng)
    flip = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flip, scale
    theta[:, :, 2] = (1 - scale)[:, None] * (2 * torch.rand(n, 2, generator=rng) - 1)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    mode = "bicubic" if torch.rand((), generator=rng) < 0.7 else "bilinear"
    x = F.grid_sample(x, grid, mode=mode, padding_mode="reflection", align_corners=False)
    gain = 0.8 + 0.4 * torch.rand(n, 1, 1, 1, generator=rng)
    shift = 0.1 * (2 * torch.rand(n, 1, 1, 1, generator=rng) - 1)
    return (x * gain + shift).clamp(0, 1)


def mosaic(images: np.ndarray, n: int, size: int, rng: torch.Generator) -> Tensor:
    """n pictures tiled from random training images at about their own resolution.

    (N, 64, 64, 3) uint8 -> (n, 3, size, size) in [0, 1]. Enlarged images are soft; these have
    the fine detail of a full-size photograph, and no label.
    """
    side = int(torch.randint(56, 105, (), generator=rng))
    grid = -(-size // side) + 1
    rows = torch.randint(len(images), (n * grid * grid,), generator=rng).sort().values
    tiles = upscale(images[rows.numpy()], side)[torch.randperm(len(rows), generator=rng)]
    tiles = tiles.view(n, grid, grid, 3, side, side).permute(0, 3, 1, 4, 2, 5)
    canvas = tiles.reshape(n, 3, grid * side, grid * side)
    top, left = (int(torch.randint(side, (), generator=rng)) for _ in range(2))
    return canvas[:, :, top : top + size, left : left + size].contiguous()
