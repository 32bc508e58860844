"""MiniLM (all-MiniLM-L6-v2, Apache-2.0), taken back out of the embedded pair's text tower.

Reimers and Gurevych 2019 (arXiv 1908.10084), Wang et al. 2020 (arXiv 2002.10957). The text tower
of assets/models/pocket is that model, unchanged but for its last layer norm, into which a
standardisation is folded; assets/words/minilm_norm.safetensors holds that layer as it was.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.base.paths import ASSETS

FOLDER = ASSETS / "models" / "pocket"
NORM = ASSETS / "words" / "minilm_norm.safetensors"
PREFIX = "text.transformer."
LAST_NORM = "encoder.layer.5.output.LayerNorm."
BATCH, TOKENS = 64, 16_384  # at most so many rows, and so many tokens, go through at once
CACHE = 20_000  # pooled features of texts, 1.5 kB each
SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Hidden:
    """Token features of N texts. features: (N, L, 384) float32; mask: (N, L) bool, true where a
    token is; offsets: (N, L, 2), each token's start and end in its text (0, 0 for [CLS], [SEP])."""

    features: Tensor
    mask: Tensor
    offsets: Tensor


def tidy(text: str) -> str:
    """Lone surrogates, which no tokenizer takes, as U+FFFD; the length stays."""
    return SURROGATES.sub("\ufffd", text)


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers, short rows first, in batches that respect BATCH and TOKENS."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    part: list[int] = []
    for i in order:
        if part and (len(part) == BATCH or (len(part) + 1) * lengths[i] > TOKENS):
            yield part
            part = []
        part.append(i)
    if part:
        yield part


def load_bert(folder: Path = FOLDER, norm: Path = NORM) -> Any:
    """MiniLM as transformers' BertModel, float32, frozen, in eval mode."""
    from safetensors import safe_open
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    bert = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False)
    with safe_open(folder / "open_clip_model.safetensors", framework="pt") as file:
        state = {k.removeprefix(PREFIX): file.get_tensor(k).float() for k in file.keys()  # noqa: SIM118
                 if k.startswith(PREFIX)}
    state |= {LAST_NORM + k: v for k, v in load_file(norm).items()}
    bert.load_state_dict(state)
    return bert.eval().requires_grad_(False)


class SentenceEncoder:
    """Token features of MiniLM, and how alike two texts are. Safe between threads."""

    def __init__(self, folder: Path = FOLDER, norm: Path = NORM) -> None:
        from transformers import BertTokenizerFast

        self.bert = load_bert(folder, norm)
        self.tokenizer = BertTokenizerFast.from_pretrained(folder)
        self.limit = int(self.tokenizer.model_max_length)
        self._pooled: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @torch.no_grad()
    def hidden(self, texts: Sequence[str]) -> Hidden:
        """The last layer's features; texts longer than 512 tokens are cut there."""
        tokens = self.tokenizer(
            [tidy(t) for t in texts], padding=True, truncation=True, max_length=self.limit,
            return_offsets_mapping=True, return_tensors="pt")
        offsets = tokens.pop("offset_mapping")
        features = self.bert(**tokens).last_hidden_state
        return Hidden(features, tokens["attention_mask"].bool(), offsets)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """(N, 384) unit float32: the mean of the tokens' features, as all-MiniLM-L6-v2 has it."""
        with self._lock:
            fresh = [t for t in dict.fromkeys(texts) if t not in self._pooled]
            for part in batches([min(len(t), self.limit) for t in fresh]):
                found = self.hidden([fresh[i] for i in part])
                weight = found.mask[..., None].float()
                mean = (found.features * weight).sum(1) / weight.sum(1)
                for i, row in zip(part, F.normalize(mean, dim=1), strict=True):
                    self._pooled[fresh[i]] = row
            rows = [self._pooled[t] for t in texts]
            while len(self._pooled) > CACHE:
                self._pooled.popitem(last=False)
        return torch.stack(rows) if rows else torch.zeros(0, self.bert.config.hidden_size)

    def similarity(self, a: Sequence[str], b: Sequence[str]) -> Tensor:
        """(N,) cosine in [-1, 1] between a[i] and b[i]."""
        both = self.embed([*a, *b])
        return (both[: len(a)] * both[len(a) :]).sum(1).clamp(-1, 1)


_lock = threading.Lock()


@lru_cache(maxsize=1)
def _encoder() -> SentenceEncoder:
    return SentenceEncoder()


def sentence_encoder() -> SentenceEncoder:
    """The one of this process, opened when it is first asked for."""
    with _lock:
        return _encoder()
