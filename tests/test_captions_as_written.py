"""Captions as people write them: abbreviations, other scripts, more words than a model reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
import torch
from helpers import grid_images

import explorer
from explorer.actions.cli import main
from explorer.attacks.language.encoder import Hidden, SentenceEncoder, sentence_encoder
from explorer.attacks.language.thesaurus import swaps
from explorer.attacks.run import run
from explorer.attacks.text import search
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import BertAttack, Character, HotFlip, Synonym, Typo, typos
from explorer.attacks.text.recipes import OTHERS, SHORT, TextAttackRecipe, recipe_named
from explorer.base.errors import InputError
from explorer.base.paths import ASSETS
from explorer.base.words import foreign, spans, swap, words
from explorer.data.pairs import Pairs, to_image
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import caption_notes, check_captions, too_long, twins
from explorer.results.verdicts import verdict

ROOT = Path(__file__).parent.parent
CAT = str(next((ASSETS / "examples").glob("cat*")))


@pytest.mark.parametrize(("text", "found"), [
    ("a parade in the U.S.A. today", ["a", "parade", "in", "the", "U.S.A.", "today"]),
    ("made in the U.S.A.", ["made", "in", "the", "U.S.A."]),
    ("the R&D team of AT&T & Co", ["the", "R&D", "team", "of", "AT&T", "Co"]),
    ("at 5 p.m. or 6.30, e.g. now", ["at", "5", "p.m.", "or", "6.30", "e.g.", "now"]),
    ("3.5 km, 1,000 people, rooms 1,2", ["3.5", "km", "1,000", "people", "rooms", "1", "2"]),
    ("a state-of-the-art kitchen", ["a", "state-of-the-art", "kitchen"]),
    ("the chef's mother-in-law's hat", ["the", "chef's", "mother-in-law's", "hat"]),
    ("It ended. A dog came.I saw", ["It", "ended", "A", "dog", "came", "I", "saw"]),
    ("plan B. No", ["plan", "B", "No"]), ("wait... & see", ["wait", "see"]),
    ("McDonald's iPhone XL", ["McDonald's", "iPhone", "XL"]),
])
def test_a_word_is_a_word(text: str, found: list[str]) -> None:
    assert words(text) == found
    for span in spans(text):
        assert swap(text, span, span.word) == text


def test_possessives_have_the_synonyms_of_their_word() -> None:
    assert [s.word for s in swaps("dog's")] == [f"{s.word}'s" for s in swaps("dog")]
    assert swaps("U.S.A.")


def sight(tiny: DualEncoder, *captions: str) -> Pairs:
    return Pairs(grid_images(1, tiny.size), captions, torch.tensor([0]))


@pytest.mark.parametrize("attack", [BertAttack(), Synonym(), HotFlip()],
                         ids=lambda a: type(a).__name__)
def test_word_attacks_say_that_they_know_english_only(attack: TextAttack, tiny: DualEncoder,
                                                      ) -> None:
    with pytest.raises(InputError, match="knows English words only, and no caption has one"):
        run(attack, tiny, sight(tiny, "кошка на диване", "一只猫"))
    result = run(attack, tiny, sight(tiny, "кошка на диване", "a dog"))
    assert verdict(result)[1] == ("Nothing changed: this attack knows English words only, and the "
                                  "caption has none (the attack character works on any script).")
    mixed = run(attack, tiny, sight(tiny, "кошка near big trees", "a dog"), "similarity")
    assert "кошка" in mixed.own_captions()[1]


@pytest.mark.parametrize("caption", ["кошка на диване", "一只猫在沙发上", "قطة على الأريكة"])
@pytest.mark.parametrize("attack", [Character(new_words=True), Typo()],
                         ids=lambda a: type(a).__name__)
def test_characters_and_typos_work_on_any_script(attack: TextAttack, caption: str,
                                                 pocket: DualEncoder) -> None:
    result = run(attack, pocket, Pairs(grid_images(1, pocket.size), (caption, "a dog"),
                                       torch.tensor([0])), "similarity")
    assert result.tried > 0 and foreign(caption)


def test_typos_keep_to_the_script_and_case_of_the_word() -> None:
    assert {c for w in typos("кошка", Random(0)) for c in w} <= set("кошка")
    assert all(w.isupper() for w in typos("CAT", Random(0)))


LONG = "a photo of " + " ".join(["a cat near a dog"] * 30)


def test_captions_that_are_not_read_to_their_end(tiny: DualEncoder, pocket: DualEncoder) -> None:
    for model in (tiny, pocket):
        most = model.tokenize.context_length  # type: ignore[attr-defined]
        cut, limit = too_long(model.tokenize, ["a cat", LONG])
        assert list(cut) == [1] and limit == most and cut[1] > 120
        assert not too_long(model.tokenize, ["a cat", "é" * 5])[0]
        assert twins(model.tokenize, ["a", LONG + " x", LONG + " y", "b"]) == {1: 2, 2: 1}
        assert twins(model.tokenize, ["a cat", "A  Cat", "a dog"]) == {0: 1, 1: 0}
        with pytest.raises(InputError, match="captions 1 and 2 are the same to m, which reads "
                           f"only the first {most} tokens"):
            check_captions("m", model.tokenize, [LONG + " x", LONG + " y"], [0])
        with pytest.raises(InputError, match="takes no note of capitals"):
            check_captions("m", model.tokenize, ["a cat", "A Cat"], [1])
        check_captions("m", model.tokenize, ["a cat", LONG + " x", LONG + " y"], [0])
    with pytest.raises(InputError, match="captions 1 and 2 are the same to m, which does not know"):
        check_captions("m", pocket.tokenize, ["一只猫", "一条狗"], [0])
    assert caption_notes("m", tiny.tokenize, ["a", "b"]) == []
    assert caption_notes("m", tiny.tokenize, ["a", LONG, LONG + "x"]) == [
        "m reads 16 tokens, and 2 of 3 captions are longer: their ends are not seen."]


def test_an_attack_says_what_is_not_seen_and_refuses_twins(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = explorer.attack(CAT, [LONG, "a dog"], models="pocket", steps=2)
    assert "Pocket reads" in case.sentences[0] and "caption 1 has" in case.sentences[0]
    with pytest.raises(InputError, match="captions 1 and 2 are the same to pocket"):
        explorer.attack(CAT, [LONG + " x", LONG + " y"], models="pocket", steps=2)
    flags = ["attack", "--image", CAT, "--models", "pocket", "--steps", "2", "--out",
             str(tmp_path / "out")]
    assert main([*flags, "--caption", LONG, "--caption", "a dog"]) == 0
    assert "caption 1 has" in capsys.readouterr().out
    assert main([*flags, "--caption", "a cat", "--caption", "A CAT"]) == 2
    assert "the same to pocket, which takes no note of capitals" in capsys.readouterr().err


def set_of(*captions: str) -> list[tuple[object, str]]:
    return [(to_image(image), text) for image, text in
            zip(grid_images(len(captions), 64, seed=3), captions, strict=True)]


def test_an_evaluation_does_not_judge_twins(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                            ) -> None:
    found = explorer.evaluate(set_of("crane", "Crane", "dog", "cat"), "pocket", "clean")
    assert found["pocket", "clean"].n == 2
    assert "2 pictures are not judged by pocket: to it their captions are the same" in repr(found)
    with pytest.raises(InputError, match="nothing can be judged"):
        explorer.evaluate(set_of("crane", "Crane"), "pocket", "clean")
    for k, (image, name) in enumerate(set_of("crane", "Crane", "dog", "cat")):
        (tmp_path / "set" / f"{name}").mkdir(parents=True)
        image.save(tmp_path / "set" / name / f"{k}.png")  # type: ignore[attr-defined]
    assert main(["evaluate", "--data", str(tmp_path / "set"), "--models", "pocket", "--attacks",
                 "clean", "--out", str(tmp_path / "t.json")]) == 0
    said = capsys.readouterr().out
    assert "2 of 4 images, which cannot be read or judged" in said
    assert "2 pictures are not judged by pocket" in said


@pytest.mark.parametrize(("said", "meant"), [
    ("textfooler", "TextFoolerJin2019"), ("TextFoolerJin2019", "TextFoolerJin2019"),
    ("bert-attack", "BERTAttackLi2020"), ("BERT_Attack", "BERTAttackLi2020"),
    ("deepwordbuggao2018", "DeepWordBugGao2018"), ("a2t", "A2TYoo2021"),
    ("chineserecipe", "ChineseRecipe")])
def test_recipes_by_textattacks_own_spellings(said: str, meant: str) -> None:
    assert recipe_named(said) == meant == TextAttackRecipe(recipe=said).recipe


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="no recipe 'textfoler'; did you mean TextFoolerJin2019"):
        TextAttackRecipe(recipe="textfoler")
    with pytest.raises(InputError, match="no recipe 'xyzzy'; it has A2TYoo2021"):
        TextAttackRecipe(recipe="xyzzy")


@pytest.mark.slow
def test_the_recipes_are_those_of_the_installed_textattack() -> None:
    from explorer.attacks.text.recipes import _package, _parts

    recipes = _package().attack_recipes
    from textattack.attack_args import ATTACK_RECIPE_NAMES

    assert {k: v.rpartition(".")[2] for k, v in ATTACK_RECIPE_NAMES.items()} == SHORT
    assert all(hasattr(recipes, name) for name in OTHERS)
    with pytest.raises(InputError, match="needs NLTK's data 'wordnet', .*nltk.downloader wordnet"):
        _parts("PWWSRen2019")


class Passes:
    """How many texts each model has read: the victim's tower, and the sentences' (MiniLM)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.victim = self.sentences = 0
        look, hidden = DualEncoder._text_features, SentenceEncoder.hidden

        def looked(model: DualEncoder, tokens: torch.Tensor, fast: bool) -> torch.Tensor:
            self.victim += len(tokens)
            return look(model, tokens, fast)

        def read(encoder: SentenceEncoder, texts: Sequence[str]) -> Hidden:
            self.sentences += len(texts)
            return hidden(encoder, texts)

        monkeypatch.setattr(DualEncoder, "_text_features", looked)
        monkeypatch.setattr(SentenceEncoder, "hidden", read)


