"""Text and image retrieval, clean and under attack: recall at k, and how much of it is lost.

Text retrieval (TR): an image must find any of its captions. Image retrieval (IR): a caption must
find its image. Both as SGA reports them (Lu et al. 2023, arXiv 2307.14061, section 5).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.attacks.engine import Step
from explorer.attacks.registry import Attack
from explorer.attacks.result import Result
from explorer.attacks.run import stream
from explorer.base.errors import InputError
from explorer.base.intervals import wilson
from explorer.base.processes import ALONE, Processes
from explorer.base.progress import Progress
from explorer.data.pairs import Pairs
from explorer.data.sets import RetrievalSet
from explorer.data.tasks import KS
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import confused, left_apart

TIE = 1e-6  # cosines closer than this are a tie, since rounding alone could part them
CHUNK = 512  # rows of scores in memory at a time


@dataclass(frozen=True)
class Recall:
    """Of n queries, how many found a right answer among the first k. recall, ci95 in [0, 1].

    direction: "text" (TR, queries are images) or "image" (IR, queries are captions).
    """

    direction: str
    k: int
    hits: int
    n: int
    recall: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Success:
    """Of the n queries that were right before the attack, how many are wrong after it."""

    direction: str
    k: int
    wrong: int
    n: int
    rate: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Retrieval:
    """One model on one set. attacked and success are empty without an attack.

    images, captions: sizes of the two galleries; skipped: images that cannot be read.
    """

    model: str
    images: int
    captions: int
    skipped: int
    clean: tuple[Recall, ...]
    attacked: tuple[Recall, ...]
    success: tuple[Success, ...]
    seconds: float


def text_ranks(images: Tensor, texts: Tensor, owner: Tensor) -> Tensor:
    """(I,) how many captions of others are at least as near to each image as its nearest own.

    images: (I, D), texts: (C, D) unit features; owner: (C,) image of each caption. 0 is a hit at
    1. A tie counts against the model.
    """
    ranks = []
    for start in range(0, len(images), CHUNK):
        scores = images[start:start + CHUNK] @ texts.T
        own = owner[None] == torch.arange(start, start + len(scores))[:, None]
        best = scores.masked_fill(~own, -torch.inf).amax(1)
        ranks.append((~(scores < best[:, None] - TIE) & ~own).sum(1))
    return torch.cat(ranks)


def image_ranks(images: Tensor, texts: Tensor, owner: Tensor) -> Tensor:
    """(C,) how many other images are at least as near to each caption as its own.

    Arguments and ties as in `text_ranks`.
    """
    ranks = []
    for start in range(0, len(texts), CHUNK):
        scores = texts[start:start + CHUNK] @ images.T
        mine = owner[start:start + CHUNK, None]
        ahead = ~(scores < scores.gather(1, mine) - TIE)
        ranks.append(ahead.scatter(1, mine, False).sum(1))
    return torch.cat(ranks)


@dataclass(frozen=True, eq=False)
class Ranks:
    """The ranks of every query, both ways, and how large the gallery of each is."""

    text: Tensor
    image: Tensor

    @classmethod
    def of(cls, images: Tensor, texts: Tensor, owner: Tensor) -> Ranks:
        return cls(text_ranks(images, texts, owner), image_ranks(images, texts, owner))

    def each(self) -> Iterator[tuple[str, int, Tensor]]:
        """(direction, k, (n,) hit); no k at which every query would hit."""
        for direction, ranks, gallery in (("text", self.text, len(self.image)),
                                          ("image", self.image, len(self.text))):
            for k in KS:
                if k == 1 or k < gallery:
                    yield direction, k, ranks < k


def recalls(ranks: Ranks) -> tuple[Recall, ...]:
    """Recall at 1, 5 and 10 both ways, with 95 % Wilson intervals."""
    return tuple(Recall(way, k, *_share(int(hit.sum()), len(hit)))
                 for way, k, hit in ranks.each())


def successes(clean: Ranks, attacked: Ranks) -> tuple[Success, ...]:
    """The attack success rate of SGA: of queries right at k before, the share wrong after."""
    return tuple(Success(way, k, *_share(int((before & ~after).sum()), int(before.sum())))
                 for (way, k, before), (_, _, after) in zip(clean.each(), attacked.each(),
                                                            strict=True))


def _share(part: int, n: int) -> tuple[int, int, float, tuple[float, float]]:
    return part, n, part / n if n else 0.0, wilson(part, n)


@dataclass(eq=False)
class _Part:
    """Features of one batch, before and after; own: for each caption the row of its image."""

    images: Tensor
    texts: Tensor
    own: list[int]
    after: tuple[Tensor, Tensor] | None = None


def told_apart(model: DualEncoder, data: RetrievalSet) -> tuple[RetrievalSet, str]:
    """The set without captions that the model cannot tell from those of other images, though they
    read differently (its tokens end before they do, or it does not know their signs), and without
    images that have no other; and a sentence on how many there are, or "".

    Captions that are the same as written stay, as in the published protocols: a tie is a miss.
    Raises InputError where less than two images are left.
    """
    lost = set(confused(model.tokenize, data.captions, data.owner))
    if not lost:
        return data, ""
    kept = [k for k in range(len(data.captions)) if k not in lost]
    places = sorted({data.owner[k] for k in kept})
    said = left_apart(model.card.id, len(lost), len(data) - len(places))
    if len(places) < 2:
        raise InputError(f"nothing can be judged on {data.name}: {said.removesuffix('.')}")
    now = {place: k for k, place in enumerate(places)}
    return RetrievalSet(data.name, data.source, tuple(data.captions[k] for k in kept),
                        tuple(data.chosen[place] for place in places),
                        tuple(now[data.owner[k]] for k in kept)), said


def stream_retrieval(
    model: DualEncoder, attack: Attack | None, data: RetrievalSet, goal: str = "similarity",
    seed: int = 0, batch: int = 16, crew: Processes | None = None,
) -> Iterator[Progress | Step | Retrieval]:
    """Yields Progress after each batch (and an attack's Steps), and a Retrieval at the end.

    White box, as in SGA: each image and its own captions are attacked as one, and afterwards the
    attacked images and captions meet each other, every one of both galleries attacked. An image
    attack leaves the captions as they are, a text attack the images. What the model cannot tell
    apart is left out before (`told_apart`). The goal similarity takes an
    image away from the first of its captions; set-guided and text attacks mind all of them.
    crew: processes that take the batches in turns; all of them end with the same Retrieval.
    """
    if batch < 1:
        raise InputError(f"a batch must have at least 1 image, not {batch}")
    began, fault = time.perf_counter(), ""
    data, _ = told_apart(model, data)
    parts: dict[int, _Part] = {}
    batches = (data.chunks(model.frame, batch, crew.part(-(-len(data) // batch))) if crew else
               ((k, *one) for k, one in enumerate(data.pixels(model.frame, batch))))
    try:
        for number, places, images in batches:
            if places:
                pairs, own = _pairs(data, places, images)
                result = None
                for event in stream(attack, model, pairs, goal, seed=seed) if attack else ():
                    if isinstance(event, Result):
                        result = event
                    else:
                        yield event
                parts[number] = _read(model, pairs, own, result)
                yield Progress("", places[-1] + 1, len(data))
    except InputError as error:  # told below: the other processes wait there
        fault = str(error)
    told = (crew or ALONE).gather((parts, time.perf_counter() - began, fault))
    every = {number: part for found, _, _ in told for number, part in found.items()}
    for _, _, sentence in told:
        if sentence or not every:
            raise InputError(sentence or data.unreadable)
    yield _score(model, [every[number] for number in sorted(every)], len(data),
                 sum(took for _, took, _ in told))


def _score(model: DualEncoder, parts: Sequence[_Part], drawn: int, seconds: float) -> Retrieval:
    """Ranks of all batches together."""
    owner, done = list[int](), 0
    for part in parts:
        owner += [done + row for row in part.own]
        done += len(part.images)
    whose, texts = torch.tensor(owner), torch.cat([p.texts for p in parts])
    clean = Ranks.of(torch.cat([p.images for p in parts]), texts, whose)
    after = [part.after for part in parts if part.after is not None]
    hit = Ranks.of(torch.cat([x for x, _ in after]), torch.cat([y for _, y in after]),
                   whose) if after else None
    return Retrieval(model.card.id, done, len(owner), drawn - done, recalls(clean),
                     recalls(hit) if hit else (), successes(clean, hit) if hit else (), seconds)


def evaluate_retrieval(
    model: DualEncoder, attack: Attack | None, data: RetrievalSet, goal: str = "similarity",
    seed: int = 0, batch: int = 16,
) -> Retrieval:
    """`stream_retrieval` to its end."""
    *_, last = stream_retrieval(model, attack, data, goal, seed, batch)
    assert isinstance(last, Retrieval)
    return last


def _pairs(data: RetrievalSet, places: Sequence[int], images: Tensor,
           ) -> tuple[Pairs, list[tuple[int, int]]]:
    """A batch with the captions of its images; (row, column) of each image's own captions."""
    captions: list[str] = []
    sets = []
    for place in places:
        own = data.own(place)
        sets.append(tuple(range(len(captions), len(captions) + len(own))))
        captions += own
    pairs = Pairs(images, tuple(captions), torch.tensor([s[0] for s in sets]), tuple(sets))
    return pairs, [(row, column) for row, columns in enumerate(sets) for column in columns]


def _read(model: DualEncoder, pairs: Pairs, own: list[tuple[int, int]], result: Result | None,
          ) -> _Part:
    """The features of a batch; the second pair only after an attack."""
    rows = [row for row, _ in own]
    if result is None:
        with torch.no_grad():
            images = model.encode_image(pairs.images.to(model.device)).cpu()
        return _Part(images, model.encode_text(pairs.captions).cpu(), rows)
    text = result.adversarial_text
    now = text if text.dim() == 2 else torch.stack([text[r, c] for r, c in own])
    return _Part(result.clean.features, result.text_features, rows,
                 (result.adversarial.features, now))
