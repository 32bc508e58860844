"""Searches side by side: what they are asked, told and charged; and HotFlip's gradients."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import tiny_clip
from open_clip.tokenizer import SimpleTokenizer
from text_helpers import Bag, bag_pairs
from torch import Tensor, nn

from explorer.attacks.engine import attack_captions
from explorer.attacks.goals import make_goal
from explorer.attacks.run import run
from explorer.attacks.text.base import drift_loss
from explorer.attacks.text.classic import TEXT_ATTACKS, HotFlip, Typo
from explorer.attacks.text.search import FEW, BestCaption, Gains, Probe, Search, Try, side_by_side
from explorer.attacks.text.tokens import TokenSlopes, token_table
from explorer.base.errors import InputError
from explorer.base.words import spans, swap
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import read

TOKENIZER = SimpleTokenizer(context_length=16)
VALUES = {"a": 0.0, "b": 1.0, "c": 3.0, "d": 2.0, "bad": 9.0}


def encode(texts: Sequence[str]) -> Tensor:
    """(K, 1): what each text is worth."""
    return torch.tensor([[VALUES[t]] for t in texts])


def loss(features: Tensor) -> Tensor:
    return features[:, 0]


class NoBad:
    """Refuses one text; remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def allows(self, candidates: Sequence[str], clean: Sequence[str]) -> list[bool]:
        self.seen += zip(candidates, clean, strict=True)
        return [c != "bad" for c in candidates]


def test_a_search_is_told_scores_and_refusals() -> None:
    told: list[Any] = []

    def search() -> Search:
        told.append((yield Probe(["bad", "d"])))
        told.append((yield Try(["b", "bad", "d"])))
        told.append((yield Try(["bad"])))
        told.append((yield Try([])))
        told.append((yield Try(["a"])))
        return "whatever"

    constraint = NoBad()
    *_, (found,) = side_by_side([search()], ["a"], [loss], encode, [constraint])
    assert [t.tolist() for t in told] == [[9, 2], [1, -torch.inf, 2], [-torch.inf], [], [0]]
    assert (found.caption, found.value, found.trail) == ("d", 2.0, ["a", "d"])
    assert (found.queries, found.tried, found.refused) == (2 + 2 + 0 + 0 + 1, 5, 2)
    assert constraint.seen == [("b", "a"), ("bad", "a"), ("d", "a"), ("bad", "a"), ("a", "a")]


def test_what_was_not_better_is_not_taken() -> None:
    def search() -> Search:
        yield Try(["a", "b"])
        return "c"  # never measured

    *_, (found,) = side_by_side([search()], ["d"], [loss], encode)
    assert (found.caption, found.value, found.trail) == ("d", 2.0, ["d"])


def test_searches_of_all_lengths_share_batches() -> None:
    asked: list[list[str]] = []

    def counting(texts: Sequence[str]) -> Tensor:
        asked.append(list(texts))
        return encode(texts)

    def search(rounds: int) -> Search:
        for k in range(rounds):
            yield Try(["b", "c"] if k else ["d"])
        return ""

    *states, last = side_by_side([search(n) for n in (0, 1, 3)], ["a", "a", "b"], [loss] * 3,
                                 counting)
    assert asked == [["a", "a", "b"], ["d"], ["b", "c"], ["b", "c"]]  # each text once a round
    assert [f.caption for f in last] == ["a", "d", "c"]
    assert [f.queries for f in last] == [0, 1, 5]
    assert len(states) == 3


def test_each_caption_has_its_own_loss() -> None:
    def search() -> Search:
        yield Try(["b", "c", "d"])
        return ""

    *_, found = side_by_side([search(), search()], ["a", "a"],
                             [loss, lambda f: -(f[:, 0] - 2).abs()], encode)
    assert [f.caption for f in found] == ["c", "d"]


