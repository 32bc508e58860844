"""One change for all photos: learnt, applied, saved and opened."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
import torch
from attack_helpers import check
from helpers import CAPTIONS, Linear, grid_images
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_evaluation import write_set
from torch import Tensor

from explorer.actions import fit as fitting
from explorer.actions.service import Service
from explorer.attacks.image.perturbation import (
    FORMATS,
    SHIPPED,
    Perturbation,
    bytes_of,
    keep,
    open_perturbation,
    read_perturbation,
)
from explorer.attacks.image.universal import Fit, Photos, State, Universal, fit, fooling
from explorer.attacks.run import run
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.ui.attack.opened import opened
from explorer.ui.shared.address import from_query, to_query
from explorer.ui.shared.forms import AttackForm

pytest_plugins = ["cli_fixtures"]


def change(size: int = 8, most: int = 8, seed: int = 0) -> Tensor:
    """(3, size, size) whole grey levels from -most to most, as shares of 255."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most + 1, (3, size, size), generator=generator) / 255


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_gives_back_what_was_saved(suffix: str, tmp_path: Path) -> None:
    values = change(most=127)
    path = tmp_path / f"one{suffix}"
    path.write_bytes(bytes_of(values, suffix))
    found = open_perturbation(path)
    torch.testing.assert_close(found.change, values, atol=1e-6, rtol=0)
    assert found.name == path.name and found.size("linf") == pytest.approx(
        float(values.abs().max()))


def npy(values: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **how)
    return file.getvalue()


def tensors(**named: Tensor) -> bytes:
    from safetensors.torch import save

    return bytes(save(named))


def test_other_orders_of_the_axes_and_kinds_of_numbers() -> None:
    values = change().numpy()
    for raw in (npy(values[None]), npy(values.transpose(1, 2, 0)), npy(values.astype(np.float16)),
                npy(np.asfortranarray(values.astype(np.float64)))):
        torch.testing.assert_close(read_perturbation(raw, "a.npy").change, change(), atol=1e-4,
                                   rtol=0)
    half = read_perturbation(tensors(delta=change().half()[None]), "a.safetensors")
    torch.testing.assert_close(half.change, change(), atol=1e-4, rtol=0)


NAN = np.full((3, 4, 4), np.nan)


@pytest.mark.parametrize(("raw", "name", "say"), [
    (npy(NAN), "a.npy", "no finite numbers"), (npy(np.full((3, 4, 4), np.inf)), "a.npy", "finite"),
    (npy(np.full((3, 4, 4), 8.0)), "a.npy", "divide by 255"),
    (npy(np.zeros((4, 4))), "a.npy", "shape 4 x 4"), (npy(np.float32(1)), "a.npy", "the shape 1;"),
    (npy(np.zeros((3, 0, 4))), "a.npy", "3 x 0 x 4"), (npy(np.zeros((5, 3, 4, 4))), "a.npy", "5 x"),
    (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), "a.npy", "can run code"),
    (pickle.dumps([1, 2]), "a.npy", "can run code"), (b"", "a.npy", "damaged"),
    (b"\x93NUMPY\x01\x00", "a.npy", "damaged"), (b"", "a.safetensors", "damaged"),
    (b"\xff" * 40, "a.safetensors", "damaged"), (tensors(), "a.safetensors", "not 0 of them"),
    (tensors(a=change(), b=change()), "a.safetensors", "not 2 of them"),
    (b"no picture", "a.png", "not an image"),
    (npy(np.zeros((3, 1, 4000))), "a.npy", "at most 2048"),
    (npy(np.array(["a"] * 3)), "a.npy", "no .npy file of numbers"),
])
def test_what_is_no_perturbation_is_refused(raw: bytes, name: str, say: str) -> None:
    with pytest.raises(InputError, match=say):
        read_perturbation(raw, name)


@pytest.mark.parametrize(("name", "say"), [
    ("uap.pt", "save the numbers as .npy or .safetensors"), ("uap.PTH", "can run code"),
    ("uap.npz", "can run code"), ("uap.txt", "ends in .png, .npy, .safetensors"),
    ("nothing.npy", "cannot read"), ("", "ends in"), ("a\0.npy", "cannot read")])
def test_other_files_are_refused(name: str, say: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=say):
        open_perturbation(tmp_path / name if name else name)


