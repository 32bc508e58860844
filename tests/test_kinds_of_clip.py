"""The kinds of CLIP that open_clip builds, tiny and random: each opens with open_clip's own
features and is attacked in pixels and words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from helpers import grid_images
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer
from tokenizers import (  # type: ignore[import-untyped]
    Tokenizer,
    models,
    pre_tokenizers,
    processors,
)
from transformers import PreTrainedTokenizerFast

from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.attacks.text.classic import Character, HotFlip, Typo
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.library import Library

TIMM = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")  # of timm itself, not of a network
CAPTIONS = ("a photo of a cat", "a photo of a dog", "a red car", "the sea at night")


def net(kind: Any, more: dict[str, Any], **own: Any) -> Any:
    return kind(**{k: v for k, v in more.items() if k not in TIMM}, **own)


@register_model
def explorer_tiny_siglip(pretrained: bool = False, **more: Any) -> Any:
    more.pop("global_pool", None)
    return net(VisionTransformer, more, img_size=32, patch_size=8, embed_dim=32, depth=2,
               num_heads=2, class_token=False, global_pool="map")


@register_model
def explorer_tiny_eva(pretrained: bool = False, **more: Any) -> Any:
    return net(Eva, more, img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2,
               qkv_fused=False, swiglu_mlp=True, scale_mlp=True, use_rot_pos_emb=True,
               ref_feat_shape=(4, 4))


@register_model
def explorer_tiny_mobileclip(pretrained: bool = False, **more: Any) -> Any:
    return net(FastVit, more, layers=(1, 1, 1, 1), embed_dims=(16, 32, 64, 128),
               token_mixers=("repmixer",) * 4, mlp_ratios=(2, 2, 2, 2),
               se_downsamples=(False,) * 4)


VIT = {"image_size": 32, "patch_size": 8, "layers": 2, "width": 32, "head_width": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
OWN = {**TEXT, "vocab_size": 64, "hf_tokenizer_name": "somebody/tokenizer"}


def timm_cfg(name: str, **more: Any) -> dict[str, Any]:
    return {"timm_model_name": f"explorer_tiny_{name}", "timm_model_pretrained": False,
            "timm_pool": "", "timm_proj": "linear", "image_size": 32, **more}


KINDS: dict[str, dict[str, Any]] = {
    "SigLIP": {"embed_dim": 32, "custom_text": True, "init_logit_bias": -10,
               "vision_cfg": timm_cfg("siglip", timm_pool="map", timm_proj="none"),
               "text_cfg": {**OWN, "tokenizer_kwargs": {"clean": "canonicalize"},
                            "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
                            "norm_kwargs": {"eps": 1e-6}}},
    "CoCa": {"embed_dim": 16, "custom_text": True,
             "vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_heads": 2,
                            "output_tokens": True},
             "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
             "multimodal_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2,
                                "layers": 1, "attn_pooler_heads": 2}},
    "MobileCLIP": {"embed_dim": 16, "custom_text": True,
                   "vision_cfg": timm_cfg("mobileclip", timm_pool="avg", timm_proj=None),
                   "text_cfg": {**TEXT, "no_causal_mask": True}},
    "EVA": {"embed_dim": 16, "custom_text": True,
            "vision_cfg": timm_cfg("eva", timm_pool="token", timm_proj=None), "text_cfg": TEXT},
    "CLIPA": {"embed_dim": 16, "vision_cfg": {**VIT, "no_ln_pre": True, "pool_type": "avg",
                                              "final_ln_after_pool": True},
              "text_cfg": {**OWN, "pool_type": "last", "no_causal_mask": True}},
    "ConvNeXt": {"embed_dim": 16, "vision_cfg": {
        **timm_cfg(""), "timm_model_name": "test_convnext"}, "text_cfg": TEXT},
    "ResNet": {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1],
                                               "width": 8, "patch_size": None},
               "text_cfg": TEXT},
    "xlm-v": {"embed_dim": 16, "custom_text": True, "vision_cfg": VIT,
              "text_cfg": {**OWN, "pool_type": "eos", "eos_id": 2}},
}


def folder_of(name: str, place: Path) -> Path:
    """As open_clip saves it, with a tokenizer of 64 words where it has its own."""
    cfg = json.loads(json.dumps(KINDS[name]))
    kind = open_clip.CoCa if "multimodal_cfg" in cfg else (
        open_clip.CustomTextCLIP if cfg.pop("custom_text", False) else open_clip.CLIP)
    cfg.pop("custom_text", None)
    torch.manual_seed(0)
    clip = kind(**cfg)
    place.mkdir(exist_ok=True)
    state = {k: torch.nan_to_num(v, 0, 0, 0).clamp(-3, 3) if v.is_floating_point() else v.clone()
             for k, v in clip.state_dict().items()}  # CoCa's are in part never initialised
    save_file(state, place / "open_clip_model.safetensors")
    (place / "open_clip_config.json").write_text(json.dumps(
        {"model_cfg": KINDS[name], "preprocess_cfg": {"resize_mode": "squash"}}))
    if "hf_tokenizer_name" in cfg["text_cfg"]:
        words = ["<pad>", "<s>", "</s>", "<unk>",
                 *dict.fromkeys(" ".join(CAPTIONS).split()), *"abcdefghijklmnopqrstuvwxyz"]
        raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(dict.fromkeys(words))},
                                         unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.Whitespace()
        raw.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 2)])
        PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>",
                                unk_token="<unk>").save_pretrained(place)
    return place


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_opens_as_in_open_clip_and_is_attacked(name: str, tmp_path: Path) -> None:
    folder = folder_of(name, tmp_path / name)
    model = Library().load(str(folder), "cpu")
    clip = open_clip.create_model(f"local-dir:{folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(list(CAPTIONS))
    images = grid_images(2, 32)
    with torch.no_grad():
        want = clip.encode_image((images - model.mean) / model.std, normalize=True)
        torch.testing.assert_close(model.encode_image(images), want, atol=5e-5, rtol=0)
        torch.testing.assert_close(model.encode_text(CAPTIONS),
                                   clip.encode_text(tokens, normalize=True), atol=5e-5, rtol=0)
    pair = Pairs(images, CAPTIONS, torch.tensor([0, 1]))
    result = run(PGD(eps=8 / 255, steps=5), model, pair, "embedding")
    assert bool((result.linf_255 > 0).all())
    assert not torch.equal(result.adversarial.cosines, result.clean.cosines)
    for attack in (Typo(), Character(), HotFlip()):
        run(attack, model, pair, "similarity")


def test_a_missing_tokenizer_says_which_files_to_add(tmp_path: Path) -> None:
    folder = folder_of("SigLIP", tmp_path / "siglip")
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(InputError) as error:
        Library().load(str(folder), "cpu")
    said = str(error.value)
    assert "siglip has no tokenizer, and somebody/tokenizer is not to be had from here" in said
    assert "add its tokenizer.json and tokenizer_config.json to the folder" in said


def test_an_unknown_image_tower_is_named(tmp_path: Path) -> None:
    folder = folder_of("EVA", tmp_path / "eva")
    path = folder / "open_clip_config.json"
    path.write_text(path.read_text().replace("explorer_tiny_eva", "no_such_net"))
    assert "no_such_net" not in timm.list_models()
    with pytest.raises(InputError, match=r"open_clip can build: Unknown model \(no_such_net\)"):
        Library().load(str(folder), "cpu")
