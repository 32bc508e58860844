"""What a teacher sets beforehand: in an address, in a file, and what a page then opens with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from explorer.attacks.image.classic import FGSM, PGD
from explorer.attacks.joint import JOINT_ATTACKS, Alternating
from explorer.attacks.registry import Attack, name_of
from explorer.attacks.request import Request
from explorer.attacks.text.classic import TEXT_ATTACKS, BertAttack
from explorer.base.errors import InputError
from explorer.data.examples import load_examples
from explorer.models.library import Library
from explorer.ui.shared.address import Preset, from_file, from_query, link, to_query

MODELS = Library().cards()


def test_an_address_sets_what_it_names() -> None:
    preset = from_query({"tab": "learn", "lesson": "3", "lang": "zh", "hide": "train|space",
                         "image": "dog", "captions": "a dog|a wolf", "true": "a wolf",
                         "robust": "pocket", "__theme": "dark", "case": "x"}, MODELS)
    assert preset == Preset("zh", "learn", 3, ("train", "space"), "", "pocket", "dog",
                            ("a dog", "a wolf"), "a wolf")
    assert preset.attacks and not from_query({"lesson": "2"}, MODELS).attacks


EVERY: list[Attack] = [
    PGD(), PGD(eps=4 / 255, norm="l2", steps=7), FGSM(),
    BertAttack(words=2, protect=True), TEXT_ATTACKS["character"](),
    JOINT_ATTACKS["separate"](image=FGSM(), text=TEXT_ATTACKS["typo"]()),
    Alternating(image=PGD(eps=0.01), text=TEXT_ATTACKS["bert"](), rounds=3)]


@pytest.mark.parametrize("attack", EVERY, ids=name_of)
@pytest.mark.parametrize("captions", [("a cat", "a dog"), ("a|b", "[x", 'say "hi" & go?')])
def test_a_link_asks_the_same_again(attack: Attack, captions: tuple[str, ...]) -> None:
    link = to_query("dog", captions, captions[1], ("pocket", "pocket-robust"), attack,
                    "similarity", captions[0], 7)
    query = {k: v[0] for k, v in parse_qs(link.removeprefix("?"), strict_parsing=True).items()}
    preset = from_query(query, MODELS)
    assert preset.made() == attack and preset.attacks
    assert (preset.captions, preset.true, preset.target) == (captions, captions[1], captions[0])
    assert (preset.image, preset.standard, preset.robust) == ("dog", "pocket", "pocket-robust")
    assert (preset.goal, preset.seed, preset.tab) == ("similarity", 7, "attack")


def test_a_link_holds_settings_alone() -> None:
    """A person's own photo is not in it, nor its name, nor anything of this computer."""
    request = Request(("/tmp/upload/secret-holiday.jpg",), ("a cat", "a dog"), ("a cat",), PGD(),
                      goal="embedding")
    found = parse_qs(link(request).removeprefix("?"))
    assert found == {"tab": ["attack"], "image": ["own"], "captions": ["a cat|a dog"],
                     "true": ["a cat"], "standard": ["pocket"], "robust": ["pocket-robust"],
                     "kind": ["image"], "attack": ["pgd"], "goal": ["embedding"]}
    example = replace(request, alt=load_examples()["bee"].alt)
    assert "image=bee" in link(example)


@pytest.mark.parametrize(("query", "sentence"), [
    ({"kind": "image", "attack": "none"}, "no image attack 'none'"),
    ({"kind": "image", "attack": "pgd", "settings": '{"eps": "x"}'}, "eps must be|wrong type"),
    ({"kind": "image", "attack": "pgd", "settings": '{"steps": 1e9}'}, "steps must be"),
    ({"kind": "image", "attack": "pgd", "settings": "{"}, "read as JSON"),
    ({"kind": "image", "attack": "pgd", "settings": "[1]"}, "settings must be names"),
    ({"kind": "text", "attack": "bert", "settings": '{"model": "evil/lm"}'}, "language model"),
    ({"kind": "text", "attack": "textattack:bae"}, "recipe"), ({"kind": "image"}, "attack's name"),
    ({"settings": '{"eps": 0.1}'}, "attack's name"), ({"goal": "x"}, "goal must be one of"),
    ({"kind": "image", "attack": "pgd", "seed": "-1"}, "seed must be a number from 0"),
    ({"captions": "[1,2]"}, "each of captions must be text"), ({"captions": "[["}, "read as JSON"),
    ({"lesson": "11"}, "1 to 10"), ({"lesson": "x"}, "1 to 10"), ({"lang": "fr"}, "lang"),
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
    (tmp_path / "my.jpg").write_bytes(load_examples()["bee"].path.read_bytes())
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