def test_another_size_is_resized_and_said() -> None:
    one = Perturbation(torch.full((3, 4, 6), 0.1), "u.npy")
    assert one.fitted(8, 8).shape == (3, 8, 8)
    torch.testing.assert_close(one.fitted(8, 8), torch.full((3, 8, 8), 0.1))
    assert one.note(8, 8) == "u.npy has 4 x 6 pixels and is resized to 8 x 8"
    assert Perturbation(torch.zeros(3, 8, 8), "u").note(8, 8) == ""


def test_a_photo_is_not_taken_for_a_perturbation(tmp_path: Path) -> None:
    photo = tmp_path / "holiday.png"
    Image.effect_noise((20, 20), 60).convert("RGB").save(photo)
    with pytest.raises(InputError, match=r"holiday\.png is a picture, and nothing in it says"):
        open_perturbation(photo)
    (tmp_path / "own.png").write_bytes(bytes_of(change(most=127), ".png"))
    edges = torch.tensor([-127.0, 0, 127]).expand(3, 1, 3) / 255
    (tmp_path / "edges.png").write_bytes(bytes_of(edges, ".png"))
    found = open_perturbation(tmp_path / "edges.png").change
    assert torch.equal((found * 255).round(), (edges * 255).round())
    Image.open(tmp_path / "own.png").save(tmp_path / "edited.png")  # loses the text inside
    with pytest.raises(InputError, match="nothing in it says"):
        open_perturbation(tmp_path / "edited.png")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is opened is kept here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    return tmp_path / "temp" / "explorer-perturbations"


