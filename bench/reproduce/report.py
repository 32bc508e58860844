"""docs/reproduction.md from the measured cells: tables, intervals, the three answers, the plots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from bench.reproduce.config import Config
from bench.reproduce.work import KINDS, Cell
from explorer.base.device import describe_device
from explorer.base.intervals import wilson

DRAWS = 10_000
NAMES = {"none": "base, not tuned"}
Key = tuple[str, str, int]  # method, set, level


class Table:
    """Cells by method, set and level: (seeds, images) arrays of 0 and 1 for each kind."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.methods = list(dict.fromkeys(c.method for c in cells))
        self.sets = list(dict.fromkeys(c.set for c in cells))
        self.hits: dict[Key, dict[str, np.ndarray]] = {}
        for method, name, level in dict.fromkeys((c.method, c.set, c.level) for c in cells):
            same = [c for c in cells if (c.method, c.set, c.level) == (method, name, level)]
            self.hits[method, name, level] = {
                kind: np.array([c.hits[kind] for c in same], dtype=float) for kind in KINDS}

    def of(self, method: str, name: str, level: int, kind: str) -> np.ndarray:
        """(seeds, images)."""
        return self.hits[method, name, level][kind]


def interval(hits: np.ndarray) -> tuple[float, float]:
    """95 % of an accuracy: Wilson for one seed; for several, percentiles over resampled images of
    the mean over seeds."""
    if len(hits) == 1:
        return wilson(int(hits.sum()), hits.shape[1])
    return spread(hits.mean(0))


