"""Models that visitors bring: weights as safetensors and an open_clip config, checked before
anything is built from them.

A config may be that of a model which is here already, whose tokenizer is then used, or describe one
of open_clip's own towers by numbers within bounds. It cannot name a model, a tokenizer or a library
of elsewhere. Sizes are compared with the file of weights before memory is asked for them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.base.framing import read_intake
from explorer.models import clip_names as clipnames
from explorer.models.cards import Card, read_json
from explorer.models.library import Library
from explorer.models.loaders import CONFIG, SAFE, TOKENIZER, open_model, sha256_of
from explorer.models.transformers_clip import check_kind

MOST = 16  # models that a server keeps for its visitors
MOST_CONFIG = 64_000  # bytes
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,39}")
BOUNDS: dict[str, tuple[float, float]] = {
    "embed_dim": (1, 4096), "image_size": (8, 512), "patch_size": (4, 64), "layers": (1, 64),
    "width": (8, 4096), "heads": (1, 64), "head_width": (4, 256), "mlp_ratio": (0.5, 8),
    "context_length": (4, 512), "vocab_size": (8, 200_000), "pad_id": (0, 200_000),
    "eos_id": (0, 200_000), "ls_init_value": (0, 1), "patch_dropout": (0, 1),
    "init_logit_scale": (-10, 10), "init_logit_bias": (-100, 100), "n_queries": (1, 1024),
    "attn_pooler_heads": (1, 64)}
SWITCHES = {"quick_gelu", "custom_text", "no_ln_pre", "final_ln_after_pool", "attentional_pool",
            "no_causal_mask", "embed_cls", "proj_bias", "input_patchnorm", "nonscalar_logit_scale"}
WORDS = {"pool_type": {"tok", "avg", "none", "argmax", "first", "last", "eos"},
         "pos_embed_type": {"learnable", "sin_cos_2d"}}
TOWERS = ("vision_cfg", "text_cfg")


def bring(library: Library, folder: Path, weights: Path, config: Path, name: str,
          kind: str = "standard") -> Card:
    """Puts a model into folder/NAME, one of the library's, and returns its card. kind: "standard"
    or "robust". Raises InputError with a sentence for everything that is wrong with it."""
    _check_name(library, folder, name)
    if kind not in ("standard", "robust"):
        raise InputError("a model is either standard or robust")
    room = folder.parent / f".brought-{secrets.token_hex(4)}"
    aside = room / name
    try:
        aside.mkdir(parents=True)
        raw, weights = _read_config(config), _in_open_clips_names(config, weights, room)
        donor = _same_model(library, raw)
        _fit(raw, _shapes(weights), donor)
        shutil.copyfile(weights, aside / SAFE[0])
        (aside / CONFIG).write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
        for file in (*TOKENIZER, "config.json") if donor else ():
            if donor and (donor / file).is_file():
                shutil.copyfile(donor / file, aside / file)
        card = Card(name, name, kind, f"local-dir:{aside}", "not stated",
                    "Brought by a visitor of this server.", sha256=sha256_of(aside / SAFE[0]))
        open_model(card)
        told = {k: v for k, v in vars(card).items() if k != "source"}
        (aside / "card.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        os.replace(aside, folder / name)
    except OSError as error:
        raise InputError(f"cannot keep the model on disk: {error.strerror}") from None
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return replace(card, source=f"local-dir:{folder / name}")


def _check_name(library: Library, folder: Path, name: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError("the name must have 2 to 40 small letters, digits, dots, dashes or "
                         "underscores, and begin with a letter or digit")
    if name in library.cards() or (folder / name).exists():
        raise InputError(f"there is a model {name} already: choose another name")
    if sum(path.is_dir() and not path.is_symlink() for path in folder.iterdir()) >= MOST:
        raise InputError(f"this server keeps {MOST} models of visitors already: ask its keeper to "
                         "remove one")


def _read_config(path: Path) -> dict[str, Any]:
    """The config with what is allowed in it, and nothing else."""
    try:
        if path.stat().st_size > MOST_CONFIG:
            raise InputError(f"the config has more than {MOST_CONFIG // 1000} kB: choose an "
                             f"{CONFIG}")
    except OSError as error:
        raise InputError(f"cannot read the config: {error.strerror}") from None
    raw = read_json(path)
    if "vision_config" in raw:  # of transformers
        check_kind(raw, "the model")
        raw = {"model_cfg": clipnames.model_cfg(raw, "the model")}
    model = raw.get("model_cfg")
    if not isinstance(model, dict) or not all(isinstance(model.get(t), dict) for t in TOWERS):
        raise InputError(f"the config has no model_cfg with a vision_cfg and a text_cfg: choose an "
                         f"{CONFIG} as open_clip and this app save it")
    intake = read_intake(model["vision_cfg"].get("image_size", 224), raw.get("preprocess_cfg"),
                         "the config")
    return {"model_cfg": model, "preprocess_cfg": intake.config()}


def _in_open_clips_names(config: Path, weights: Path, room: Path) -> Path:
    """The weights of a transformers CLIP under open_clip's names, in the room; others as they
    are."""
    if "vision_config" not in read_json(config):
        return weights
    from safetensors.torch import load_file, save_file

    _shapes(weights)  # says what is wrong with the file
    found = clipnames.to_open_clip(load_file(weights), "whole")
    kept = {k: v.contiguous() for k, v in found.items() if not clipnames.CONSTANTS.search(k)}
    save_file(kept, room / "renamed.safetensors")
    return room / "renamed.safetensors"


def _same_model(library: Library, config: dict[str, Any]) -> Path | None:
    """The folder of a model here with this very model_cfg."""
    for card in library.cards().values():
        scheme, _, place = card.source.partition(":")
        if scheme == "local-dir" and (Path(place) / CONFIG).is_file():
            try:
                known = read_json(Path(place) / CONFIG)
            except InputError:
                continue
            if known.get("model_cfg") == config["model_cfg"]:
                return Path(place)
    return None


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a safetensors file; only its header is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            return {key: tuple(part.get_shape()) for key, part in slices.items()}
    except (SafetensorError, OSError, ValueError):
        raise InputError("the weights are no safetensors file, or a damaged one; pickled weights "
                         "(.bin, .pt) are not taken, since opening them can run code") from None


def _fit(config: dict[str, Any], shapes: dict[str, tuple[int, ...]], donor: Path | None) -> None:
    """Raises InputError unless the weights are those of the config, by name and shape."""
    wanted = _donor_shapes(donor) if donor else _built_shapes(config)
    off = sorted(k for k in wanted.keys() | shapes.keys() if wanted.get(k) != shapes.get(k))
    if off:
        raise InputError(f"the weights are not those of the config: {len(off)} of "
                         f"{len(wanted.keys() | shapes.keys())} tensors differ, such as "
                         f"{off[0][:80]}")


def _donor_shapes(donor: Path) -> dict[str, tuple[int, ...]]:
    return _shapes(next(donor / name for name in SAFE if (donor / name).is_file()))


def _built_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of the model that the config describes, built without memory for its weights."""
    import open_clip
    import torch

    model = dict(config["model_cfg"])
    for key, value in model.items():
        for part, held in value.items() if key in TOWERS else {key: value}.items():
            _check_value(str(part), held)
    custom = bool(model.pop("custom_text", False))
    try:
        with torch.device("meta"):
            clip = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**model)
    except Exception as error:  # noqa: BLE001 - a config can be wrong in any way
        raise InputError("open_clip cannot build what the config describes "
                         f"({type(error).__name__})") from None
    return {key: tuple(value.shape) for key, value in clip.state_dict().items()}


def _check_value(name: str, value: Any) -> None:
    """Raises InputError for what a config may not say."""
    if name in SWITCHES and isinstance(value, bool):
        return
    if name in WORDS and isinstance(value, str) and value in WORDS[name]:
        return
    if name in BOUNDS:
        low, high = BOUNDS[name]
        numbers = value if isinstance(value, list) and len(value) in (2, 4) else [value]
        if all(isinstance(n, int | float) and not isinstance(n, bool) and low <= n <= high
               for n in numbers) or (value is None and name in ("ls_init_value", "init_logit_bias",
                                                                "pad_id", "eos_id")):
            return
    raise InputError(f"the config may not say {name[:40]} = {str(value)[:40]}: only the numbers of "
                     "open_clip's own towers are taken, or the config of a model that is here")
