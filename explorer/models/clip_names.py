"""The names of CLIP's weights: from those of transformers to open_clip's, and from a CLIP with the
text tower at the top to one with it under text., and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from explorer.base.errors import InputError

LAYERS = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
          "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}
IMAGE = {"embeddings.class_embedding": "class_embedding",
         "embeddings.patch_embedding.weight": "conv1.weight",
         "embeddings.position_embedding.weight": "positional_embedding",
         "pre_layrnorm": "ln_pre", "post_layernorm": "ln_post"}
TEXT = {"embeddings.token_embedding": "token_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm": "ln_final"}
BYTE_PAIRS = 49408  # tokens of CLIP's own vocabulary
FLAT = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final",
        "cls_emb")
CONSTANTS = re.compile(r"(^|\.)(attn_mask|position_ids)$")  # made anew with the model
LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def of_transformers(weights: Mapping[str, Tensor]) -> bool:
    return any(re.match(r"(vision_model\.|text_model\.|embeddings\.)", key) for key in weights)


def to_open_clip(weights: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """transformers' names and layouts -> open_clip's: one matrix for queries, keys and values, and
    projections the other way round. kind: as of a `Part`; towers alone come without a prefix."""
    found: dict[str, Tensor] = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    for key, value in weights.items():
        if key == "visual_projection.weight":
            found["visual.proj"] = value.T
        elif key == "text_projection.weight":
            found["text_projection"] = value.T
        elif key in ("logit_scale", "logit_bias"):
            found[key] = value
        else:
            image = key.startswith("vision_model.") or (kind == "image"
                                                        and not key.startswith("text_model."))
            name = re.sub(r"^(vision_model|text_model)\.", "", key)
            prefix = "visual." if image else ""
            if (layer := LAYER.fullmatch(name)) and layer[2][:10] == "self_attn." and (
                    layer[2][10:] in ("q_proj", "k_proj", "v_proj")):
                whole = f"{prefix}transformer.resblocks.{layer[1]}.attn.in_proj_{layer[3]}"
                thirds.setdefault(whole, {})[layer[2][10]] = value
            else:
                found[prefix + _renamed(name, IMAGE if image else TEXT)] = value
    for name, parts in thirds.items():
        if len(parts) < 3:
            raise InputError(f"the weights lack a query, key or value matrix ({name})")
        found[name] = torch.cat([parts[k] for k in "qkv"])
    return found


def _renamed(name: str, table: Mapping[str, str]) -> str:
    if layer := LAYER.fullmatch(name):
        return f"transformer.resblocks.{layer[1]}.{LAYERS.get(layer[2], layer[2])}.{layer[3]}"
    for old, new in table.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old):]
    return name


def fitted(weights: Mapping[str, Tensor], kind: str, ours: Mapping[str, Tensor],
           ) -> tuple[dict[str, Tensor], list[str]]:
    """The weights under the names of `ours`, those of the model to be filled, and the names of
    those that it has no place for."""
    under = any(key.startswith("text.") for key in ours)
    found, dropped = {}, list[str]()
    for key, value in weights.items():
        name = _name(key, kind, under)
        if CONSTANTS.search(name) and name not in ours:
            continue
        if name not in ours:
            dropped.append(key)
            continue
        alike = value.numel() == ours[name].numel() == 1
        found[name] = value.reshape(ours[name].shape) if alike else value
    return found, dropped


def _name(key: str, kind: str, under: bool) -> str:
    """A weight's name in the model. under: whether its text tower is under text."""
    first = key.split(".")[0]
    if kind == "image" and first not in ("visual", "logit_scale", "logit_bias"):
        return f"visual.{key}"
    if first == "text" and not under:
        return key.removeprefix("text.")
    if under and first in FLAT and kind != "image":
        return f"text.{key}"
    return key


def model_cfg(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """open_clip's model_cfg for the config.json of a transformers CLIP. Raises InputError for what
    open_clip cannot build."""
    from transformers import CLIPConfig

    try:
        whole = CLIPConfig.from_dict(dict(config)).to_dict()  # a file has only what is not usual
    except Exception as error:  # noqa: BLE001 - a config can be wrong in any way
        raise InputError(f"config.json of {name} cannot be read: {str(error)[:120]}") from None
    v, t = whole["vision_config"], whole["text_config"]
    acts = {part["hidden_act"] for part in (v, t)}
    if acts not in ({"quick_gelu"}, {"gelu"}):
        raise InputError(f"config.json of {name} says hidden_act = {', '.join(sorted(acts))}: only "
                         "quick_gelu or gelu for both towers are known")
    eps = {part["layer_norm_eps"] for part in (v, t)}
    if t["vocab_size"] != BYTE_PAIRS:
        raise InputError(f"config.json of {name} has a vocabulary of {t['vocab_size']:,} tokens: "
                         f"only CLIP's own of {BYTE_PAIRS:,} can be taken over")
    norms = {} if eps == {1e-5} else {"norm_kwargs": {"eps": min(eps)}}
    if len(eps) > 1:
        raise InputError(f"config.json of {name} gives its towers different layer_norm_eps")
    return {
        "embed_dim": whole["projection_dim"], "quick_gelu": acts == {"quick_gelu"},
        "vision_cfg": {
            "image_size": v["image_size"], "patch_size": v["patch_size"],
            "layers": v["num_hidden_layers"], "width": v["hidden_size"],
            "head_width": v["hidden_size"] // v["num_attention_heads"],
            "mlp_ratio": v["intermediate_size"] / v["hidden_size"], **norms},
        "text_cfg": {
            "context_length": t["max_position_embeddings"], "vocab_size": t["vocab_size"],
            "width": t["hidden_size"], "heads": t["num_attention_heads"],
            "layers": t["num_hidden_layers"],
            "mlp_ratio": t["intermediate_size"] / t["hidden_size"], **norms}}
