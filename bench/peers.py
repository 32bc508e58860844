"""Our PGD beside the bare loop and three other libraries: python -m bench.peers (of make bench).

All on the same weights, batch, steps and precision, in one run, taking turns. torchattacks and the
Adversarial Robustness Toolbox pin packages that contradict ours: `make bench` puts them alone,
without what they would install, into a folder that is read last. Replaces its own section of
docs/performance.md and leaves the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bench.report import put
from explorer.attacks.goals import Misclassify
from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.base.paths import ASSETS
from explorer.data.examples import load_examples
from explorer.data.pairs import Pairs, one_pair, open_image
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

ROOT = Path(__file__).resolve().parent.parent
APART = ROOT / ".venv" / "peers"  # see the Makefile
HEAD = "## Beside other libraries"
ATTACK = PGD(eps=1 / 255, step=1 / 255, steps=10)
Job = Callable[[], Tensor]
T = TypeVar("T")
Case = tuple[str, int, int]  # model, batch, repeats
CASES: tuple[Case, ...] = (("pocket", 1, 7), ("pocket", 32, 3), ("ViT-B-32", 1, 3),
                           ("ViT-B-32", 32, 1))
GOAL, NEAR = 1.5, 1.05


class Classifier(nn.Module):
    """An image tower with fixed captions: pixels in [0, 1] to logits, under autocast or not."""

    def __init__(self, tower: nn.Module, text: Tensor, scale: float,
                 dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.tower, self.text, self.scale, self.dtype = tower, text, scale, dtype

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            features = self.tower(x)
        return self.scale * nn.functional.normalize(features.float(), dim=1) @ self.text.T


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
    examples = list(load_examples().values())
    captions = tuple(dict.fromkeys(e.truth for e in examples))
    ones = [one_pair(open_image(e.path), captions, captions.index(e.truth), size)
            for e in examples]
    rows = [k % len(ones) for k in range(n)]
    shift = torch.randint(-3, 4, (n, 3, 1, 1), generator=torch.Generator().manual_seed(0)) / 255
    images = torch.cat([ones[k].images for k in rows])
    on_grid = ((images + shift).clamp(0, 1) * 255).round() / 255
    return Pairs(on_grid, captions, torch.cat([ones[k].labels for k in rows]))


def timed(jobs: Sequence[Callable[[], T]], repeats: int) -> tuple[list[float], list[T]]:
    """Median seconds of each job, and what each returned; jobs take turns, the first unmeasured."""
    last = [job() for job in jobs]
    seconds: list[list[float]] = [[] for _ in jobs]
    for _ in range(repeats):
        for number, job in enumerate(jobs):
            began = time.perf_counter()
            last[number] = job()
            seconds[number].append(time.perf_counter() - began)
    return [statistics.median(s) for s in seconds], last


def bare_job(model: DualEncoder, pairs: Pairs) -> Job:
    """PGD with nothing around it: forward, input gradient, signed step, projection."""
    def job() -> Tensor:
        clean, text = pairs.images, model.encode_text(pairs.captions)
        aim = Misclassify(pairs.labels, model.scale)
        x = (clean + ATTACK.eps * (2 * torch.rand_like(clean) - 1)).clamp(0, 1)
        for _ in range(ATTACK.steps):
            x = x.detach().requires_grad_(True)
            loss = aim.score(model.encode_image(x, fast=True), text).sum()
            (grad,) = torch.autograd.grad(loss, x)
            moved = x.detach() + ATTACK.step_size * grad.sign()
            x = torch.minimum(torch.maximum(moved, clean - ATTACK.eps),
                              clean + ATTACK.eps).clamp(0, 1)
        return x

    return job


def foolbox_job(classifier: nn.Module, pairs: Pairs) -> Job:
    """LinfPGD with its defaults but for our steps and step size."""
    import foolbox as fb

    foolbox: Any = fb  # typed, but exports nothing by name
    target = foolbox.PyTorchModel(classifier.eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=ATTACK.steps, abs_stepsize=ATTACK.step_size)

    def job() -> Tensor:
        found: tuple[Any, Tensor, Any] = attack(target, pairs.images, pairs.labels,
                                                epsilons=ATTACK.eps)
        return found[1]

    return job


def torchattacks_job(classifier: nn.Module, pairs: Pairs) -> Job:
    import torchattacks

    attack: Any = torchattacks.PGD(classifier.eval(), eps=ATTACK.eps, alpha=ATTACK.step_size,
                                   steps=ATTACK.steps)
    return lambda: attack(pairs.images, pairs.labels)


def art_job(classifier: nn.Module, pairs: Pairs) -> Job:
    """ProjectedGradientDescentPyTorch with a random start; pictures go in and out as NumPy."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    target = PyTorchClassifier(classifier.eval(), nn.CrossEntropyLoss(), tuple(
        pairs.images.shape[1:]), len(pairs.captions), clip_values=(0, 1), device_type="cpu")
    attack = ProjectedGradientDescentPyTorch(
        target, eps=ATTACK.eps, eps_step=ATTACK.step_size, max_iter=ATTACK.steps, num_random_init=1,
        batch_size=len(pairs), verbose=False)
    images, labels = pairs.images.numpy(), pairs.labels.numpy()
    return lambda: torch.from_numpy(attack.generate(images, labels))


