"""The command line: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_fixtures import CAT, WORDS, assert_refused
from PIL import Image

from explorer.actions import arguments, cli, commands
from explorer.actions.flags import make_attack
from explorer.attacks.defences.detect import DETECTORS
from explorer.attacks.defences.registry import DEFENCES
from explorer.attacks.image.classic import IMAGE_ATTACKS, default_step
from explorer.attacks.joint import JOINT_ATTACKS
from explorer.attacks.registry import REGISTRIES, USUAL, settings_of
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.paths import ASSETS
from explorer.models.library import Library

pytest_plugins = ["cli_fixtures"]


def levels(path: Any) -> Any:
    return np.array(Image.open(path)).astype(int)


@pytest.mark.parametrize("name", IMAGE_ATTACKS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attack_writes_what_it_measured(attack: Any, tmp_path: Path, name: Any, norm: Any) -> None:
    eps = "4/255" if norm == "linf" else "0.5"
    status, result, said = attack(attack=name, norm=norm, eps=eps, steps=3, kind="image")
    assert (status, said.err) == (0, "")
    assert [run["model"] for run in result["runs"]] == ["one", "two"]
    for run in result["runs"]:
        files = {key: tmp_path / "out" / value for key, value in run["files"].items()}
        clean, adversarial = levels(files["clean"]), levels(files["adversarial"])
        moved = adversarial - clean
        assert clean.shape == (32, 32, 3)
        assert run["linf_255"] == np.abs(moved).max()
        assert run["l2"] == pytest.approx(np.linalg.norm(moved / 255), rel=1e-4)
        assert run["linf_255"] <= 4 if norm == "linf" else run["l2"] <= 0.5 + 1e-5
        delta = np.load(files["perturbation"])
        assert (delta.dtype, delta.shape) == (np.float32, (3, 32, 32))
        assert (np.rint(delta * 255).transpose(1, 2, 0) == moved).all()
        assert (run["attack"]["name"], run["attack"]["norm"]) == (name, norm)
        assert run["attack"].get("steps", 3) == 3
        for side in ("clean", "adversarial"):
            assert len(run[side]["cosines"]) == len(run[side]["probabilities"]) == 3
            assert run[side]["prediction"] == int(np.argmax(run[side]["cosines"]))
        assert run["success"] == (run["adversarial"]["prediction"] != 0)
        assert f"{run['model']}: " in said.out
    lines = [line for line in said.out.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 2


def test_what_is_saved_is_what_the_model_was_judged_on(
    attack: Any, tmp_path: Path, models_dir: Path
) -> None:
    _, result, _ = attack(eps="4/255", steps=3)
    model = Library([models_dir]).load("one", "cpu")
    text = model.encode_text(WORDS)
    for side in ("clean", "adversarial"):
        path = tmp_path / "out" / result["runs"][0]["files"][side]
        pixels = torch.from_numpy(levels(path)).permute(2, 0, 1)[None].float() / 255
        again = (model.encode_image(pixels) @ text.T)[0].tolist()
        assert again == pytest.approx(result["runs"][0][side]["cosines"], abs=1e-5)


def test_same_seed_same_bytes_other_seed_other_bytes(attack: Any, tmp_path: Path) -> None:
    saved = []
    for seed in (1, 1, 2):
        attack(seed=seed, attack="noise", eps="8/255")
        saved.append((tmp_path / "out" / "one-adversarial.png").read_bytes())
    assert saved[0] == saved[1] != saved[2]


@pytest.mark.parametrize(("target", "captions", "number"), [
    ("a dog", WORDS, 1), ("  a   dog ", WORDS, 1), ("一条狗", [*WORDS, "一条狗"], 3),
])
def test_target_joins_the_captions_when_new(attack: Any, target: Any, captions: Any,
                                            number: Any) -> None:
    status, result, _ = attack(target=target, eps="16/255", steps=20)
    assert status == 0
    for run in result["runs"]:
        assert run["adversarial"]["captions"] == captions
        assert run["attack"]["target"] == captions[number]
        assert run["success"] == (run["adversarial"]["prediction"] == number)


@pytest.mark.parametrize("goal", ["similarity", "embedding"])
def test_other_goals_take_a_single_caption(attack: Any, goal: Any) -> None:
    status, result, _ = attack(goal=goal, caption=["a cat"], steps=2)
    assert status == 0
    assert {run["attack"]["goal"] for run in result["runs"]} == {goal}


@pytest.mark.parametrize("name", ["pgd", "noise", "apgd"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_eps_zero_changes_nothing_and_says_so(attack: Any, name: Any, norm: Any) -> None:
    status, result, said = attack(eps="0", attack=name, norm=norm)
    assert status == 0
    assert {run["linf_255"] for run in result["runs"]} == {0}
    assert said.out.count("nothing changed, as eps is 0") == 2


def test_an_earlier_result_is_replaced_and_other_files_stay(attack: Any, tmp_path: Path) -> None:
    attack(eps="1/255")
    (tmp_path / "out" / "mine.txt").write_text("kept")
    status, result, _ = attack(eps="2/255")
    assert status == 0
    assert result["runs"][0]["attack"]["eps"] == pytest.approx(2 / 255)
    assert (tmp_path / "out" / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize(("change", "word"), [
    *(({"eps": eps}, "eps") for eps in ("-1", "-1/255", "1.01", "256/255", "1/0", "nan", "inf",
                                        "", "x", "1/2/3")),
    *(({"steps": steps}, "steps") for steps in ("0", "-1", "1000000000", "1e9", "2.5", "x")),
    ({"steps": "0", "attack": "fgsm"}, "steps"),
    *(({"step": step}, "step") for step in ("0", "-1/255", "nan", "1/0", "x")),
    ({"seed": "x"}, "seed"),
    ({"seed": "99999999999999"}, "seed"),
    ({"norm": "l3"}, "norm"),
    ({"attack": "cw"}, "no image attack 'cw'; known are pgd"),
    ({"kind": "audio"}, "kind"),
    ({"goal": "chaos"}, "goal"),
    ({"goal": "embedding", "target": "a dog"}, "takes no target"),
    ({"models": "nobody"}, "no model 'nobody'; known are pocket"),
    ({"models": "one,one"}, "--models"),
    ({"models": "one,"}, "--models"),
    ({"models": "local-dir:/nowhere"}, "nowhere"),
    ({"models": None}, "--models"),
    ({"device": "abacus"}, "abacus"),
    ({"device": "cuda:99"}, "cuda:99"),
    ({"label": 3}, "0 to 2"),
    ({"label": -1}, "0 to 2"),
    ({"label": 3, "target": "new"}, "0 to 2"),
    ({"label": "cat"}, "label"),
    ({"caption": None}, "--caption"),
    ({"caption": ["a cat", " "]}, "caption 2 is empty"),
    ({"caption": ["a cat", "a  cat"]}, "captions 1 and 2 are the same"),
    ({"caption": ["a cat", "x" * 10_000]}, "10,000 characters"),
    ({"target": "a cat"}, "the true caption already"),
    ({"target": ""}, "empty"),
    ({"image": "missing.png"}, "missing.png"),
    ({"image": str(ASSETS)}, "cannot read"),
    ({"out": None}, "--out"),
    ({"preset": "best"}, "preset"),
    ({"colour": "red"}, "--colour"),
])
def test_attack_refuses(attack: Any, tmp_path: Path, change: Any, word: Any) -> None:
    assert_refused(attack(**change), word, tmp_path)


@pytest.mark.parametrize(("content", "word"), [
    (b"", "empty"), (b"only text\n", "not an image"), (b"<svg></svg>", "SVG"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "image"),
])
def test_attack_refuses_what_is_no_picture(attack: Any, tmp_path: Path, content: Any,
                                           word: Any) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    assert_refused(attack(image=tmp_path / "bad.png"), word, tmp_path)


def test_a_file_where_the_folder_should_be_is_left_alone(attack: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert_refused(attack(out=out), "is a file", tmp_path)
    assert (tmp_path / "file").read_text() == "mine"


def test_evaluate_writes_rows_and_prints_a_table(evaluate: Any) -> None:
    status, result, said = evaluate(attacks="clean,image,noise", eps="8/255")
    assert (status, said.err) == (0, "")
    assert [(row["model"], row["attack"]) for row in result["rows"]] == [
        (model, attack) for model in ("one", "two") for attack in ("clean", "image", "noise")]
    for row in result["rows"]:
        assert set(row) >= {"data", "model", "attack", "eps_255", "n", "hits", "accuracy", "ci95",
                            "seconds"}
        assert row["eps_255"] == (0 if row["attack"] == "clean" else 8)
        assert row["n"] == 6
        assert row["accuracy"] * 6 == pytest.approx(round(row["accuracy"] * 6))
        assert 0 <= row["ci95"][0] <= row["accuracy"] <= row["ci95"][1] <= 1
    clean, image = result["rows"][:2]
    assert clean["accuracy"] >= image["accuracy"]
    assert (result["drawn"], result["skipped"], result["captions"]) == (7, 1, 3)
    assert "left out: 1 of 7 images" in said.out
    understood, *table = said.out.splitlines()[:8]
    assert understood.startswith("set: 7 pictures (one folder a class). 3 different answers: ")
    assert len({line.index(word) for line, word in zip(
        table, ["accuracy"] + [f"{row['accuracy']:.1%}" for row in result["rows"]],
        strict=True)}) == 1


def test_evaluate_is_repeatable(evaluate: Any) -> None:
    first, again = (evaluate(limit=4, seed=3)[1] for _ in range(2))
    for row in first["rows"] + again["rows"]:
        row.pop("seconds")
    assert first == again
    assert all(row["n"] <= 4 for row in first["rows"])


@pytest.mark.parametrize("name", [n for n in IMAGE_ATTACKS if n != "pgd"])
def test_image_means_the_image_attack(evaluate: Any, name: Any) -> None:
    _, result, _ = evaluate(attacks="image", image_attack=name, models="one")
    assert result["attacks"]["image"]["name"] == name


@pytest.mark.parametrize(("change", "word"), [
    ({"data": "missing.parquet"}, "missing.parquet"),
    ({"data": CAT}, "give a .parquet, .arrow, .csv"),
    ({"data": str(ASSETS / "examples" / "nothing")}, "no file or folder"),
    ({"limit": 0}, "limit"),
    ({"limit": "x"}, "limit"),
    ({"attacks": "clean,hope"}, "no attack 'hope'"),
    ({"attacks": ""}, "--attacks"),
    ({"attacks": "clean,clean"}, "--attacks"),
    ({"image_attack": "hope"}, "no image attack 'hope'"),
    ({"models": "one,nobody"}, "no model 'nobody'"),
    ({"eps": "2"}, "eps"),
    ({"steps": 10**9}, "steps"),
    ({"out": None}, "--out"),
])
def test_evaluate_refuses(evaluate: Any, tmp_path: Path, change: Any, word: Any) -> None:
    assert_refused(evaluate(**change), word, tmp_path)


def test_evaluate_does_not_replace_a_folder(evaluate: Any, tmp_path: Path) -> None:
    assert_refused(evaluate(out=tmp_path / "set"), "is a folder", tmp_path)


def test_evaluate_says_when_no_picture_is_readable(evaluate: Any, tmp_path: Path) -> None:
    for path in (tmp_path / "set").glob("*/*.png"):
        path.write_text("no picture")
    status, result, said = evaluate()
    assert said.out.startswith("set: 7 pictures (one folder a class)")  # and nothing measured
    assert_refused((status, result, said._replace(out="")),
                   "none of the 7 images of set can be read", tmp_path)


@pytest.mark.parametrize(("command", "flags", "expected"), [
    ("attack", [], {"eps": 1 / 255, "step": 1 / 255, "steps": 10, "random_start": True}),
    ("evaluate", [], {"eps": 1 / 255, "step": 1 / 255, "steps": 10}),
    ("attack", ["--preset=paper"], {"eps": 1 / 255, "step": 1 / 255, "steps": 10,
                                    "random_start": True}),
    ("evaluate", ["--preset=paper"], {"eps": 1 / 255, "step": 1 / 255, "steps": 100}),
    ("evaluate", ["--preset=paper", "--steps=7", "--eps=8/255"],
     {"eps": 8 / 255, "step": 1 / 255, "steps": 7}),
    ("attack", ["--preset=paper", "--step=0.5/255"], {"step": 0.5 / 255, "steps": 10}),
    ("attack", ["--eps=0.01"], {"eps": 0.01, "step": 1 / 255}),
    ("attack", ["--eps=8/255", "--steps=5"], {"step": 4 / 255}),
    ("attack", ["--norm=l2"], {"eps": 0.5, "step": 0.125, "norm": "l2"}),
])
def test_settings_from_flags(command: Any, flags: Any, expected: Any) -> None:
    more = {"attack": ["--image=F", "--caption=a"], "evaluate": ["--data=D"]}[command]
    args = arguments.parser().parse_args([command, "--models=A", "--out=O", *more, *flags])
    made = settings_of(make_attack(args, "image", "pgd"))
    assert {name: made[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("eps", "norm", "steps", "step"), [
    (0, "linf", 10, 1 / 255), (4 / 255, "linf", 10, 1 / 255), (8 / 255, "linf", 10, 2 / 255),
    (1, "l2", 10, 0.25), (0, "l2", 10, 1 / 255),
])
def test_default_step(eps: Any, norm: Any, steps: Any, step: Any) -> None:
    assert default_step(eps, norm, steps) == pytest.approx(step)


def test_help_names_every_attack() -> None:
    assert arguments.IMAGE_NAMES.split(", ") == list(REGISTRIES["image"])
    assert arguments.TEXT_NAMES.split(", ") == [*TEXT_ATTACKS, "textattack:RECIPE"]
    assert arguments.JOINT_NAMES.split(", ") == list(JOINT_ATTACKS)
    assert arguments.DEFENCE_NAMES.split(", ") == list(DEFENCES)
    assert arguments.DETECTOR_NAMES.split(", ") == list(DETECTORS)
    assert USUAL == {"image": "pgd", "text": "bert", "joint": "alternating"}  # as its help says


def test_models_lists_embedded_and_own(models_dir: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--json", f"--models-dir={models_dir}"]) == 0
    listed = json.loads(capsys.readouterr().out)
    ids = [card["id"] for card in listed["models"]]
    assert {"pocket", "pocket-robust", "one", "two"} <= set(ids)
    assert ["pocket", "pocket-robust"] in listed["pairs"]
    assert cli.main(["models", f"--models-dir={models_dir}"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["model", *ids]


@pytest.mark.parametrize("argv", [[], ["fly"], ["models", "--colour"], ["attack", "--mod=pocket"]])
def test_wrong_flags_are_one_line(argv: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1


def test_interruption_is_one_line_and_writes_nothing(
    attack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "answered", stopped)
    status, result, said = attack()
    assert (status, result) == (130, None)
    assert said.err == "interrupted: nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_a_line_of_words_says_fooled_or_held(attack: Any) -> None:
    _, result, said = attack(target="a dog", eps="32/255", steps=20)
    for line, run in zip(said.out.splitlines(), result["runs"], strict=True):
        assert ("fooled" in line or "said the target" in line) == run["success"]
        assert f"L-inf {run['linf_255']:.0f}/255, 20 steps" in line


def python(*argv: Any, cwd: Any = None) -> Any:
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=280,
                          cwd=cwd or ASSETS.parent, check=False)


def test_flags_are_read_before_anything_heavy_is_imported() -> None:
    code = ("import sys\nfrom explorer.actions import cli\n"
            "try: cli.main(['attack', '--help'])\nexcept SystemExit: pass\n"
            "assert cli.main(['attack', '--nonsense']) == 2\n"
            "print({'torch', 'numpy', 'PIL', 'gradio', 'pyarrow'} & set(sys.modules))")
    done = python("-c", code)
    assert done.stdout.endswith("set()\n"), done.stderr


def test_as_a_program_on_the_embedded_pair(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = python("-m", "explorer", "attack", "--image", CAT, "--caption", "a photo of a cat",
                  "--caption", "a photo of a dog", "--label", "0", "--kind", "image",
                  "--attack", "pgd", "--models", "pocket,pocket-robust", "--eps", "1/255",
                  "--steps", "1", "--seed", "0", "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((out / "result.json").read_text("utf-8"))
    assert [run["model"] for run in result["runs"]] == ["pocket", "pocket-robust"]
    assert {p.name for p in out.iterdir()} == {"result.json", "bundle.zip", *(
        name for run in result["runs"] for name in run["files"].values())}


def test_as_a_program_wrong_input_is_status_2(tmp_path: Path) -> None:
    done = python("-m", "explorer", "evaluate", "--data", "missing.parquet", "--models", "pocket",
                  "--attacks", "clean", "--out", str(tmp_path / "x.json"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no file or folder missing.parquet\n"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_models_folder_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--models-dir=/nowhere/at all"]) == 2
    assert capsys.readouterr() == ("", "error: there is no models folder /nowhere/at all\n")


@pytest.mark.parametrize(("flags", "status", "said"), [
    (["--models-dir", "/nowhere"], 2, "error: there is no models folder /nowhere\n"),
    (["--port", "99999"], 1, "error: cannot serve on 127.0.0.1:99999; the port may be taken: "
     "choose another by --port\n"),
])
def test_the_app_refuses_in_one_line(flags: Any, status: Any, said: Any) -> None:
    done = python("app.py", *flags, cwd=ASSETS.parent)
    assert (done.returncode, done.stderr) == (status, said)
