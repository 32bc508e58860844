"""What a checkpoint of the second edition gives on the data that may be chosen on: flickr8k_dev,
tiny_imagenet_val and the sharp photographs kept back (`python -m explorer.pocket choose`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tools.pocket.base import SECOND, ImageTower, TextHead, classifier, minilm_folder
from tools.pocket.corpus import HELD, Known
from tools.pocket.data import upscale
from tools.pocket.first import part
from tools.pocket.guard import attack
from tools.pocket.pictures import load_flickr, load_photos
from tools.pocket.words import embed, load_classes

EPS, MOVES = 1 / 255, 10


@dataclass(frozen=True)
class Task:
    """images: (N, S, S, 3) uint8; texts: (C, 384) MiniLM features; own: (N, C) which are right."""

    images: np.ndarray
    texts: Tensor
    own: Tensor


def tasks(data: Path, work: Path, known: Known, limit: int) -> dict[str, Task]:
    """The first `limit` pictures of each set; all captions of those of Flickr8k are candidates."""
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    def read(captions: list[str]) -> Tensor:
        return (embed(captions, minilm_folder()) - known.mean) / known.spread

    dev = load_flickr(data, work, "dev")
    said = [text for row in dev.captions[:limit] for text in row]
    owner = torch.arange(min(limit, len(dev.images))).repeat_interleave(len(dev.captions[0]))
    table = pq.read_table(data / "tiny_imagenet_val.parquet").slice(0, limit)
    present = sorted(set(pq.read_table(data / "tiny_imagenet_val.parquet", columns=["wnid"])
                         ["wnid"].to_pylist()))
    cells = [c.as_py() for c in table["image"]]
    tiny = np.stack([np.asarray(Image.open(io.BytesIO(
        c["bytes"] if isinstance(c, dict) else c)).convert("RGB")) for c in cells])
    classes = load_classes(data)
    labels = torch.tensor([present.index(w) for w in table["wnid"].to_pylist()])
    photos, names = load_photos(data, work)
    kept = [i for i in range(len(names)) if i % HELD == 0][:limit]
    different = sorted(set(names))
    mine = torch.tensor([different.index(names[i]) for i in kept])
    prompt = "a photo of a {}"
    return {
        "flickr8k_dev": Task(dev.images[:limit], read(said),
                             owner[None] == torch.arange(int(owner.max()) + 1)[:, None]),
        "tiny_imagenet_val": Task(tiny, read([prompt.format(classes[w]["names"][0])
                                              for w in present]),
                                  F.one_hot(labels, len(present)).bool()),
        "photos kept back": Task(photos[kept], read([prompt.format(n) for n in different]),
                                 F.one_hot(mine, len(different)).bool()),
    }


def towers(weights: dict[str, Tensor]) -> tuple[ImageTower, TextHead, Tensor]:
    """Image tower, text projection and exp(logit scale) of a checkpoint of the second edition."""
    image, text = ImageTower(classifier(), SECOND), TextHead(SECOND)
    image.load_state_dict(part(weights, "image."))
    text.load_state_dict(part(weights, "text."))
    return image.eval().requires_grad_(False), text.requires_grad_(False), \
        weights["log_scale"].exp()


def features(tower: ImageTower, pixels: Tensor) -> Tensor:
    """(N, D) unit."""
    with torch.autocast("cpu", torch.bfloat16):
        y = tower(pixels)
    return F.normalize(y.float(), dim=1)


def recall(similar: Tensor, own: Tensor, k: int) -> float:
    """Percent of rows (N, C) with one of their own among the k most alike."""
    first = similar.topk(min(k, similar.shape[1]), dim=1).indices
    return 100 * float(own.gather(1, first).any(1).float().mean())


def look(task: Task, tower: ImageTower, text: TextHead, scale: Tensor, robust: int = 0,
         ) -> dict[str, float]:
    """R@1/5/10 both ways, and R@1 of the first `robust` pictures under PGD-10 at 1/255."""
    with torch.no_grad():
        texts = F.normalize(text(task.texts), dim=1)
        seen = torch.cat([features(tower, upscale(task.images[i : i + 100], SECOND.side))
                          for i in range(0, len(task.images), 100)])
    similar = seen @ texts.T
    out = {f"I2T@{k}": recall(similar, task.own, k) for k in (1, 5, 10)}
    if task.own.sum(1).max() > 1:
        out |= {f"T2I@{k}": recall(similar.T, task.own.T, k) for k in (1, 5, 10)}
    rng = torch.Generator().manual_seed(0)
    held = []
    for i in range(0, robust, 50):
        pixels = upscale(task.images[i : min(i + 50, robust)], SECOND.side)
        own = task.own[i : i + len(pixels)].float()
        goal = own / own.sum(1, keepdim=True)

        def loss(image: Tensor, goal: Tensor = goal) -> Tensor:
            return F.cross_entropy(scale * image @ texts.T, goal, reduction="sum")

        moved = attack(lambda x: features(tower, x), pixels, loss, EPS, MOVES, rng)
        with torch.no_grad():
            answer = (features(tower, moved) @ texts.T).argmax(1)
        held.append(task.own[i : i + len(pixels)].gather(1, answer[:, None])[:, 0])
    if held:
        out["I2T@1 under PGD-10"] = 100 * float(torch.cat(held).float().mean())
    return out


def report(data: Path, work: Path, known: Known, limit: int = 1000, robust: int = 300) -> str:
    """A line of Markdown for each finished stage of the second edition in `work`."""
    wanted = tasks(data, work, known, limit)
    lines = []
    for file in sorted(work.glob("*.final.pt"), key=lambda f: f.stat().st_mtime):
        saved = torch.load(file, map_location="cpu", weights_only=True)
        if saved["weights"].get("image.head.weight", torch.zeros(0, 0)).shape[0] != SECOND.dim:
            continue
        hard = robust if file.name.startswith("guard") else 0
        for name, task in wanted.items():
            found = look(task, *towers(saved["weights"]), hard)
            cells = ", ".join(f"{k} {v:.1f}" for k, v in found.items())
            lines.append(f"| {file.name.removesuffix('.final.pt')} | {name} | {cells} |")
    return "\n".join(lines)
