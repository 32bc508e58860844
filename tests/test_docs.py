"""The guides on adding to the library are true: their examples are entered as they say, and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training_helpers import write_parquet, write_tiny

from explorer.base.paths import ASSETS, ROOT

DOCS = ROOT / "docs"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The library's code, to be changed, with its assets and a tiny model."""
    shutil.copytree(ROOT / "explorer", tmp_path / "explorer",
                    ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "assets").symlink_to(ASSETS)
    write_tiny(tmp_path / "models" / "tiny")
    return tmp_path


def example(guide: str) -> str:
    """The guide's only block of Python."""
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / guide).read_text("utf-8"), re.DOTALL)
    return str(block)


def enter(guide: str, registry: Path) -> None:
    """Makes the guide's entry, `    NAME = {..., KEY: VALUE}`, in a registry's file."""
    name, entry = re.findall(r"^    (\w+) = \{\.\.\., (.*)\}$", (DOCS / guide).read_text("utf-8"),
                             re.MULTILINE)[0]
    text = registry.read_text("utf-8")
    changed = re.sub(rf"^({name}\b[^\n]*= \{{)", rf"\1{entry}, ", text, flags=re.MULTILINE)
    assert changed != text
    registry.write_text(changed, "utf-8")


def explorer(folder: Path, *flags: str) -> str:
    """Runs the command line of the copy."""
    done = subprocess.run([sys.executable, "-m", "explorer", *flags], cwd=folder, text=True,
                          capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_an_attack_runs(copy: Path) -> None:
    guide, module = "adding_an_attack.md", copy / "explorer/attacks/image/classic.py"
    text = module.read_text("utf-8")
    at = re.search(r"^IMAGE_ATTACKS", text, re.MULTILINE)
    assert at is not None
    module.write_text(f"{text[: at.start()]}{example(guide)}\n\n{text[at.start() :]}", "utf-8")
    enter(guide, module)
    explorer(copy, "attack", f"--image={ASSETS / 'examples' / 'cat.jpg'}", "--caption=a cat",
             "--caption=a dog", "--attack=shrinking", "--steps=3", "--eps=4/255", "--out=out",
             "--models=tiny", "--models-dir=models", "--device=cpu", "--label=0")
    (run,) = json.loads((copy / "out" / "result.json").read_text("utf-8"))["runs"]
    assert run["attack"]["name"] == "shrinking" and 1 <= run["linf_255"] <= 4


def test_the_example_of_a_method_trains(copy: Path) -> None:
    guide, methods = "adding_a_method.md", copy / "explorer/training/methods"
    (methods / "tecoa_held.py").write_text(example(guide), "utf-8")
    enter(guide, methods / "__init__.py")
    text = (methods / "__init__.py").read_text("utf-8")
    base = "from explorer.training.methods.base import Method\n"
    (methods / "__init__.py").write_text(text.replace(
        base, f"{base}from explorer.training.methods.tecoa_held import TeCoAHeld\n"), "utf-8")
    write_parquet(copy / "set.parquet", 24)
    said = explorer(copy, "train", "--method=tecoa-held", "--data=set.parquet", "--out=run",
                    "--base=tiny", "--models-dir=models", "--steps=2", "--batch=8",
                    "--probe-images=4", "--device=cpu")
    assert "held" in said and (copy / "run" / "model" / "card.json").is_file()
    assert "TeCoA held to the frozen model" in (copy / "run/model/card.json").read_text("utf-8")
