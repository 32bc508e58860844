"""What a file of weights holds, read without running any code in it, and the CLIP found inside.

Training scripts wrap a model in several ways: as an entry beside an optimizer, behind prefixes such
as module. or _orig_mod., with an average (EMA) beside it. Here each part that looks like a CLIP or
one of its towers becomes a `Part` under the name by which it can be asked for.
"""

from __future__ import annotations

import argparse
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explorer.base.errors import InputError
from explorer.models.loaders import first_line

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
BOTH = {"logit_scale", "logit_bias"}
WHOLE = {"visual", "text", "text_decoder", "vision_model", "text_model", "visual_projection"}
IMAGE = {"conv1", "class_embedding", "ln_pre", "ln_post", "proj", "attn_pool", "trunk", "head",
         "bn1", "bn2", "bn3", "conv2", "conv3", "layer1", "layer2", "layer3", "layer4", "attnpool",
         "pre_layrnorm", "post_layernorm"}
TEXT = {"token_embedding", "ln_final", "text_projection", "final_layer_norm", "attn_mask",
        "cls_emb"}
EITHER = {"transformer", "positional_embedding", "embeddings", "encoder"}
SCALARS = {"input_resolution", "context_length", "vocab_size"}  # OpenAI's, beside the weights
ROOTS = BOTH | WHOLE | IMAGE | TEXT | EITHER | SCALARS
AVERAGED = re.compile(r"ema|averag|swa(?![a-z])", re.IGNORECASE)
OTHER = re.compile(r"orig|teacher|frozen|old|init|anchor|momentum|reference|pretrained|target",
                   re.IGNORECASE)
FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")
MOST_DEPTH = 5


@dataclass(frozen=True)
class Part:
    """name: where in the file; kind: "whole" (both towers), "image" or "text"; weights: by their
    names without prefixes; scalars: OpenAI's, if any."""

    name: str
    kind: str
    weights: dict[str, Tensor]
    scalars: dict[str, int]

    @property
    def said(self) -> str:
        return self.name or "the file itself"


@dataclass(frozen=True)
class Contents:
    """parts: what can be made a model of; rest: what else there was, in words."""

    parts: tuple[Part, ...]
    rest: tuple[str, ...]


def read_file(path: Path) -> Any:
    """The objects of a .safetensors file or of one that torch.save wrote. Raises InputError."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path.name} is damaged: {first_line(error)}") from None
    scalar = np.float64(0).__reduce__()[0]
    plain: list[Any] = [argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, np.dtype,
                        scalar, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}]
    try:
        with torch.serialization.safe_globals(plain):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot read {path.name}: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001 - unpickling fails in many ways
        raise InputError(_why(path, error)) from None


def _why(path: Path, error: Exception) -> str:
    said = str(error)
    if "TorchScript" in said:
        return (f"{path.name} is a TorchScript archive, which is a program: open OpenAI's own as "
                "open_clip:ViT-B-32-quickgelu:openai and the like, or save its state_dict() with "
                "torch.save")
    with open(path, "rb") as file:
        start = file.read(40)
    if not start:
        return f"{path.name} is empty"
    if start.startswith(b"version https://git-lfs"):
        return (f"{path.name} is only a pointer of Git LFS to the file: get the file itself with "
                "`git lfs pull`")
    if named := FORBIDDEN.search(said):
        return (f"{path.name} holds an object of the class {named[1][:80]}, and opening it would "
                "run that class's code: save the model's state_dict() alone")
    if any(word in said.lower() for word in ("unpickl", "magic", "invalid load", "zip archive")):
        return f"{path.name} is no file of weights that PyTorch can read, or it is damaged"
    return f"cannot open {path.name}: {first_line(error)}"


def read_shards(folder: Path) -> Any:
    """All weights of a folder: one file, or the numbered shards of one. Raises InputError."""
    for pattern in ("*.safetensors", "*.bin", "*.pt", "*.pth"):
        files = sorted(folder.glob(pattern))
        if len(files) > 1 and not all(re.search(r"-\d+-of-\d+\.", f.name) for f in files):
            raise InputError(f"{folder.name} has {len(files)} files of weights "
                             f"({files[0].name}, {files[1].name}, ...): name the one that counts")
        if files:
            held: dict[str, Any] = {}
            for file in files:
                held |= read_file(file)
            return held
    raise InputError(f"the folder {folder.name} has no weights")


def contents(held: Any, name: str) -> Contents:
    """The CLIPs and towers among the objects of a file. Raises InputError when there is none."""
    if not isinstance(held, Mapping):
        raise InputError(f"{name} holds no table of weights but an object of another kind: save "
                         "the model's state_dict()")
    parts, rest = list[Part](), list[str]()
    for path, table in _tables(held):
        found, left = _parts(path, table)
        parts += found
        rest += left
    rest += [str(key)[:40] for key, value in held.items()
             if not isinstance(value, Tensor) and not any(
                 p.name == str(key) or p.name.startswith(f"{key}.") for p in parts)
             and str(key) not in SCALARS and not any(r.startswith(f"{key}.") for r in rest)]
    if not parts:
        raise InputError(f"{name} holds no weights of a CLIP or of one of its towers: found "
                         f"{', '.join(list(dict.fromkeys(rest))[:6]) or 'nothing'}")
    return Contents(tuple(parts), tuple(dict.fromkeys(rest)))


def _tables(held: Mapping[Any, Any], path: tuple[str, ...] = (),
            ) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Each table of the nest that holds tensors by name."""
    own = {key: value for key, value in held.items() if isinstance(key, str)}
    if any(isinstance(value, Tensor) for value in own.values()):
        yield path, own
    if len(path) < MOST_DEPTH:
        for key, value in own.items():
            if isinstance(value, Mapping) and "optim" not in key:
                yield from _tables(value, (*path, key))


