"""A masked language model of the Hugging Face hub, or of a folder, such as bert-base-uncased."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from explorer.attacks.language.filling import Filler, Words, read_vocabulary
from explorer.attacks.language.masked import BERT
from explorer.base import hub
from explorer.base.device import device_and_dtype
from explorer.base.errors import InputError

UNBOUNDED = 100_000  # a tokenizer that knows no limit says a huge number


class HubLM(Filler):
    """MaskedLM over transformers' AutoModelForMaskedLM: BERT, RoBERTa and their like.

    Weights only as safetensors, and no code from the repository. Raises InputError in one sentence
    when the model cannot be had, is no masked language model or lacks weights.
    """

    def __init__(self, name: str | Path = BERT, device: str | None = None) -> None:
        folder = Path(name).expanduser()
        local = folder.is_dir()
        self.name = self.title = str(name)
        if local:
            self.title = folder.name
            if not (folder / "config.json").is_file():
                raise InputError(f"the folder {folder.name} has no config.json, so it holds no "
                                 "masked language model")
        else:
            hub.require(str(name), "config.json")
        self.model, tokenizer = _open(str(folder) if local else str(name), self.title)
        self.device, _ = device_and_dtype(device)
        self.model.to(self.device)
        words = _words(tokenizer, self.model.config.vocab_size, self.title)
        super().__init__(tokenizer, words, _limit(tokenizer, self.model))

    def scores(self, ids: Tensor, mask: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        scores = self.model(input_ids=ids.to(self.device),
                            attention_mask=mask.long().to(self.device)).logits
        chosen: Tensor = scores[rows.to(self.device), places.to(self.device)]
        return chosen


def _open(source: str, title: str) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        wanted = [a for a in config.architectures or () if a.endswith("ForMaskedLM")
                  or a == "BertForPreTraining"]
        if not wanted:
            raise InputError(f"{title} is no masked language model: its config says "
                             f"{', '.join(config.architectures or ()) or 'nothing of what it is'}")
        model, report = AutoModelForMaskedLM.from_pretrained(
            source, config=config, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - hub, config, weights and tokenizer fail in many ways
        raise InputError(f"cannot open the masked language model {title}: "
                         f"{(str(error).strip().splitlines() or [type(error).__name__])[0][:160]}"
                         ) from None
    if report["missing_keys"] or report["mismatched_keys"]:
        raise InputError(f"the weights of {title} do not fill the masked language model that its "
                         "config declares")
    if not tokenizer.is_fast or tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
        raise InputError(f"the tokenizer of {title} has no mask token, no padding or no fast form, "
                         "so words cannot be masked with it")
    return model.eval().requires_grad_(False), tokenizer


def _words(tokenizer: Any, size: int, title: str) -> Words:
    words = read_vocabulary(tokenizer, size)
    if words is None or not bool(words.spaced.any()):
        raise InputError(f"the tokenizer of {title} does not mark which of its tokens are whole "
                         "words in a way that is known here (BERT's or RoBERTa's)")
    return words


def _limit(tokenizer: Any, model: Any) -> int:
    """Tokens of a line: the tokenizer's limit, within the model's positions."""
    config = model.config
    positions = int(getattr(config, "max_position_embeddings", None) or UNBOUNDED)
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer", "mpnet"):
        positions -= int(config.pad_token_id or 0) + 1  # theirs count from the padding's id
    limit = min(int(tokenizer.model_max_length), positions)
    return limit if limit < UNBOUNDED else 512
