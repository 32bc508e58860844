"""QuickGELU or GELU: the shapes of weights do not tell, so the names of architecture and tag do."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import open_clip
import pytest
import torch
from helpers import CAPTIONS, TINY, grid_images, tiny_clip
from open_clip import pretrained
from open_clip.factory import _MODEL_CONFIG_PATHS, _MODEL_CONFIGS
from open_clip.transformer import QuickGELU

from explorer.actions.cli import main
from explorer.base.errors import InputError
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.models.loaders import open_model

QUICK = {"Net": False, "Net-quickgelu": True, "Words": True}
"""Architectures with and without; Words is like open_clip's roberta-ViT-B-32, which has it without
saying so in its name, and whose tag does not mention it."""
TAGS = {("Net", "openai"): True, ("Net", "laion"): False, ("Net-quickgelu", "openai"): True,
        ("Net-quickgelu", "laion"): False, ("Words", "laion"): False}


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny architectures among open_clip's own, with tags whose weights are in a file."""
    model_cfg = dict(TINY)
    place = tmp_path / "configs"
    place.mkdir()
    for name, quick in QUICK.items():
        (place / f"{name}.json").write_text(json.dumps(
            {**model_cfg, **({"quick_gelu": True} if quick else {})}))
    torch.save(tiny_clip(3).state_dict(), tmp_path / "weights.pt")
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*_MODEL_CONFIG_PATHS, place])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(_MODEL_CONFIGS))
    open_clip.factory._rescan_model_configs()
    for (name, tag), quick in TAGS.items():
        told = {"file": str(tmp_path / "weights.pt"), "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5), **({"quick_gelu": True} if quick else {})}
        monkeypatch.setitem(pretrained._PRETRAINED, name,
                            {**pretrained._PRETRAINED.get(name, {}), tag: told})


def opened(name: str) -> DualEncoder:
    return open_model(Card("x", "x", "standard", name, "", ""), "cpu")


def theirs(name: str, tag: str, **more: bool) -> open_clip.CLIP:
    """What open_clip makes of it, which may warn of a mismatch, and uses the architecture's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = open_clip.create_model(name, pretrained=tag, **more)
    assert isinstance(made, open_clip.CLIP)
    return made.eval()


def quick(clip: torch.nn.Module) -> bool:
    return any(isinstance(m, QuickGELU) for m in clip.modules())


def alike(model: DualEncoder, clip: open_clip.CLIP) -> bool:
    pixels = grid_images(2, 32)
    tokens = open_clip.tokenize(list(CAPTIONS), context_length=16)
    with torch.no_grad():
        image = clip.encode_image((pixels - 0.5) / 0.5, normalize=True)
        text = clip.encode_text(tokens, normalize=True)
    return (torch.allclose(model.encode_image(pixels), image, atol=1e-5)
            and torch.allclose(model.encode_text(CAPTIONS), text, atol=1e-5))


def test_weights_run_with_the_activation_that_they_were_trained_with() -> None:
    """open_clip only warns where ViT-B-32 is asked for OpenAI's weights, and runs GELU."""
    for name in ("Net", "Net-quickgelu"):
        model = opened(f"open_clip:{name}:openai")
        assert quick(model.clip) and alike(model, theirs("Net-quickgelu", "openai"))
        assert alike(model, theirs("Net", "openai", force_quick_gelu=True))
    with pytest.warns(UserWarning, match="QuickGELU mismatch"):
        plain = open_clip.create_model("Net", pretrained="openai")
    assert not quick(plain) and not alike(opened("open_clip:Net:openai"), plain.eval())
    model = opened("open_clip:Net:laion")
    assert not quick(model.clip) and alike(model, theirs("Net", "laion"))


def test_weights_without_it_are_not_run_with_it() -> None:
    with pytest.raises(InputError, match="laion were not trained with QuickGELU: name them "
                       "open_clip:Net:laion"):
        opened("open_clip:Net-quickgelu:laion")


def test_an_architecture_that_has_it_by_itself_keeps_it() -> None:
    model = opened("open_clip:Words:laion")
    assert quick(model.clip) and alike(model, theirs("Words", "laion"))


def test_every_published_name_opens_with_one_activation() -> None:
    """Of all that open_clip lists, only names that say quickgelu for other weights are refused."""
    for arch, tag in open_clip.list_pretrained():
        said = pretrained.get_pretrained_cfg(arch, tag)
        if arch.endswith("-quickgelu") and arch not in QUICK:
            assert said.get("quick_gelu"), (arch, tag)


def test_folders_follow_their_config(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for name, wanted in (("a", True), ("b", False)):
        folder = tmp_path / name
        folder.mkdir()
        cfg = {**TINY, "quick_gelu": wanted}
        (folder / "open_clip_config.json").write_text(json.dumps(
            {"model_cfg": cfg, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}))
        save_file({k: v.contiguous() for k, v in tiny_clip(3).state_dict().items()},
                  folder / "open_clip_model.safetensors")
        model = opened(f"local-dir:{folder}")
        assert quick(model.clip) is wanted
        assert alike(model, theirs("Net-quickgelu" if wanted else "Net",
                                   "openai" if wanted else "laion"))


def test_convert_knows_openais_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its numbers beside the weights, also where --arch names the architecture without."""
    own = {**tiny_clip(3).state_dict(), "input_resolution": 32, "context_length": 16,
           "vocab_size": 49408}
    torch.save(own, tmp_path / "vit.pt")
    assert main(["convert", str(tmp_path / "vit.pt"), "--arch", "Net", "--out",
                 str(tmp_path / "made")]) == 0
    assert "The file is OpenAI's own, which was trained with QuickGELU" in capsys.readouterr().out
    assert quick(opened(f"local-dir:{tmp_path / 'made'}").clip)
    torch.save(tiny_clip(3).state_dict(), tmp_path / "other.pt")
    assert main(["convert", str(tmp_path / "other.pt"), "--arch", "Net", "--out",
                 str(tmp_path / "plain")]) == 0
    assert "QuickGELU" not in capsys.readouterr().out
    assert not quick(opened(f"local-dir:{tmp_path / 'plain'}").clip)
