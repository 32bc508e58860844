"""The command line for captions and pairs, and for retrieval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_fixtures import CAT, assert_refused
from PIL import Image

from explorer.actions import arguments
from explorer.actions.flags import make_attack
from explorer.attacks.joint import JOINT_ATTACKS, Alternating, JointAttack, Separate
from explorer.attacks.registry import kind_named
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import TEXT_ATTACKS, BertAttack, Character
from explorer.base.words import characters_changed, words_changed
from explorer.data.pairs import one_pair, open_image
from explorer.models.library import Library

pytest_plugins = ["cli_fixtures"]

SAID = ["a photo of a cat", "a dog on the grass", "a red car"]


@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_a_text_attack_writes_what_it_measured(attack: Any, tmp_path: Path, models_dir: Path,
                                               name: Any) -> None:
    status, result, said = attack(kind="text", attack=name, caption=SAID, words=2, chars=2,
                                  similarity=0)
    assert (status, said.err) == (0, "")
    assert [run["model"] for run in result["runs"]] == ["one", "two"]
    for run, line in zip(result["runs"], said.out.splitlines(), strict=True):
        now = run["adversarial"]["captions"]
        assert (run["kind"], run["attack"]["name"]) == ("text", name)
        assert run["clean"]["captions"] == SAID and now[1:] == SAID[1:]
        assert run["words_changed"] == words_changed(SAID[0], now[0]) <= 4
        assert run["characters_changed"] == characters_changed(SAID[0], now[0])
        assert run["queries"] > 0 and run["linf_255"] == 0 and run["l2"] == 0
        files = {key: tmp_path / "out" / value for key, value in run["files"].items()}
        assert files["clean"].read_bytes() == files["adversarial"].read_bytes()
        model = Library([models_dir]).load(run["model"], "cpu")
        pair = one_pair(open_image(CAT), SAID, 0, model.size)
        near = (model.encode_image(pair.images) @ model.encode_text(now).T)[0].tolist()
        assert near == pytest.approx(run["adversarial"]["cosines"], abs=1e-5)
        assert near == pytest.approx(run["text_only"]["cosines"], abs=1e-5)
        assert run["success"] == (int(np.argmax(near)) != 0)
        assert now[0] in line or "caption unchanged" in line or "nothing changed" in line
        assert "L-inf" not in line


@pytest.mark.parametrize("name", JOINT_ATTACKS)
def test_a_joint_attack_writes_what_it_measured(attack: Any, tmp_path: Path, models_dir: Path,
                                                name: Any) -> None:
    status, result, said = attack(kind="joint", attack=name, text_attack="typo", steps=2,
                                  eps="4/255", caption=SAID)
    assert (status, said.err) == (0, "")
    for run, line in zip(result["runs"], said.out.splitlines(), strict=True):
        assert run["kind"] == "joint" and run["attack"]["name"] == name
        assert (run["attack"]["image_attack"], run["attack"]["text_attack"]) == ("pgd", "typo")
        assert 0 < run["linf_255"] <= 4 and run["words_changed"] <= 1
        assert "L-inf" in line and "caption" in line
        pixels = np.array(Image.open(tmp_path / "out" / run["files"]["adversarial"]))
        model = Library([models_dir]).load(run["model"], "cpu")
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        now, clean = (model.encode_text(run[side]["captions"]) for side in ("adversarial", "clean"))
        features = model.encode_image(image)
        for side, text in (("adversarial", now), ("image_only", clean)):
            assert (features @ text.T)[0].tolist() == pytest.approx(run[side]["cosines"], abs=1e-5)


def test_the_same_command_gives_the_same_numbers(attack: Any) -> None:
    runs = []
    for _ in range(2):
        _, result, _ = attack(kind="joint", text_attack="character", steps=2, caption=SAID)
        for run in result["runs"]:
            run.pop("seconds")
        runs.append(result["runs"])
    assert runs[0] == runs[1]


def test_a_budget_of_zero_is_said(attack: Any) -> None:
    status, result, said = attack(kind="text", words=0, attack="typo", caption=SAID)
    assert status == 0 and said.out.count("nothing changed, the budget is zero") == 2
    assert {run["words_changed"] for run in result["runs"]} == {0}
    _, _, said = attack(kind="text", attack="typo", caption=["it is", "a dog"])
    assert said.out.count("nothing changed, the caption has no word") == 2


def parsed(command: str, *flags: str) -> Any:
    more = {"attack": ["--image=F", "--caption=a"], "evaluate": ["--data=D"]}[command]
    return arguments.parser().parse_args([command, "--models=A", "--out=O", *more, *flags])


@pytest.mark.parametrize(("flags", "expected"), [
    ([], {"words": 1, "objective": "goal", "captions": "true", "similarity": 0.0,
          "protect": False}),
    (["--words=3", "--objective=cosine", "--text-captions=all", "--similarity=0.8", "--protect"],
     {"words": 3, "objective": "cosine", "captions": "all", "similarity": 0.8, "protect": True}),
    (["--masked-lm=bert-base-uncased"], {"model": "bert-base-uncased"}),
])
def test_text_settings_from_flags(flags: Any, expected: Any) -> None:
    for command in ("attack", "evaluate"):
        more = flags or (["--objective=goal", "--text-captions=true"] * (command == "evaluate"))
        made = make_attack(parsed(command, *more), "text", "bert")
        assert isinstance(made, BertAttack)
        assert {name: getattr(made, name) for name in expected} == expected


@pytest.mark.parametrize("command", ["attack", "evaluate"])
def test_the_papers_preset_is_its_attacks(command: str) -> None:
    assert make_attack(parsed(command), "text", None) == BertAttack()
    assert make_attack(parsed(command), "joint", None) == Alternating()
    made = make_attack(parsed(command, "--preset=paper"), "text", None)
    assert isinstance(made, BertAttack)
    assert (made.objective, made.captions, made.words) == ("kl", "all", 1)
    both = make_attack(parsed(command, "--preset=paper"), "joint", None)
    assert isinstance(both, Separate) and both.text == made and both.image.eps == 1 / 255
    typed = make_attack(parsed("attack", "--chars=3"), "text", "character")
    assert isinstance(typed, Character) and typed.characters == 3
    turns = make_attack(parsed("attack", "--rounds=4", "--image-attack=fgsm", "--text-attack=typo"),
                        "joint", "alternating")
    assert isinstance(turns, JointAttack)
    assert (turns.rounds, turns.image.title) == (4, "FGSM: one step")  # type: ignore[attr-defined]


def test_names_belong_to_kinds() -> None:
    assert [kind_named(n) for n in ("pgd", "bert", "separate", "textattack:X")] == [
        "image", "text", "joint", "text"]
    assert isinstance(make_attack(parsed("attack"), "text", "textattack:Pruthi2019"), TextAttack)


@pytest.mark.parametrize(("change", "word"), [
    ({"kind": "text", "attack": "pgd"}, "no text attack 'pgd'; known are bert"),
    ({"kind": "joint", "attack": "bert"}, "no joint attack 'bert'; known are separate"),
    ({"kind": "joint", "text_attack": "hope"}, "no text attack 'hope'"),
    ({"kind": "joint", "image_attack": "typo"}, "no image attack 'typo'"),
    ({"kind": "text", "words": -1}, "words must be a whole number from 0 to 20"),
    ({"kind": "text", "words": "many"}, "words"),
    ({"kind": "text", "attack": "character", "chars": 41}, "characters must be"),
    ({"kind": "text", "similarity": 2}, "similarity floor"),
    ({"kind": "text", "objective": "hope"}, "objective"),
    ({"kind": "text", "text_captions": "some"}, "captions"),
    ({"kind": "text", "masked_lm": "/nowhere/lm"}, "lm"),
    ({"kind": "joint", "attack": "co-attack", "target": "a dog"}, "co-attack has no target"),
    ({"kind": "joint", "attack": "alternating", "rounds": 0}, "rounds"),
    ({"kind": "joint", "attack": "co-attack", "alpha": "nan"}, "alpha"),
    ({"kind": "text", "goal": "embedding", "target": "a dog"}, "takes no target"),
])
def test_attack_refuses(attack: Any, tmp_path: Path, change: Any, word: Any) -> None:
    assert_refused(attack(**change), word, tmp_path)


@pytest.mark.parametrize("caption", ["a\x00cat\x1b[2J", "ein H\u00fcndchen и кошка 一条狗",
                                     "🐈 " * 20, "word " * 120])
def test_odd_captions_on_the_command_line(attack: Any, caption: Any) -> None:
    status, result, said = attack(kind="joint", text_attack="character", steps=1,
                                  caption=[caption, "a dog"])
    assert (status, said.err) == (0, "")
    assert "\x1b" not in said.out and "\x00" not in said.out and len(said.out.splitlines()) == 2
    assert all("\x00" not in c for run in result["runs"] for c in run["adversarial"]["captions"])


# --- evaluate -----------------------------------------------------------------------------------


def test_evaluate_measures_all_kinds_side_by_side(evaluate: Any) -> None:
    status, result, said = evaluate(attacks="clean,image,text,joint,character", eps="8/255",
                                    text_attack="typo")
    assert (status, said.err) == (0, "")
    names = ("clean", "image", "text", "joint", "character")
    assert [(row["model"], row["attack"]) for row in result["rows"]] == [
        (model, name) for model in ("one", "two") for name in names]
    for row in result["rows"]:
        assert row["eps_255"] == (8 if row["attack"] in ("image", "joint") else 0)
        assert 0 <= row["ci95"][0] <= row["accuracy"] <= row["ci95"][1] <= 1
    attacks = result["attacks"]
    assert (attacks["text"]["name"], attacks["joint"]["name"]) == ("typo", "alternating")
    assert (attacks["joint"]["image_attack"], attacks["joint"]["text_attack"]) == ("pgd", "typo")
    assert (attacks["text"]["objective"], attacks["text"]["captions"]) == ("goal", "true")
    assert attacks["clean"] == {} and attacks["character"]["characters"] == 1


@pytest.mark.parametrize("name", [n for n in JOINT_ATTACKS if n != "alternating"])
def test_joint_means_the_joint_attack(evaluate: Any, name: Any) -> None:
    _, result, _ = evaluate(attacks="joint", joint_attack=name, text_attack="typo", models="one",
                            limit=3)
    assert result["attacks"]["joint"]["name"] == name


@pytest.fixture
def pairs_csv(tmp_path: Path) -> Path:
    """Six pictures with two captions each."""
    lines = ["image,caption"]
    for i, (one, two) in enumerate(zip(
            ["a cat", "a dog", "a red car", "the sea", "a tree", "two birds"],
            ["one cat sleeping", "a brown dog", "an old car", "waves", "a tall oak", "birds"],
            strict=True)):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        lines += [f"{i}.png,{one}", f"{i}.png,{two}"]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_retrieval_both_ways(evaluate: Any, pairs_csv: Path) -> None:
    status, result, said = evaluate(data=pairs_csv, task="retrieval", text_attack="typo",
                                    attacks="clean,image,text,joint", models="one", eps="8/255",
                                    joint_attack="set-guided")
    assert (status, said.err) == (0, "")
    assert (result["task"], result["drawn"]) == ("retrieval", 6)
    rows = result["rows"]
    assert [row["attack"] for row in rows] == ["clean", "image", "text", "joint"]
    assert [row["eps_255"] for row in rows] == [0, 8, 0, 8]
    for row in rows:
        assert (row["images"], row["captions"], row["skipped"]) == (6, 12, 0)
        assert row["clean"] == rows[0]["clean"]
        assert bool(row["attacked"]) == bool(row["success"]) == (row["attack"] != "clean")
        for one in [*row["clean"], *row["attacked"]]:
            assert one["recall"] == pytest.approx(one["hits"] / one["n"])
            assert one["n"] == {"text": 6, "image": 12}[one["direction"]]
            assert 0 <= one["ci95"][0] <= one["recall"] <= one["ci95"][1] <= 1
        for one in row["success"]:
            assert 0 <= one["wrong"] <= one["n"] and set(one) >= {"direction", "k", "rate", "ci95"}
    understood, *table = said.out.splitlines()
    assert understood.startswith("pairs.csv:")
    assert table[0].split()[:2] == ["model", "attack"] and len(table) == 5
    for head in ("TR R@1", "TR R@5", "TR R@10", "IR R@1", "success TR", "success IR", "images"):
        assert head in table[0]
    first = rows[0]["clean"][0]
    assert f"{first['recall']:.1%} ({first['ci95'][0] * 100:.0f}-" in table[1]


def test_retrieval_is_repeatable(evaluate: Any, pairs_csv: Path) -> None:
    first, again = (evaluate(data=pairs_csv, task="retrieval", attacks="text", models="one",
                             text_attack="character", limit=4, seed=3)[1] for _ in range(2))
    for row in first["rows"] + again["rows"]:
        row.pop("seconds")
    assert first == again and first["drawn"] == 4


@pytest.mark.parametrize(("change", "word"), [
    ({"task": "retrieval"}, "has labels and no captions"),
    ({"task": "counting"}, "task"), ({"text_attack": "pgd"}, "no text attack 'pgd'"),
    ({"attacks": "joint", "joint_attack": "bert"}, "no joint attack 'bert'"),
    ({"attacks": "text", "words": 99}, "words must be"),
    ({"attacks": "clean,textattack:"}, "recipe"),
])
def test_evaluate_refuses(evaluate: Any, tmp_path: Path, change: Any, word: Any) -> None:
    assert_refused(evaluate(**{"attacks": "text", **change}), word, tmp_path)


def test_json_keeps_every_script(attack: Any, tmp_path: Path) -> None:
    _, result, _ = attack(kind="text", attack="typo", caption=["кошка на 草", "a dog"])
    raw = (tmp_path / "out" / "result.json").read_text("utf-8")
    assert "кошка" in raw or result["runs"][0]["adversarial"]["captions"][0] in raw
    assert json.loads(raw) == result
