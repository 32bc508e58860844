"""How the embedded words are made and measured."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from explorer.attacks.language.embedded import EmbeddedLM
from explorer.base.paths import ASSETS
from tools.language import measure, patterns, wordnet
from tools.language.__main__ import main
from tools.language.corpus import Captions, Sentence, held_out, texts

ROOT = Path(__file__).resolve().parent.parent
WORDNET = Path("/usr/share/wordnet")
CARD = ASSETS / "words" / "card.json"


def test_probes_ask_for_words_that_can_be_said() -> None:
    made = [Sentence("a xylophonist and a dog", "caption", ("xylophonist", "dog")),
            Sentence("nothing known here", "caption"), Sentence("the dog sat", "example")]
    found = measure.probes(made, frozenset({"dog", "a"}))
    assert sorted((p.text, p.word) for p in found) == [("a xylophonist and a dog", 4),
                                                       ("the dog sat", 1)]


def test_a_known_word_is_ranked() -> None:
    model = EmbeddedLM()
    text = "there are two dogs in the garden"
    first, = model.best([(text, 5)], 3)
    assert first[0].word == "the"
    assert measure.ranks(model, [measure.Probe(text, 5)]) == (1, 1)
    assert measure.ranks(model, [measure.Probe("a red zebra of the sea", 4)] * 2)[1] == 2


def test_a_page_is_filled_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("one\n<!-- figures -->\nold\n<!-- end of figures -->\ntwo\n")
    measure.fill_page(page, "figures", "new \\1\n")
    assert page.read_text() == "one\n<!-- figures -->\nnew \\1\n<!-- end of figures -->\ntwo\n"
    with pytest.raises(ValueError, match="no section captions"):
        measure.fill_page(page, "captions", "")


def test_the_page_shows_the_cards_numbers() -> None:
    card = json.loads(CARD.read_text("utf-8"))
    page = (ROOT / "docs" / "words.md").read_text("utf-8")
    for line in measure.table(card["numbers"], card["recipe"]["steps"]).splitlines()[:-2]:
        assert line in page


def test_a_missing_wordnet_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "--wordnet", str(tmp_path)]) == 2
    assert "install WordNet 3.0" in capsys.readouterr().err


def patterns_words() -> list[str]:
    """Words that the patterns themselves bring, whatever the slots hold."""
    return " ".join([patterns.PATTERNS, *patterns.WORDS.values()]).split()


@pytest.mark.slow
@pytest.mark.skipif(not WORDNET.is_dir(), reason="needs the Debian package wordnet-base")
def test_held_out_words_are_held_out_and_the_numbers_hold() -> None:
    source, model = wordnet.read(WORDNET), EmbeddedLM()
    train, test = texts(source)
    assert 0.015 < len(test) / len(train) < 0.025
    known = frozenset(t for t, ok in zip(model.words.texts, model.words.spaced, strict=True) if ok)
    captions, draw = Captions(source, known), random.Random(0)
    unseen = {n for nouns in captions.nouns.values() for n, _ in nouns if held_out(n, 12)}
    for _ in range(300):
        assert not unseen & set(captions.one(draw).text.split()) - set(patterns_words())
        assert "{" not in captions.one(draw, unseen=True).text
    assert len(unseen) > 50
    for kind, row in measure.measure(source, model).items():
        told = json.loads(CARD.read_text("utf-8"))["numbers"][kind]
        for name in ("top1", "top10"):
            assert row[name]["accuracy"] == pytest.approx(told[name]["accuracy"], abs=0.01), kind
