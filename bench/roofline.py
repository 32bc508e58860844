"""How near a step of an attack is to what this machine can multiply: python -m bench.roofline.

Of a forward pass and the gradient of its pixels the multiplications are counted as they happen
(torch.utils.flop_counter). Beside them, in the same run: what the machine does in a plain matrix
product, of the shapes of the model's own layers, in the same precision and threads. The quotient is
the least a step could take; the rest is what is not a product, and what could still be saved.
Replaces its section of docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.peers import photos, precision, random_vit
from bench.report import put
from explorer.attacks.goals import Misclassify
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory

HEAD = "## How near the machine's limit"


@dataclass(frozen=True)
class Roof:
    """Of one step. work: floating point operations; speed: of matrix products, a second, of the
    fastest shape; seconds: of a step."""

    batch: int
    dtype: str
    work: int
    speed: float
    seconds: float

    @property
    def least(self) -> float:
        return self.work / self.speed

    @property
    def share(self) -> float:
        """Of what the machine could do."""
        return self.least / self.seconds


def fastest(jobs: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Least seconds of each job; they take turns, and the first is not measured."""
    best = [float("inf")] * len(jobs)
    for turn in range(repeats + 1):
        for k, job in enumerate(jobs):
            began = time.perf_counter()
            job()
            if turn:
                best[k] = min(best[k], time.perf_counter() - began)
    return best


def step(model: DualEncoder, pairs: Pairs) -> Callable[[], Tensor]:
    """Forward and the gradient of the pixels, as attacks step."""
    text, aim = model.encode_text(pairs.captions), Misclassify(pairs.labels, model.scale)

    def job() -> Tensor:
        x = pairs.images.clone().requires_grad_(True)
        loss = aim.score(model.encode_image(x, fast=True), text).sum()
        return torch.autograd.grad(loss, x)[0]

    return job


def shapes(model: DualEncoder, rows: int) -> Iterator[tuple[int, int, int]]:
    """Rows, inputs and outputs of the products of the image tower's linear layers, each once."""
    visual = model.clip.visual
    assert isinstance(visual, nn.Module)
    found = {(w.shape[1], w.shape[0]) for w in visual.parameters()
             if w.dim() == 2 and min(w.shape) >= 128}
    yield from ((rows, inputs, outputs) for inputs, outputs in sorted(found))


def speed(rows: int, inputs: int, outputs: int, dtype: torch.dtype, repeats: int) -> float:
    """Operations a second of a product, forward's or the gradient's, whichever is faster."""
    x, w = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    y = torch.randn(rows, outputs).to(dtype)
    best = min(fastest([lambda: x @ w.T, lambda: y @ w], repeats))
    return 2 * rows * inputs * outputs / best


def roof(model: DualEncoder, batch: int, dtype: torch.dtype | None, tokens: int, repeats: int,
         ) -> Roof:
    """tokens: rows of a product for one picture."""
    pairs = photos(model.size, batch)
    with precision(model, dtype):
        job = step(model, pairs)
        with FlopCounterMode(display=False) as counted:
            job()
        (seconds,) = fastest([job], repeats)
    best = max(speed(*shape, dtype or torch.float32, repeats)
               for shape in shapes(model, batch * tokens))
    return Roof(batch, str(dtype or torch.float32).removeprefix("torch."),
                counted.get_total_flops(), best, seconds)


def section(roofs: Sequence[Roof]) -> str:
    """The part of the page, heading first."""
    threads = torch.get_num_threads()
    return "\n".join([
        HEAD, "",
        f"ViT-B-32 with random weights, one step: forward and the gradient of the pixels, on "
        f"{threads} thread{'s' * (threads > 1)}. Its multiplications are counted; the machine's "
        "speed is that of the fastest matrix product of the shapes of its layers, in the same run. "
        "No library can take less than the least, whatever it leaves out around it.", "",
        "| batch | precision | work of a step | matrix products here | least for a step | "
        "measured | of the limit |", "|---|---|---|---|---|---|---|",
        *(f"| {r.batch} | {r.dtype} | {r.work / 1e9:.0f} GFLOP | {r.speed / 1e9:.0f} GFLOP/s | "
          f"{r.least:.2f} s | {r.seconds:.2f} s | {r.share:.0%} |" for r in roofs), ""])


def measured(batches: Sequence[int], repeats: int) -> list[Roof]:
    with tempfile.TemporaryDirectory() as folder:
        model = random_vit(Path(folder))
        tokens = (model.size // 32) ** 2 + 1
        return [roof(model, n, dtype, tokens, repeats) for n in batches
                for dtype in dict.fromkeys((None, model.fast_dtype))]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    keep_memory()
    part = section(measured([int(n) for n in args.batches.split(",")], args.repeats))
    put(part)
    print(part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
