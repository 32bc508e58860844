"""Reads captions without the padding behind them, where nothing looks at it: CLIP's own tower is
77 tokens long, its captions about ten."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from explorer.base.errors import InputError


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


def _count(tokenize: Any, caption: str) -> int:
    """Tokens of a whole caption, with those at its start and end."""
    if hasattr(tokenize, "tokenizer"):  # a Hugging Face one
        clean = getattr(tokenize, "clean_fn", str)
        return len(tokenize.tokenizer(clean(caption))["input_ids"])
    return len(tokenize.encode(caption)) + 2


def too_long(tokenize: Any, captions: Sequence[str]) -> tuple[dict[int, int], int]:
    """(tokens of each caption, by its place, that is longer than the model reads, the most that it
    reads). Nothing is longer where the tokenizer does not say."""
    most = getattr(tokenize, "context_length", None)
    if not isinstance(most, int) or not (hasattr(tokenize, "tokenizer")
                                         or hasattr(tokenize, "encode")):
        return {}, 0
    able = [k for k, text in enumerate(captions) if len(text.encode()) + 2 > most]
    counts = {k: _count(tokenize, captions[k]) for k in able}
    return {k: n for k, n in counts.items() if n > most}, most


def twins(tokenize: Callable[[list[str]], Tensor], captions: Sequence[str]) -> dict[int, int]:
    """Captions whose tokens are those of another one, cut or not: place -> place of another."""
    rows: dict[bytes, list[int]] = {}
    for k, row in enumerate(tokenize(list(captions)) if captions else []):
        rows.setdefault(row.cpu().numpy().tobytes(), []).append(k)
    return {k: same[0] if k != same[0] else same[1]
            for same in rows.values() if len(same) > 1 for k in same}


def confused(tokenize: Callable[[list[str]], Tensor], captions: Sequence[str],
             owner: Sequence[int]) -> list[int]:
    """Places of the captions whose tokens are those of another image's caption that reads
    differently; owner: the image of each. Captions that are the same but for capitals, spaces and
    accents are not among them: these are the same to a reader too."""
    rows: dict[bytes, list[int]] = {}
    for k, row in enumerate(tokenize(list(captions)) if captions else []):
        rows.setdefault(row.cpu().numpy().tobytes(), []).append(k)
    found = []
    for same in rows.values():
        if len({owner[k] for k in same}) > 1 and len({_plain(captions[k]) for k in same}) > 1:
            found += same
    return sorted(found)


def _plain(caption: str) -> str:
    marks = unicodedata.normalize("NFKD", caption.casefold())
    return "".join(c for c in marks if not c.isspace() and not unicodedata.combining(c))


def check_captions(name: str, tokenize: Any, captions: Sequence[str], judged: Sequence[int],
                   ) -> None:
    """Raises InputError where one of the `judged` captions is another one to the model: nothing
    that it says could tell them apart."""
    same = twins(tokenize, captions)
    for k in judged:
        if k in same:
            a, b = sorted((k, same[k]))
            cut, most = too_long(tokenize, [captions[a], captions[b]])
            alike = _plain(captions[a]) == _plain(captions[b])
            why = (f"which reads only the first {most} tokens" if cut else
                   "which takes no note of capitals, spaces and accents" if alike else
                   "which does not know their signs")
            raise InputError(f"captions {a + 1} and {b + 1} are the same to {name}, {why}: change "
                             "one of them where it reads")


def caption_notes(name: str, tokenize: Any, captions: Sequence[str]) -> list[str]:
    """What a person should know of captions that a model does not read to their end."""
    cut, most = too_long(tokenize, captions)
    if not cut:
        return []
    if len(cut) == 1:
        ((place, count),) = cut.items()
        one = f"caption {place + 1}" if len(captions) > 1 else "the caption"
        return [f"{name} reads {most} tokens, and {one} has {count}: its end is not seen."]
    return [f"{name} reads {most} tokens, and {len(cut):,} of {len(captions):,} captions are "
            "longer: their ends are not seen."]


def unjudged(name: str, count: int) -> str:
    """Of pictures whose caption is the same as another's to the model."""
    return (f"{count:,} picture{'s are' if count > 1 else ' is'} not judged by {name}: to it "
            f"{'their captions are' if count > 1 else 'its caption is'} the same as another one.")


def left_apart(name: str, captions: int, images: int) -> str:
    """Of a retrieval: captions that are left out, and images that have none left then."""
    lost = f", and with them {images:,} image{'s' * (images > 1)}" if images else ""
    return (f"{captions:,} caption{'s are' if captions > 1 else ' is'} left out for {name}{lost}: "
            f"to it {'they are' if captions > 1 else 'it is'} the same as other captions that read "
            "differently.")
