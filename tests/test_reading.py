"""Captions read without their padding: the same features, for a fraction of the work."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from helpers import CAPTIONS, TINY, tiny_clip
from torch import Tensor

from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import padding, read, without_padding


@pytest.fixture
def clip() -> open_clip.CLIP:
    return tiny_clip(2).eval()


def tokens_of(*captions: str) -> Tensor:
    found: Tensor = open_clip.SimpleTokenizer(context_length=16)(list(captions))
    return found


def test_a_causal_tower_reads_as_much_as_there_is(clip: open_clip.CLIP) -> None:
    tokens = tokens_of(*CAPTIONS, "wow !! a dog !?!")  # "!" is token 0, as padding is
    short = without_padding(tokens, padding(clip))
    assert tokens.shape == (5, 16) and short.shape[1] < 12
    torch.testing.assert_close(read(clip, short), clip.encode_text(tokens), atol=1e-6, rtol=1e-5)
    assert torch.equal(read(clip, tokens), clip.encode_text(tokens))


def test_its_gradient_is_the_same(clip: open_clip.CLIP) -> None:
    tokens, grads = tokens_of("a cat on a red car"), []
    for length in (16, 8):
        other = copy.deepcopy(clip)
        read(other, tokens[:, :length])[0, 0].backward()
        grads.append([other.token_embedding.weight.grad, other.positional_embedding.grad,
                      other.text_projection.grad])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("change", [{"no_causal_mask": True}, {"pool_type": "last"}])
def test_padding_that_counts_stays(change: dict[str, object]) -> None:
    text = {**TINY["text_cfg"], **change}  # type: ignore[dict-item]
    clip = open_clip.CLIP(**{**TINY, "text_cfg": text}).eval()
    tokens = tokens_of("a cat")
    assert padding(clip) is None and without_padding(tokens, None) is tokens
    assert torch.equal(read(clip, tokens), clip.encode_text(tokens))


def test_nothing_but_padding_keeps_a_column() -> None:
    assert without_padding(torch.zeros(2, 5, dtype=torch.long), 0).shape == (2, 1)


def test_the_embedded_tower_masks_its_padding(pocket: DualEncoder) -> None:
    pad = padding(pocket.clip)
    tokens = pocket.tokenize(list(CAPTIONS))
    assert pad == 0 and pocket.tokens(CAPTIONS).shape[1] < tokens.shape[1]
    with torch.no_grad():
        torch.testing.assert_close(read(pocket.clip, pocket.tokens(CAPTIONS)),
                                   read(pocket.clip, tokens), atol=1e-5, rtol=1e-4)
