"""From a model card to a DualEncoder: local folders, the Hugging Face hub, open_clip's tags.

Whatever the source, it ends in files of a folder or a state dict that must fit strictly. Pickled
weights are refused in folders, since unpickling can run code; the fixed hub names of our own
cards may use them, through torch's restricted unpickler.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from explorer.base import hub
from explorer.base.errors import InputError
from explorer.base.memory import out_of_memory
from explorer.models.cards import Card, read_json
from explorer.models.encoder import DualEncoder

CONFIG = "open_clip_config.json"
SAFE = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
PICKLED = ("open_clip_pytorch_model.bin", "pytorch_model.bin")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
             "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model")
TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "language"}
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def open_model(card: Card, device: str | None = None) -> DualEncoder:
    """Loads the model of a card. Raises InputError with one sentence when it cannot."""
    scheme, _, rest = card.source.partition(":")
    openers: dict[str, Callable[[str], tuple[Any, ...]]] = {
        "local-dir": lambda r: _open_folder(Path(r), checksum=card.sha256),
        "hf-hub": _open_hub,
        "open_clip": _open_tag,
        "transformers": _open_transformers,
    }
    if scheme not in openers:
        raise InputError(f"the model '{card.id}' has an unknown kind of source '{scheme}'")
    clip, tokenize, size, mean, std = openers[scheme](rest)
    if any(v.is_floating_point() and not bool(torch.isfinite(v).all())
           for v in clip.state_dict().values()):
        raise InputError(f"the weights of {card.id} hold values that are not finite")
    try:
        model = DualEncoder(clip, tokenize, card, size, mean, std, device)
        with torch.no_grad():
            image = model.encode_image(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        if out_of_memory(error):
            raise
        raise InputError(f"the model {card.id} loads but does not run: {_first_line(error)}"
                         ) from None
    if image.shape[1] != model.dim:
        raise InputError(f"the two towers of {card.id} do not meet: image features have "
                         f"{image.shape[1]} numbers, text features {model.dim}")
    return model


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_folder(folder: Path, allow_pickle: bool = False, checksum: str | None = None,
                 ) -> tuple[Any, ...]:
    if not folder.is_dir():
        raise InputError(f"there is no model folder {folder.name}")
    config = read_json(folder / CONFIG)
    weights = _read_weights(folder, allow_pickle, checksum)
    clip, tokenize = _build(config, folder)
    _load_strictly(clip, weights, folder.name)
    size = clip.visual.image_size
    size = size[0] if isinstance(size, (tuple, list)) else size
    pre = config.get("preprocess_cfg") or {}
    if not isinstance(pre, dict):
        raise InputError(f"preprocess_cfg of {folder.name} is no JSON object")
    mean, std = pre.get("mean", CLIP_MEAN), pre.get("std", CLIP_STD)
    numbers = [v for part in (mean, std) for v in (part if isinstance(part, (list, tuple)) else [])]
    if len(numbers) != 6 or len(mean) != 3 or not all(
            isinstance(v, (int, float)) for v in numbers) or min(std) <= 0:
        raise InputError(f"preprocess_cfg of {folder.name} needs a mean and a std of three "
                         "numbers each, std above 0")
    return clip, tokenize, size, mean, std


def _read_weights(folder: Path, allow_pickle: bool, checksum: str | None) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in SAFE:
        if (folder / name).is_file():
            try:
                if checksum is not None and sha256_of(folder / name) != checksum.lower():
                    raise InputError(f"the weights of {folder.name} are not those that its "
                                     "card.json describes (another sha256): copy the folder again")
                return load_file(folder / name)
            except (SafetensorError, OSError) as error:
                raise InputError(f"the weights of {folder.name} are damaged: "
                                 f"{_first_line(error)}") from None
    pickled = [folder / name for name in PICKLED if (folder / name).is_file()]
    pickled += sorted(p for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if pickled and not allow_pickle:
        raise InputError(f"{folder.name} has only pickled weights ({pickled[0].name}), which can "
                         "run code when opened: save them as open_clip_model.safetensors")
    if pickled:
        return _unpickle(pickled[0])
    raise InputError(f"{folder.name} has a config but no weights ({SAFE[0]})")


def _unpickle(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - unpickling fails in many ways
        raise InputError(f"cannot open {path.name}: {_first_line(error)}") from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path.name} holds no plain table of weights")
    return state


def _without_sklearn() -> None:
    """transformers imports scikit-learn for a way to write text that no CLIP has: one second of
    each start. A release without this switch imports it all the same."""
    from transformers.utils import import_utils

    import_utils._sklearn_available = False


def _build(config: dict[str, Any], folder: Path) -> tuple[Any, Callable[[list[str]], Tensor]]:
    """The model with random weights, and its tokenizer; open_clip's config format."""
    _without_sklearn()
    import open_clip
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    try:
        cfg = dict(config["model_cfg"])
        text, vision = dict(cfg["text_cfg"]), dict(cfg["vision_cfg"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{CONFIG} of {folder.name} has no model_cfg with a vision_cfg and a "
                         "text_cfg") from None
    custom = cfg.pop("custom_text", False) or "hf_model_name" in text
    options = text.get("tokenizer_kwargs") or {}
    if not isinstance(options, dict) or not options.keys() <= TOKENIZER_OPTIONS:
        raise InputError(f"tokenizer_kwargs of {folder.name} may only set "
                         f"{', '.join(sorted(TOKENIZER_OPTIONS))}")
    try:
        if "hf_model_name" in text:
            if (folder / "config.json").is_file():
                text["hf_model_name"] = str(folder)
            text["hf_model_pretrained"] = False
            _refuse_code(text["hf_model_name"])
        if "timm_model_name" in vision:
            vision["timm_model_pretrained"] = False  # ours follow, and nothing is fetched
        cfg["text_cfg"], cfg["vision_cfg"] = text, vision
        clip = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**cfg)
        options = {"context_length": text.get("context_length", 77), **options}
        if "hf_tokenizer_name" in text:
            local = any((folder / f).is_file() for f in ("tokenizer.json", "tokenizer_config.json"))
            tokenize: Any = HFTokenizer(str(folder) if local else text["hf_tokenizer_name"],
                                        tokenizer_mode=text.get("tokenizer_mode"),
                                        trust_remote_code=False, **options)
        else:
            tokenize = SimpleTokenizer(**options)
    except Exception as error:  # noqa: BLE001 - a config can be wrong in any way
        raise InputError(f"{CONFIG} of {folder.name} does not describe a model that "
                         f"open_clip can build: {_first_line(error)}") from None
    return clip, tokenize


