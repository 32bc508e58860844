"""Files of weights as people have them: each becomes a folder with the features that it had."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers import CAPTIONS, TINY, grid_images, tiny_clip
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor

from explorer.actions.cli import main
from explorer.base.errors import InputError
from explorer.models.architecture import Asked
from explorer.models.convert import convert
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library

IMAGES = grid_images(3, 32)
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def folder_of(clip: Any, place: Path, config: dict[str, Any] = TINY) -> Path:
    place.mkdir(parents=True)
    save_file(clip.state_dict(), place / "open_clip_model.safetensors")
    (place / "open_clip_config.json").write_text(json.dumps({
        "model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD,
                                                "resize_mode": "squash"}}))
    return place


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tiny_clip(0), tmp_path_factory.mktemp("base") / "base")


def made(file: Path, out: Path, **asked: Any) -> tuple[DualEncoder, str]:
    """The converted model, opened again, and what was said."""
    said = " ".join(convert(file, out, Asked(**asked), Library()))
    return Library().load(str(out), "cpu"), said


def same(model: DualEncoder, image: Any, text: Any, intake: tuple[list[float], list[float]],
         ) -> None:
    """The image features are those of the one CLIP, the text features those of the other."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in intake)
    with torch.no_grad():
        a = image.eval().encode_image((IMAGES - mean) / std, normalize=True)
        b = text.eval().encode_text(SimpleTokenizer(context_length=16)(list(CAPTIONS)),
                                    normalize=True)
        torch.testing.assert_close(model.encode_image(IMAGES), a, atol=2e-5, rtol=0)
    torch.testing.assert_close(model.encode_text(CAPTIONS), b, atol=2e-5, rtol=0)


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


State = dict[str, Tensor]
WRAPPED: dict[str, Callable[[State], Any]] = {
    "plain": lambda s: s,
    "module": lambda s: {"state_dict": prefixed(s, "module."), "epoch": 3},
    "compiled and distributed": lambda s: {"model": prefixed(s, "_orig_mod.module.")},
    "lightning": lambda s: {"state_dict": prefixed(s, "model."), "optimizer_states": [{}]},
    "compiled tower": lambda s: {
        k.replace("visual.", "visual._orig_mod.") if k.startswith("visual.") else k: v
        for k, v in s.items()},
    "open_clip": lambda s: {
        "name": "run", "epoch": 1, "state_dict": s, "scaler": {"scale": 1.0},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}},
    "args": lambda s: {"args": argparse.Namespace(lr=1e-5, out=Path("x")), "model": s,
                       "best": np.float64(0.5), "acc": np.float32(1)},
    "averaged": lambda s: {"model": {k: torch.zeros_like(v) for k, v in s.items()},
                           "model_ema": {"module." + k: v for k, v in s.items()}},
    "averaged model": lambda s: {**prefixed(s, "module."), "n_averaged": torch.tensor(4)},
    "teacher": lambda s: {**prefixed(s, "model."),
                          **{f"model_orig.{k}": torch.zeros_like(v) for k, v in s.items()}},
    "normalisation inside": lambda s: {**prefixed(s, "model."), "normalize.mean": torch.ones(3),
                                       "normalize.std": torch.ones(3)},
    "openai": lambda s: {**s, "input_resolution": torch.tensor(32), "context_length": 16,
                         "vocab_size": torch.tensor(49408)},
    "scale of one number": lambda s: {**s, "logit_scale": s["logit_scale"].reshape(1)},
    "text under text": lambda s: {k if k.startswith(("visual.", "logit")) else f"text.{k}": v
                                  for k, v in s.items()},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_whole_models_however_wrapped(how: str, base: Path, tmp_path: Path) -> None:
    trained = tiny_clip(5)
    torch.save(WRAPPED[how](trained.state_dict()), tmp_path / "epoch_3.pt")
    (tmp_path / "arch.json").write_text(json.dumps(TINY))
    model, said = made(tmp_path / "epoch_3.pt", tmp_path / "out", base=str(base))
    same(model, trained, trained, (MEAN, STD))
    assert model.frame.mode == "squash" and "From the base" not in said
    assert said.startswith("Taken: both towers of ") and "One forward pass" in said
    if how == "plain":
        other, _ = made(tmp_path / "epoch_3.pt", tmp_path / "b", arch=str(tmp_path / "arch.json"))
        assert other.fingerprint == model.fingerprint


TOWERS: dict[str, Callable[[State], Any]] = {
    "FARE": lambda v: v,
    "TeCoA": lambda v: {"epoch": 9, "state_dict": {"pad_up": torch.zeros(1, 3, 2, 32)},
                        "vision_encoder_state_dict": v, "best_acc1": 61.2,
                        "optimizer": {"state": {}, "param_groups": []}},
    "MMCoA": lambda v: {"model": prefixed(v, "visual."), "epoch": 1},
    "Sim-CLIP": lambda v: prefixed(v, "module.model."),
    "encoder": lambda v: {"state_dict": prefixed(v, "image_encoder.")},
}


