"""The gradient of a text tower with respect to its token embeddings, for HotFlip.

Works for open_clip's own towers (byte-pair tokens, "</w>" ends a word) and for BERT-like ones
(word pieces, "##" continues a word).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from threading import get_ident
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.attacks.text.search import TextLoss
from explorer.base.errors import InputError
from explorer.base.words import spans
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import read


def token_table(clip: nn.Module) -> nn.Embedding:
    """The embedding layer of a text tower's tokens: the one with the most rows outside the image
    tower. Raises InputError when there is none."""
    tables = [m for name, m in clip.named_modules()
              if isinstance(m, nn.Embedding) and "visual" not in name and "vision" not in name]
    if not tables:
        raise InputError("this model's text tower shows no token table: choose another text attack")
    return max(tables, key=lambda table: table.num_embeddings)


class TokenSlopes:
    """First-order gains of whole-word swaps in a model's captions."""

    def __init__(self, model: DualEncoder) -> None:
        self.model, self.table = model, token_table(model.clip)

    @cached_property
    def vocabulary(self) -> tuple[Tensor, list[str]]:
        """Token numbers, on the device, and spellings of all whole lower-case words."""
        tokenizer: Any = self.model.tokenize
        if hasattr(tokenizer, "tokenizer"):  # a Hugging Face one
            entries = tokenizer.tokenizer.get_vocab().items()
            words = {number: text for text, number in entries if not text.startswith("##")}
        else:
            words = {number: text.removesuffix("</w>")
                     for text, number in tokenizer.encoder.items() if text.endswith("</w>")}
        kept = {n: w for n, w in words.items() if w.isascii() and w.isalpha() and w.islower()
                and len(w) > 1 and n < self.table.num_embeddings}
        numbers = torch.tensor(list(kept), device=self.model.device)
        return numbers, list(kept.values())

    def _place(self, text: str, start: int) -> int:
        """Position of the first token of the word that begins at `start`."""
        tokenizer: Any = self.model.tokenize
        before = text[:start]
        if hasattr(tokenizer, "tokenizer"):
            return 1 + len(tokenizer.tokenizer(before, add_special_tokens=False)["input_ids"])
        return 1 + len(tokenizer.encode(before))

    def slopes(self, texts: Sequence[str], losses: Sequence[TextLoss], nudge: float = 0.0,
               ) -> tuple[Tensor, Tensor]:
        """Tokens (B, L) and the gradient of each caption's loss at its embeddings (B, L, E), or
        `nudge` times their usual size beside them, in a fixed direction."""
        tokens = self.model.tokens(texts)
        leaf: list[Tensor] = []
        shift = nudge * self._direction

        mine = get_ident()

        def catch(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
            if get_ident() != mine:
                return None  # another run's captions, on the same model meanwhile
            leaf.append((output.detach() + shift).requires_grad_(True))
            return leaf[0]

        hook = self.table.register_forward_hook(catch)
        try:
            with torch.enable_grad():
                raw = read(self.model.clip, tokens)
                features = F.normalize(raw.float(), dim=1)
                total = torch.stack([loss(row[None])[0] for loss, row in
                                     zip(losses, features, strict=True)]).sum()
                (grad,) = torch.autograd.grad(total, leaf[0])
        finally:
            hook.remove()
        return tokens, grad.float()

    @cached_property
    def _direction(self) -> Tensor:
        """(E,) random, as large as a token's embedding is from the mean one."""
        weight = self.table.weight
        random = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(0))
        return random.to(weight) * weight.std(0)

    def _steep(self, texts: Sequence[str], losses: Sequence[TextLoss]) -> tuple[Tensor, Tensor]:
        """`slopes`; where there is none, as for a caption that is to leave the very place where it
        is, those close by."""
        tokens, grad = self.slopes(texts, losses)
        _, near = self.slopes(texts, losses, 0.1)
        flat = grad.flatten(1).norm(dim=1) < 0.01 * near.flatten(1).norm(dim=1)
        return tokens, torch.where(flat.view(-1, 1, 1), near, grad)

    def gains(self, texts: Sequence[str], losses: Sequence[TextLoss], k: int,
              ) -> list[list[list[str]]]:
        """For each caption and word, the k words whose embedding gains most to first order:
        (e_new - e_old) . gradient (Ebrahimi et al. 2018, arXiv 1712.06751, equation 3)."""
        tokens, grad = self._steep(texts, losses)
        numbers, words = self.vocabulary
        table = self.table.weight[numbers].float()
        found: list[list[list[str]]] = []
        for row, text in enumerate(texts):
            places = [self._place(text, s.start) for s in spans(text)]
            inside = [p if p < tokens.shape[1] - 1 else -1 for p in places]
            gain = table @ grad[row].T  # (V, L); e_old only shifts a whole column
            top = gain.topk(min(k + 1, len(words)), dim=0).indices.T.tolist()
            found.append([[words[i] for i in top[p]][:k] if p > 0 else [] for p in inside])
        return found
