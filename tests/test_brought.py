"""Models that visitors bring: what is taken, and every way to be refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_helpers import write_tiny

from explorer.base.errors import InputError
from explorer.base.paths import ASSETS
from explorer.models import uploads as brought
from explorer.models.library import Library
from explorer.models.loaders import CONFIG, SAFE, sha256_of
from explorer.models.uploads import bring


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "sent" / "tiny")


@pytest.fixture
def here(tmp_path: Path) -> Library:
    """A library without models but the visitors'."""
    (tmp_path / "models").mkdir()
    return Library([tmp_path / "models"], assets=tmp_path)


def sent(library: Library, folder: Path, name: str = "mine", **more: str) -> Any:
    return bring(library, library.folders[0], folder / SAFE[0], folder / CONFIG, name, **more)


def test_a_model_of_open_clips_own_kind_is_taken(here: Library, tiny_folder: Path) -> None:
    card = sent(here, tiny_folder, kind="robust")
    assert (card.id, card.kind) == ("mine", "robust") and here.card("mine") == card
    assert card.sha256 == sha256_of(here.folders[0] / "mine" / SAFE[0])
    assert here.load("mine").encode_image(torch.zeros(1, 3, 32, 32)).shape == (1, 16)
    assert [p.name for p in here.folders[0].iterdir()] == ["mine"]
    assert not list(here.folders[0].parent.glob(".brought-*")), "nothing is left aside"


def test_the_config_of_a_model_that_is_here_brings_its_tokenizer(tmp_path: Path) -> None:
    """A model as this app trains them: its text tower is none of open_clip's own."""
    (tmp_path / "models").mkdir()
    library = Library([tmp_path / "models"])
    pocket = ASSETS / "models" / "pocket"
    weights = load_file(pocket / SAFE[0])
    key = next(k for k, v in weights.items() if v.is_floating_point() and v.dim() == 2)
    weights[key] = weights[key] * 1.01
    folder = tmp_path / "sent"
    folder.mkdir()
    save_file(weights, folder / SAFE[0])
    (folder / CONFIG).write_text((pocket / CONFIG).read_text())
    sent(library, folder)
    assert (tmp_path / "models" / "mine" / "tokenizer.json").is_file()
    ours, theirs = (library.load(name).encode_text(["a cat"]) for name in ("mine", "pocket"))
    assert ours.shape == theirs.shape


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        raw = json.loads((folder / CONFIG).read_text())
        change(raw)
        (folder / CONFIG).write_text(json.dumps(raw))

    return apply


def vision(**more: Any) -> Callable[[Path], None]:
    return edited(lambda raw: raw["model_cfg"]["vision_cfg"].update(more))


def text(**more: Any) -> Callable[[Path], None]:
    return edited(lambda raw: raw["model_cfg"]["text_cfg"].update(more))


def pickled(folder: Path) -> None:
    (folder / SAFE[0]).write_bytes(pickle.dumps({"weights": [1, 2]}))


def not_finite(folder: Path) -> None:
    weights = load_file(folder / SAFE[0])
    weights["logit_scale"] = torch.tensor(float("nan"))
    save_file(weights, folder / SAFE[0])


def cut(folder: Path) -> None:
    raw = (folder / SAFE[0]).read_bytes()
    (folder / SAFE[0]).write_bytes(raw[: len(raw) // 2])


@pytest.mark.parametrize(("change", "words"), [
    (pickled, "no safetensors file"), (cut, "no safetensors file"), (not_finite, "not finite"),
    (text(hf_model_name="somebody/model"), "may not say hf_model_name"),
    (text(hf_tokenizer_name="/etc"), "may not say hf_tokenizer_name"),
    (text(tokenizer_kwargs={"clean": "x"}), "may not say tokenizer_kwargs"),
    (vision(timm_model_name="resnet50"), "may not say timm_model_name"),
    (vision(width=10**9), "may not say width"), (vision(layers=[1] * 99), "may not say layers"),
    (vision(width=True), "may not say width"), (vision(pool_type=["tok"]), "may not say pool_type"),
    (vision(width=4096, layers=64), "are not those of the config"),  # never asks for the memory
    (vision(patch_size=5), "are not those of the config"),
    (vision(head_width=256), "cannot build|are not those"),
    (edited(lambda raw: raw.pop("model_cfg")), "has no model_cfg"),
    (edited(lambda raw: raw.update(preprocess_cfg={"mean": "x", "std": [1, 1, 1]})),
     "needs a mean and a std"),
    (edited(lambda raw: raw.update(more="x" * 70_000)), "more than 64 kB"),
    (lambda folder: (folder / CONFIG).write_text("["), "cannot read .*config"),
])
def test_what_is_refused(here: Library, tiny_folder: Path, change: Callable[[Path], None],
                         words: str) -> None:
    change(tiny_folder)
    with pytest.raises(InputError, match=words) as caught:
        sent(here, tiny_folder)
    assert "\n" not in str(caught.value)
    assert not list(here.folders[0].iterdir()) and not list(
        here.folders[0].parent.glob(".brought-*"))


@pytest.mark.parametrize("name", ["", "x", "../up", "a/b", ".hidden", "UPPER", "a" * 50, "a b"])
def test_names_that_are_refused(here: Library, tiny_folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="the name must have"):
        sent(here, tiny_folder, name)


def test_names_are_taken_once_and_there_is_an_end(here: Library, tiny_folder: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brought, "MOST", 2)
    with pytest.raises(InputError, match="either standard or robust"):
        sent(here, tiny_folder, kind="strong")
    sent(here, tiny_folder)
    with pytest.raises(InputError, match="a model mine already"):
        sent(here, tiny_folder)
    sent(here, tiny_folder, "more")
    with pytest.raises(InputError, match="keeps 2 models"):
        sent(here, tiny_folder, "most")


def test_only_listed_models_can_be_named_by_visitors(tmp_path: Path, tiny_folder: Path) -> None:
    """A saved case names its models: on a server it must not open other folders."""
    name = f"local-dir:{tiny_folder}"
    assert Library().card(name).id == name
    with pytest.raises(InputError, match="there is no model"):
        Library(listed_only=True).card(name)
    listed = Library([tiny_folder.parent], listed_only=True)
    assert listed.card(name).id == name, "a folder that the keeper has listed"


def test_how_it_takes_pictures_is_kept_or_refused(here: Library, tiny_folder: Path) -> None:
    edited(lambda c: c.update(preprocess_cfg={"resize_mode": "squash", "mean": 0.5,
                                              "interpolation": "bilinear"}))(tiny_folder)
    sent(here, tiny_folder)
    frame = here.load("mine", "cpu").frame
    assert (frame.mode, frame.interpolation) == ("squash", "bilinear")
    edited(lambda c: c.update(preprocess_cfg={"resize_mode": "crop"}))(tiny_folder)
    with pytest.raises(InputError, match="resize_mode = crop: only shortest"):
        sent(here, tiny_folder, "other")


def test_a_transformers_clip_is_taken(here: Library, tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
             "num_attention_heads": 2}
    theirs = CLIPModel(CLIPConfig(
        text_config={**small, "vocab_size": 49408, "max_position_embeddings": 16},
        vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=16))
    theirs.save_pretrained(tmp_path / "leaf")
    card = bring(here, here.folders[0], tmp_path / "leaf" / "model.safetensors",
                 tmp_path / "leaf" / "config.json", "leaf", "robust")
    whole = Library().load(str(tmp_path / "leaf"), "cpu")
    torch.testing.assert_close(here.load(card.id, "cpu").encode_text(["a cat"]),
                               whole.encode_text(["a cat"]), atol=1e-5, rtol=0)
