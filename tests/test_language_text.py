"""Words of captions, differences between captions, and the thesaurus."""

from __future__ import annotations

import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.attacks.language import inflect, thesaurus
from explorer.base.errors import InputError
from explorer.base.words import (
    Piece,
    Span,
    char_diff,
    characters_changed,
    class_words,
    is_stop,
    spans,
    stop_words,
    swap,
    word_diff,
    words,
    words_changed,
)
from tools.language import compile, wordnet

ROOT = Path(__file__).resolve().parent.parent
TEXTS = st.text("ab \u0301-',é猫\x00", max_size=14)


def plain_distance(a: list[str] | str, b: list[str] | str) -> int:
    """Levenshtein's definition, cell by cell (Wagner and Fischer 1974)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def test_words_in_many_scripts() -> None:
    text = "A dog's well-known 'photo' -- cafe\u0301, हिन्दी 猫 3D ca\x00t x--y"
    assert words(text) == ["A", "dog's", "well-known", "photo", "cafe\u0301", "हिन्दी", "猫", "3D",
                           "ca", "t", "x", "y"]
    assert words("") == words(" \t\x00-'!") == []
    assert len(words("café")) == len(words(unicodedata.normalize("NFD", "café"))) == 1


@given(TEXTS)
def test_spans_point_into_the_text(text: str) -> None:
    end = 0
    for span in spans(text):
        assert end <= span.start < span.end and text[span.start : span.end] == span.word
        end = span.end


def test_a_swap_changes_one_word_alone() -> None:
    text = "two  cats, (one cat)!"
    assert swap(text, spans(text)[1], "dogs") == "two  dogs, (one cat)!"
    assert swap(text, spans(text)[3], "猫") == "two  cats, (one 猫)!"
    with pytest.raises(InputError, match="is not at characters"):
        swap(text, Span("cat", 5, 8 + 1), "dog")


@given(TEXTS, TEXTS)
@settings(max_examples=300, deadline=None)
def test_distances_are_levenshteins(a: str, b: str) -> None:
    assert characters_changed(a, b) == plain_distance(a, b)
    assert words_changed(a, b) == plain_distance(words(a), words(b))


@given(TEXTS, TEXTS)
@settings(max_examples=300, deadline=None)
def test_differences_spell_both_texts(a: str, b: str) -> None:
    for pieces in (word_diff(a, b), char_diff(a, b)):
        assert "".join(p.text for p in pieces if p.kind != "inserted") == a
        assert "".join(p.text for p in pieces if p.kind != "deleted") == b
    same = sum(len(p.text) for p in char_diff(a, b) if p.kind == "same")
    assert max(len(a), len(b)) - same <= characters_changed(a, b)


def test_a_difference_is_told_by_words() -> None:
    assert word_diff("a red car, parked", "a blue car, parked") == [
        Piece("same", "a "), Piece("deleted", "red"), Piece("inserted", "blue"),
        Piece("same", " car, parked")]
    assert char_diff("cat", "cast") == [
        Piece("same", "ca"), Piece("inserted", "s"), Piece("same", "t")]
    assert word_diff("a cat", "a cat") == [Piece("same", "a cat")]


def test_long_captions_are_compared_in_time() -> None:
    draw = random.Random(0)
    a, b = ("".join(draw.choices("abcdefgh ", k=2000)) for _ in range(2))
    assert characters_changed(a, b) == plain_distance(a, b)
    assert characters_changed(a, a[:700] + "x" + a[701:1500] + a[1502:]) == 3


def test_stop_words_whatever_their_case() -> None:
    assert is_stop("The") and is_stop("OF") and not is_stop("dog")
    assert {"a", "the", "of"} <= stop_words()


@pytest.mark.parametrize(("captions", "found"), [
    (["a photo of a tabby cat", "a photo of a dog"], [{"tabby", "cat"}, {"dog"}]),
    (["a photo of a sea lion", "a photo of a lion"], [{"sea", "lion"}, {"lion"}]),
    (["a Dog on the grass", "an owl on the grass"], [{"dog"}, {"owl"}]),
    (["A photo of a red dog."], [{"red", "dog"}]),
    (["a photo", "", "of the"], [{"photo"}, set(), {"of", "the"}]),
    ([], []),
])
def test_class_words(captions: list[str], found: list[set[str]]) -> None:
    assert list(class_words(captions)) == found


def test_importing_the_texts_loads_no_model_code() -> None:
    code = ("import sys, explorer.base.words, explorer.attacks.language.thesaurus,"
            "explorer.attacks.language.masked;"
            "print(sorted({'torch', 'transformers'} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "[]"


def by_relation(word: str, phrases: bool = False) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"synonym": [], "co-hyponym": []}
    for item in thesaurus.swaps(word, phrases):
        found[item.relation].append(item.word)
    return found


@pytest.mark.parametrize(("word", "synonym", "kin"), [
    ("car", "automobile", "truck"), ("cars", "automobiles", "trucks"),
    ("Women", "charwomen", "girls"), ("dogs", "hounds", "wolves"), ("big", "large", "huge"),
    ("stopped", "halted", "avoided"), ("sitting", "posing", "lying"), ("red", "crimson", "blue"),
])
def test_words_of_the_same_meaning_and_kind(word: str, synonym: str, kin: str) -> None:
    found = by_relation(word)
    assert synonym in found["synonym"] and kin in found["co-hyponym"]
    everything = found["synonym"] + found["co-hyponym"]
    assert word.lower() not in everything and not any(" " in w for w in everything)
    assert len(set(everything)) == len(everything)
    assert [s.word for s in thesaurus.swaps(word)] == everything  # synonyms come first


def test_phrases_names_and_unknown_words() -> None:
    assert "domestic dog" in by_relation("dog", phrases=True)["synonym"]
    assert "domestic dogs" in by_relation("dogs", phrases=True)["synonym"]
    assert "London" in by_relation("paris")["co-hyponym"]
    assert all(s.word.islower() for s in thesaurus.swaps("cat"))
    for odd in ("", "\x00", "xqzt", "猫", "a" * 5000, "'", "the"):
        assert isinstance(thesaurus.swaps(odd), list)
    assert thesaurus.swaps("xqzt") == []


def test_the_dictionary() -> None:
    for word in ("dog", "Dogs", "wolves", "running", "ran", "bigger", "the", "i", "well-known"):
        assert thesaurus.is_word(word), word
    for word in ("xqzt", "dgo", "c", "", "beautifuler", "domestic dog", "pho"):
        assert not thesaurus.is_word(word), word
    assert all(w == w.lower() for w in thesaurus.dictionary())


@pytest.mark.parametrize(("word", "s", "ing", "ed"), [
    ("walk", "walks", "walking", "walked"), ("ride", "rides", "riding", "rided"),
    ("stop", "stops", "stopping", "stopped"), ("try", "tries", "trying", "tried"),
    ("lie", "lies", "lying", "lied"), ("box", "boxes", "boxing", "boxed"),
    ("play", "plays", "playing", "played"), ("see", "sees", "seeing", "seed"),
])
def test_inflection_and_its_way_back(word: str, s: str, ing: str, ed: str) -> None:
    assert (inflect.with_s(word), inflect.with_ing(word), inflect.with_ed(word)) == (s, ing, ed)
    for form in (s, ing):
        assert word in inflect.bases(form, "verb"), form
    assert inflect.with_s("fireman") == "firemen" and inflect.with_s("human") == "humans"


def write_wordnet(folder: Path) -> None:
    """Three nouns in WordNet's own format: dog and wolf are kinds of animal."""
    for part in ("noun", "verb", "adj", "adv"):
        for name in (f"data.{part}", f"index.{part}", f"{part}.exc"):
            (folder / name).write_text("  1 a licence line\n" * (name[0] != part[0]))
    (folder / "data.noun").write_text(
        "  1 a licence line\n"
        "00000100 05 n 02 animal 0 living_beast 0 000 | a living thing; \"the animal ran away\"\n"
        "00000200 05 n 02 dog 0 hound 0 001 @ 00000100 n 0000 | it barks\n"
        "00000300 05 n 01 wolf 0 001 @ 00000100 n 0000 | it howls at the moon\n")
    (folder / "index.noun").write_text(
        "animal n 1 0 1 1 00000100\nliving_beast n 1 0 1 0 00000100\n"
        "dog n 1 1 @ 1 1 00000200\nhound n 1 1 @ 1 0 00000200\nwolf n 1 1 @ 1 1 00000300\n")
    (folder / "noun.exc").write_text("wolves wolf\n")
    (folder / "cntlist.rev").write_text("dog%1:05:00:: 1 42\nwolf%1:05:00:: 1 7\n")


def test_wordnet_goes_through_the_file_unharmed(tmp_path: Path) -> None:
    write_wordnet(tmp_path)
    source = wordnet.read(tmp_path)
    assert source.frequency("noun", "dog") == 42
    assert source.closure(iter([("noun", 100)])) == {("noun", 100), ("noun", 200), ("noun", 300)}
    compile.write(source, tmp_path / "t.tsv.gz")
    first = (tmp_path / "t.tsv.gz").read_bytes()
    compile.write(source, tmp_path / "t.tsv.gz")
    assert (tmp_path / "t.tsv.gz").read_bytes() == first  # no time stamp inside
    book = thesaurus.read(tmp_path / "t.tsv.gz")
    (dog, number), = book.senses["noun", "dog"]
    assert dog.tags == 42 and [e.word for e in book.entries[number]] == ["dog", "hound"]
    assert [e.word for e in book.kin(number)] == ["wolf"]
    assert thesaurus.readings("wolves", book) == [("noun", "wolf", "s")]
    assert thesaurus.inflected("wolf", "noun", "s", book) == "wolves"
    with pytest.raises(InputError, match="has no data"):
        wordnet.read(tmp_path / "nowhere")