def test_what_a_visitor_opens_is_known_by_its_content(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.npy").write_bytes(bytes_of(change(), ".npy"))
    found = open_perturbation(tmp_path / "mine.npy")
    name = keep(found)
    assert keep(found) == name and len(list(elsewhere.iterdir())) == 1
    assert str(tmp_path) not in name and "mine" not in name
    assert torch.equal(open_perturbation(name).change, found.change)
    assert Universal(perturbation=name).eps == pytest.approx(found.size("linf"))
    (elsewhere / f"{name}.safetensors").unlink()
    with pytest.raises(InputError, match="open it again"):
        open_perturbation(name)


def test_opening_one_in_the_tab(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(bytes_of(change(most=8), ".png"))
    said, kind, name, norm, eps, which = opened(str(tmp_path / "mine.png"))
    assert "mine.png is open: at most 8/255" in said and "8 x 8 pixels" in said
    assert (kind, name, norm, eps) == ("image", "universal", "linf", 8)
    with gr.Blocks():
        form = AttackForm()
    values = ["universal", *(cast(Any, c).value for c in form.components()[1:])]
    place = form.components().index(form.choices.own["universal"][0])
    values[place] = which["value"]
    built = form.build(eps, list(values))
    assert isinstance(built, Universal) and built.perturbation == which["value"]
    assert ("mine.png", which["value"]) in which["choices"]
    assert to_query("cat", ["a", "b"], "a", ["pocket"], built, "classification") == ""
    (tmp_path / "large.npy").write_bytes(bytes_of(change(most=100), ".npy"))
    assert "cut to 16/255 here" in opened(str(tmp_path / "large.npy"))[0]


@pytest.mark.parametrize(("name", "raw", "say"), [
    ("uap.pt", b"", "save the numbers as .npy or .safetensors"), ("uap.npy", b"", "damaged"),
    ("uap.npy", npy(NAN), "no finite numbers"), ("holiday.txt", b"", "ends in .png")])
def test_the_tab_refuses_in_a_sentence(name: str, raw: bytes, say: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    said, *rest = opened(str(tmp_path / name))
    assert say in said and 'role="alert"' in said and len(rest) == 5
    assert "Choose a file first." in opened(None)[0]


# --- the attack -------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from([4, 8, 11]), st.sampled_from(["linf", "l2"]),
       st.floats(0, 12))
def test_it_stays_in_its_budget(tmp_path_factory: pytest.TempPathFactory, seed: int, size: int,
                                norm: str, budget: float) -> None:
    path = tmp_path_factory.mktemp("u") / "u.npy"
    path.write_bytes(bytes_of(change(size, 60, seed), ".npy"))
    eps = budget / 255 if norm == "linf" else budget / 10
    attack = Universal(eps, norm, str(path))
    pairs = Pairs(grid_images(2, 4, seed), ("a", "b", "c"), torch.tensor([0, 1]))
    result = run(attack, Linear(), pairs, "similarity")
    check(result, attack.ball)
    halves = [run(attack, Linear(), Pairs(pairs.images[k : k + 1], pairs.captions,
                                          pairs.labels[k : k + 1]), "similarity") for k in (0, 1)]
    assert torch.equal(result.adversarial_images,
                       torch.cat([h.adversarial_images for h in halves]))


def test_it_adds_the_change(tmp_path: Path) -> None:
    path = tmp_path / "u.png"
    path.write_bytes(bytes_of(change(4, 20), ".png"))
    clean = grid_images(1, 4, low=100, high=150)
    steps = list(Universal(20 / 255, perturbation=str(path)).iterate(
        lambda x: x.sum((1, 2, 3)), clean, None))  # type: ignore[arg-type]
    torch.testing.assert_close(steps[0], clean + change(4, 20), atol=1e-6, rtol=0)
    cut = list(Universal(5 / 255, perturbation=str(path)).iterate(
        lambda x: x.sum((1, 2, 3)), clean, None))  # type: ignore[arg-type]
    torch.testing.assert_close(cut[0], clean + change(4, 20).clamp(-5 / 255, 5 / 255), atol=1e-6,
                               rtol=0)


def test_the_shipped_ones_open() -> None:
    for name in SHIPPED:
        found = open_perturbation(name)
        assert found.change.shape[0] == 3 and found.note(*found.change.shape[1:]) == ""
        assert 0 < found.size("linf") <= 8 / 255 + 1e-6
        assert Universal(perturbation=name).eps == found.size("linf")
        assert Universal(perturbation=name, norm="l2").eps == found.size("l2")


# --- learning ---------------------------------------------------------------------------------


def learnt(model: DualEncoder, images: Tensor, how: Fit, labels: Tensor | None = None) -> State:
    *_, last = fit([model], Photos([images], CAPTIONS, labels), how)
    return last


@pytest.mark.parametrize("how", [Fit(passes=4), Fit(passes=4, norm="l2", eps=1.0),
                                 Fit(passes=4, goal="label")])
def test_what_is_learnt_fools_unseen_photos(how: Fit, tiny: DualEncoder) -> None:
    images, unseen = grid_images(24, 32, seed=1), grid_images(60, 32, seed=2)
    with torch.no_grad():
        labels = (tiny.encode_image(images) @ tiny.encode_text(CAPTIONS).T).argmax(1)
    state = learnt(tiny, images, how, labels)
    again = learnt(tiny, images, how, labels)
    assert torch.equal(state.change, again.change)
    assert float(how.ball.distance(state.change[None], torch.zeros(1, 3, 32, 32))) <= how.eps + 1e-6
    levels = state.change * 255
    assert float((levels - levels.round()).abs().max()) < 1e-3
    noise = how.ball.direction(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
                               )[0] * how.eps
    drift = [drifted(tiny, unseen, c) for c in (state.change, noise)]
    assert drift[0] > 1.5 * drift[1]
    found = fooling(tiny, unseen, state.change, CAPTIONS)
    assert found.n == 60 and 0 <= found.changed <= 60


def drifted(model: DualEncoder, images: Tensor, by: Tensor) -> float:
    with torch.no_grad():
        was, now = model.encode_image(images), model.encode_image((images + by).clamp(0, 1))
    return float((1 - (was * now).sum(1)).mean())


def test_going_on_comes_to_the_same(tiny: DualEncoder) -> None:
    images, how = grid_images(10, 32, seed=1), Fit(passes=3, batch=4)
    states = list(fit([tiny], Photos([images]), how))
    *_, resumed = fit([tiny], Photos([images]), how, states[0])
    assert [s.passes for s in states] == [1, 2, 3]
    assert torch.equal(resumed.change, states[-1].change)


def test_several_models_at_once(tiny: DualEncoder) -> None:
    images = grid_images(6, 32)
    *_, both = fit([tiny, tiny], Photos([images, images]), Fit(passes=2))
    *_, one = fit([tiny], Photos([images]), Fit(passes=2))
    torch.testing.assert_close(both.change, one.change)


def test_fooling_counts_changed_answers(tiny: DualEncoder) -> None:
    images = grid_images(8, 32)
    none = fooling(tiny, images, torch.zeros(3, 32, 32), CAPTIONS, torch.zeros(8).long())
    assert none.changed == 0 and none.right_before == none.right_after


@pytest.mark.parametrize(("make", "say"), [
    (lambda: Fit(eps=0.0), "nothing to learn"), (lambda: Fit(passes=0), "1 to 1000"),
    (lambda: Fit(goal="x"), "feature, label"), (lambda: Fit(norm="l3"), "linf, l2"),
    (lambda: Fit(eps=float("nan")), "finite"), (lambda: Photos([]), "no photo"),
])
def test_wrong_settings_are_refused(make: Callable[[], Any], say: str) -> None:
    with pytest.raises(InputError, match=say):
        make()


def test_labels_are_needed_where_they_are(tiny: DualEncoder) -> None:
    for photos in (Photos([grid_images(2, 32)]), Photos([grid_images(2, 32)], CAPTIONS)):
        with pytest.raises(InputError):
            next(iter(fit([tiny], photos, Fit(goal="label"))))


# --- the command line -------------------------------------------------------------------------


def fitted(run: Any, data: str, **more: Any) -> Any:
    given = {"attack": "universal", "fit": data, "passes": 2, "models": "one", "image": None,
             "caption": None, "label": None, **more}
    return run(**given)


def test_learning_and_applying(attack: Any, tmp_path: Path) -> None:
    data = write_set(tmp_path / "set")
    status, _, said = fitted(attack, data, models="one,two", unseen=data)
    out = tmp_path / "out"
    assert status == 0 and said.out.count("learnt from; measure it on others") == 2
    assert said.out.count("of photos of set.csv") == 2
    about = json.loads((out / "fit.json").read_text("utf-8"))
    assert about["photos"] == 6 and about["passes"] == 2
    assert not (out / "state.safetensors").exists()
    changes = [open_perturbation(out / f"perturbation{s}").change for s in FORMATS]
    assert all(torch.equal(changes[0], one) for one in changes)
    path = str(out / "perturbation.npy")
    status, result, said = attack(attack="universal", perturbation=path, models="one")
    assert status == 0 and result["runs"][0]["linf_255"] <= 8
    assert result["runs"][0]["attack"]["perturbation"] == path
    status, result, said = attack(attack="universal", models="one")
    assert status == 0 and "note: the one learnt on pocket has " in said.out
    assert "pixels and is resized to 32 x 32" in said.out


def test_it_goes_on_where_it_was_stopped(attack: Any, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_set(tmp_path / "set")
    fitted(attack, data, out=tmp_path / "whole")
    module: Any = fitting
    plain, passes = module.learn, list[int]()

    def stopped(*rest: Any) -> Any:
        for state in plain(*rest):
            passes.append(state.passes)
            yield state
            if len(passes) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "learn", stopped)
    assert fitted(attack, data)[0] == 130
    assert fitted(attack, data)[0] == 0
    assert passes == [1, 2]
    whole, parts = (open_perturbation(tmp_path / name / "perturbation.npy").change
                    for name in ("whole", "out"))
    assert torch.equal(whole, parts)


@pytest.mark.parametrize(("flags", "say"), [
    ({"attack": "pgd"}, "add --attack universal"), ({"limit": 0}, "--limit"),
    ({"passes": 0}, "1 to 1000"), ({"eps": 0}, "nothing to learn"), ({"image": "a.png"}, "leave"),
    ({"fit": "nowhere"}, "nowhere")])
def test_learning_says_what_is_wrong(flags: dict[str, Any], say: str, attack: Any, tmp_path: Path,
                                     ) -> None:
    data = write_set(tmp_path / "set")
    status, _, said = fitted(attack, data, **flags)
    assert status == 2 and say in said.err and said.err.count("\n") == 1
    status, _, said = attack(image=None)
    assert status == 2 and "required: --image" in said.err


def test_a_stranger_names_no_file() -> None:
    service = Service(Library())
    with pytest.raises(InputError, match="perturbation must be one of pocket"):
        list(service.attack({"attack": "universal", "settings": {"perturbation": "/etc/passwd"}}))
    with pytest.raises(InputError, match="perturbation must be one of pocket"):
        from_query({"kind": "image", "attack": "universal",
                    "settings": '{"perturbation": "/etc/passwd"}'}, ("pocket",))


def test_the_form_takes_no_file() -> None:
    with gr.Blocks():
        form = AttackForm()
    shown = form.show("universal", {"perturbation": "/etc/passwd", "norm": "linf", "eps": 8 / 255})
    assert "/etc/passwd" not in shown
    values = ["universal", *(cast(Any, c).value for c in form.components()[1:])]
    built = form.build(8, list(values))
    assert isinstance(built, Universal) and built.perturbation == "pocket"
    place = form.components().index(form.choices.own["universal"][0])
    values[place] = "/etc/passwd"
    with pytest.raises(InputError, match="Learnt on must be one of pocket"):
        form.build(8, values)
