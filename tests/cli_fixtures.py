"""What the tests of the command line share: two random models as folders, and commands run with
changed flags. Registered as a plugin by the test files that use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from explorer.actions import cli
from explorer.base.paths import ASSETS

CAT = str(ASSETS / "examples" / "cat.jpg")
WORDS = ["a cat", "a dog", "a red car"]
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "layers": 1, "width": 32, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two random models of one layer, "one" and "two", as folders that open_clip could have
    made."""
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = open_clip.CLIP(**CONFIG)
        (root / name).mkdir()
        save_file(model.state_dict(), root / name / "open_clip_model.safetensors")
        (root / name / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
        (root / name / "card.json").write_text(json.dumps({
            "id": name, "title": name, "kind": "standard", "licence": "none", "about": "Random."}))
    return root


@pytest.fixture
def attack(models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `attack` with changed flags (None leaves one out) -> status, result.json, words."""

    def run(**changes: Any) -> Any:
        flags = {"image": CAT, "caption": WORDS, "label": 0, "models": "one,two", "device": "cpu",
                 "models_dir": models_dir, "out": tmp_path / "out", **changes}
        status = cli.main(["attack", *spelled(flags)])
        path = tmp_path / "out" / "result.json"
        return status, json.loads(path.read_text("utf-8")) if path.is_file() else None, (
            capsys.readouterr())

    return run


@pytest.fixture
def evaluate(models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """The same for `evaluate`, on six pictures of three classes, one of them unreadable."""
    for i, name in enumerate(["cat", "dog", "red_car"] * 2):
        (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / name / f"{i}.png")
    (tmp_path / "set" / "cat" / "9.png").write_text("not a picture")

    def run(**changes: Any) -> Any:
        flags = {"data": tmp_path / "set", "models": "one,two", "device": "cpu", "steps": 2,
                 "models_dir": models_dir, "out": tmp_path / "out.json", **changes}
        status = cli.main(["evaluate", *spelled(flags)])
        path = tmp_path / "out.json"
        return status, json.loads(path.read_text("utf-8")) if path.is_file() else None, (
            capsys.readouterr())

    return run


def spelled(flags: Any) -> Any:
    """{"eps": 1, "caption": [a, b]} -> --eps=1 --caption=a --caption=b"""
    return [f"--{name.replace('_', '-')}={value}" for name, values in flags.items()
            if values is not None for value in (values if isinstance(values, list) else [values])]


def assert_refused(outcome: Any, word: Any, folder: Any) -> None:
    """Status 2, one line that names the trouble, no words before it, nothing written."""
    status, result, said = outcome
    assert status == 2
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
    assert word in said.err
    assert result is None
    assert [p for p in folder.iterdir() if p.name.startswith((".explorer-", "out"))] == []
