"""Pictures are cut for each model as open_clip's own transform does it, to the pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers import TINY, tiny_clip
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from explorer.base.errors import InputError
from explorer.base.framing import Frame, read_intake, to_pixels
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library

SIDES = ((60, 40), (333, 222), (41, 500), (900, 97), (224, 224), (1, 300), (640, 427))
KEYS = ("mean", "std", "interpolation", "resize_mode", "fill_color")


def photo(width: int, height: int) -> Image.Image:
    """Noise with edges, of which every filter makes something else."""
    random = np.random.default_rng(width * 1000 + height)
    levels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    levels[: height // 3, width // 2 :] = (250, 10, 90)
    return Image.fromarray(levels)


def theirs(size: int | list[int], cfg: dict[str, Any], image: Image.Image) -> Tensor:
    """open_clip's pixels, back in [0, 1]."""
    whole = PreprocessCfg(size=size, **{k: v for k, v in cfg.items() if k in KEYS})
    out: Tensor = image_transform_v2(whole, is_train=False)(image)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (whole.mean, whole.std))
    return out * std + mean


def shipped() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every way in which a published model of open_clip takes pictures, by an example of it."""
    found: dict[str, tuple[str, tuple[Any, dict[str, Any]]]] = {}
    for arch, tag in open_clip.list_pretrained():
        cfg = {k: v for k, v in open_clip.get_pretrained_cfg(arch, tag).items() if k in KEYS}
        size = open_clip.get_model_config(arch)["vision_cfg"].get("image_size", 224)
        found.setdefault(f"{size} {sorted(cfg.items())}", (f"{arch}:{tag}", (size, cfg)))
    return dict(found.values())


SHIPPED = shipped()


@pytest.mark.parametrize("name", SHIPPED)
def test_pixels_are_those_of_open_clip_for_all_it_ships(name: str) -> None:
    size, cfg = SHIPPED[name]
    frame = read_intake(size, cfg, name).frame
    for sides in SIDES[:5] if size > 300 else SIDES:
        ours = to_pixels(photo(*sides), frame)
        assert torch.equal((ours * 255).round(), (theirs(size, cfg, photo(*sides)) * 255).round())


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [32, [20, 48], [48, 20]])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "random"])
def test_other_configs_too(mode: str, size: Any, interpolation: str) -> None:
    cfg = {"resize_mode": mode, "interpolation": interpolation, "fill_color": 200}
    frame = read_intake(size, cfg, "mine").frame
    for sides in SIDES:
        ours = to_pixels(photo(*sides), frame)
        if mode == "longest" and sides == (1, 300):
            continue  # open_clip's rounds the width to nothing, and fails
        assert ours.shape[1:] == theirs(size, cfg, photo(*sides)).shape[1:]
        assert torch.equal((ours * 255).round(), (theirs(size, cfg, photo(*sides)) * 255).round())


def test_a_very_long_picture_takes_little_memory_and_is_the_same_within_a_level() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20_000, 3), np.uint8))
    ours = to_pixels(image, 224)  # the whole of it would be 224 x 224,000 pixels
    assert float((ours - theirs(224, {}, image)).abs().max()) <= 1.01 / 255


CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {}, "siglip": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
    "mobileclip": {"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear"},
    "clipa": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
              "interpolation": "bilinear", "resize_mode": "squash"},
    "longest": {"resize_mode": "longest", "fill_color": 128},
}


@pytest.mark.parametrize("side", [32, [24, 40]])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_sees_a_wide_photo_as_open_clip_does(name: str, side: Any, tmp_path: Path,
                                                      ) -> None:
    config: dict[str, Any] = json.loads(json.dumps(TINY))
    config["vision_cfg"]["image_size"] = side
    save_file((tiny_clip() if side == 32 else open_clip.CLIP(**config)).state_dict(),
              tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(
        {"model_cfg": config, "preprocess_cfg": CONFIGS[name]}))
    model = Library().load(str(tmp_path), "cpu")
    clip, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    image = photo(300, 110)
    with torch.no_grad():
        want = clip.eval().encode_image(transform(image)[None], normalize=True)
        got = model.encode_image(to_pixels(image, model.frame)[None])
    torch.testing.assert_close(got, want, atol=2e-5, rtol=0)


def test_what_cannot_be_done_is_refused() -> None:
    for cfg, say in (({"resize_mode": "crop"}, "resize_mode = crop: only shortest, longest"),
                     ({"interpolation": "lanczos"}, "interpolation = lanczos: only bicubic"),
                     ({"mode": "L"}, "mode = L: only RGB"),
                     ({"fill_color": 300}, "fill_color = 300"),
                     ({"fill_color": "red"}, "fill_color = red"),
                     ({"mean": [0.5, 0.5]}, "needs a mean and a std"),
                     ({"std": 0}, "std above 0"), ([1], "no JSON object")):
        with pytest.raises(InputError, match=say):
            read_intake(32, cfg, "mine")
    for size in (0, -3, [1, 2, 3], "224", None, 2.5):
        with pytest.raises(InputError, match="the image size of mine"):
            read_intake(size, {}, "mine")
    assert read_intake(32, {"mean": 0.5, "std": None}, "mine").mean == (0.5, 0.5, 0.5)
    assert read_intake([24, 40], {"fill_color": [1, 2, 3]}, "mine").frame == Frame(
        24, 40, fill=(1, 2, 3))


def test_non_square_input_is_attacked_in_every_way(tmp_path: Path) -> None:
    from explorer.analysis.embedding.saliency import METHODS, saliency
    from explorer.attacks.image.classic import IMAGE_ATTACKS
    from explorer.attacks.run import run
    from explorer.data.pairs import one_pair
    from explorer.models.cards import Card

    config: dict[str, Any] = json.loads(json.dumps(TINY))
    config["vision_cfg"]["image_size"] = [24, 40]
    from open_clip.tokenizer import SimpleTokenizer

    model = DualEncoder(open_clip.CLIP(**config), SimpleTokenizer(context_length=16),
                        Card("wide", "wide", "standard", "none", "", ""), Frame(24, 40),
                        (0.5,) * 3, (0.25,) * 3, "cpu")
    pair = one_pair(photo(300, 200), ["a cat", "a dog", "the sea"], 0, model.frame)
    assert pair.images.shape == (1, 3, 24, 40)
    for name, kind in IMAGE_ATTACKS.items():
        for norm in ("linf", "l2"):
            result = run(kind(eps=4 / 255 if norm == "linf" else 0.5, norm=norm), model, pair)
            assert result.adversarial_images.shape == pair.images.shape, name
            assert float(result.linf_255[0]) > 0, (name, norm)
    for method in METHODS:
        steps = saliency(method, model, pair.images[0], model.encode_text(["a cat"])[0])
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                assert stop.value.shape == (24, 40)
                break
