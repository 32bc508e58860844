"""A caption drawn into a photo or into grey: what it must raise, how far it may go, every door, and
the film of its steps."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
import torch
from cli_fixtures import assert_refused
from helpers import CAPTIONS
from PIL import Image

from explorer.actions import cli
from explorer.actions.notebook import draw_caption
from explorer.actions.service import Service
from explorer.attacks.drawing import EPS, GREY_CAPTION, drawing, drawn, grey
from explorer.attacks.image.classic import PGD
from explorer.attacks.request import results_of
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.film import film
from explorer.results.saving import picture_files
from explorer.results.verdicts import verdict
from explorer.ui.attack.drawing import DrawingForm

pytest_plugins = ["cli_fixtures"]


def one(model: DualEncoder) -> Library:
    return cast(Library, SimpleNamespace(load=lambda name, device=None: model))


def made(model: DualEncoder, picture: Any = None, **settings: Any) -> Result:
    asked = drawn("a red car", picture, CAPTIONS[:2] if picture else (), settings={
        "eps": 6, "steps": 12, **settings}, models=("m",))
    return results_of(one(model), asked, record=True)["m"]


@pytest.mark.parametrize("photo", [True, False])
def test_it_comes_nearer_to_the_caption_within_its_budget(tiny: DualEncoder, photo: bool) -> None:
    picture = Image.effect_noise((50, 40), 90).convert("RGB") if photo else None
    found = made(tiny, picture)
    target = found.captions.index("a red car")
    before, after = found.clean.cosines[0, target], found.adversarial.cosines[0, target]
    assert float(after) > float(before) + 0.05
    assert 0 < float(found.l2[0]) <= 6 + 1e-6
    again = made(tiny, picture)
    assert torch.equal(found.adversarial_images, again.adversarial_images)
    nearer = made(tiny, picture, eps=1)  # a smaller budget
    assert float(nearer.adversarial.cosines[0, target]) < float(after)
    assert found.frames is not None and len(found.frames) == 13
    rises = [float(c) for c in found.trail.cosines[:, target]]  # type: ignore[union-attr]
    assert rises[-1] == max(rises)


def test_grey_is_grey(tiny: DualEncoder) -> None:
    found = made(tiny)
    assert found.images.unique().tolist() == [pytest.approx(128 / 255)]
    assert found.captions == (GREY_CAPTION, "a red car")
    assert grey().getextrema() == ((128, 128),) * 3


def test_the_preset() -> None:
    attack = drawing()
    assert attack == PGD(eps=EPS, norm="l2", steps=100, random_start=False)
    assert drawing({"eps": "3", "steps": 5}) == PGD(3.0, "l2", steps=5, random_start=False)
    for wrong in ({"eps": "x"}, {"steps": 0}, {"restarts": 2}, {"norm": "linf"}):
        with pytest.raises(InputError):
            drawing(wrong)
    for caption in ("", "  "):
        with pytest.raises(InputError, match="write the caption"):
            drawn(caption)
    with pytest.raises(InputError, match="choose a photo"):
        drawn("a dog", "").checked()
    with pytest.raises(InputError, match="already"):
        drawn("a photo", grey()).checked()


def test_the_sentence_says_how_near(tiny: DualEncoder, four: Pairs) -> None:
    pairs = Pairs(four.images, CAPTIONS, four.labels)
    targets = (four.labels + 1) % len(CAPTIONS)
    found = run(PGD(eps=6, norm="l2", steps=10), tiny, pairs, "similarity", targets)
    for row in range(4):
        kind, said = verdict(found, row)
        now = float(found.adversarial.cosines[row, targets[row]])
        assert f"→ {now:.2f}" in said and found.captions[int(targets[row])] in said
        own = float(found.clean.cosines[row, found.labels[row]])
        was = float(found.clean.cosines[row, targets[row]])
        assert kind == ("wrong" if was > own else "fooled" if bool(found.success[row]) else "held")


# --- the film ---------------------------------------------------------------------------------


def test_a_film_holds_every_frame_exactly() -> None:
    draw = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (4, 3, 9, 7), generator=draw) / 255
    image = Image.open(io.BytesIO(film(list(frames))))
    assert (image.format, getattr(image, "n_frames", 1), image.size) == ("PNG", 4, (7, 9))
    for k, frame in enumerate(frames):
        image.seek(k)
        shown = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(shown, (frame * 255).round().numpy().astype(np.uint8))
        assert image.info["duration"] == (1_500 if k in (0, 3) else 100)


def test_a_film_is_among_the_files_where_steps_were_kept(tiny: DualEncoder, four: Pairs) -> None:
    for record in (True, False):
        found = run(PGD(8 / 255, steps=4), tiny, four, record=record)
        names, contents = picture_files(found, "m")
        assert ("film" in names) == record == ("m-film.png" in contents)


# --- doors ------------------------------------------------------------------------------------


def test_on_the_command_line(attack: Any, tmp_path: Path, models_dir: Path,
                             capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["attack", "--draw=a red car", "--steps=6", "--eps=5", "--film",
                     "--models=one,two", f"--models-dir={models_dir}", "--device=cpu",
                     f"--out={tmp_path / 'out'}"]) == 0
    assert "cosine to 'a red car'" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    for one in result["runs"]:
        assert one["attack"]["eps"] == 5 and one["attack"]["norm"] == "l2" and one["l2"] <= 5
        film = Image.open(tmp_path / "out" / one["files"]["film"])
        assert 3 <= getattr(film, "n_frames", 1) <= 7  # equal pictures become one
    status, result, _ = attack(draw="a red bus", steps=3, eps="5")
    assert status == 0 and result["captions"] == ["a cat", "a dog", "a red car", "a red bus"]
    assert "film" not in result["runs"][0]["files"]


@pytest.mark.parametrize(("flags", "say"), [
    ({"draw": " "}, "write the caption"), ({"draw": "a dog", "attack": "pgd"}, "leave --attack"),
    ({"draw": "a cat"}, "the target is the true caption already"),
    ({"draw": "a dog", "target": "a cat"}, "leave --attack"), ({"draw": "a", "eps": "x"}, "eps"),
    ({"image": None}, "required: --image")])
def test_the_command_line_says_what_is_wrong(attack: Any, tmp_path: Path, flags: dict[str, Any],
                                             say: str) -> None:
    assert_refused(attack(**flags), say, tmp_path)


def test_notebooks_and_strangers(tmp_path: Path) -> None:
    case = draw_caption("a photo of a dog", models="pocket", eps=4, steps=4)
    case.film(tmp_path / "film.png", "pocket")
    assert 3 <= getattr(Image.open(tmp_path / "film.png"), "n_frames", 1) <= 5
    with pytest.raises(InputError, match=r"ends in \.png"):
        case.film(tmp_path / "film.gif", "pocket")
    values = {"image": "grey", "draw": "a photo of a dog", "models": ["pocket"],
              "settings": {"eps": 4, "steps": 4}}
    *_, answer = Service(Library()).attack(values)
    (run_,) = answer.data["runs"]  # type: ignore[union-attr]
    assert run_["l2"] == pytest.approx(float(case["pocket"].l2[0]))
    assert json.dumps(answer.data)  # type: ignore[union-attr]
    for wrong in ({"draw": 3}, {"draw": "a photo of a cat", "image": "example:cat"},
                  {"settings": {"goal": "x"}}, {"draw": "", "image": "grey"}):
        with pytest.raises(InputError):
            list(Service(Library()).attack({**values, **wrong}))


def test_the_form() -> None:
    with gr.Blocks():
        form = DrawingForm()
    more = {"models": ("m",), "alt": "mine"}
    from_grey = form.asked(["a dog", "grey", 20], None, "a cat", "a cat", **more)
    assert (from_grey.target, from_grey.alt) == ("a dog", "plain grey")
    own = form.asked(["a dog", "photo", 3], "photo.png", "a cat\na hen", "a hen", **more)
    assert (own.pictures, own.true) == (("photo.png",), ("a hen",))
    assert own.captions == ("a cat", "a hen")
    assert own.attack == drawing({"eps": 3})
    for wrong in (["", "grey", 20], ["a dog", "grey", 0], ["a dog", "grey", 21],
                  ["a dog", "grey", "x"], ["a dog", "grey", float("nan")]):
        with pytest.raises(InputError):
            form.asked(wrong, None, "", "", **more)
    with pytest.raises(InputError, match="choose a photo"):
        form.asked(["a dog", "photo", 3], None, "a cat", "a cat", **more).checked()