def _parts(path: tuple[str, ...], table: dict[str, Any]) -> tuple[list[Part], list[str]]:
    """The models of one table, by their prefixes, and what belongs to none."""
    groups: dict[str, dict[str, Any]] = {}
    left = list[str]()
    for key, value in table.items():
        words = [word for word in key.split(".") if word not in WRAPPERS]
        at = next((i for i, word in enumerate(words) if word in ROOTS), None)
        if at is None:
            left += [".".join((*path, key))] if isinstance(value, Tensor) else []
        elif isinstance(value, Tensor) or key in SCALARS:
            groups.setdefault(".".join(words[:at]), {})[".".join(words[at:])] = value
    found = list[Part]()
    for prefix, group in groups.items():
        weights = {k: v for k, v in group.items() if k not in SCALARS and isinstance(v, Tensor)}
        kind = _kind(weights)
        name = ".".join(w for w in (*path, *prefix.split(".")) if w)
        if kind is None:
            left += [".".join(w for w in (name, k) if w) for k in weights]
            continue
        scalars = {k: int(v) for k, v in group.items() if k in SCALARS and _one_number(v)}
        found.append(Part(name, kind, weights, scalars))
    return found, left


def _one_number(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, Tensor) and value.numel() == 1)


def _kind(weights: Mapping[str, Tensor]) -> str | None:
    """"whole", "image", "text", or None for what is neither."""
    first = {key.split(".")[0] for key in weights}
    image = bool(first & {"visual", "vision_model"})
    text = bool(first & {"text", "text_model", "token_embedding"})
    if image and text:
        return "whole"
    if image:
        return "image"
    if text:
        return "text"
    deep = any("embeddings.token_embedding" in key for key in weights)
    if deep:
        return "text"
    bare = first & {"conv1", "trunk", "class_embedding"} or any(
        "embeddings.patch_embedding" in key for key in weights)
    return "image" if bare and len(weights) > 4 else None


def choose(found: Contents, take: str | None, name: str) -> list[Part]:
    """The part to make a model of; or an image and a text tower of one table. take: its name.
    Raises InputError where the choice is not clear."""
    known = ", ".join(repr(part.name) for part in found.parts)
    if take is not None:
        chosen = [part for part in found.parts if part.name == take]
        if not chosen:
            raise InputError(f"{name} has no part '{take[:80]}'; it has {known}")
        return chosen[:1]
    for kind in ("whole", "image", "text"):
        able = [part for part in found.parts if part.kind == kind]
        if not able:
            continue
        one = _preferred(able)
        if one is None:
            raise InputError(f"{name} holds several models: choose one with --take, of {known}")
        texts = [part for part in found.parts if part.kind == "text"]
        text = _preferred(texts) if kind == "image" and texts else None
        return [one] if text is None else [one, text]
    raise AssertionError("contents() found no part")


def _preferred(parts: Sequence[Part]) -> Part | None:
    """The averaged weights where there are some, as they are the ones that are published; never
    a teacher's or the original's beside the trained ones. None: it is not clear."""
    if len(parts) == 1:
        return parts[0]
    own = [part for part in parts if not OTHER.search(part.name)] or list(parts)
    averaged = [part for part in own if AVERAGED.search(part.name)]
    few = averaged or own
    return few[0] if len(few) == 1 else None
