"""What a teacher sets beforehand: in an address, in a file, and what a page then opens with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from explorer.errors import InputError
from explorer.lessons.bench import photos
from explorer.lessons.preset import Preset, from_file, from_query
from explorer.models import Library

MODELS = Library().cards()


def test_an_address_sets_what_it_names() -> None:
    preset = from_query({"tab": "learn", "lesson": "3", "lang": "zh", "hide": "train|space",
                         "image": "dog", "captions": "a dog|a wolf", "true": "a wolf",
                         "robust": "pocket", "__theme": "dark", "case": "x"}, MODELS)
    assert preset == Preset("zh", "learn", 3, ("train", "space"), "", "pocket", "dog",
                            ("a dog", "a wolf"), "a wolf")
    assert preset.attacks and not from_query({"lesson": "2"}, MODELS).attacks


@pytest.mark.parametrize(("query", "sentence"), [
    ({"lesson": "9"}, "1 to 8"), ({"lesson": "x"}, "1 to 8"), ({"lang": "fr"}, "lang"),
    ({"tab": "admin"}, "tab"), ({"hide": "attack|nothing"}, "hide"),
    ({"image": "/etc/passwd"}, "image"), ({"standard": "hf-hub:evil/model"}, "standard"),
    ({"captions": "a|a"}, "the same"), ({"captions": "a|b", "true": "c"}, "true caption"),
    ({"tab": "train", "hide": "train"}, "that it hides"),
    ({"hide": "attack|space|train|failures|evaluate|learn"}, "every tab")])
def test_a_wrong_address_gets_a_sentence(query: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        from_query(query, MODELS)


def test_an_address_goes_over_a_file() -> None:
    base = Preset("zh", "learn", 2, ("train",), image="cat", captions=("x", "y"), true="y")
    assert Preset(lesson=5).over(base) == replace(base, lesson=5)
    mixed = Preset(image="dog").over(base)
    assert mixed.image == "dog" and mixed.captions == () and mixed.true == ""


def test_a_file_sets_the_same_and_pictures_beside_it(tmp_path: Path) -> None:
    (tmp_path / "my.jpg").write_bytes(photos()["bee"].path.read_bytes())
    file = tmp_path / "class.json"
    file.write_text(json.dumps({"tab": "learn", "hide": ["train"], "image": "my.jpg",
                                "captions": ["a bee", "a wasp"]}), "utf-8")
    preset = from_file(file, MODELS)
    assert preset.image == str((tmp_path / "my.jpg").resolve()) and preset.hide == ("train",)


@pytest.mark.parametrize(("text", "sentence"), [
    ("{", "no JSON"), ("[]", "JSON object"), ('{"tabs": 1}', "unknown field 'tabs'"),
    ('{"image": "no.jpg", "captions": ["a", "b"]}', "neither an example nor a file"),
    ('{"captions": "a"}', "lists for captions"), ('{"captions": [1, 2]}', "must be text")])
def test_a_wrong_file_gets_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "class.json"
    file.write_text(text, "utf-8")
    with pytest.raises(InputError, match=sentence):
        from_file(file, MODELS)
    with pytest.raises(InputError, match="cannot read the preset"):
        from_file(tmp_path / "none.json", MODELS)
