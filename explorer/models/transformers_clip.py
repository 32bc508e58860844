"""CLIP as transformers saves it (config.json and model.safetensors), as LEAF's models are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from explorer.base import hub
from explorer.base.errors import InputError
from explorer.base.framing import Intake, read_intake
from explorer.models.cards import read_json
from explorer.models.clip_names import BYTE_PAIRS
from explorer.models.lean import import_models
from explorer.models.loaders import TOKENIZER_FILES, first_line, unreachable

PREPROCESSOR = "preprocessor_config.json"
RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as transformers writes them


class TransformersCLIP(nn.Module):
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


def check_kind(config: dict[str, Any], name: str) -> None:
    """Raises InputError unless a config.json of transformers is that of a whole CLIP."""
    kind = config.get("model_type")
    if kind == "clip" and {"vision_config", "text_config"} <= config.keys():
        return
    more = (": of siglip, use the release for open_clip, such as hf-hub:timm/ViT-B-16-SigLIP"
            if str(kind).startswith("siglip") else
            ": give `python -m explorer convert` its file and --base" if "clip" in str(kind) else
            "")
    raise InputError(f"config.json of {name} is that of a {str(kind)[:40]} model, not of a whole "
                     f"CLIP with both towers{more}")


def open_transformers(name: str) -> tuple[Any, Callable[[list[str]], Tensor], Intake]:
    """A folder or a repository of the hub. Raises InputError."""
    import_models()
    folder = Path(name)
    if not folder.is_dir():
        hub.require(name, "config.json")
        folder = _fetched(name)
    config = read_json(folder / "config.json")
    check_kind(config, folder.name if Path(name).is_dir() else name)
    from transformers import CLIPModel

    try:
        model, report = CLIPModel.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - hub, OS and config errors share no base
        pickled = [p.name for p in folder.glob("*.bin")]
        if pickled and not list(folder.glob("*.safetensors")):
            raise InputError(f"{folder.name} has only pickled weights ({pickled[0]}): make a model "
                             "of them with `python -m explorer convert`") from None
        raise InputError(f"cannot open the model {name}: {first_line(error)}") from None
    if report["missing_keys"] or report["mismatched_keys"]:
        raise InputError(f"the weights of {name} do not fill the model it declares")
    return TransformersCLIP(model), tokenizer(folder, model.config.text_config), intake(
        folder, model.config.vision_config.image_size)


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except Exception as error:  # noqa: BLE001 - as above
        raise unreachable(name, error) from None


def tokenizer(folder: Path, text: Any) -> Callable[[list[str]], Tensor]:
    """CLIP's own byte pairs, or what the folder has for another vocabulary."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    length = text.max_position_embeddings
    found: Any
    if text.vocab_size == BYTE_PAIRS:
        found = SimpleTokenizer(context_length=length)
        return _tokens(found)
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise InputError(f"{folder.name} has a vocabulary of its own ({text.vocab_size:,} tokens) "
                         "and no tokenizer: add its tokenizer.json and tokenizer_config.json")
    found = HFTokenizer(str(folder), context_length=length, trust_remote_code=False)
    return _tokens(found)


def _tokens(found: Any) -> Callable[[list[str]], Tensor]:
    tokenize: Callable[[list[str]], Tensor] = found
    return tokenize


def intake(folder: Path, size: int) -> Intake:
    """What preprocessor_config.json says, in open_clip's words; without the file, CLIP's own."""
    path = folder / PREPROCESSOR
    raw = read_json(path) if path.is_file() else {}
    said = {"mean": raw.get("image_mean"), "std": raw.get("image_std")}
    wanted, kind = raw.get("size", size), raw.get("resample", 3)
    if kind not in RESAMPLING:
        raise InputError(f"{PREPROCESSOR} of {folder.name} says resample = {str(kind)[:20]}: only "
                         "2 (bilinear) and 3 (bicubic) are known")
    side = wanted if isinstance(wanted, int) else (
        wanted.get("shortest_edge") if isinstance(wanted, dict) else None)
    squash = isinstance(wanted, dict) and {"height", "width"} <= wanted.keys()
    sides = (wanted["height"], wanted["width"]) if squash else (side, side)
    if not all(raw.get(key, True) for key in ("do_resize", "do_normalize")) or (
            not squash and not raw.get("do_center_crop", True)) or sides != (size, size):
        raise InputError(f"{PREPROCESSOR} of {folder.name} does not bring pictures to the "
                         f"{size} x {size} pixels of the model in a way that is known here")
    return read_intake(size, {**said, "interpolation": RESAMPLING[kind],
                              "resize_mode": "squash" if squash else "shortest"}, folder.name)
