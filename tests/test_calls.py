"""What notebooks, the API and MCP share: values checked, calls run, plain data that is true."""

from __future__ import annotations

import base64
import copy
import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from helpers import CAPTIONS, grid_images
from PIL import Image

from explorer.actions import evaluate as evaluating
from explorer.actions.evaluate import Evaluation, named_attacks
from explorer.actions.project import Map, lay
from explorer.actions.service import Service, Told
from explorer.actions.values import Answer
from explorer.analysis import metrics
from explorer.analysis.embedding.landmarks import concepts
from explorer.analysis.embedding.layout import View
from explorer.analysis.embedding.shift import EXAMPLE, LANDMARK, Anchors, angle
from explorer.analysis.embedding.state import Spaces
from explorer.attacks.image.classic import PGD
from explorer.attacks.joint import JointAttack
from explorer.attacks.registry import make_attack
from explorer.attacks.request import Request, answer
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.attacks.text.classic import Typo
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.pairs import one_pair, open_image, to_image
from explorer.data.sets import read_examples
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.saving import png_bytes

PNG = png_bytes(grid_images(1, 32)[0])


@pytest.fixture
def shelf(tiny: DualEncoder) -> Library:
    cards = {name: Card(name, name, kind, "none", "none", "none")
             for name, kind in (("plain", "standard"), ("hard", "robust"))}

    def load(name: str, device: str | None = None) -> DualEncoder:
        model = copy.copy(tiny)
        model.card = cards[name]
        return model

    return cast(Library, SimpleNamespace(cards=lambda: cards, card=cards.__getitem__, load=load,
                                         loaded=list))


@pytest.fixture
def spaces(shelf: Library, tiny: DualEncoder) -> Spaces:
    """With a few fixed points in place of a thousand."""
    found = Spaces(shelf, {})
    words = concepts()[:20]
    texts = tiny.encode_text(words).numpy()
    with torch.no_grad():
        seen = tiny.encode_image(grid_images(5, 32, seed=3)).numpy()
    for name in ("plain", "hard"):
        found.base[name] = Anchors(
            name, tuple(f"p:{i}" for i in range(25)), (*words, *("x" * 5)),
            (LANDMARK,) * 20 + (EXAMPLE,) * 5, np.concatenate([texts, seen]))
    return found


@pytest.fixture
def service(shelf: Library, spaces: Spaces, tmp_path: Path) -> Service:
    return Service(shelf, spaces, work=tmp_path)


def end(told: Told) -> Answer:
    """The answer, which comes last and once, and is JSON without NaN."""
    *before, last = told
    assert all(isinstance(event, Progress) and event.text for event in before)
    assert isinstance(last, Answer)
    json.dumps(last.data, allow_nan=False)
    return last


def photo(**more: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(PNG).decode(), "captions": list(CAPTIONS),
            "models": ["plain", "hard"], **more}


def test_settings_are_the_attacks_own() -> None:
    attack = make_attack("image", None, {"eps": "8/255", "steps": 4})
    assert isinstance(attack, PGD) and attack.eps == 8 / 255
    assert attack.step_size == pytest.approx(2.5 * 8 / 255 / 4)  # follows eps
    assert cast(PGD, make_attack("image", "pgd", {"eps": "8/255", "step": "1/255"})).step == 1/255
    joint = make_attack("joint", None, {"eps": "2/255", "words": 2})
    assert isinstance(joint, JointAttack) and joint.image.eps == 2 / 255
    for settings, words in (({"rounds": 3}, "no setting rounds; it has eps"),
                            ({"eps": []}, "eps must be"), ({"steps": "many"}, "steps must be"),
                            ({"eps": 10**400}, "eps must be"), ({"norm": {}}, "norm")):
        with pytest.raises(InputError, match=words):
            make_attack("image", "pgd", settings)


def test_an_attack_says_what_was_done(service: Service, tiny: DualEncoder) -> None:
    said = end(service.attack(photo(true=2, settings={"eps": "4/255", "steps": 2}, seed=3)))
    assert [one["model"] for one in said.data["runs"]] == ["plain", "hard"]
    asked = Request((PNG,), CAPTIONS, (2,), PGD(eps=4 / 255, steps=2), models=("plain",), seed=3)
    *_, result = answer(service.library, asked)
    assert isinstance(result, Result)
    for one in said.data["runs"]:
        clean, now = (np.array(Image.open(io.BytesIO(said.pictures[one["files"][kind]])), int)
                      for kind in ("clean", "adversarial"))
        assert np.abs(now - clean).max() == one["linf_255"] <= 4
        assert one["adversarial"]["cosines"] == result.adversarial.cosines[0].tolist()
        assert one["success"] == bool(result.success[0])
        assert one["attack"]["seed"] == 3 and one["sentence"] in said.data["sentences"]
    assert said.data["true"] == 2 and said.data["captions"] == list(CAPTIONS)


