"""Fits the head: masked words of WordNet's texts and made captions, the encoder frozen.

BERT's recipe (Devlin et al. 2019, arXiv 1810.04805, appendix A.1), whole words at a time: of the
chosen words most become [MASK] and some stay. Deviations: a quarter of the words is chosen rather
than 15 %, as most sentences here have under ten; and the words that BERT exchanges for any other
are exchanged for one of like kind (a synonym or co-hyponym), and more of them. An attack reads the
candidates off the unmasked word, so that is where words of its kind should be likely.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attacks.language.filling import whole_word
from explorer.attacks.language.head import Head
from explorer.attacks.language.thesaurus import swaps
from tools.language.corpus import Captions, Sentence

PAD, UNK, CLS, SEP, MASK = 0, 100, 101, 102, 103  # of BERT's vocabulary
KIN = 12  # words of like kind that one may be exchanged for, the nearest


@dataclass(frozen=True)
class HeadRecipe:
    """steps of `batch` sentences each, of which `captions` (a share) are made up; lr: reached in
    `warm_up` steps, held, and brought to 0 over the last `cool`; chosen: share of words to predict;
    masked, kin: shares of those that become [MASK], and one of like kind, where the word has one;
    longest: tokens of a sentence; save: steps between checkpoints; seed: of all that is drawn."""

    steps: int = 2400
    batch: int = 64
    captions: float = 0.2
    lr: float = 2e-3
    warm_up: int = 100
    cool: int = 800
    chosen: float = 0.25
    masked: float = 0.6
    kin: float = 0.3
    longest: int = 48
    save: int = 25
    seed: int = 0


def of_length(steps: int | None) -> HeadRecipe:
    """The recipe with another number of steps, a third of them for cooling."""
    return HeadRecipe() if steps is None else HeadRecipe(steps=steps, cool=max(1, steps // 3))


def groups(pieces: Sequence[bool]) -> list[list[int]]:
    """Token places of each whole word; pieces[i]: token i goes on with the word before it."""
    found: list[list[int]] = []
    for i, inner in enumerate(pieces):
        if inner and found:
            found[-1].append(i)
        else:
            found.append([i])
    return found


@dataclass(frozen=True)
class Batch:
    """ids: (N, L); mask: (N, L) bool; rows, places: (M,) where; targets: (M,) which token."""

    ids: Tensor
    mask: Tensor
    rows: Tensor
    places: Tensor
    targets: Tensor


class Feed:
    """Batches of masked sentences; the same step number gives the same batch."""

    def __init__(self, sentences: Sequence[Sentence], captions: Captions, tokenizer: Any,
                 recipe: HeadRecipe) -> None:
        self.tokenizer, self.captions, self.recipe = tokenizer, captions, recipe
        self.inner = [t.startswith("##") for t, _ in sorted(
            tokenizer.get_vocab().items(), key=lambda item: item[1])]
        self.rows = self._ids([s.text for s in sentences])
        self.order: tuple[int, list[int]] = (-1, [])
        self._kin: dict[int, list[list[int]]] = {}

    def _ids(self, texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(
            texts, add_special_tokens=False, truncation=True,
            max_length=self.recipe.longest)["input_ids"]
        return found

    def unigrams(self) -> Tensor:
        """(V,) log frequencies, what the bias starts from."""
        counts = torch.zeros(len(self.inner))
        for token, count in Counter(t for row in self.rows for t in row).items():
            counts[token] = count
        return ((counts + 0.1) / counts.sum()).log()

    def _texts(self, step: int, draw: random.Random) -> list[list[int]]:
        made = round(self.recipe.batch * self.recipe.captions)
        size = self.recipe.batch - made
        epoch, at = divmod(step, len(self.rows) // size)
        if self.order[0] != epoch:
            order = list(range(len(self.rows)))
            shuffle = random.Random(f"{self.recipe.seed}/{epoch}")
            shuffle.shuffle(order)
            chunk = size * 50  # near in length, for little padding; chunks in random order
            parts = [sorted(order[i : i + chunk], key=lambda r: len(self.rows[r]))
                     for i in range(0, len(order), chunk)]
            runs = [p[i : i + size] for p in parts for i in range(0, len(p), size)]
            shuffle.shuffle(runs)
            self.order = (epoch, [r for run in runs for r in run])
        rows = self.order[1][at * size : (at + 1) * size]
        return ([self.rows[r] for r in rows]
                + self._ids([self.captions.one(draw).text for _ in range(made)]))

    def kin(self, token: int) -> list[list[int]]:
        """Tokens of each word of like kind as a token that is a whole word."""
        if token not in self._kin:
            word = self.tokenizer.convert_ids_to_tokens(token)
            near = [s.word for s in swaps(word)[:KIN]] if whole_word(word) else []
            self._kin[token] = [ids for ids in self._ids(near) if len(ids) <= 3] if near else []
        return self._kin[token]

    def _shown(self, word: list[int], draw: random.Random) -> list[int]:
        """What stands in place of a chosen word: as many tokens, but for one of like kind."""
        luck = draw.random()
        if luck < self.recipe.masked:
            return [MASK] * len(word)
        near = self.kin(word[0]) if len(word) == 1 else []
        return draw.choice(near) if near and luck < self.recipe.masked + self.recipe.kin else word

    def batch(self, step: int) -> Batch:
        draw = random.Random(f"{self.recipe.seed}/{step}/masks")
        texts, rows, places, targets = self._texts(step, draw), [], [], []
        lines: list[list[int]] = []
        for n, text in enumerate(texts):
            words = groups([self.inner[t] for t in text])
            count = min(len(words), max(1, round(len(words) * self.recipe.chosen)))
            chosen, line = set(draw.sample(range(len(words)), count)), [CLS]
            for number, word in enumerate(words):
                own = [text[place] for place in word]
                shown = self._shown(own, draw) if number in chosen else own
                for i, token in enumerate(own if number in chosen else ()):
                    rows.append(n)
                    places.append(len(line) + i)
                    targets.append(token)
                line += shown
            lines.append([*line, SEP])
        ids = torch.full((len(lines), max(map(len, lines))), PAD)
        for n, line in enumerate(lines):
            ids[n, : len(line)] = torch.tensor(line)
        return Batch(ids, ids != PAD, torch.tensor(rows), torch.tensor(places),
                     torch.tensor(targets))


def rate(recipe: HeadRecipe, step: int) -> float:
    return recipe.lr * min(1.0, (step + 1) / recipe.warm_up, (recipe.steps - step) / recipe.cool)


def train(bert: Any, feed: Feed, recipe: HeadRecipe, work: Path) -> Head:
    """Trains to the end; goes on from `work`/head.pt where an earlier run was stopped."""
    torch.manual_seed(recipe.seed)
    head, file, begin = Head(len(bert.encoder.layer) + 1, len(feed.inner)), work / "head.pt", 0
    head.bias.data.copy_(feed.unigrams())
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.lr, betas=(0.9, 0.98),
                                  weight_decay=0.01)
    if file.exists():
        saved = torch.load(file, weights_only=True)
        head.load_state_dict(saved["head"])
        optimiser.load_state_dict(saved["optimiser"])
        begin = saved["step"]
    embeddings, mean, began = bert.embeddings.word_embeddings.weight, math.nan, time.perf_counter()
    for step in range(begin, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(recipe, step)
        loss = _loss(bert, head, feed.batch(step), embeddings)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        mean = loss.item() if math.isnan(mean) else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % recipe.save == 0 or step + 1 == recipe.steps:
            print(f"step {step + 1}/{recipe.steps} loss {mean:.3f} "
                  f"{time.perf_counter() - began:.0f} s", flush=True)
            part = file.with_suffix(".part")
            torch.save({"head": head.state_dict(), "optimiser": optimiser.state_dict(),
                        "step": step + 1}, part)
            part.replace(file)
    return head.eval()


def _loss(bert: Any, head: Head, batch: Batch, embeddings: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            levels = bert(batch.ids, attention_mask=batch.mask.long(),
                          output_hidden_states=True).hidden_states
        scores = head(levels, batch.mask, batch.rows, batch.places, embeddings)
    return F.cross_entropy(scores.float(), batch.targets)
