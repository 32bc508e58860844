"""The masked-language-model head that sits on the frozen MiniLM: 0.87 million weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, INNER, WIDE = 384, 4, 128, 640


class Head(nn.Module):
    """From the hidden states of MiniLM's seven levels to words.

    A learned mix of the levels, one small transformer block (attention, feed-forward), then BERT's
    head: dense, GELU, layer norm, a decoder tied to the word embeddings, and a bias
    (Devlin et al. 2019, arXiv 1810.04805, appendix A.1 and the released code).
    """

    def __init__(self, levels: int = 7, vocabulary: int = 30_522) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.full((levels, 1, 1, WIDTH), 1 / levels))
        self.norm = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, 3 * INNER)
        self.out = nn.Linear(INNER, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.wide = nn.Linear(WIDTH, WIDE)
        self.back = nn.Linear(WIDE, WIDTH)
        self.norm3 = nn.LayerNorm(WIDTH)
        self.dense = nn.Linear(WIDTH, WIDTH)
        self.norm4 = nn.LayerNorm(WIDTH)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def features(self, levels: tuple[Tensor, ...], mask: Tensor, rows: Tensor, places: Tensor,
                 ) -> Tensor:
        """levels: each (N, L, 384); mask: (N, L) bool -> (M, 384) for M places of the batch."""
        x = self.norm((torch.stack(levels) * self.mix).sum(0))
        n, length, _ = x.shape
        parts = self.query(x).view(n, length, 3, HEADS, INNER // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        seen = seen.transpose(1, 2).reshape(n, length, INNER)[rows, places]
        x = self.norm2(x[rows, places] + self.out(seen))
        x = self.norm3(x + self.back(F.gelu(self.wide(x))))
        y: Tensor = self.norm4(F.gelu(self.dense(x)))
        return y

    def forward(self, levels: tuple[Tensor, ...], mask: Tensor, rows: Tensor, places: Tensor,
                embeddings: Tensor) -> Tensor:
        """(M, V) scores of all V tokens at M places."""
        return F.linear(self.features(levels, mask, rows, places), embeddings, self.bias)