PEERS: dict[str, Callable[[nn.Module, Pairs], Job]] = {
    "foolbox": foolbox_job, "torchattacks": torchattacks_job, "ART": art_job}


def installed() -> dict[str, Callable[[nn.Module, Pairs], Job]]:
    """The peers that are there; those apart are read last, so that they replace nothing."""
    if str(APART) not in sys.path:
        sys.path.append(str(APART))
    found = {}
    for name, module in (("foolbox", "foolbox"), ("torchattacks", "torchattacks"), ("ART", "art")):
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            __import__(module)
            found[name] = PEERS[name]
    return found


def random_vit(folder: Path) -> DualEncoder:
    """open_clip's ViT-B-32 with random weights, opened as any folder is."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    clip = open_clip.create_model("ViT-B-32")
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()},
              folder / "open_clip_model.safetensors")
    return Library().load(f"local-dir:{folder}", "cpu")


@contextlib.contextmanager
def precision(model: DualEncoder, dtype: torch.dtype | None) -> Iterator[None]:
    kept = model.fast_dtype
    model.fast_dtype = dtype
    try:
        yield
    finally:
        model.fast_dtype = kept


def row(model: DualEncoder, folder: Path, case: Case, dtype: torch.dtype | None) -> str:
    """One line of the table: seconds, ratios, and how many pictures each broke."""
    name, n, repeats = case
    pairs, peers = photos(model.size, n), installed()
    text = model.encode_text(pairs.captions)
    plain = Classifier(plain_tower(model, folder), text, model.scale, dtype)
    with precision(model, dtype):
        seconds, pictures = timed(
            [lambda: run(ATTACK, model, pairs).adversarial_images, bare_job(model, pairs),
             *(make(plain, pairs) for make in peers.values())], repeats)
    broken = []
    for found in pictures:
        with torch.no_grad():
            answer = (model.encode_image(found) @ text.T).argmax(1)
        broken.append(int((answer != pairs.labels).sum()))
    cells = [f"{took:.2f} s ({fell})" for took, fell in zip(seconds, broken, strict=True)]
    places = dict(zip(peers, cells[2:], strict=True))
    kind = str(dtype or torch.float32).removeprefix("torch.")
    print(kind, case, cells, flush=True)
    return (f"| {name}, batch {n}, {kind} | {cells[0]} | {cells[1]} | "
            + " | ".join(places.get(peer, "not installed") for peer in PEERS)
            + f" | {seconds[0] / seconds[1]:.2f} | {min(seconds[2:]) / seconds[0]:.2f} |")


def section(model: DualEncoder, folder: Path, cases: tuple[Case, ...] = CASES) -> str:
    """The part of the page, heading first."""
    lines, threads = [], torch.get_num_threads()
    with tempfile.TemporaryDirectory() as made:
        for case in cases:
            here, where = model, folder
            if case[0] != model.card.id:
                where = Path(made) / "vit"
                where.mkdir(exist_ok=True)
                here = random_vit(where)
            for dtype in dict.fromkeys((None, here.fast_dtype or torch.bfloat16)):
                lines.append(row(here, where, case, dtype))
    return "\n".join([
        HEAD, "",
        f"PGD, {ATTACK.steps} steps of 1/255 at ε = 1/255 from a random start, on {threads} thread"
        f"{'s' * (threads > 1)}: medians, jobs taking turns; in brackets the pictures broken. Ours "
        "is a whole run: checked, rounded to 8 bits, clean and saved picture scored in float32. "
        "The bare loop is ten forward and gradient passes of our encoder. The others attack the "
        "model as open_clip loads it (in bfloat16 rows: under autocast), with their defaults, and "
        "round nothing. The ViT has random weights: it tells of time, not of success. Goals: at "
        f"most {NEAR} of the bare loop; at least {GOAL} times as fast as the fastest other at "
        "batch 32. Ours with its defaults (bfloat16) against the others with theirs (float32): "
        "divide across the two rows.", "",
        f"| job | ours | bare loop | {' | '.join(PEERS)} | ours / bare | fastest other / ours |",
        "|---|---|---|" + "---|" * (len(PEERS) + 2), *lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description="Times our PGD beside that of other libraries.")
    parser.add_argument("--quick", action="store_true", help="few repeats, and no batch of the ViT")
    args = parser.parse_args()
    keep_memory()
    model = Library().load("pocket", "cpu")
    cases = (("pocket", 1, 5), ("pocket", 32, 1), ("ViT-B-32", 1, 1)) if args.quick else CASES
    part = section(model, ASSETS / "models" / "pocket", cases)
    put(part)
    print(part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
