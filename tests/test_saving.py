"""Results as files: exact pictures, complete JSON, nothing half-written."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from explorer.attacks.result import Result, Seen
from explorer.base.errors import InputError
from explorer.results import saving


def made_up(n: int = 2, size: int = 5, target: bool = False) -> Result:
    """A result of random numbers: `saving` only copies them."""
    generator = torch.Generator().manual_seed(3)
    clean = torch.randint(0, 250, (n, 3, size, size), generator=generator).float() / 255
    adversarial = ((clean * 255).round() + 1) / 255
    features = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=1)
    text = torch.nn.functional.normalize(torch.randn(3, 4, generator=generator), dim=1)
    moved = torch.nn.functional.normalize(features + 0.3, dim=1)
    words = torch.nn.functional.normalize(text.expand(n, 3, 4) + 0.2, dim=2)
    captions = (("a b", "ü 狗", "c"), ("a", "ü 猫", "c"))[:n]
    return Result.measured(
        Seen(clean, features, (("a", "ü 狗", "c"),) * n, text),
        Seen(adversarial, moved, captions, words), 10.0,
        model="m", kind="joint", attack="separate",
        settings={"eps": 1 / 255, "norm": "linf", "steps": 4},
        goal="classification", seed=5, labels=torch.tensor([0, 1]),
        targets=torch.tensor([2, 2]) if target else None, success=torch.tensor([True, False]),
        raw_success=torch.tensor([True, True]), queries=5, seconds=0.123456)


def test_png_holds_every_grey_level_exactly() -> None:
    levels = torch.arange(256).repeat(3).view(3, 16, 16)
    read = np.array(Image.open(io.BytesIO(saving.png_bytes(levels.float() / 255))))
    assert read.dtype == np.uint8
    assert (read.transpose(2, 0, 1) == levels.numpy()).all()


def test_npy_is_float32_and_exact() -> None:
    delta = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    read = np.load(io.BytesIO(saving.npy_bytes(delta)), allow_pickle=False)
    assert read.dtype == np.float32
    assert (read == delta.numpy()).all()


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("target", [False, True])
def test_as_dict_survives_json_and_says_what_the_result_says(index: Any, target: Any) -> None:
    result = made_up(target=target)
    names = {"clean": "c.png", "adversarial": "a.png", "perturbation": "p.npy"}
    run = json.loads(saving.json_bytes(saving.as_dict(result, index, names)))
    assert run["kind"] == "joint"
    assert run["attack"] == {"name": "separate", "eps": 1 / 255, "norm": "linf", "steps": 4,
                             "goal": "classification", "target": "c" if target else None,
                             "seed": 5}
    for side, reading in (("clean", result.clean), ("adversarial", result.adversarial),
                          ("image_only", result.image_only), ("text_only", result.text_only)):
        assert run[side]["cosines"] == reading.cosines[index].tolist()
        assert sum(run[side]["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert run[side]["prediction"] == int(np.argmax(run[side]["cosines"]))
    assert run["clean"]["captions"] == ["a", "ü 狗", "c"]
    assert run["adversarial"]["captions"] == (["a b", "ü 狗", "c"], ["a", "ü 猫", "c"])[index]
    assert run["success"] is (index == 0)
    assert run["correct_before"] is (run["clean"]["prediction"] == index)
    assert run["image_cosine"] == pytest.approx(float(result.image_cosine[index]))
    assert (run["words_changed"], run["characters_changed"]) == (1, 2 - index)
    assert run["queries"] == 5 and run["seconds"] == 0.123
    label = int(result.labels[index])
    own = float(result.text_features[label] @ result.adversarial_text[index, label])
    assert run["text_cosine"] == pytest.approx(own, abs=1e-6)
    assert run["files"] == names


def test_picture_files_are_of_the_image_asked_for() -> None:
    result = made_up()
    names, files = saving.picture_files(result, "m", 1)
    pictures = [np.array(Image.open(io.BytesIO(files[names[key]]))).transpose(2, 0, 1)
                for key in ("clean", "adversarial")]
    assert (pictures[0] == (result.images[1] * 255).round().numpy()).all()
    assert (pictures[1].astype(int) - pictures[0] == 1).all()
    delta = np.load(io.BytesIO(files[names["perturbation"]]))
    assert delta.shape == (3, 5, 5)
    assert (delta == (result.adversarial_images[1] - result.images[1]).numpy()).all()


@pytest.mark.parametrize(("model", "stem"), [
    ("pocket", "pocket"), ("hf-hub:chs20/fare2-clip", "fare2-clip"), ("local-dir:/a/b c/", "b-c"),
    ("../..", "model"), ("local-dir:C:\\x\\y", "y"), ("x" * 300, "x" * 60), ("", "model"),
])
def test_a_file_name_is_safe_on_every_system(model: Any, stem: Any) -> None:
    assert saving.file_stem(model) == stem


def test_json_refuses_what_json_lacks() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        saving.json_bytes({"x": float("nan")})


def test_write_files_makes_the_folders_and_keeps_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    saving.write_files(folder, {"x": b"1"})
    (folder / "mine").write_bytes(b"kept")
    saving.write_files(folder, {"x": b"2", "y": b"3"})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        "x": b"2", "y": b"3", "mine": b"kept"}
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_failing_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        saving.write_files(tmp_path, {"x": b"1"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_way_is_said(tmp_path: Path, below: Any) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write to"):
        saving.check_writable(tmp_path / "file" / below)
    with pytest.raises(InputError, match="cannot write to"):
        saving.write_files(tmp_path / "file" / below, {"x": b"1"})
    assert (tmp_path / "file").read_bytes() == b""