def test_synonyms_of_a_long_caption_take_few_passes(pocket: DualEncoder,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """As many words as anybody writes, each another; with the constraint asked of all candidates
    the same words are found, and read ten times as often."""
    book = [w.lower() for w in (ROOT / "README.md").read_text("utf-8").split() if w.isalpha()]
    caption = " ".join([w for w in dict.fromkeys(book) if len(swaps(w)) > 5][:200])
    assert len(caption.split()) > 120
    pairs = Pairs(grid_images(1, pocket.size), (caption, "a dog"), torch.tensor([0]))
    words_read = pocket.tokenize.context_length  # type: ignore[attr-defined]
    found, counted = [], []
    pocket._texts.clear()
    for limit in (search.LONG, 10_000):
        monkeypatch.setattr(search, "LONG", limit)
        sentence_encoder()._pooled.clear()
        with monkeypatch.context() as now:
            passes = Passes(now)
            found.append(run(Synonym(words=2), pocket, pairs, "similarity"))
        counted.append((passes.victim, passes.sentences))
    assert found[0].adversarial_captions == found[1].adversarial_captions
    assert found[0].words_changed.tolist() == [2]
    (victim, sentences), (_, all_sentences) = counted
    assert victim <= words_read + 10 + 2 * (20 + 2)  # one a word that is seen, then two exchanges
    assert sentences <= 1 + 2 * 4 and all_sentences > 2 * 15


def test_l2_budgets_that_rounding_undoes_are_said(tiny: DualEncoder) -> None:
    from explorer.attacks.image.classic import PGD

    tight = run(PGD(eps=0.003, norm="l2"), tiny, sight(tiny, "a cat", "a dog"))
    assert "below an L2 of 1/255, one grey level in one value" in verdict(tight)[1]
    wide = run(PGD(eps=0.04, norm="l2"), tiny, sight(tiny, "a cat", "a dog"))
    if not bool(wide.changed[0]):
        assert "of a grey level a value, and rounding to 8 bits undoes that" in verdict(wide)[1]
