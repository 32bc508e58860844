"""The masked language model that comes with the project: a small head on the frozen MiniLM."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from explorer.attacks.language.encoder import SentenceEncoder, sentence_encoder
from explorer.attacks.language.filling import Filler, Words, read_vocabulary
from explorer.attacks.language.head import Head
from explorer.base.paths import ASSETS

HEAD = ASSETS / "words" / "mlm_head.safetensors"


def load_head(file: Path = HEAD) -> Head:
    """The trained head, float32, frozen."""
    from safetensors.torch import load_file

    head = Head()
    head.load_state_dict({k: v.float() for k, v in load_file(file).items()})
    return head.eval().requires_grad_(False)


def own_words(tokenizer: object, size: int) -> Words:
    """Whole, lower-case words of a to z: MiniLM's vocabulary has no others worth offering."""
    words = read_vocabulary(tokenizer, size)
    assert words is not None
    good = torch.tensor([t.isascii() and t.isalpha() and t.islower() for t in words.texts])
    return Words(words.texts, words.spaced & good, words.bare & good)


class EmbeddedLM(Filler):
    """MaskedLM on the processor, with nothing to download."""

    name, title = "embedded", "embedded MiniLM head"
    reads_pieces = True  # as `tools.language.train` teaches it

    def __init__(self, encoder: SentenceEncoder | None = None, head: Head | None = None) -> None:
        encoder = encoder or sentence_encoder()
        self.bert, self.head = encoder.bert, head or load_head()
        super().__init__(encoder.tokenizer,
                         own_words(encoder.tokenizer, self.bert.config.vocab_size), encoder.limit)

    def scores(self, ids: Tensor, mask: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        levels = self.bert(ids, attention_mask=mask.long(),
                           output_hidden_states=True).hidden_states
        scores: Tensor = self.head(levels, mask, rows, places,
                                   self.bert.embeddings.word_embeddings.weight)
        return scores
