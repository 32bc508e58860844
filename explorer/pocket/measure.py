"""Measures the pair, writes the numbers into its cards and the report docs/pocket.md."""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from explorer.attacks.image import PGD, ImageAttack
from explorer.metrics import Row, evaluate, row
from explorer.models import DualEncoder, Library
from explorer.pairs import Pairs, to_pixels

SETS = ("tiny_imagenet_val", "imagenet_sample", "cifar10_test")
TEMPLATE = "a photo of a {}"
PGD10 = PGD(eps=1 / 255, step=1 / 255, steps=10)
ATTACKED = {"tiny_imagenet_val": 1000, "imagenet_sample": 500, "cifar10_test": 500}


def batches(file: Path, size: int, limit: int | None, seed: int = 0, batch: int = 50,
            ) -> Iterator[Pairs]:
    """A parquet of labelled images as zero-shot Pairs; `limit` draws a fixed sample."""
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    names = table["label"].to_pylist()
    labels = list(dict.fromkeys(sorted(names)))
    captions = tuple(TEMPLATE.format(n) for n in labels)
    rows = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    rows = sorted(rows[: limit or len(rows)])
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        cells = [table["image"][i].as_py() for i in part]
        raw = [c["bytes"] if isinstance(c, dict) else c for c in cells]
        pixels = [to_pixels(Image.open(io.BytesIO(r)).convert("RGB"), size) for r in raw]
        owners = torch.tensor([labels.index(names[i]) for i in part])
        yield Pairs(torch.stack(pixels), captions, owners)


def measure(model: DualEncoder, file: Path, attack: ImageAttack | None, limit: int | None) -> Row:
    import time

    began = time.perf_counter()
    parts = tqdm(list(batches(file, model.size, limit)), desc=f"{model.card.id} {file.stem}")
    hits = torch.cat([h for _, h in evaluate(model, attack, parts)])
    name = "pgd" if attack else "clean"
    return row(model.card.id, name, attack.eps if attack else 0, hits,
               time.perf_counter() - began)


def measure_all(data: Path, library: Library, names: tuple[str, ...]) -> dict[str, dict[str, Row]]:
    """{model: {"set/clean": Row, "set/pgd": Row}}."""
    found: dict[str, dict[str, Row]] = {}
    for name in names:
        model = library.load(name)
        found[name] = {}
        for part in SETS:
            file = data / f"{part}.parquet"
            found[name][f"{part}/clean"] = measure(model, file, None, None)
            found[name][f"{part}/pgd"] = measure(model, file, PGD10, ATTACKED[part])
    return found


def _cell(entry: Row) -> str:
    low, high = entry.ci95
    return f"{entry.accuracy * 100:.1f} % ({low * 100:.1f} to {high * 100:.1f}, n = {entry.n:,})"


def report(found: dict[str, dict[str, Row]]) -> str:
    """The table of docs/pocket.md in Markdown."""
    lines = ["| data set | model | clean | PGD-10 at 1/255 |", "|---|---|---|---|"]
    for part in SETS:
        for name, rows in found.items():
            cells = [_cell(rows[f"{part}/{kind}"]) for kind in ("clean", "pgd")]
            lines.append(f"| {part} | {name} | {cells[0]} | {cells[1]} |")
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    lines.append(f"\nZero-shot top-1 with \"{TEMPLATE}\", 95 % Wilson intervals, seed 0, "
                 f"float32 scores, {machine}, {date.today().isoformat()}.")
    return "\n".join(lines) + "\n"


def model_card(card: dict[str, Any], rows: dict[str, Row]) -> str:
    """README.md of a model folder."""
    lines = [f"- {part}, {kind}: {_cell(rows[f'{part}/{kind}'])}"
             for part in SETS for kind in ("clean", "pgd")]
    return f"""---
license: apache-2.0
library_name: open_clip
---
# {card["title"]}

{card["about"]} Input: {card["architecture"]}. Made by `python -m explorer.pocket build`, described
in docs/pocket.md of the CLIP robustness explorer; origin and licence of its parts in ../NOTICE.md.

Zero-shot top-1 with "{TEMPLATE}", 95 % intervals; pgd is PGD-10 at eps 1/255, step 1/255:

{chr(10).join(lines)}

It knows the things of ImageNet and the kinds that they belong to, by their English names, in
photographs. It is for teaching and research, not for decisions about anyone.

From inside this folder, plain open_clip opens it (call `eval()`, or its batch norm computes
something else):

    import open_clip
    model = open_clip.create_model_from_pretrained("local-dir:.", return_transform=False).eval()
    tokenizer = open_clip.get_tokenizer("local-dir:.")
"""


def write(found: dict[str, dict[str, Row]], models: Path, page: Path) -> None:
    """Puts the numbers into each card.json and between the markers of docs/pocket.md."""
    for name, rows in found.items():
        file = models / name / "card.json"
        card = json.loads(file.read_text(encoding="utf-8"))
        card["numbers"] = {key: {k: v for k, v in asdict(entry).items() if k != "model"}
                           for key, entry in rows.items()}
        file.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        (models / name / "README.md").write_text(model_card(card, rows), encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    start, end = "<!-- numbers -->\n", "<!-- end of numbers -->"
    head, rest = text.split(start)
    page.write_text(head + start + report(found) + end + rest.split(end)[1], encoding="utf-8")