def test_an_example_brings_its_captions(service: Service) -> None:
    data = end(service.attack({"image": "example:dog", "models": ["plain"],
                               "settings": {"steps": 1}})).data
    assert data["captions"][data["true"]] == "a photo of a spaniel"
    data = end(service.attack({"image": "example:dog", "captions": ["a", "b"], "true": 1,
                               "models": ["plain"], "settings": {"steps": 1}})).data
    assert (data["captions"], data["true"]) == (["a", "b"], 1)


@pytest.mark.parametrize(("change", "words"), [
    ({"image": "/etc/passwd"}, "no path and no address"), ({"image": 5}, "image must be text"),
    ({"image": "http://127.0.0.1/x.png"}, "no path and no address"), ({"image": {}}, "uploaded"),
    ({"image": {"path": 5}}, "uploaded file"), ({"image": "example:nobody"}, "no example 'nobody'"),
    ({"image": base64.b64encode(b"x" * 90).decode()}, "not an image"),
    ({"captions": 5}, "captions must be a list"), ({"captions": [5]}, "captions must be a list"),
    ({"captions": []}, "at least one caption"), ({"captions": ["a", "a"]}, "are the same"),
    ({"true": 4}, "true must be a caption's number, 0 to 3"), ({"true": 1.5}, "whole number"),
    ({"true": True}, "whole number"), ({"true": float("nan")}, "whole number"),
    ({"kind": "video"}, "kind must be one of"), ({"kind": ["image"]}, "kind must be one of"),
    ({"attack": "nothing"}, "no image attack 'nothing'"), ({"attack": 5}, "attack must be text"),
    ({"kind": "text", "attack": "textattack:bae"}, "no attack 'textattack:bae' here"),
    ({"settings": 5}, "settings must be an object"), ({"settings": {"eps": {}}}, "setting eps"),
    ({"settings": {"eps": "big"}}, "eps must be a number"),
    ({"settings": {"x": 1}}, "no setting x"),
    ({"settings": {"steps": 10**9}}, "steps must be a whole number"),
    ({"kind": "text", "settings": {"model": "gpt2"}}, "setting model must be one of"),
    ({"models": ["local-dir:/etc"]}, "no model 'local-dir:/etc'"), ({"models": {}}, "models must"),
    ({"models": []}, "1 to 4 different ids"), ({"models": ["plain", "plain"]}, "different ids"),
    ({"goal": "worse"}, "goal must be one of"), ({"target": CAPTIONS[0]}, "true caption already"),
    ({"seed": -1}, "seed must be a whole number"), ({"seed": 2**80}, "seed must be"),
])
def test_each_mistake_is_one_sentence(change: dict[str, Any], words: str,
                                      service: Service) -> None:
    with pytest.raises(InputError, match=words) as caught:
        end(service.attack(photo(**change)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


KINDS = ("bees", "cats", "dogs")


def zipped(tmp_path: Path, classes: int = 3, each: int = 4) -> Path:
    """An archive with a folder a class."""
    file = tmp_path / "set.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for k in range(classes):
            for i in range(each):
                out = io.BytesIO()
                to_image(grid_images(1, 32, seed=10 * k + i)[0]).save(out, "PNG")
                archive.writestr(f"{KINDS[k]}/{i}.png", out.getvalue())
        archive.writestr(f"{KINDS[0]}/broken.png", b"no picture at all")
    return file


def test_an_evaluation_is_what_metrics_say(service: Service, tiny: DualEncoder, tmp_path: Path,
                                           ) -> None:
    file = zipped(tmp_path)
    data = end(service.evaluate({
        "data": {"path": str(file)}, "models": ["plain"], "attacks": ["clean", "pgd", "noise"],
        "settings": {"eps": "8/255", "steps": 3}, "limit": 13})).data
    examples = read_examples(file, 13)
    attacks = named_attacks(["clean", "pgd", "noise"], {"eps": "8/255", "steps": 3})
    assert data["attacks"]["noise"]["eps"] == 8 / 255 and data["captions"] == 3
    for row in data["rows"]:
        want = metrics.evaluate_row(tiny, row["attack"], attacks[row["attack"]],
                                    examples.batches(32))
        assert (row["n"], row["accuracy"], tuple(row["ci95"])) == (12, want.accuracy, want.ci95)
    assert "1 of 13 pictures cannot be read" in data["sentence"]
    assert "wide intervals" in data["sentence"]


@pytest.mark.parametrize(("change", "words"), [
    ({"data": "server:../x"}, "no data folder"), ({"data": 5}, "data must be text"),
    ({"data": "/etc"}, "no data set '/etc'"), ({"data": {"path": "/etc/passwd"}}, "ends with"),
    ({"data": "upload"}, "upload"), ({"limit": 201}, "limit must be"), ({"limit": 0}, "limit must"),
    ({"attacks": ["clean", "clean"]}, "different names"), ({"attacks": ["x"]}, "no attack 'x'"),
    ({"attacks": 5}, "attacks must be a list"), ({"settings": {"x": 1}}, "none of these attacks"),
    ({"models": ["gone"]}, "no model 'gone'"), ({"seed": "1"}, "seed must be"),
])
def test_each_mistake_in_an_evaluation_is_one_sentence(
        change: dict[str, Any], words: str, service: Service) -> None:
    with pytest.raises(InputError, match=words) as caught:
        end(service.evaluate({"models": ["plain"], **change}))
    assert "\n" not in str(caught.value)


def test_hostile_archives_get_a_sentence(service: Service, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/x.png", bytes(300_000_000))
    noise = tmp_path / "noise.zip"
    noise.write_bytes(b"PK no zip")
    for file in (bomb, noise):
        with pytest.raises(InputError):
            end(service.evaluate({"data": {"path": str(file)}, "models": ["plain"]}))


def test_a_projection_holds_true_numbers(service: Service) -> None:
    values = photo(models=["plain"], settings={"eps": "8/255", "steps": 3}, neighbours=3)
    (side,) = end(service.project({**values, "background": True})).data["sides"]
    asked = Request((PNG,), CAPTIONS, (0,), PGD(eps=8 / 255, steps=3), models=("plain",))
    *_, result = answer(service.library, asked)
    assert isinstance(result, Result)
    clean, now = result.clean.features[0].numpy(), result.adversarial.features[0].numpy()
    (shift,) = side["true_space"]["shifts"]
    assert shift["angle"] == pytest.approx(angle(clean, now), abs=1e-3)
    assert shift["noise_angle"] is not None
    at = {p["key"]: np.array(p["at"]) for p in side["points"]}
    drawn = np.linalg.norm(at["attacked"] - at["clean"])
    assert drawn == pytest.approx(np.linalg.norm(now - clean), abs=1e-4)  # the plane of the attack
    arrow = next(a for a in side["arrows"] if a["kind"] == "attack")
    assert arrow["length_shown"] == pytest.approx(1, abs=1e-3)
    assert len(side["background"]) == 25 and len(side["axes"]) == 2
    near = side["true_space"]["neighbours"]["captions"]
    assert len(near["before"]) == len(near["after"]) == 3 and 0 <= near["overlap"] <= 1
    three = end(service.project({**values, "projection": "pca", "dims": 3})).data["sides"][0]
    assert len(three["points"][0]["at"]) == 3 and "background" not in three


@pytest.mark.parametrize(("change", "words"), [
    ({"projection": "umap"}, "projection must be one of pca, plane"), ({"dims": 4}, "dims must"),
    ({"centre": "yes"}, "centre must be true or false"), ({"neighbours": 0}, "neighbours must"),
    ({"background": 1}, "background must be true or false"), ({"kind": "x"}, "kind must be"),
])
def test_each_mistake_in_a_projection_is_one_sentence(
        change: dict[str, Any], words: str, service: Service) -> None:
    with pytest.raises(InputError, match=words):
        end(service.project(photo(**change)))


def test_a_map_of_changed_words_has_no_noise(shelf: Library, spaces: Spaces) -> None:
    results = {name: run(Typo(), shelf.load(name), one_pair(open_image(PNG), CAPTIONS, 0, 32))
               for name in ("plain", "hard")}
    *_, found = lay(shelf, spaces, results, View("pca"))
    assert isinstance(found, Map) and found["hard"].role == "robust"
    assert not found["plain"].found.has("noise")
    assert found._repr_html_().count("<svg") == 2 and "in the true space" in (
        found._repr_html_().lower())
    with pytest.raises(InputError, match="UMAP is in the"):
        list(lay(shelf, spaces, results, View("umap")))


def test_an_evaluation_is_read_and_saved(service: Service, tmp_path: Path) -> None:
    file = zipped(tmp_path)
    attacks = named_attacks(["clean", "typo"])
    *_, found = evaluating.measure(service.library, ["plain"], attacks, read_examples(file, 6))
    assert isinstance(found, Evaluation)
    assert found["plain", "typo"].n == found.rows[0].n
    with pytest.raises(KeyError):
        found["plain", "pgd"]
    assert found.lines()[0][2] == "–" and found.lines()[1][2] == "1 word"
    shown = found._repr_html_()
    assert shown.index("<p>") < shown.index("<table>")  # a sentence first
    for name in ("t.json", "t.csv", "t.md"):
        found.save(tmp_path / name)
    assert json.loads((tmp_path / "t.json").read_text("utf-8"))["rows"][0]["model"] == "plain"
    lines = (tmp_path / "t.csv").read_text("utf-8").splitlines()
    assert lines[0].startswith("model,attack") and len(lines) == 3
    assert (tmp_path / "t.md").read_text("utf-8").count("\n") == 4
    with pytest.raises(InputError, match=r"\.json, \.csv or \.md"):
        found.save(tmp_path / "t.xls")