def _refuse_code(name: str) -> None:
    """open_clip leaves trust_remote_code open, and transformers would then ask in the terminal."""
    from transformers import AutoConfig

    if hasattr(AutoConfig.from_pretrained(name, trust_remote_code=False), "auto_map"):
        raise ValueError("its text tower brings code of its own")


def _load_strictly(clip: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Every tensor present and of the right shape; float32 in memory."""
    ours = clip.state_dict()
    fixed = {"text.transformer.embeddings.position_ids"}  # a constant that some releases save
    missing = [k for k in ours if k not in weights and k not in fixed]
    extra = [k for k in weights if k not in ours and k not in fixed]
    wrong = [k for k in ours if k in weights and ours[k].shape != weights[k].shape]
    if missing or extra or wrong:
        example = (missing or extra or wrong)[0]
        raise InputError(f"the weights of {name} are for another architecture: {len(missing)} "
                         f"tensors missing, {len(extra)} unknown, {len(wrong)} of another shape "
                         f"(such as {example})")
    clip.load_state_dict({k: weights[k].to(v.dtype) for k, v in ours.items() if k in weights},
                         strict=False)


def _unreachable(name: str, error: Exception) -> InputError:
    return InputError(f"cannot fetch the model {name}: the hub is not reachable from here or does "
                      f"not have it ({_first_line(error)})")


def _open_hub(name: str) -> tuple[Any, ...]:
    from huggingface_hub import snapshot_download

    hub.require(name, CONFIG)
    try:
        folder = snapshot_download(name, allow_patterns=["*.json", "*.txt", *SAFE])
        if not any((Path(folder) / f).is_file() for f in SAFE):
            folder = snapshot_download(name, allow_patterns=["*.json", "*.txt", *PICKLED])
    except Exception as error:  # noqa: BLE001 - requests, hub and OS errors share no base
        raise _unreachable(name, error) from None
    return _open_folder(Path(folder), allow_pickle=True)


def _open_tag(rest: str) -> tuple[Any, ...]:
    import open_clip

    architecture, _, tag = rest.partition(":")
    stored = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "").strip("/")
    if stored:
        hub.require(stored, SAFE[0])
    try:
        clip = open_clip.create_model(architecture, pretrained=tag, require_pretrained=True)
    except Exception as error:  # noqa: BLE001 - as above
        raise _unreachable(rest, error) from None
    pre = clip.visual.preprocess_cfg
    size = pre["size"] if isinstance(pre["size"], int) else pre["size"][0]
    return clip, open_clip.get_tokenizer(architecture), size, pre["mean"], pre["std"]


class _TransformersCLIP(nn.Module):
    """transformers' CLIPModel behind the two methods of open_clip's."""

    any_length = True  # of captions; the tokens are open_clip's, padded with 0

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.visual, self.logit_scale = model, model.vision_model, model.logit_scale

    def encode_image(self, x: Tensor) -> Tensor:
        y: Tensor = self.model.get_image_features(pixel_values=x)
        return y

    def encode_text(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.model.get_text_features(input_ids=tokens)
        return y


def _open_transformers(name: str) -> tuple[Any, ...]:
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPModel

    if not Path(name).is_dir():
        hub.require(name, "config.json")
    try:
        model, report = CLIPModel.from_pretrained(
            name, use_safetensors=True, output_loading_info=True)
    except Exception as error:  # noqa: BLE001 - as above
        raise _unreachable(name, error) from None
    if report["missing_keys"] or report["mismatched_keys"]:
        raise InputError(f"the weights of {name} do not fill the model it declares")
    size = model.config.vision_config.image_size
    tokenize = SimpleTokenizer(context_length=model.config.text_config.max_position_embeddings)
    return _TransformersCLIP(model), tokenize, size, CLIP_MEAN, CLIP_STD
