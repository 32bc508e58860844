"""Our PGD beside foolbox's, on the same model: python -m bench.peers (part of make bench).

Replaces its own section of docs/performance.md and leaves the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from explorer.attacks.image import PGD
from explorer.attacks.run import run
from explorer.fastconv import keep_memory
from explorer.models import ASSETS, DualEncoder, Library
from explorer.pairs import Pairs, one_pair, open_image
from explorer.ui.examples import load_examples

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
HEAD = "## Beside foolbox"
ATTACK = PGD(eps=1 / 255, step=1 / 255, steps=10)
REPEATS = {8: 5, 32: 3}


class Classifier(nn.Module):
    """An image tower with fixed captions: pixels in [0, 1] to logits."""

    def __init__(self, encode: Callable[[Tensor], Tensor], text: Tensor, scale: float) -> None:
        super().__init__()
        self.encode, self.text, self.scale = encode, text, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * nn.functional.normalize(self.encode(x), dim=1) @ self.text.T


def plain_tower(model: DualEncoder, folder: Path) -> nn.Module:
    """The same weights as open_clip loads them: its own layers, its own defaults."""
    import open_clip

    with warnings.catch_warnings(), contextlib.chdir(folder):  # its config names files beside it
        warnings.simplefilter("ignore")
        clip = open_clip.create_model("local-dir:.").eval()
    mean, std = model.mean.cpu(), model.std.cpu()

    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = clip

        def forward(self, x: Tensor) -> Tensor:
            features: Tensor = self.clip.encode_image((x - mean) / std)
            return features

    return Tower().eval()


def photos(size: int, n: int) -> Pairs:
    """The app's photos, repeated in slightly other light, against all their true captions."""
    examples = list(load_examples(ASSETS / "examples").values())
    captions = tuple(dict.fromkeys(e.captions[e.true] for e in examples))
    ones = [one_pair(open_image(e.path), captions, captions.index(e.captions[e.true]), size)
            for e in examples]
    rows = [k % len(ones) for k in range(n)]
    shift = torch.randint(-3, 4, (n, 3, 1, 1), generator=torch.Generator().manual_seed(0)) / 255
    images = torch.cat([ones[k].images for k in rows])
    on_grid = ((images + shift).clamp(0, 1) * 255).round() / 255
    return Pairs(on_grid, captions, torch.cat([ones[k].labels for k in rows]))


def timed(jobs: list[Callable[[], Tensor]], repeats: int) -> tuple[list[float], list[Tensor]]:
    """Median seconds of each job, and what each returned; jobs take turns, the first unmeasured."""
    last = [job() for job in jobs]
    seconds: list[list[float]] = [[] for _ in jobs]
    for _ in range(repeats):
        for number, job in enumerate(jobs):
            began = time.perf_counter()
            last[number] = job()
            seconds[number].append(time.perf_counter() - began)
    return [statistics.median(s) for s in seconds], last


def foolbox_job(classifier: nn.Module, pairs: Pairs) -> Callable[[], Tensor]:
    """foolbox's LinfPGD with its defaults but for our steps and step size: (N, ...) pictures."""
    import foolbox as fb

    foolbox: Any = fb  # typed, but exports nothing by name
    target = foolbox.PyTorchModel(classifier.eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=ATTACK.steps, abs_stepsize=ATTACK.step)

    def job() -> Tensor:
        found: tuple[Any, Tensor, Any] = attack(target, pairs.images, pairs.labels,
                                                epsilons=ATTACK.eps)
        return found[1]

    return job


def rows(model: DualEncoder, folder: Path, repeats: dict[int, int]) -> list[str]:
    lines = []
    for n, times in repeats.items():
        pairs = photos(model.size, n)
        text = model.encode_text(pairs.captions)
        tower = plain_tower(model, folder)
        plain = Classifier(tower, text, model.scale)
        plain.add_module("tower", tower)
        ours = Classifier(model.encode_image, text, model.scale)
        seconds, pictures = timed([
            lambda p=pairs: run(ATTACK, model, p).adversarial_images,  # type: ignore[misc]
            foolbox_job(plain, pairs), foolbox_job(ours, pairs)], times)
        broken = []
        for found in pictures:
            with torch.no_grad():
                broken.append(int((ours(found).argmax(1) != pairs.labels).sum()))
        for name, took, fell in zip(
                ("foolbox on the model as open_clip loads it", "foolbox on our encoder"),
                seconds[1:], broken[1:], strict=True):
            lines.append(f"| batch {n}: {name} | {seconds[0]:.2f} s | {took:.2f} s | "
                         f"{took / seconds[0]:.2f} | {broken[0]} | {fell} |")
    return lines


def section(model: DualEncoder, folder: Path, repeats: dict[int, int] | None = None) -> str:
    """The part of the page, heading first."""
    repeats = repeats or REPEATS
    times = ", ".join(f"{t} of batch {n}" for n, t in repeats.items())
    fast = f", steps in {str(model.fast_dtype).removeprefix('torch.')}" if model.fast_dtype else ""
    threads = torch.get_num_threads()
    return "\n".join([
        HEAD, "",
        f"PGD, {ATTACK.steps} steps of 1/255 at ε = 1/255, pocket, on {threads} thread"
        f"{'s' * (threads > 1)}; medians ({times}), jobs taking turns. Ours is a whole run: "
        f"checked, rounded to 8 bits and measured{fast}. foolbox's LinfPGD keeps its defaults "
        "(float32, its pictures are not rounded). Goal: at least 1.5 times as fast, breaking as "
        "many.", "",
        "| job | ours | foolbox | times as fast | broken by ours | broken by foolbox |",
        "|---|---|---|---|---|---|", *rows(model, folder, repeats), ""])


def replaced(page: str, part: str) -> str:
    """The page with its section, if it has one, replaced, else added at the end."""
    before, found, after = page.partition(HEAD + "\n")
    if not found:
        return f"{page.rstrip()}\n\n{part}"
    rest = after.partition("\n## ")
    return f"{before}{part}" + (f"\n## {rest[2]}" if rest[1] else "")


def main() -> int:
    parser = argparse.ArgumentParser(description="Times our PGD beside foolbox's.")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    args = parser.parse_args()
    keep_memory()
    model = Library().load("pocket", "cpu")
    part = section(model, ASSETS / "models" / "pocket", {8: 3, 32: 1} if args.quick else None)
    PAGE.write_text(replaced(PAGE.read_text("utf-8"), part), encoding="utf-8")
    print(part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
