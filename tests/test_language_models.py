"""Masked language models and sentence similarity: alignment, bad input, fidelity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizerFast,
)

from explorer.attacks.language import encoder as encoders
from explorer.attacks.language import filling
from explorer.attacks.language.embedded import HEAD, EmbeddedLM, load_head
from explorer.attacks.language.encoder import SentenceEncoder, sentence_encoder
from explorer.attacks.language.head import Head
from explorer.attacks.language.hublm import HubLM
from explorer.attacks.language.masked import MaskedLM, masked_lm
from explorer.base.errors import InputError
from explorer.base.words import spans
from tools.language import train
from tools.language.build import PACKAGE, original_minilm, save_head
from tools.language.corpus import Captions, Sentence

NEXT = {"red": "blue", "dog": "cat", "bird": "fish", "on": "under", "sofa": "chair",
        "[MASK]": "zebra", "[CLS]": "wrong", "[SEP]": "wrong", "##s": "wrong", "the": "a"}
ODD = ["", " ", "the of and", "\x00\x07 dog\x00s \u200b", "\ud800 lone", "हिन्दी 猫 кошка dog",
       "dog " * 700, "x" * 3000, "🐶🐱", "..., !!", "e\u0301te\u0301", "<mask> [MASK] [SEP] </s>"]


def answering(model: Any, names: list[str], answers: dict[str, str]) -> None:
    """Sets the weights so that a token's answer is the likeliest at its own place: word vectors are
    one-hot, the layers add nothing, and the decoder maps each vector to its answer."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.zero_()
            if "LayerNorm.weight" in name or "layer_norm.weight" in name:
                weight.fill_(1.0)
        model.base_model.embeddings.word_embeddings.weight.copy_(torch.eye(len(names)))
        bert = hasattr(model, "cls")
        head = model.cls.predictions.transform if bert else model.lm_head
        head.dense.weight.copy_(torch.eye(len(names)))
        decoder = model.cls.predictions.decoder if bert else model.lm_head.decoder
        for token, answer in answers.items():
            decoder.weight[names.index(answer), names.index(token)] = 1.0


def config(size: int, **more: Any) -> dict[str, Any]:
    return {"vocab_size": size, "hidden_size": size, "num_hidden_layers": 1,
            "num_attention_heads": 1, "intermediate_size": 4, "tie_word_embeddings": False, **more}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT that says, at the place of each token, its entry in NEXT."""
    folder = tmp_path_factory.mktemp("toy-bert")
    names = list(dict.fromkeys(["[PAD]", "[UNK]", *NEXT, *NEXT.values(), ",", "b", "##b"]))
    (folder / "vocab.txt").write_text("\n".join(names))
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=12).save_pretrained(folder)
    model = BertForMaskedLM(BertConfig(**config(len(names))))
    answering(model, names, NEXT)
    model.save_pretrained(folder)
    return folder


def firsts(model: MaskedLM, text: str, masked: bool = False) -> dict[str, str | None]:
    found, = model.fill([text], 3, masked)
    return {s.word: c[0].word if c else None for s, c in zip(spans(text), found, strict=True)}


def test_each_word_is_answered_at_its_own_place(toy: Path) -> None:
    """One place further left or right, every answer would be another word's."""
    model = HubLM(toy)
    text = "Red, dog on  bird (sofa)"
    assert firsts(model, text) == {"Red": "blue", "dog": "cat", "on": "under", "bird": "fish",
                                   "sofa": "chair"}
    assert set(firsts(model, text, masked=True).values()) == {"zebra"}
    assert firsts(model, "dogs bird")["dogs"] == "zebra"  # two pieces: one mask in their place
    assert firsts(model, "dogs bird")["bird"] == "fish"


def test_only_whole_other_words_are_offered(toy: Path) -> None:
    found = HubLM(toy).fill(["red dog", "the DOG"], 50)
    for text, rows in zip(["red dog", "the DOG"], found, strict=True):
        for span, row in zip(spans(text), rows, strict=True):
            said = [c.word for c in row]
            assert span.word.lower() not in said and len(set(said)) == len(said) > 5
            assert not any("#" in w or "[" in w or w in ",b" for w in said)
            chances = [c.probability for c in row]
            assert chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1 + 1e-6


