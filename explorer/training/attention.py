"""Text-guided attention of a vision transformer, for TGA-ZSR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.base.errors import InputError


def require_attention(visual: nn.Module) -> None:
    """Raises InputError unless the tower is one of open_clip's transformers with a projection."""
    from open_clip.transformer import VisionTransformer

    if not isinstance(visual, VisionTransformer) or visual.attn_pool is not None:
        raise InputError("the method tga compares attention maps, which this model's image tower "
                         f"({type(visual).__name__}) does not have: choose a base with a vision "
                         "transformer, or the method pmg-aft")


def features_and_patches(visual: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """One pass: raw image features (n, D), and those of each patch (n, P, D) in the same space."""
    kept, visual.output_tokens = visual.output_tokens, True
    try:
        pooled, tokens = visual(x)
    finally:
        visual.output_tokens = kept
    if visual.final_ln_after_pool:
        tokens = visual.ln_post(tokens)
    if visual.pool_type not in ("avg", "tok"):
        tokens = tokens[:, 1:]
    return pooled, tokens if visual.proj is None else tokens @ visual.proj


def attention_map(patches: Tensor, text: Tensor, grid: tuple[int, int], size: int | Sequence[int],
                  ) -> Tensor:
    """(n, H, W) similarity of each patch with the picture's own caption, in [0, 1].

    patches: (n, P, D) raw; text: (n, D) unit. Cosine of patch and caption on the patch grid,
    up-sampled to the picture and stretched to [0, 1] (Yu et al. 2024, arXiv 2410.21802,
    section 3; here with unit patch features).
    """
    near = torch.einsum("npd,nd->np", F.normalize(patches, dim=2), text)
    shown = F.interpolate(near.view(-1, 1, *grid), size, mode="bilinear")[:, 0]
    low = shown.amin((1, 2), keepdim=True)
    high = shown.amax((1, 2), keepdim=True)
    return (shown - low) / (high - low).clamp_min(1e-6)