def test_a_rough_look_chooses_what_is_read() -> None:
    """Of many candidates two are read; a rough look may be wrong, what is read may not."""
    read: list[str] = []
    told: list[Any] = []

    def exact(texts: Sequence[str]) -> Tensor:
        read.extend(texts)
        return torch.tensor([[float(t)] for t in texts])

    def rough(texts: Sequence[str]) -> Tensor:  # takes 7 for the best
        return torch.tensor([[{"7": 99.0}.get(t, float(t))] for t in texts])

    def search() -> Search:
        told.append((yield Probe([str(n) for n in range(3, 20)])))
        told.append((yield Try([str(n) for n in range(FEW + 1)])))
        told.append((yield Try([str(n) for n in range(FEW)])))
        return ""

    *_, (found,) = side_by_side([search()], ["1"], [loss], exact, rough=rough)
    probe, few = sorted(str(n) for n in range(3, 20)), sorted(str(n) for n in range(FEW))
    assert read == ["1", *probe, "12", "7", *few]
    assert told[0].tolist() == list(range(3, 20)) and told[2].tolist() == list(range(FEW))
    assert told[1].tolist() == [*[6] * 7, 7, 6, 6, 6, 6, 12]  # not read: below all that were
    assert (found.caption, found.value, found.trail) == ("12", 12.0, ["1", "12"])
    assert (found.queries, found.tried, found.refused) == (17 + FEW + 1 + FEW, FEW + 1 + FEW, 0)


def test_what_a_constraint_refuses_is_not_even_skimmed() -> None:
    skimmed: list[str] = []

    def rough(texts: Sequence[str]) -> Tensor:
        skimmed.extend(texts)
        return encode(texts)

    def search() -> Search:
        yield Try([*["bad", "b"] * FEW, "c"])
        yield Try(["bad"] * (FEW + 1))
        return ""

    *_, (found,) = side_by_side([search()], ["a"], [loss], encode, [NoBad()], rough=rough)
    assert skimmed == ["b", "c"] and found.caption == "c" and found.refused == 2 * FEW + 1


@pytest.mark.parametrize("name", ["bert", "typo", "synonym", "character", "hotflip"])
def test_searching_in_low_precision_finds_the_same(name: str, pocket: DualEncoder) -> None:
    """On the embedded model: as harmful a caption as a search in full precision throughout."""
    attack = TEXT_ATTACKS[name](objective="kl")
    captions = ["a photo of a cat on a sofa", "two dogs running along the beach", "a red bus"]
    losses = [drift_loss("kl", row) for row in pocket.encode_text(captions)]
    slopes = TokenSlopes(pocket)
    *_, full = attack_captions(attack, captions, losses, pocket.encode_text, slopes=slopes)
    *_, fast = attack_captions(attack, captions, losses, pocket.encode_text, slopes=slopes,
                               rough=pocket.skim_text)
    for one, other in zip(full, fast, strict=True):
        assert one.queries == other.queries and one.value > 0
        assert other.value >= 0.98 * one.value
        read = pocket.encode_text([other.caption])
        assert drift_loss("kl", pocket.encode_text([other.clean])[0])(read)[0] == \
            pytest.approx(other.value, rel=1e-3, abs=1e-7)


def test_found_offers_keep_the_best() -> None:
    found = BestCaption("a", 1.0)
    for text, value in (("b", 0.5), ("c", 1.0), ("d", 2.0), ("e", 1.5)):
        found.offer(text, value)
    assert (found.caption, found.value, found.trail) == ("d", 2.0, ["a", "d"])
    found.offer("f", 2.0 + 1e-6)
    assert found.caption == "d", "rounding is no gain"
    small = BestCaption("a", 0.0)
    small.offer("b", 1e-8)
    assert small.caption == "a"
    small.offer("b", 1e-6)
    assert small.caption == "b"


def test_queries_are_counted_for_one_image_with_repeats() -> None:
    model, pairs = Bag(), bag_pairs(("red cat", "the sea"), 2)
    attack = Typo(words=1)
    result = run(attack, model, pairs)
    assert result.queries == counted(attack, pairs.captions[0], model)


def counted(attack: Typo, caption: str, model: Bag) -> int:
    """By hand: the caption, one probe a word, and the candidates of the words gone through until
    one is better."""
    pairs = bag_pairs(("red cat", "the sea"), 2)
    text = model.encode_text(pairs.captions)
    aim = make_goal("classification", model.encode_image(pairs.images), text, pairs.labels,
                    model.scale).subset(torch.tensor([0]))
    asked: list[str] = []

    def value(texts: Sequence[str]) -> Tensor:
        asked.extend(texts)
        rows = [torch.stack([f, text[1]]) for f in model.encode_text(texts)]
        image = model.encode_image(pairs.images[:1])
        return torch.cat([aim.score(image, row) for row in rows])

    (options,) = attack.proposals([caption], [Random(f"0 {caption}")])
    words = spans(caption)
    before, *blanks = value([caption, *(" ".join(swap(caption, s, "").split()) for s in words)])
    for i in torch.stack(blanks).argsort(descending=True, stable=True).tolist():
        if float(value([swap(caption, words[i], w) for w in options[i]]).max()) > float(before):
            break
    return len(asked)


