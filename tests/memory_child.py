"""Attacks a batch that does not fit into the memory this process may have; prints what came out."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.data.pairs import Pairs
from explorer.models.library import Library

CAPTIONS = ("a photo of a cat", "a photo of a dog", "a photo of a car")


def used() -> int:
    """Address space of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(images: int, spare: int) -> None:
    model = Library().load("pocket")
    grey = torch.randint(0, 256, (images, 3, model.size, model.size),
                         generator=torch.Generator().manual_seed(0))
    pairs = Pairs(grey / 255, CAPTIONS, torch.zeros(images, dtype=torch.long))
    run(PGD(steps=1), model, Pairs(pairs.images[:1], CAPTIONS, pairs.labels[:1]))  # what is lazy
    most = used() + spare
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    result = run(PGD(steps=2), model, pairs)
    print(len(result.success), model.attack_room.most, model.image_room.most)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