def test_words_past_the_limit_have_no_candidates(toy: Path) -> None:
    text = " ".join(["dog"] * 14)  # 12 tokens, of which [CLS] and [SEP] are two
    for masked in (False, True):
        found, = HubLM(toy).fill([text], 2, masked)
        assert [bool(row) for row in found] == [True] * 10 + [False] * 4
    found, = HubLM(toy).fill(["dog " * 9 + "dogs bird"], 2)  # a word cut in two is past it too
    assert [bool(row) for row in found] == [True] * 9 + [False] * 2


def test_a_batch_equals_its_parts_and_is_remembered(
        toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, texts = HubLM(toy), ["red dog", "bird", "the sofa on the bird", "red dog"]
    calls: list[int] = []
    own = model.scores

    def counted(ids: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        calls.append(len(ids))
        return own(ids, *rest)

    monkeypatch.setattr(model, "scores", counted)
    together = model.fill(texts, 3)
    assert calls == [3] and together == [HubLM(toy).fill([t], 3)[0] for t in texts]
    assert model.fill(texts, 3) == together and calls == [3]
    monkeypatch.setattr(filling, "CACHE", 2)
    model.fill(["on", "the", "fish"], 3)
    assert len(model._known) == 2


def byte_level(folder: Path) -> list[str]:
    """A RoBERTa-like tokenizer that knows "Ġdog" and "dog" whole, and its tokens by number."""
    from tokenizers import ByteLevelBPETokenizer  # type: ignore[import-untyped]

    bpe = ByteLevelBPETokenizer()
    lines = ["a red dog on a sofa", "dog", "red", "(dog", " zebra cat blue", "cat", "blue under"]
    bpe.train_from_iterator(lines * 5, 400, 2, special_tokens=["<s>", "<pad>", "</s>", "<unk>",
                                                               "<mask>"])
    bpe.save_model(str(folder))
    tokenizer = RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"),
                                     model_max_length=32)
    tokenizer.save_pretrained(folder)
    return [t for t, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]


def test_marks_of_word_starts_are_handled(tmp_path: Path) -> None:
    names = byte_level(tmp_path)
    answers = {"red": "blue", "Ġred": "Ġblue", "Ġdog": "Ġcat", "dog": "cat", "Ġon": "Ġunder",
               "<mask>": "Ġzebra", "<s>": "Ġsofa", "</s>": "Ġsofa", "(": "Ġsofa"}
    model = RobertaForMaskedLM(RobertaConfig(**config(
        len(names), pad_token_id=1, max_position_embeddings=40)))
    answering(model, names, answers)
    model.save_pretrained(tmp_path)
    lm = HubLM(tmp_path)
    assert firsts(lm, "red dog on (dog") == {"red": "blue", "dog": "cat", "on": "under"}
    assert firsts(lm, "a red dog", masked=True)["dog"] == "zebra"
    said = {c.word for c in lm.fill(["a red sofa"], 400)[0][2]}
    assert "dog" in said and all(w.isalpha() for w in said) and not {"og", "ed", "ofa"} & said


def test_tied_decoders_are_no_missing_weights(toy: Path, tmp_path: Path) -> None:
    """The common case on the hub: the decoder is the table of word vectors, saved once."""
    tied = {**config(32), "tie_word_embeddings": True}
    BertForMaskedLM(BertConfig(**tied)).save_pretrained(tmp_path)
    BertTokenizerFast.from_pretrained(toy).save_pretrained(tmp_path)
    assert all(HubLM(tmp_path).fill(["red dog"], 2)[0])


def test_what_cannot_be_a_masked_model_is_refused(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot fetch the model bert-base-uncased"):
        masked_lm("bert-base-uncased")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="the folder empty has no config.json"):
        HubLM(tmp_path / "empty")
    plain = tmp_path / "plain"
    BertModel(BertConfig(**config(8))).save_pretrained(plain)
    with pytest.raises(InputError, match="plain is no masked language model"):
        HubLM(plain)
    part = BertForMaskedLM.from_pretrained(toy)
    del part.cls.predictions.transform
    part.save_pretrained(tmp_path / "part")
    BertTokenizerFast.from_pretrained(toy).save_pretrained(tmp_path / "part")
    with pytest.raises(InputError, match="do not fill"):
        HubLM(tmp_path / "part")
    (plain / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot open the masked language model plain"):
        HubLM(plain)


def test_the_embedded_model_knows_captions() -> None:
    model = masked_lm()
    assert model is masked_lm("embedded") and model.title == "embedded MiniLM head"
    text = "a man is playing guitar in the kitchen"
    plain, masked = model.fill([text], 10)[0], model.fill([text], 10, masked=True)[0]
    assert "woman" in {c.word for c in plain[1]}
    assert {"house", "room", "garden", "park", "bathroom"} & {c.word for c in plain[7]}
    assert {"on", "at", "near", "with"} & {c.word for c in masked[5]}
    for row in plain + masked:
        assert len(row) == 10 and all(c.word.isascii() and c.word.islower() for c in row)


@pytest.mark.parametrize("masked", [False, True])
def test_odd_texts_are_no_trouble(masked: bool, toy: Path) -> None:
    toys = HubLM(toy)
    for model in (masked_lm(), toys):
        texts = ODD if not masked else [t[:60] for t in ODD]
        for text, rows in zip(texts, model.fill(texts, 2, masked), strict=True):
            assert len(rows) == len(spans(text)) and all(len(r) <= 2 for r in rows)
    assert masked_lm().fill([], 3) == []
    assert not masked_lm().fill(["dog " * 700], 2)[0][-1]  # 512 tokens at most


def test_minilm_comes_back_from_the_text_tower() -> None:
    pytest.importorskip(PACKAGE)
    ours, theirs = sentence_encoder(), BertModel.from_pretrained(original_minilm())
    texts = ["a photo of a dog", "an old red car parked by the sea", "x"]
    found = ours.hidden(texts)
    tokens = ours.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        true = theirs.eval()(**tokens).last_hidden_state
    gap = (found.features - true)[found.mask].abs().max()
    assert found.features.shape == (3, found.mask.shape[1], 384)
    assert gap < 5e-3 < 0.3 < true[found.mask].abs().mean()  # fp16 keeps three digits


def test_alike_texts_are_near() -> None:
    ours = sentence_encoder()
    assert ours is sentence_encoder()
    near, far, same = ours.similarity(
        ["a photo of a dog", "a photo of a dog", "a dog"],
        ["a picture of a puppy", "stock prices fell sharply", "a dog"]).tolist()
    assert same == pytest.approx(1, abs=1e-5) and near > 0.7 > 0.3 > far
    assert ours.similarity([], []).shape == (0,)
    assert bool(torch.isfinite(ours.similarity(ODD, ODD)).all())
    dog = ours.hidden(["a dog"])
    assert dog.offsets[0].tolist() == [[0, 0], [0, 1], [2, 5], [0, 0]] and bool(dog.mask.all())


def test_the_encoders_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = SentenceEncoder()
    monkeypatch.setattr(encoders, "CACHE", 3)
    first = ours.embed([f"{i} dogs" for i in range(8)])
    assert len(ours._pooled) == 3
    assert torch.allclose(first[0], ours.embed(["0 dogs"])[0], atol=1e-5)


def test_batches_hold_every_row_once() -> None:
    lengths = [512] * 70 + [3] * 100
    parts = list(encoders.batches(lengths))
    assert sorted(i for p in parts for i in p) == list(range(170))
    assert all(len(p) <= 64 and len(p) * max(lengths[i] for i in p) <= 16_384 for p in parts)


def test_the_head_reads_the_right_places() -> None:
    """Another token at one place changes the answer there; rows past the mask change nothing."""
    head, encoder = load_head(), sentence_encoder()
    model = EmbeddedLM(encoder, head)
    ids = torch.tensor([[101, 1037, 3899, 102], [101, 1037, 4937, 102]])
    mask, rows = torch.ones_like(ids).bool(), torch.tensor([0, 1])
    one = model.scores(ids, mask, rows, torch.tensor([2, 2]))
    padded = torch.cat([ids, torch.zeros(2, 3, dtype=torch.long)], 1)
    two = model.scores(padded, padded != 0, rows, torch.tensor([2, 2]))
    assert torch.allclose(one, two, atol=1e-3) and one.argmax(1).tolist() == [3899, 4937]
    assert HEAD.stat().st_size < 2_000_000
    assert sum(p.numel() for p in head.parameters()) < 1_000_000


@pytest.fixture(scope="module")
def feed() -> train.Feed:
    made = SimpleNamespace(one=lambda draw: Sentence(draw.choice(["a dog", "the cats"]), "caption"))
    tokenizer: PreTrainedTokenizerFast = sentence_encoder().tokenizer
    texts = [Sentence(f"a {w} xylophonist saw {n} birds", "example")
             for w in ("young", "tall", "happy") for n in range(20)]
    recipe = train.HeadRecipe(steps=4, batch=8, captions=0.25, warm_up=1, cool=2, save=2,
                              chosen=0.4)
    captions: Captions = made  # type: ignore[assignment]
    return train.Feed(texts, captions, tokenizer, recipe)


def test_whole_words_are_masked(feed: train.Feed) -> None:
    shown = []
    for step in range(60):
        one, again = feed.batch(step), feed.batch(step)
        assert torch.equal(one.ids, again.ids) and torch.equal(one.targets, again.targets)
        shown.append(one.ids[one.rows, one.places])
        assert bool(one.mask[one.rows, one.places].all())
        pieces = sorted(p for r, p in zip(one.rows.tolist(), one.places.tolist(), strict=True)
                        if r == 0)
        inner = {i + 1 for i, t in enumerate(feed.rows[0]) if feed.inner[t]}
        xylophonist = {min(inner) - 1, *inner} if inner else set()
        if one.mask[0].sum() == len(feed.rows[0]) + 2:
            assert xylophonist <= set(pieces) or not xylophonist & set(pieces)
    tokens = torch.cat(shown)
    assert 0.5 < (tokens == train.MASK).float().mean() < 0.7  # Recipe.masked


def test_some_chosen_words_are_exchanged_for_one_of_their_kind(feed: train.Feed) -> None:
    """The target stays the word itself, at the place where the other one begins."""
    tokenizer = sentence_encoder().tokenizer
    words = [tokenizer.convert_ids_to_tokens(i[0]) for i in feed.kin(
        tokenizer.convert_tokens_to_ids("bird")) if len(i) == 1]
    assert words and "bird" not in words and feed.kin(train.MASK) == []
    exchanged = 0
    for step in range(60):
        one = feed.batch(step)
        for row, place, target in zip(one.rows, one.places, one.targets, strict=True):
            shown = int(one.ids[row, place])
            near = feed.kin(int(target))
            exchanged += shown in [ids[0] for ids in near] and shown != int(target)
            assert shown in (int(target), train.MASK) or near
    assert exchanged > 30


def test_a_stopped_training_goes_on_to_the_same_head(
        feed: train.Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bert = sentence_encoder().bert
    for name in "ab":
        (tmp_path / name).mkdir()
    straight = train.train(bert, feed, feed.recipe, tmp_path / "a")
    own = feed.batch

    def stops(step: int) -> train.Batch:
        if step == 3:
            raise KeyboardInterrupt
        return own(step)

    monkeypatch.setattr(feed, "batch", stops)
    with pytest.raises(KeyboardInterrupt):
        train.train(bert, feed, feed.recipe, tmp_path / "b")
    monkeypatch.setattr(feed, "batch", own)
    resumed = train.train(bert, feed, feed.recipe, tmp_path / "b")
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert not torch.equal(straight.dense.weight, Head().dense.weight)
    save_head(resumed, tmp_path, replace(feed.recipe))
    assert torch.allclose(load_head(tmp_path / "mlm_head.safetensors").mix, resumed.mix, atol=1e-3)
