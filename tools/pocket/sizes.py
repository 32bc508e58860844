"""How well the classifier that the image tower starts from reads pictures of several sizes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from explorer.base.intervals import wilson
from explorer.data.sets import read_examples
from tools.pocket.base import ImageTower, classifier
from tools.pocket.words import load_classes

SIZES = (160, 192, 224)


@torch.no_grad()
def accuracy(data: Path, size: int) -> Tensor:
    """(N,) bool: whether each picture of imagenet_sample is classified correctly, 1000-way."""
    import pyarrow.parquet as pq

    file = data / "imagenet_sample.parquet"
    place = {wnid: i for i, wnid in enumerate(load_classes(data))}
    wnids = pq.read_table(file, columns=["wnid"])["wnid"].to_pylist()
    truth = torch.tensor([place[w] for w in wnids])
    network = classifier()
    tower = ImageTower(network).eval()
    said = [network.classifier(tower.pooled(pairs.images)).argmax(1)  # type: ignore[operator]
            for pairs in read_examples(file).batches(size)]
    return torch.cat(said) == truth


def report(data: Path) -> str:
    """The table of input sizes in docs/pocket.md; cost is that of the pixels."""
    lines = ["| pixels a side | classifier's accuracy | pixels, against 160 |", "|---|---|---|"]
    for size in SIZES:
        hits = accuracy(data, size)
        low, high = wilson(int(hits.sum()), len(hits))
        lines.append(f"| {size} | {float(hits.float().mean()) * 100:.1f} % ({low * 100:.1f} to "
                     f"{high * 100:.1f}, n = {len(hits):,}) | {(size / 160) ** 2:.2f} x |")
    return "\n".join(lines) + "\n"