def spread(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of a mean, images resampled with seed 0 (Efron 1979)."""
    random = np.random.default_rng(0)
    means = [values[random.integers(0, len(values), len(values))].mean() for _ in range(DRAWS)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def shown(hits: np.ndarray) -> str:
    low, high = interval(hits)
    text = f"{hits.mean():.1%} ({low * 100:.0f}-{high * 100:.0f})"
    if len(hits) > 1:
        text += f", seeds {' / '.join(f'{seed.mean() * 100:.1f}' for seed in hits)}"
    return text


def table(found: Table, name: str, level: int) -> str:
    lines = ["| fine-tuned by | clean | image | text | joint |", "|---|---|---|---|---|"]
    for method in found.methods:
        cells = [shown(found.of(method, name, level, kind)) for kind in KINDS]
        lines.append(f"| {NAMES.get(method, f'`{method}`')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def difference(one: np.ndarray, other: np.ndarray) -> str:
    """Mean over seeds of one minus the other, on the same images, with its interval."""
    values = one.mean(0) - other.mean(0)
    low, high = spread(values)
    return f"{values.mean() * 100:+.1f} points (95 % {low * 100:+.1f} to {high * 100:+.1f})"


def strongest(found: Table, config: Config) -> str:
    """(a)"""
    total = weaker = 0
    for hits in found.hits.values():
        total += 1
        weaker += hits["joint"].mean() <= min(hits["image"].mean(), hits["text"].mean())
    name, level = Path(config.known).stem, config.eps[0]
    base = {kind: found.of("none", name, level, kind).mean() for kind in KINDS}
    verdict = "Yes" if weaker == total else "Mostly" if weaker > total / 2 else "No"
    return (f"**(a) Is the multimodal attack the strongest?** {verdict}: in {weaker} of {total} "
            "cells it leaves no more right answers than the image attack and the text attack each "
            f"leave alone. On the base model, {name}, {level}/255: image {base['image']:.1%}, text "
            f"{base['text']:.1%}, joint {base['joint']:.1%}.")


def hardened(found: Table, config: Config) -> str:
    """(b)"""
    name, level = Path(config.known).stem, config.eps[0]
    said = []
    for kind in ("image", "text", "joint"):
        gain = difference(found.of("mmcoa", name, level, kind), found.of("none", name, level, kind))
        said.append(f"{kind} attack {gain}")
    gains = [found.of("mmcoa", name, level, kind).mean(0)
             - found.of("none", name, level, kind).mean(0) for kind in ("image", "text")]
    sure = [spread(g)[0] > 0 for g in gains]
    verdict = "Yes" if all(sure) else "Only the image tower, for certain" if sure[0] else \
        "Only the text tower, for certain" if sure[1] else "Not measurably"
    return (f"**(b) Does MMCoA harden both encoders?** {verdict}. Accuracy against the base model, "
            f"{name}, {level}/255: {'; '.join(said)}.")


def better(found: Table, config: Config) -> str:
    """(c)"""
    level, said, lows, highs = config.eps[0], [], [], []
    for name in found.sets:
        one, other = (found.of(m, name, level, "image") for m in ("mmcoa", "tecoa"))
        low, high = spread(one.mean(0) - other.mean(0))
        lows.append(low)
        highs.append(high)
        said.append(f"{name} {difference(one, other)}")
    verdict = "Yes" if min(lows) > 0 else "No, it is worse" if max(highs) < 0 else \
        "Not everywhere, or not measurably"
    return ("**(c) Does multimodal fine-tuning beat image-only fine-tuning under image attacks?** "
            f"{verdict}. `mmcoa` minus `tecoa`, image attack at {level}/255: {'; '.join(said)}.")


def plot(found: Table, config: Config, file: Path) -> None:
    """Accuracy against eps on the known set, one panel a kind of attack."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "reproduction"
    from matplotlib import pyplot

    name = Path(config.known).stem
    kinds = ("image", "joint")
    figure, axes = pyplot.subplots(1, len(kinds), figsize=(9, 3.6), sharey=True)
    marks = "osD^vP*X"
    for axis, kind in zip(axes, kinds, strict=True):
        for place, method in enumerate(found.methods):
            levels = config.levels(config.known)
            start = found.of(method, name, levels[0], "clean" if kind == "image" else "text").mean()
            heights = [start, *(found.of(method, name, v, kind).mean() for v in levels)]
            axis.plot([0, *levels], [100 * h for h in heights], marker=marks[place % len(marks)],
                      label=NAMES.get(method, method))
        axis.set_title(f"{kind} attack")
        axis.set_xlabel("ε, grey levels of 255")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy, %")
    axes[1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def write(cells: Sequence[Cell], config: Config, page: Path, command: str) -> None:
    """The page and its picture beside it."""
    found = Table(cells)
    picture = page.with_suffix(".svg")
    plot(found, config, picture)
    counts = {name: found.of("none", name, config.eps[0], "clean").shape[1] for name in found.sets}
    recipe = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                       for k, v in config.recipe.items())
    parts = [
        "# The paper's table, on a model of one's own",
        f"Made by `{command}` on {date.today().isoformat()} ({describe_device()}). Every row is "
        f"`{config.base}` fine-tuned on {Path(config.train).stem} with one recipe ({recipe}) and "
        "nothing but the method changed (`mmcoa+`: soft targets and the joint term). It asks the "
        "paper's questions (Zhou et al. 2024, arXiv 2404.19287) at a scale that fits its machine; "
        "its own numbers are for ViT-B/32 and are not comparable. " + " ".join(config.note.split()),
        f"Accuracy, 95 % interval. Images: {', '.join(f'{k} n = {v}' for k, v in counts.items())}, "
        f"drawn with seed 0. image: PGD-{config.attack_steps}; text: BERT-Attack on all class "
        f"captions, {config.words} word, away from their clean embedding; joint: both at once, as "
        "the paper combines them (`separate`). One seed: Wilson; several: mean over seeds, images "
        "resampled. The interval is of the images drawn, not of training; the seeds show that.",
        "## Answers", strongest(found, config), hardened(found, config), better(found, config),
    ]
    for name in found.sets:
        where = "trained on its distribution" if name == Path(config.known).stem else \
            "never trained on"
        for level in config.eps:
            parts += [f"## {name} ({where}), ε = {level}/255", table(found, name, level)]
    parts += ["## Accuracy against ε", f"![Accuracy of each row on {Path(config.known).stem} "
              f"against ε under the image and the joint attack]({picture.name})"]
    rows = [f"| {NAMES.get(m, f'`{m}`')} | {v}/255 | "
            + " | ".join(f"{found.of(m, Path(config.known).stem, v, k).mean():.1%}"
                         for k in KINDS) + " |"
            for m in found.methods for v in config.levels(config.known)]
    parts.append("\n".join(["| fine-tuned by | ε | clean | image | text | joint |",
                            "|---|---|---|---|---|---|", *rows]))
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