@pytest.mark.parametrize("how", TOWERS)
def test_an_image_tower_alone_takes_its_text_tower_from_a_base(how: str, base: Path,
                                                               tmp_path: Path) -> None:
    trained = tiny_clip(6)
    file = tmp_path / "fare.pt"
    torch.save(TOWERS[how](trained.visual.state_dict()), file)
    with pytest.raises(InputError, match="holds an image tower alone: say with --base"):
        list(convert(file, tmp_path / "out", Asked(), Library()))
    model, said = made(file, tmp_path / "out", base=str(base), kind="robust")
    same(model, trained, tiny_clip(0), (MEAN, STD))
    assert "Taken: the image tower of" in said and "From the base: " in said
    assert model.card.kind == "robust"
    if how == "TeCoA":
        assert "pad_up" in said and "optimizer" in said


def test_a_text_tower_alone_and_both_towers_apart(base: Path, tmp_path: Path) -> None:
    trained, other = tiny_clip(6), tiny_clip(7)
    text = {k: v for k, v in trained.state_dict().items()
            if not k.startswith(("visual.", "logit"))}
    torch.save(text, tmp_path / "leaf.pt")
    model, said = made(tmp_path / "leaf.pt", tmp_path / "out", base=str(base))
    same(model, tiny_clip(0), trained, (MEAN, STD))
    assert "Taken: the text tower" in said
    torch.save({"state_dict": {**prefixed(other.visual.state_dict(), "image_encoder."),
                               **prefixed(text, "text_encoder.")}}, tmp_path / "two.pt")
    model, said = made(tmp_path / "two.pt", tmp_path / "two", base=str(base))
    same(model, other, trained, (MEAN, STD))
    assert "the image tower of state_dict.image_encoder" in said


def test_transformers_folders_files_and_towers(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 49408, "max_position_embeddings": 16,
                     "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=24)
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(tmp_path / "leaf")
    (tmp_path / "leaf" / "preprocessor_config.json").write_text(json.dumps(
        {"size": {"shortest_edge": 32}, "resample": 2, "image_mean": MEAN, "image_std": STD}))
    theirs = Library().load(str(tmp_path / "leaf"), "cpu")
    assert theirs.card.source.startswith("transformers:")
    assert theirs.frame.interpolation == "bilinear"
    model, said = made(tmp_path / "leaf", tmp_path / "out")
    assert "config.json beside it" in said and model.frame == theirs.frame
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(IMAGES), theirs.encode_image(IMAGES),
                                   atol=2e-5, rtol=0)
    torch.testing.assert_close(model.encode_text(CAPTIONS), theirs.encode_text(CAPTIONS),
                               atol=2e-5, rtol=0)
    again, _ = made(tmp_path / "leaf" / "model.safetensors", tmp_path / "again")
    assert again.fingerprint == model.fingerprint
    state = load_file(tmp_path / "leaf" / "model.safetensors")
    vision = {k: v * 1.1 if k == "visual_projection.weight" else v for k, v in state.items()
              if k.startswith("vis")}
    (tmp_path / "tower").mkdir()
    save_file(vision, tmp_path / "tower" / "model.safetensors")
    tower, _ = made(tmp_path / "tower" / "model.safetensors", tmp_path / "third",
                    base=str(tmp_path / "leaf"))
    with torch.no_grad():
        torch.testing.assert_close(tower.encode_image(IMAGES), theirs.encode_image(IMAGES),
                                   atol=2e-5, rtol=0)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/tmp/explorer-was-run").touch, ())


def refuse(file: Path, out: Path, say: str, **asked: Any) -> None:
    with pytest.raises(InputError, match=say) as error:
        list(convert(file, out, Asked(**asked), Library()))
    assert "\n" not in str(error.value) and not out.exists()
    assert not [p for p in out.parent.iterdir() if p.name.startswith(".convert")]


def test_no_code_is_run(base: Path, tmp_path: Path) -> None:
    torch.save({"model": tiny_clip().state_dict(), "hook": Evil()}, tmp_path / "evil.pt")
    refuse(tmp_path / "evil.pt", tmp_path / "out", "holds an object|cannot open", base=str(base))
    torch.save(tiny_clip(), tmp_path / "object.pt")
    refuse(tmp_path / "object.pt", tmp_path / "out", "class open_clip.model.CLIP", base=str(base))
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "jit.pt")
    refuse(tmp_path / "jit.pt", tmp_path / "out", "TorchScript archive", base=str(base))


