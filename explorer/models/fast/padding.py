"""Reads captions without the padding behind them, where nothing looks at it: CLIP's own tower is
77 tokens long, its captions about ten."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def padding(clip: nn.Module) -> int | None:
    """The token that only fills up a row; None where the tower may look at it."""
    text = getattr(clip, "text", None)
    if getattr(text, "output_tokens", False):
        return None
    masked: int | None = getattr(getattr(text, "config", None), "pad_token_id", None)
    return 0 if _causal(clip) or hasattr(clip, "any_length") else masked


def _causal(clip: nn.Module) -> bool:
    """open_clip's CLIP where each token sees those before it, and the last is the feature."""
    from open_clip import CLIP

    return (isinstance(clip, CLIP) and clip.attn_mask is not None
            and clip.text_pool_type in ("argmax", "eos"))


def without_padding(tokens: Tensor, pad: int | None) -> Tensor:
    """(K, L) -> (K, l): without the last columns if they are padding in every row."""
    if pad is None:
        return tokens
    used = (tokens != pad).any(0).nonzero()
    return tokens[:, : int(used.max()) + 1 if len(used) else 1]


class _Short:
    """A CLIP whose text tower is n tokens long."""

    def __init__(self, clip: Any, n: int) -> None:
        self._clip, self.positional_embedding = clip, clip.positional_embedding[:n]
        self.attn_mask = clip.attn_mask[:n, :n]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clip, name)


def read(clip: nn.Module, tokens: Tensor) -> Tensor:
    """(K, L) tokens, padded to the tower's length or not -> (K, D) features, not normalised;
    differentiable."""
    found: Tensor
    if _causal(clip):
        from open_clip import CLIP

        found = CLIP.encode_text(_Short(clip, tokens.shape[1]), tokens)
    else:
        found = clip.encode_text(tokens)  # type: ignore[operator]
    return found
