"""Two gloo processes on the CPU give the table that one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import grid_images
from sets import write_folder
from training_helpers import write_tiny

from explorer.actions import cli
from explorer.data.pairs import to_image

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1",
               "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
TWO = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
       "--num_machines", "1", "--mixed_precision", "no", "--main_process_port", "0",
       "--dynamo_backend", "no", "-m", "explorer"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, and nine pictures of three classes, one damaged, each with two captions."""
    root = tmp_path_factory.mktemp("two")
    write_tiny(root / "tiny")
    lines = ["image,caption,label"]
    names = ("cat", "dog", "red car")
    (root / "set").mkdir()
    for i, pixels in enumerate(grid_images(9, 32, seed=4)):
        to_image(pixels).save(root / "set" / f"{i}.png")
        lines += [f"{i}.png,{text} {i},{names[i % 3]}" for text in ("one", "a big")]
    write_folder(root / "set", {"4.png": b"damaged"})
    rows = [f"{i}.png,{names[i % 3]}" for i in range(9)]
    (root / "set" / "labels.csv").write_text("image,label\n" + "\n".join(rows) + "\n")
    (root / "set" / "pairs.csv").write_text("\n".join(
        [line.rsplit(",", 1)[0] for line in lines]) + "\n")
    return root


def flags_of(place: Path, out: str) -> list[str]:
    return ["evaluate", "--models", f"local-dir:{place / 'tiny'}", "--steps", "2", "--eps",
            "4/255,16/255", "--text-attack", "typo", "--batch", "2", "--device", "cpu", "--out",
            str(place / out)]


def table(path: Path) -> Any:
    found = json.loads(path.read_text("utf-8"))
    found.pop("title")
    for row in found["rows"]:
        row.pop("seconds")
    return found


@pytest.mark.parametrize(("name", "task", "attacks"), [
    ("labels.csv", "classification", "clean,image,text,joint"),
    pytest.param("pairs.csv", "retrieval", "clean,image,text", marks=pytest.mark.nightly),
])
def test_two_processes_give_the_same_table(place: Path, name: str, task: str, attacks: str,
                                           ) -> None:
    flags = ["--data", str(place / "set" / name), "--task", task, "--attacks", attacks]
    assert cli.main([*flags_of(place, "one.json"), *flags]) == 0
    done = subprocess.run([*TWO, *flags_of(place, "two.json"), *flags, "--keep",
                           str(place / f"keep-{task}")], cwd=ROOT, env=ENVIRONMENT,
                          capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = table(place / "one.json"), table(place / "two.json")
    assert one == two
    assert one["skipped"] == 1 and len(one["rows"]) == (6 if task == "classification" else 4)
    assert done.stdout.count("left out: 1 of 9 images") == 1  # one of them speaks
    kept = list((place / f"keep-{task}" / "cells").glob("*.json"))
    assert len(kept) == len(two["rows"])
    assert not list((place / f"keep-{task}").glob("parts-*"))