# --- HotFlip's gradients ------------------------------------------------------------------------


class LinearTower(nn.Module):
    """A text tower that is linear in its token embeddings, but for a part too small to see: the
    first feature is 1000, so that a unit vector's others are linear."""

    def __init__(self, rows: int, width: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.token_embedding = nn.Embedding(rows, width)
        self.token_embedding.weight.data = torch.randn(rows, width, generator=generator)
        self.places = torch.randn(16, width, generator=generator)
        self.visual, self.logit_scale = nn.Identity(), nn.Parameter(torch.zeros(()))

    def encode_text(self, tokens: Tensor) -> Tensor:
        along = (self.token_embedding(tokens) * self.places[: tokens.shape[1]]).sum((1, 2))
        return torch.stack([torch.full_like(along, 1000.0), along], 1)


def linear_tower() -> DualEncoder:
    card = Card("linear", "linear", "standard", "none", "none", "none")
    return DualEncoder(LinearTower(49408), TOKENIZER, card, 4,
                       (0.5,) * 3, (0.5,) * 3, "cpu")


def second(features: Tensor) -> Tensor:
    return 1e4 * features[:, 1]


@pytest.mark.parametrize("text", ["a red cat", "two dogs, and a Cat!", "a remarkable horseback"])
def test_the_order_of_words_is_that_of_real_substitution_on_a_linear_tower(text: str) -> None:
    """For words of one token: every word of the vocabulary put in, the best 30 by real loss."""
    model = linear_tower()
    slopes = TokenSlopes(model)
    numbers, words = slopes.vocabulary
    (found,) = slopes.gains([text], [second], 30)
    assert len(found) == len(spans(text))
    for span, ranked in zip(spans(text), found, strict=True):
        place = 1 + len(TOKENIZER.encode(text[: span.start]))
        gain = slopes.table.weight[numbers] @ model.clip.places[place]  # type: ignore[index]
        want = [words[i] for i in gain.topk(30).indices.tolist()]
        assert ranked == want
    few = words[:300]
    span = spans(text)[1]
    real = {w: float(second(model.encode_text([swap(text, span, w)]))[0]) for w in few
            if len(TOKENIZER.encode(w)) == 1}
    order = {w: k for k, w in enumerate(slopes.gains([text], [second], len(words))[0][1])}
    by_loss = sorted(real, key=lambda w: -real[w])
    gaps = [(a, b) for a, b in itertools.pairwise(by_loss) if real[a] - real[b] > 1e-2]
    assert len(gaps) > 50 and all(order[a] < order[b] for a, b in gaps)


def test_gains_are_the_slopes_of_the_loss(tiny: DualEncoder) -> None:
    """(e_new - e_old) . gradient against a small real step towards the new embedding."""
    slopes, text = TokenSlopes(tiny), "a small red car"
    target = F.normalize(torch.randn(16, generator=torch.Generator().manual_seed(2)), dim=0)

    def aim(features: Tensor) -> Tensor:
        return features @ target

    tokens, grad = slopes.slopes([text], [aim])
    table = slopes.table.weight

    def moved(place: int, new: int, share: float) -> float:
        def step(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            output = output.clone()
            output[:, place] += share * (table[new] - output[:, place])
            return output

        hook = slopes.table.register_forward_hook(step)
        try:
            with torch.no_grad():
                features = F.normalize(read(tiny.clip, tokens), dim=1)
        finally:
            hook.remove()
        return float(aim(features)[0])

    for place, new in ((1, 320), (2, 2368), (3, 1000), (4, 4629)):
        first_order = float((table[new] - table[tokens[0, place]]) @ grad[0, place])
        slope = (moved(place, new, 1e-2) - moved(place, new, -1e-2)) / 2e-2
        assert slope == pytest.approx(first_order, rel=2e-2, abs=1e-4)


def test_where_a_caption_is_to_leave_its_own_place_there_is_a_slope_beside_it(
        tiny: DualEncoder) -> None:
    text = "a small red car"
    clean = tiny.encode_text([text])[0]
    slopes = TokenSlopes(tiny)
    flat = slopes.slopes([text], [lambda f: 1 - f @ clean])[1].norm()
    steep = slopes._steep([text], [lambda f: 1 - f @ clean])[1].norm()
    assert float(flat) < 1e-4 < float(steep)
    target = F.normalize(torch.randn(16, generator=torch.Generator().manual_seed(2)), dim=0)
    assert torch.equal(slopes._steep([text], [lambda f: f @ target])[1],
                       slopes.slopes([text], [lambda f: f @ target])[1])


@pytest.mark.parametrize("text", ["a cat", "An Elephant; on, a t-shirt!", "wonderfulness of cats",
                                  "  spaced   out words", "it's 3 dogs"])
@pytest.mark.parametrize("which", ["tiny", "pocket"])
def test_a_words_place_is_that_of_its_first_token(which: str, text: str,
                                                  request: pytest.FixtureRequest) -> None:
    """Put another word in its place: the first token that changes is the one at that place."""
    model: DualEncoder = request.getfixturevalue(which)
    slopes = TokenSlopes(model)
    tokens = model.tokens([text])[0]
    for span in spans(text):
        other = model.tokens([swap(text, span, "zebra")])[0]
        n = min(len(tokens), len(other))
        first = int((tokens[:n] != other[:n]).nonzero()[0])
        assert slopes._place(text, span.start) == first


@pytest.mark.parametrize("which", ["tiny", "pocket"])
def test_the_vocabulary_is_words_that_are_one_token(which: str,
                                                    request: pytest.FixtureRequest) -> None:
    model: DualEncoder = request.getfixturevalue(which)
    numbers, words = TokenSlopes(model).vocabulary
    assert len(words) > 5000 and {"cat", "dog", "red"} <= set(words)
    pick = list(range(0, len(words), len(words) // 40))
    tokens = model.tokens([words[i] for i in pick])
    assert tokens[:, 1].tolist() == numbers[pick].tolist()
    assert all(w.isalpha() and w.islower() and len(w) > 1 for w in words)


def test_words_beyond_the_limit_have_no_gains(tiny: DualEncoder) -> None:
    text = " ".join(["cat"] * 30)
    slopes = TokenSlopes(tiny)
    (found,) = slopes.gains([text], [lambda f: f[:, 0]], 3)
    assert [len(w) for w in found] == [3] * 14 + [0] * 16  # 16 tokens, two of them begin and end


def test_short_captions_in_a_batch_are_not_cut(pocket: DualEncoder) -> None:
    texts = ["a cat", "a photograph of a rather long-winded caption about elephants"]

    def aim(features: Tensor) -> Tensor:
        return features[:, 0]

    found = TokenSlopes(pocket).gains(texts, [aim, aim], 3)
    assert [len(row) for row in found] == [2, 9]
    assert all(len(w) == 3 for row in found for w in row)
    alone = TokenSlopes(pocket).gains(texts[:1], [aim], 3)[0]
    assert alone == found[0]


def test_the_token_table_is_the_texts(tiny: DualEncoder, pocket: DualEncoder) -> None:
    assert token_table(tiny.clip) is tiny.clip.token_embedding
    assert token_table(pocket.clip).num_embeddings == 30522
    with pytest.raises(InputError, match="choose another text attack"):
        token_table(nn.Sequential(nn.Linear(2, 2)))


def test_a_text_tower_can_be_attacked_without_pictures() -> None:
    """For training and for measuring: captions, losses and an encoder are enough."""
    clip = DualEncoder(tiny_clip(1), TOKENIZER,
                       Card("t", "t", "standard", "none", "none", "none"), 32, (0.5,) * 3,
                       (0.5,) * 3, "cpu")
    texts = ["a red cat", "the sea"]
    features = clip.encode_text(texts)
    losses = [lambda f, c=c: 1 - f @ c for c in features]
    for attack in (Typo(), HotFlip(candidates=3)):
        *_, found = attack_captions(attack, texts, losses, clip.encode_text, 0, (),
                                    TokenSlopes(clip) if attack.needs_slopes else None)
        for before, one in zip(features, found, strict=True):
            now = clip.encode_text([one.caption])[0]
            assert one.value == pytest.approx(float(1 - now @ before), abs=1e-5) and one.value > 0


def test_gains_wants_slopes() -> None:
    def search() -> Search:
        yield Gains("a", 3)
        return ""

    with pytest.raises(AssertionError, match="gradient"):
        list(side_by_side([search()], ["a"], [loss], encode))
