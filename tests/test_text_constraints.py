"""Constraints on captions, captions that no one expects, and wrong settings of text attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from helpers import Linear
from text_helpers import (
    SENTENCES,
    TARGETS,
    build,
    check_readings,
    check_words,
    four_sentences,
)
from torch import Tensor

from explorer.attacks.engine import Step
from explorer.attacks.language import thesaurus
from explorer.attacks.language.encoder import sentence_encoder
from explorer.attacks.registry import name_of
from explorer.attacks.run import run, stream
from explorer.attacks.text.classic import (
    TEXT_ATTACKS,
    BertAttack,
    Character,
    HotFlip,
    Synonym,
    Typo,
)
from explorer.attacks.text.constraints import KeepWords, NoNewWord, SimilarSentence, WithinEdits
from explorer.base.errors import InputError
from explorer.base.words import class_words, is_stop, spans, words
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.results.verdicts import verdict

# --- constraints --------------------------------------------------------------------------------


@pytest.mark.parametrize("floor", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("name", ["bert", "synonym", "typo"])
def test_the_similarity_floor_holds(name: str, floor: float, tiny: DualEncoder) -> None:
    result = run(build(name, similarity=floor, words=2), tiny, four_sentences(), "similarity")
    near = sentence_encoder().similarity(
        [row[n] for n, row in enumerate(result.adversarial_captions)], SENTENCES)
    assert bool((near >= floor - 1e-5).all())
    if floor == 0.95:
        assert result.refused > 0


@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_class_words_stay_where_they_are_protected(name: str, tiny: DualEncoder) -> None:
    pairs = four_sentences()
    attack = build(name, protect=True, words=2, characters=2, captions="all", similarity=0.0)
    result = run(attack, tiny, pairs, seed=2)
    own = class_words(SENTENCES)
    for row in result.adversarial_captions:
        for kept, text in zip(own, row, strict=True):
            assert kept <= {w.lower() for w in words(text)}
    assert result.refused > 0


def test_characters_spell_no_new_word(tiny: DualEncoder) -> None:
    pairs = four_sentences()
    result = run(Character(characters=2, rho=30, captions="all"), tiny, pairs, seed=4)
    for row in result.adversarial_captions:
        for clean, text in zip(SENTENCES, row, strict=True):
            old = {w.lower() for w in words(clean)}
            assert not [w for w in words(text) if w.lower() not in old and thesaurus.is_word(w)]
    assert result.refused > 0 and int(result.characters_changed.max()) > 0


def test_each_constraint_by_hand() -> None:
    assert WithinEdits(Typo().edits).allows(
        ["a cat", "a act", "a xyzat", "dog act"], ["a cat"] * 4) == [True, True, False, False]
    keep = KeepWords({"a red cat": frozenset({"cat"})})
    assert keep.allows(["a blue CAT", "a red dog", "a cats"], ["a red cat"] * 3) == [
        True, False, False]
    assert keep.allows(["any words"], ["unknown"]) == [True]
    assert NoNewWord().allows(["a qcat", "a cart", "c at", "a cat the"], ["a cat"] * 4) == [
        True, False, False, False]
    near = SimilarSentence(0.9).allows(["a cat", "quantum field theory"], ["a cat", "a cat"])
    assert near == [True, False]


def test_stop_words_stay(tiny: DualEncoder) -> None:
    for name in ("bert", "synonym", "hotflip", "typo"):
        result = run(build(name, words=5, captions="all", similarity=0.0), tiny, four_sentences())
        for row in result.adversarial_captions:
            for clean, text in zip(SENTENCES, row, strict=True):
                assert [w for w in words(clean) if is_stop(w)] == [
                    b for a, b in zip(words(clean), words(text), strict=True) if is_stop(a)]


# --- captions that no one expects ---------------------------------------------------------------

ODD = {
    "stop words": "it is what it is", "one word": "cat", "one letter": "x",
    "long": " ".join(["remarkable"] * 120), "signs": "!!! ... ???", "emoji": "🐈‍⬛ 🐕 🏳️‍🌈",
    "nul": "a\x00cat\x07 on\x1b a mat", "mixed": "ein Hündchen и кошка 一条狗 قطة בית",
    "marks": "cafe\u0301 na\u0308ive", "hyphens": "a well-worn t-shirt-y o'clock 'tis x-y-z",
    "digits": "3 4x4 2024", "rtl": "\u202ea cat\u202c", "spaces": "a  cat\u00a0on\u3000a mat",
}


@pytest.mark.parametrize("caption", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_odd_captions_are_attacked_or_left_with_a_sentence(name: str, caption: str,
                                                           tiny: DualEncoder) -> None:
    pairs = Pairs(four_sentences().images[:1], (caption, "a dog on the grass"), torch.tensor([0]))
    attack = build(name, words=2, characters=2, similarity=0.0)
    result = run(attack, tiny, pairs, seed=1, record=True)
    check_words(result, attack, pairs)
    check_readings(tiny, result, pairs, "classification", None)
    kind, sentence = verdict(result)
    assert sentence.endswith((".", ").")) and "\x00" not in sentence.replace(caption, "")
    if not bool(result.changed[0]):
        assert kind == "unchanged" and sentence.startswith("Nothing changed: ")


@pytest.mark.parametrize("name", ["bert", "synonym", "hotflip", "typo"])
@pytest.mark.parametrize("caption", ["it is what it is", "!!! ..."])
def test_no_word_to_exchange_is_said(name: str, caption: str, tiny: DualEncoder) -> None:
    pairs = Pairs(four_sentences().images[:1], (caption, "a dog"), torch.tensor([0]))
    result = run(build(name), tiny, pairs)
    assert result.adversarial_captions == ((caption, "a dog"),)
    assert "has no word that this attack may exchange" in verdict(result)[1]


def test_constraints_that_rule_out_everything_are_said(tiny: DualEncoder) -> None:
    pairs = Pairs(four_sentences().images[:1], ("a cat", "a dog"), torch.tensor([0]))
    result = run(Typo(protect=True), tiny, pairs)
    assert result.tried == result.refused > 0
    assert f"ruled out all {result.tried} candidate" in verdict(result)[1]


def test_words_past_the_towers_limit_change_nothing_and_that_is_said(tiny: DualEncoder) -> None:
    long = " ".join(["it"] * 40) + " cat"
    pairs = Pairs(four_sentences().images[:1], (long, "a dog"), torch.tensor([0]))
    result = run(Typo(), tiny, pairs)
    assert result.adversarial_captions[0][0] == long
    assert "does not see a word that this attack may exchange" in verdict(result)[1]
    assert result.notes == ("tiny reads 16 tokens, and caption 1 has 43: its end is not seen.",)
    assert not bool(run(HotFlip(), tiny, pairs).changed.any())


@pytest.mark.parametrize(("make", "say"), [
    (lambda: Typo(words=-1), "words must be a whole number from 0 to 20"),
    (lambda: Typo(words=1.5), "whole number"),  # type: ignore[arg-type]
    (lambda: Character(characters=99), "words must be|characters must be"),
    (lambda: Synonym(similarity=1.5), "from 0 to 1"),
    (lambda: Synonym(similarity=float("nan")), "from 0 to 1"),
    (lambda: BertAttack(objective="hope"), "objective must be one of goal, kl, cosine"),
    (lambda: BertAttack(captions="some"), "captions must be one of"),
    (lambda: BertAttack(importance="none"), "importance must be one of"),
    (lambda: BertAttack(candidates=0), "candidates"),
    (lambda: HotFlip(candidates=-3), "candidates"),
    (lambda: Synonym(candidates=2.5), "candidates"),  # type: ignore[arg-type]
    (lambda: Character(rho=-1), "rho"),
])
def test_wrong_settings_are_refused(make: Callable[[], Any], say: str) -> None:
    with pytest.raises(InputError, match=say):
        make()


def test_wrong_questions_are_refused(tiny: DualEncoder, linear: Linear) -> None:
    pairs = four_sentences()
    with pytest.raises(InputError, match="true caption already"):
        run(Typo(), tiny, pairs, targets=torch.tensor([0, 0, 0, 0]))
    with pytest.raises(InputError, match="takes no target"):
        run(Typo(), tiny, pairs, "embedding", TARGETS)
    with pytest.raises(InputError, match="one caption"):
        run(Typo(), tiny, Pairs(pairs.images[:1], ("a cat",), torch.tensor([0])))
    with pytest.raises(InputError, match="no-such-model"):
        run(BertAttack(model="/nowhere/no-such-model"), tiny, pairs)


def test_the_registry_names_its_attacks(tiny: DualEncoder) -> None:
    for name, kind in TEXT_ATTACKS.items():
        attack = build(name, similarity=0.0)
        assert name_of(attack) == name and kind.title and kind.source and kind.__doc__
        result = run(attack, tiny, four_sentences())
        assert (result.attack, result.kind) == (name, "text")
        assert TEXT_ATTACKS[result.attack](**result.settings) == attack


def test_stopping_stops_the_search(tiny: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = tiny.encode_text

    def counting(captions: Sequence[str], batch: int = 64) -> Tensor:
        calls.append(len(captions))
        return original(captions, batch)

    monkeypatch.setattr(tiny, "encode_text", counting)
    events: Any = stream(Typo(words=5), tiny, four_sentences())
    assert isinstance(next(events), Step)
    made = len(calls)
    events.close()
    assert len(calls) == made and list(events) == []


def test_one_edit_of_two_words_joined_is_within_the_words_counted() -> None:
    assert [s.word for s in spans("a--c")] == ["a", "c"]
    assert Character(characters=1).edits.words == 2  # a space splits one word into two