def test_what_does_not_fit_is_said(base: Path, tmp_path: Path) -> None:
    file, out, state = tmp_path / "a.pt", tmp_path / "out", tiny_clip(3).state_dict()

    def wrong(held: Any, say: str, **asked: Any) -> None:
        torch.save(held, file)
        refuse(file, out, say, **{"base": str(base), **asked})

    wrong([1, 2], "no table of weights")
    wrong({"model": {"fc.weight": torch.ones(3, 3), "fc.bias": torch.ones(3)}, "epoch": 2},
          "holds no weights of a CLIP.*fc.weight")
    wrong({k: v for k, v in state.items() if k != "visual.proj"}, "lacks 1 tensors of its own")
    wrong({k: v for k, v in state.items() if k != "visual.proj"}, "1 tensors missing",
          base=None, arch=str(base / "open_clip_config.json"))
    wrong({**state, "visual.proj": torch.ones(3, 3)}, "another shape .*visual.proj")
    wrong({f"visual.trunk.{k}": v for k, v in state.items()}, "has the name of one of the model's")
    wrong({"a": state, "b": state}, "several models: choose one with --take, of 'a', 'b'")
    wrong({"a": state}, "has no part 'c'; it has 'a'", take="c")
    wrong(state, "not clear from its weights", base=None)
    wrong(state, "no architecture 'ViT-B-23'; did you mean 'ViT-B-32'", base=None, arch="ViT-B-23")
    wrong(state, "not both", arch="ViT-B-32")
    wrong({k: torch.full_like(v, float("nan")) for k, v in state.items()}, "not finite")
    wrong({k: torch.zeros_like(v) for k, v in state.items()}, "get the same features")
    wrong(state, "there is no model 'pokcet'; did you mean 'pocket'", base="pokcet")
    file.write_bytes(b"not a checkpoint at all")
    refuse(file, out, "no file of weights that PyTorch can read", base=str(base))
    refuse(tmp_path / "absent.pt", out, "there is no file", base=str(base))
    out.mkdir()
    (out / "mine").touch()
    torch.save(state, file)
    with pytest.raises(InputError, match="exists already"):
        list(convert(file, out, Asked(base=str(base)), Library()))


def test_take_names_a_part(base: Path, tmp_path: Path) -> None:
    a, b = tiny_clip(1), tiny_clip(2)
    torch.save({"a": a.state_dict(), "b": b.state_dict()}, tmp_path / "two.pt")
    model, said = made(tmp_path / "two.pt", tmp_path / "out", base=str(base), take="b")
    same(model, b, b, (MEAN, STD))
    assert "Left: a." in said


def test_the_architecture_is_taken_from_the_shapes_where_one_fits(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = {"Tiny": TINY, "Other": {**TINY, "embed_dim": 24}}
    monkeypatch.setattr(open_clip, "list_models", lambda: list(configs))
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: json.loads(
        json.dumps(configs[name])))
    torch.save(tiny_clip(4).state_dict(), tmp_path / "a.pt")
    _, said = made(tmp_path / "a.pt", tmp_path / "out")
    assert "The architecture is Tiny, by the shapes" in said and "as by OpenAI's CLIP" in said
    configs["Tiny-quickgelu"] = {**TINY, "quick_gelu": True}
    refuse(tmp_path / "a.pt", tmp_path / "more", "fit Tiny, Tiny-quickgelu: say which with --arch")
    torch.save({**tiny_clip(4).state_dict(), "input_resolution": 32}, tmp_path / "a.pt")
    _, said = made(tmp_path / "a.pt", tmp_path / "openai")
    assert "The architecture is Tiny-quickgelu" in said


def test_a_weight_file_beside_its_config(base: Path, tmp_path: Path) -> None:
    place = tmp_path / "hub"
    place.mkdir()
    (place / "open_clip_config.json").write_bytes((base / "open_clip_config.json").read_bytes())
    torch.save(tiny_clip(8).state_dict(), place / "open_clip_pytorch_model.bin")
    model, said = made(place, tmp_path / "out")
    same(model, tiny_clip(8), tiny_clip(8), (MEAN, STD))
    assert "open_clip_config.json beside it" in said


def test_half_precision_stays(base: Path, tmp_path: Path) -> None:
    torch.save({k: v.half() for k, v in tiny_clip(8).state_dict().items()}, tmp_path / "a.pt")
    made(tmp_path / "a.pt", tmp_path / "out", base=str(base))
    kept = load_file(tmp_path / "out" / "open_clip_model.safetensors")
    assert {v.dtype for v in kept.values()} == {torch.float16}


def test_the_command(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": tiny_clip(8).state_dict()}, tmp_path / "a.pt")
    assert main(["convert", str(tmp_path / "a.pt"), "--base", str(base), "--out",
                 str(tmp_path / "mine")]) == 0
    assert "Taken: both towers of model" in capsys.readouterr().out
    assert main(["models", "--models-dir", str(tmp_path)]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "a.pt"), "--out", str(tmp_path / "mine")]) == 2
    assert "exists already" in capsys.readouterr().err
