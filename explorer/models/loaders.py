"""From a model card to a DualEncoder: local folders, the Hugging Face hub, open_clip's tags.

Whatever the source, it ends in files of a folder or a state dict that must fit strictly. Pickled
weights are refused in folders, since unpickling can run code; the fixed hub names of our own
cards may use them, through torch's restricted unpickler.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from explorer.base import hub
from explorer.base.device import device_and_dtype
from explorer.base.errors import InputError
from explorer.base.framing import Intake, read_intake
from explorer.base.memory import out_of_memory
from explorer.models.cards import Card, read_json
from explorer.models.encoder import DualEncoder
from explorer.models.lean import Unfilled, finite, import_models

CONFIG = "open_clip_config.json"
SAFE = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
PICKLED = ("open_clip_pytorch_model.bin", "pytorch_model.bin")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
             "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model")
TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "language"}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "vocab.txt",
                   "vocab.json", "sentencepiece.bpe.model")
_BUILDING = threading.Lock()  # transformers sets how it builds for all threads
Opened = tuple[Any, Callable[[list[str]], Tensor], Intake]


def open_model(card: Card, device: str | None = None) -> DualEncoder:
    """Loads the model of a card. Raises InputError with one sentence when it cannot."""
    from explorer.models.transformers_clip import open_transformers

    scheme, _, rest = card.source.partition(":")
    openers: dict[str, Callable[[str], Opened]] = {
        "local-dir": lambda r: _open_folder(Path(r), checksum=card.sha256),
        "hf-hub": _open_hub,
        "open_clip": _open_tag,
        "transformers": open_transformers,
    }
    if scheme not in openers:
        raise InputError(f"the model '{card.id}' has an unknown kind of source '{scheme}'")
    import_models()
    clip, tokenize, intake = openers[scheme](rest)
    if any(v.is_floating_point() and not finite(v) for v in clip.state_dict().values()):
        raise InputError(f"the weights of {card.id} hold values that are not finite")
    model = _tried(clip, tokenize, intake, card, device)
    with torch.no_grad():
        image = model.encode_image(torch.zeros(1, 3, intake.frame.height, intake.frame.width))
    if image.shape[1] != model.dim:
        raise InputError(f"the two towers of {card.id} do not meet: image features have "
                         f"{image.shape[1]} numbers, text features {model.dim}")
    return model


def _tried(clip: Any, tokenize: Callable[[list[str]], Tensor], intake: Intake, card: Card,
           device: str | None) -> DualEncoder:
    """The model after one look and one gradient; on the processor where Apple's GPU lacks
    something that it needs, which its `notes` say."""
    frame = intake.frame
    try:
        model = DualEncoder(clip, tokenize, card, frame, intake.mean, intake.std, device)
        if model.device.type == "mps":
            probe = torch.zeros(1, 3, frame.height, frame.width, requires_grad=True)
            model.encode_image(probe).sum().backward()
        with torch.no_grad():
            model.encode_image(torch.zeros(1, 3, frame.height, frame.width))
        return model
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError,
            NotImplementedError) as error:
        if out_of_memory(error):
            raise
        if device_and_dtype(device)[0].type != "mps":
            raise InputError(f"the model {card.id} loads but does not run: {first_line(error)}"
                             ) from None
        why = first_line(error)
    model = _tried(clip.to("cpu"), tokenize, intake, card, "cpu")
    model.notes = (f"{card.id} runs on the processor: Apple's GPU (mps) lacks what it needs "
                   f"({why}).",)
    return model


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_folder(folder: Path, allow_pickle: bool = False, checksum: str | None = None,
                 ) -> Opened:
    if not folder.is_dir():
        raise InputError(f"there is no model folder {folder.name}")
    config = read_json(folder / CONFIG)
    weights = _read_weights(folder, allow_pickle, checksum)
    clip, tokenize = build(config, folder)
    load_strictly(clip, weights, folder.name)
    intake = read_intake(clip.visual.image_size, config.get("preprocess_cfg"), folder.name)
    return clip, tokenize, intake


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
                                 f"{first_line(error)}") from None
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
        raise InputError(f"cannot open {path.name}: {first_line(error)}") from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path.name} holds no plain table of weights")
    return state


def build(config: dict[str, Any], folder: Path) -> tuple[Any, Callable[[list[str]], Tensor]]:
    """The model, its weights yet to be filled, and its tokenizer; open_clip's config format."""
    import_models()
    try:
        cfg = dict(config["model_cfg"])
        text, vision = dict(cfg["text_cfg"]), dict(cfg["vision_cfg"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{CONFIG} of {folder.name} has no model_cfg with a vision_cfg and a "
                         "text_cfg") from None
    try:
        if "hf_model_name" in text:
            if (folder / "config.json").is_file():
                text["hf_model_name"] = str(folder)
            text["hf_model_pretrained"] = False
            _refuse_code(text["hf_model_name"])
        if "timm_model_name" in vision:
            vision["timm_model_pretrained"] = False  # ours follow, and nothing is fetched
        cfg["text_cfg"], cfg["vision_cfg"] = text, vision
        with _BUILDING, Unfilled():
            clip = model_class(cfg)(**{k: v for k, v in cfg.items() if k != "custom_text"})
    except Exception as error:  # noqa: BLE001 - a config can be wrong in any way
        raise InputError(f"{CONFIG} of {folder.name} does not describe a model that "
                         f"open_clip can build: {first_line(error)}") from None
    return clip, _tokenizer(text, folder)


def model_class(cfg: dict[str, Any]) -> Any:
    """open_clip's class for a model_cfg, by its own rule (factory.create_model)."""
    import open_clip

    if not (cfg.get("custom_text") or "hf_model_name" in cfg.get("text_cfg", {})):
        return open_clip.CLIP
    return open_clip.CoCa if "multimodal_cfg" in cfg else open_clip.CustomTextCLIP


def _tokenizer(text: dict[str, Any], folder: Path) -> Callable[[list[str]], Tensor]:
    """The tokenizer of a text_cfg, from the folder where it is there, else by its name."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    options = text.get("tokenizer_kwargs") or {}
    if not isinstance(options, dict) or not options.keys() <= TOKENIZER_OPTIONS:
        raise InputError(f"tokenizer_kwargs of {folder.name} may only set "
                         f"{', '.join(sorted(TOKENIZER_OPTIONS))}")
    options = {"context_length": text.get("context_length", 77), **options}
    name = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    found: Any
    try:
        if not name:
            found = SimpleTokenizer(**options)
        else:
            local = any((folder / f).is_file() for f in TOKENIZER_FILES)
            found = HFTokenizer(str(folder) if local else name, trust_remote_code=False,
                                tokenizer_mode=text.get("tokenizer_mode"), **options)
    except Exception as error:  # noqa: BLE001 - as above
        if not name or local:
            raise InputError(f"the tokenizer of {folder.name} cannot be opened: "
                             f"{first_line(error)}") from None
        raise InputError(
            f"{folder.name} has no tokenizer, and {name} is not to be had from here: add its "
            "tokenizer.json and tokenizer_config.json to the folder (and special_tokens_map.json "
            "where there is one)") from None
    tokenize: Callable[[list[str]], Tensor] = found
    return tokenize


def _refuse_code(name: str) -> None:
    """open_clip leaves trust_remote_code open, and transformers would then ask in the terminal."""
    from transformers import AutoConfig

    if hasattr(AutoConfig.from_pretrained(name, trust_remote_code=False), "auto_map"):
        raise ValueError("its text tower brings code of its own")


def load_strictly(clip: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Every tensor present and of the right shape; float32 in memory."""
    ours = clip.state_dict()
    fixed = {"text.transformer.embeddings.position_ids"}  # a constant that some releases save
    missing = [k for k in ours if k not in weights and k not in fixed]
    extra = [k for k in weights if k not in ours and k not in fixed]
    wrong = [k for k in ours if k in weights and ours[k].shape != weights[k].shape]
    if missing or extra or wrong:
        example = (missing or extra or wrong)[0]
        if not missing and not extra:
            example += f", {tuple(weights[example].shape)} instead of {tuple(ours[example].shape)}"
        raise InputError(f"the weights of {name} are for another architecture: {len(missing)} "
                         f"tensors missing, {len(extra)} unknown, {len(wrong)} of another shape "
                         f"(such as {example})")
    clip.load_state_dict({k: weights[k] for k in ours if k in weights}, strict=False)


def unreachable(name: str, error: Exception) -> InputError:
    return InputError(f"cannot fetch the model {name}: the hub is not reachable from here or does "
                      f"not have it ({first_line(error)})")


def _open_hub(name: str) -> Opened:
    from huggingface_hub import snapshot_download

    hub.require(name, CONFIG)
    try:
        folder = snapshot_download(name, allow_patterns=["*.json", "*.txt", *SAFE])
        if not any((Path(folder) / f).is_file() for f in SAFE):
            folder = snapshot_download(name, allow_patterns=["*.json", "*.txt", *PICKLED])
    except Exception as error:  # noqa: BLE001 - requests, hub and OS errors share no base
        raise unreachable(name, error) from None
    return _open_folder(Path(folder), allow_pickle=True)


def _open_tag(rest: str) -> Opened:
    import open_clip

    architecture, _, tag = rest.partition(":")
    said = open_clip.get_pretrained_cfg(architecture, tag)
    quick = bool(said.get("quick_gelu", False))  # open_clip only warns where the two differ
    plain = architecture.removesuffix("-quickgelu")
    if said and not quick and plain != architecture:
        raise InputError(f"the weights {tag} were not trained with QuickGELU: name them "
                         f"open_clip:{plain}:{tag}")
    stored = said.get("hf_hub", "").strip("/")
    if stored:
        hub.require(stored, SAFE[0])
    try:
        clip = open_clip.create_model(architecture, pretrained=tag, require_pretrained=True,
                                      force_quick_gelu=quick)
    except Exception as error:  # noqa: BLE001 - as above
        raise unreachable(rest, error) from None
    pre = clip.visual.preprocess_cfg
    return clip, open_clip.get_tokenizer(architecture), read_intake(pre["size"], pre, rest)
