"""Words, tokens and masks brought together: the part that all masked language models share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from explorer.attacks.language.encoder import batches, tidy
from explorer.attacks.language.masked import Candidate
from explorer.base.words import Span, spans

CACHE = 4096  # texts
LONE_LETTERS = frozenset({"a", "i"})  # other single letters are no words


@dataclass(frozen=True)
class Blank:
    """One line for the model. ids: its tokens; asks: (text number, word number, place in ids,
    whether the word starts right after another character) of the words that are read off it."""

    ids: list[int]
    asks: list[tuple[int, int, int, bool]]


def whole_word(word: str) -> bool:
    """Whether a token's text is a word: letters alone, and more than one unless it is "a" or "i"
    or of a script without capitals."""
    if any(c.isdigit() for c in word) or [s.word for s in spans(word)] != [word]:
        return False
    return len(word) > 1 or word.lower() in LONE_LETTERS or word.lower() == word.upper()


@dataclass(frozen=True)
class Words:
    """The whole words among a model's tokens. texts: each token's word; spaced and bare: (V,) bool,
    tokens that are whole words after a space, and right after another character."""

    texts: list[str]
    spaced: Tensor
    bare: Tensor


def read_vocabulary(tokenizer: Any, size: int) -> Words | None:
    """From a tokenizer that marks inner pieces ("##x", BERT) or word starts ("Ġx", "▁x": RoBERTa,
    XLM-R); None when it does neither.

    Tokens without the mark of a word start are words only where there is no space before, and only
    if the same word with the mark is a token too: others are endings.
    """
    names: list[str] = [""] * size
    for token, i in tokenizer.get_vocab().items():
        if i < size:
            names[i] = token
    special = set(tokenizer.all_special_tokens)
    if any(n.startswith("##") for n in names):
        texts = ["" if n in special or n.startswith("##") else n for n in names]
        whole = torch.tensor([whole_word(t) for t in texts])
        return Words(texts, whole, whole)
    mark = next((m for m in ("Ġ", "▁") if sum(n.startswith(m) for n in names) > 1), None)
    if mark is None:
        return None
    texts = ["" if n in special else tokenizer.convert_tokens_to_string([n]).strip()
             for n in names]
    good = [whole_word(t) for t in texts]
    starts = [n.startswith(mark) for n in names]
    twins = {t for t, ok, s in zip(texts, good, starts, strict=True) if ok and s}
    rows = list(zip(texts, good, starts, strict=True))
    return Words(texts, torch.tensor([ok and s for _, ok, s in rows]),
                 torch.tensor([ok and not s and t in twins for t, ok, s in rows]))


class Filler:
    """`fill` of MaskedLM over a fast tokenizer; a subclass gives `scores`. Safe between threads."""

    reads_pieces: ClassVar[bool] = False  # whether whole words answer at a word's first piece

    def __init__(self, tokenizer: Any, words: Words, limit: int) -> None:
        """limit: tokens of a line, special ones included."""
        self.tokenizer, self.words, self.limit = tokenizer, words, limit
        mask = tokenizer.mask_token_id
        frame = tokenizer.build_inputs_with_special_tokens([mask])
        self.before, self.extra = frame.index(mask), len(frame) - 1
        self._known: OrderedDict[tuple[str, int, bool], list[list[Candidate]]] = OrderedDict()
        self._lock = threading.Lock()

    def scores(self, ids: Tensor, mask: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        """ids, mask: (N, L) -> (M, V) scores of all tokens at M places of the batch."""
        raise NotImplementedError

    def fill(self, texts: Sequence[str], k: int, masked: bool = False,
             ) -> list[list[list[Candidate]]]:
        """See explorer.attacks.language.masked.MaskedLM.fill."""
        with self._lock:
            fresh = [t for t in dict.fromkeys(texts) if (t, k, masked) not in self._known]
            for text, found in zip(fresh, self._fill(fresh, k, masked), strict=True):
                self._known[text, k, masked] = found
            answer = [list(self._known[t, k, masked]) for t in texts]
            while len(self._known) > CACHE:
                self._known.popitem(last=False)
        return answer

    def _fill(self, texts: list[str], k: int, masked: bool) -> list[list[list[Candidate]]]:
        places = [spans(t) for t in texts]
        answer: list[list[list[Candidate]]] = [[[] for _ in row] for row in places]
        rows = [row for i, text in enumerate(texts)
                for row in self._rows(i, tidy(text), places[i], masked)]
        for text, word, found in self._answers(rows, 4 * k + 8):
            own = places[text][word].word
            seen = {own.casefold(), self._plain(own)}
            answer[text][word] = [c for c in found if c.word.casefold() not in seen][:k]
        return answer

    def best(self, asked: Sequence[tuple[str, int]], k: int) -> list[list[Candidate]]:
        """The k likeliest words for one masked word each, (text, number of the word); the word
        itself may be among them, which is how a masked language model is measured."""
        rows = []
        for i, (text, word) in enumerate(asked):
            span = spans(text)[word]
            rows += [Blank(r.ids, [(i, 0, *r.asks[0][2:])])
                     for r in self._rows(i, tidy(text), [span], masked=True)]
        answer: list[list[Candidate]] = [[] for _ in asked]
        with self._lock:
            for i, _, found in self._answers(rows, k):
                answer[i] = found
        return answer

    @torch.no_grad()
    def _answers(self, rows: list[Blank], k: int) -> Iterator[tuple[int, int, list[Candidate]]]:
        """(text number, word number, k likeliest whole words) of all that the rows ask."""
        pad = self.tokenizer.pad_token_id
        for part in batches([len(r.ids) for r in rows]):
            chosen = [rows[i] for i in part]
            width = max(len(r.ids) for r in chosen)
            ids = torch.tensor([r.ids + [pad] * (width - len(r.ids)) for r in chosen])
            mask = torch.tensor([[j < len(r.ids) for j in range(width)] for r in chosen])
            asks = [(n, *ask) for n, r in enumerate(chosen) for ask in r.asks]
            scores = self.scores(ids, mask, torch.tensor([a[0] for a in asks]),
                                 torch.tensor([a[3] for a in asks])).float().cpu()
            bare = torch.tensor([a[4] for a in asks])[:, None]
            allowed = torch.where(bare, self.words.bare, self.words.spaced)
            chances = scores.masked_fill(~allowed, -torch.inf).softmax(1).nan_to_num()
            top = chances.topk(min(k, chances.shape[1]), dim=1)
            for ask, p, tokens in zip(asks, top.values.tolist(), top.indices.tolist(), strict=True):
                found: dict[str, Candidate] = {}
                for token, chance in zip(tokens, p, strict=True):
                    text = self.words.texts[token]
                    if text and chance > 0:  # of words that differ in case alone, the likelier
                        found.setdefault(text.casefold(), Candidate(text, chance))
                yield ask[1], ask[2], list(found.values())

    def _rows(self, number: int, text: str, words: list[Span], masked: bool) -> list[Blank]:
        """The sentence as it is, and a line with one mask for each word that needs its own.

        Deviation from BERT-Attack, which combines the candidates of a word's pieces: a word of
        several pieces is read off its first piece by a model trained to answer there with whole
        words, else replaced by one mask.
        """
        tokens = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True,
                                verbose=False)
        room = self.limit - self.extra
        ids, plain, rows = tokens["input_ids"], [], []
        for word, span in enumerate(words):
            own = [i for i, (start, end) in enumerate(tokens["offset_mapping"])
                   if start < span.end and end > span.start and end > start]
            if not own or own[-1] >= room:
                continue
            bare = span.start == 0 or not text[span.start - 1].isspace()
            ask = (number, word, own[0] + self.before, bare)
            if not masked and (len(own) == 1 or self.reads_pieces):
                plain.append(ask)
            else:
                line = [*ids[: own[0]], self.tokenizer.mask_token_id, *ids[own[-1] + 1 : room]]
                rows.append(Blank(self.tokenizer.build_inputs_with_special_tokens(line), [ask]))
        if plain:
            whole = self.tokenizer.build_inputs_with_special_tokens(ids[:room])
            rows.insert(0, Blank(whole, plain))
        return rows

    @lru_cache(maxsize=4096)  # noqa: B019 - fillers live as long as the process
    def _plain(self, word: str) -> str:
        """The word as the tokenizer spells it: without accents, say."""
        pieces = self.tokenizer.tokenize(tidy(word))
        spelt: str = self.tokenizer.convert_tokens_to_string(pieces).strip().casefold()
        return spelt
