"""The notebook's calls take pictures, sets and values as people hold them."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
import torch
from datasets import (  # type: ignore[import-untyped]
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Value,
)
from datasets import Image as Pictures
from helpers import CAPTIONS, grid_images
from PIL import Image
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder  # type: ignore[import-untyped]

import explorer
from explorer.actions import notebook
from explorer.base.errors import InputError
from explorer.data.given import picture, plainly
from explorer.data.pairs import to_image
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library

LEVELS = (np.arange(20 * 30 * 3).reshape(20, 30, 3) * 7 % 256).astype(np.uint8)
PHOTO = Image.fromarray(LEVELS)


@pytest.fixture(autouse=True)
def small(tiny: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Library()
    cards = {"Tiny": Card("Tiny", "tiny", "standard", "none", "none", "none")}
    model = copy.copy(tiny)
    model.card = cards["Tiny"]
    library = cast(Library, SimpleNamespace(
        cards=lambda: cards, card=lambda name: {"tiny": cards["Tiny"]}.get(name.lower())
        or real.card(name), load=lambda *_: model))
    monkeypatch.setattr(notebook, "_library", [library])


def png() -> bytes:
    out = io.BytesIO()
    PHOTO.save(out, "PNG")
    return out.getvalue()


def on_disk(folder: Path) -> Path:
    PHOTO.save(folder / "a.png")
    return folder / "a.png"


FORMS: dict[str, Callable[[Path], Any]] = {
    "path": on_disk, "text": lambda f: str(on_disk(f)), "bytes": lambda _: png(),
    "bytearray": lambda _: bytearray(png()), "open file": lambda f: on_disk(f).open("rb"),
    "buffer": lambda _: io.BytesIO(png()), "PIL": lambda _: PHOTO,
    "hugging face": lambda _: {"bytes": png(), "path": None},
    "HWC uint8": lambda _: LEVELS, "CHW uint8": lambda _: LEVELS.transpose(2, 0, 1),
    "HWC float": lambda _: LEVELS / 255, "CHW float32": lambda _: (
        LEVELS.transpose(2, 0, 1) / 255).astype(np.float32),
    "int64": lambda _: LEVELS.astype(np.int64), "fortran": lambda _: np.asfortranarray(LEVELS),
    "batch of one": lambda _: LEVELS[None],
    "tensor": lambda _: torch.from_numpy(LEVELS).permute(2, 0, 1) / 255,
    "tensor with a gradient": lambda _: (torch.from_numpy(LEVELS).permute(2, 0, 1) / 255
                                         ).requires_grad_(),
    "tensor HWC": lambda _: torch.from_numpy(LEVELS),
    "batch of one tensor": lambda _: torch.from_numpy(LEVELS).permute(2, 0, 1)[None] / 255,
}


@pytest.mark.parametrize("form", FORMS)
def test_one_picture_in_every_form(form: str, tmp_path: Path) -> None:
    image, note = picture(FORMS[form](tmp_path))
    assert np.array_equal(np.asarray(image), LEVELS)
    array = any(word in form for word in ("uint8", "float", "int64", "tensor", "fortran", "one"))
    assert bool(note) == array
    if "CHW" in form:
        assert "read as channels x height x width" in note
    if "float" in form or form == "tensor":
        assert "from 0 to 1, rounded to 8 bits" in note


def test_other_arrays() -> None:
    grey = LEVELS[:, :, 0]
    for held in (grey, grey[:, :, None], grey[None], torch.from_numpy(grey)):
        assert np.array_equal(np.asarray(picture(held)[0]), np.stack([grey] * 3, 2))
    clear = np.dstack([LEVELS, np.zeros((20, 30), np.uint8)])
    assert np.asarray(picture(clear)[0]).min() == 255  # all of it transparent: white
    mask, note = picture(grey > 100)
    assert np.array_equal(np.asarray(mask)[:, :, 0], (grey > 100) * 255) and "true is white" in note
    half = torch.from_numpy(LEVELS).permute(2, 0, 1).to(torch.bfloat16) / 255
    assert np.abs(np.asarray(picture(half)[0]).astype(int) - LEVELS).max() <= 1


@pytest.mark.parametrize(("held", "say"), [
    (None, "not nothing"), (3, "the type int"), ([1, 2], "the type list"), ({}, "the type dict"),
    ({"bytes": None, "path": None}, "an empty dict"),
    (LEVELS.astype(np.float32), "from 0 to 255: floats must lie .*divide by 255"),
    (LEVELS / 127.5 - 1, "looks normalised"), (np.full((4, 4, 3), np.nan), "not finite"),
    (LEVELS.astype(np.int32) * 9, "grey levels from 0 to 255"),
    (np.zeros((5, 4, 2)), "neither the first nor the last"), (np.zeros((0, 4, 3)), "no pixel"),
    (np.zeros((2, 4, 4, 3)), "several pictures"), (np.zeros(5), "a picture has height"),
    (np.array(["a"]), "not numbers"), (np.array([None]), "not numbers"),
    (b"", "empty"), (io.StringIO("x"), "mode 'rb'"), (io.BytesIO(), "read to its end"),
    ("https://x.org/a.png", "no address is read"), ("nowhere.png", "cannot read the image file"),
    (b"not a picture", "not an image"),
])
def test_what_is_no_picture_is_said(held: Any, say: str) -> None:
    with pytest.raises(InputError, match=say) as error:
        picture(held)
    assert "\n" not in str(error.value)


def test_plain_values() -> None:
    assert plainly(np.int64(3)) == 3 and type(plainly(np.float32(0.5))) is float
    assert plainly(torch.tensor(2)) == 2 and plainly(np.array(["a", "b"])) == ["a", "b"]
    assert plainly(pd.Series(["a"])) == ["a"] and plainly(("x", np.int8(1))) == ["x", 1]
    assert plainly("abc") == "abc" and plainly(None) is None


def attacked(**more: Any) -> Any:
    return explorer.attack(to_image(grid_images(1, 32)[0]), **{
        "captions": CAPTIONS, "models": "tiny", "steps": 2, "eps": "8/255", **more})


def test_values_of_numpy_names_in_any_case_and_captions_by_text() -> None:
    plain = attacked(true=1, target=2, name="pgd", norm="l2", eps=0.5, seed=3)["Tiny"]
    fancy = attacked(captions=np.array(CAPTIONS), true=np.int64(1), target=np.int32(2), name="PGD",
                     norm="L2", eps=np.float64(0.5), steps=np.int64(2), seed=np.int64(3),
                     kind="Image", goal="Classification", models=("TINY",))["Tiny"]
    texts = attacked(true="A dog", target="a red car", name="Pgd", norm="L_2", eps=0.5,
                     seed=3)["Tiny"]
    assert torch.equal(plain.adversarial_images, fancy.adversarial_images)
    assert torch.equal(plain.adversarial_images, texts.adversarial_images)
    assert attacked(norm="Linf", name="MI_FGSM")["Tiny"].attack == "mi-fgsm"
    assert attacked(target="a green tree")["Tiny"].captions[-1] == "a green tree"
    assert attacked(kind="Joint", name="Co-Attack")["Tiny"].attack == "co-attack"
    assert attacked(norm=2, eps=0.5)["Tiny"].settings["norm"] == "l2"
    assert attacked(norm=np.inf)["Tiny"].settings["norm"] == "linf"
    unset = attacked(eps=None)["Tiny"].settings  # what nobody sets is the attack's own
    assert unset["eps"] == 1 / 255
    assert attacked(captions=(c for c in CAPTIONS))["Tiny"].captions == CAPTIONS
    alone = attacked(captions="a cat", goal="similarity")["Tiny"]
    assert alone.captions == ("a cat",)


def test_a_case_says_how_its_array_was_read() -> None:
    case = explorer.attack(LEVELS / 255, CAPTIONS, models="tiny", steps=2)
    assert repr(case).startswith("The array of 20 x 30 x 3 was read as height x width x channels, "
                                 "float64 from 0 to 1, rounded to 8 bits.\n")
    assert case._repr_html_().startswith("<p>The array of 20 x 30 x 3")


@pytest.mark.parametrize(("more", "say"), [
    ({"captions": None}, "at least one caption"), ({"captions": [1, 2]}, "list of texts"),
    ({"captions": {"a": 1}}, "list of texts"), ({"captions": 5}, "list of texts"),
    ({"true": "a fish"}, "mark one of the captions"), ({"true": 9}, "number, 0 to 3"),
    ({"true": -1}, "number, 0 to 3"),
    ({"true": 1.5}, "number, 0 to 3, or its"),
    ({"true": True}, "number, 0 to 3, or its"),
    ({"true": None}, "number, 0 to 3, or its"), ({"true": [1]}, "number, 0 to 3, or its"),
    ({"target": 0}, "target is the true caption"), ({"target": 17}, "number, 0 to 3"),
    ({"target": ["a dog"]}, "number, 0 to 3, or its"), ({"target": ""}, "is empty"),
    ({"kind": "video"}, "kind must be one of"), ({"kind": None}, "kind must be one of"),
    ({"goal": ["x"]}, "goal must be one of"), ({"name": 7}, "name must be text"),
    ({"name": "pgdd"}, "no image attack 'pgdd'"), ({"seed": -1}, "seed must be"),
    ({"seed": "x"}, "seed must be"), ({"models": []}, "models must be"),
    ({"models": ["tiny", "tiny"]}, "models must be"), ({"models": "tinny"}, "no model 'tinny'"),
    ({"models": 3}, "models must be a list"), ({"norm": "l7"}, "norm must be one of"),
    ({"norm": 3}, "norm must be one of"), ({"eps": [1]}, "eps must be"),
    ({"steps": "ten"}, "steps must be|wrong type"),
    ({"steps": 2.5}, "steps must be"), ({"wibble": 1}, "has no setting wibble"),
])
def test_mistakes_are_one_sentence(more: dict[str, Any], say: str) -> None:
    with pytest.raises(InputError, match=say) as error:
        attacked(**more)
    assert "\n" not in str(error.value)


# -- sets ------------------------------------------------------------------------------------------


def folder(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for k in range(2):
            PHOTO.rotate(90 * k + (name == "dog") * 180).save(
                tmp_path / "set" / name / f"{k}.png")
    return tmp_path / "set"


def paths(root: Path) -> list[Path]:
    return sorted(root.rglob("*.png"))


def frame(root: Path, make: Callable[[Path], Any]) -> pd.DataFrame:
    return pd.DataFrame({"image": [make(p) for p in paths(root)],
                         "label": [p.parent.name for p in paths(root)]})


def hugging(root: Path, decoded: bool) -> Dataset:
    kind = Features({"image": Pictures(), "label": ClassLabel(names=["cat", "dog"])})
    rows = {"image": [str(p) for p in paths(root)],
            "label": [int(p.parent.name == "dog") for p in paths(root)]}
    return Dataset.from_dict(rows, features=kind) if decoded else Dataset.from_dict(
        {**rows, "label": [p.parent.name for p in paths(root)]},
        features=Features({"image": Value("string"), "label": Value("string")}))


SETS: dict[str, Callable[[Path], Any]] = {
    "folder": lambda r: r, "text": str, "ImageFolder": lambda r: ImageFolder(str(r)),
    "ImageFolder with a transform": lambda r: ImageFolder(str(r), transform=lambda x: 1 / 0),
    "frame of paths": lambda r: frame(r, str), "frame of Paths": lambda r: frame(r, Path),
    "frame of bytes": lambda r: frame(r, lambda p: p.read_bytes()),
    "frame of PIL": lambda r: frame(r, lambda p: Image.open(p)),
    "frame of arrays": lambda r: frame(r, lambda p: np.asarray(Image.open(p))),
    "frame with another name": lambda r: frame(r, str).rename(columns={"image": "photo"}),
    "frame with an index of its own": lambda r: frame(r, str).set_index(pd.Index([9, 7, 5, 3])),
    "Dataset": lambda r: hugging(r, True), "Dataset of paths": lambda r: hugging(r, False),
    "Dataset as numpy": lambda r: hugging(r, True).with_format("numpy"),
    "rows": lambda r: [{"Image": str(p), "Label": p.parent.name} for p in paths(r)],
    "a Subset": lambda r: Subset(ImageFolder(str(r)), range(4)),
    "pairs": lambda r: [(Image.open(p), p.parent.name) for p in paths(r)],
    "pairs of paths": lambda r: [(p, p.parent.name) for p in paths(r)],
    "pairs of tensors": lambda r: [
        (torch.from_numpy(np.array(Image.open(p))).permute(2, 0, 1) / 255, p.parent.name)
        for p in paths(r)],
    "with classes": lambda r: type("Mine", (list,), {"classes": ["cat", "dog"]})(
        (Image.open(p), np.int64(p.parent.name == "dog")) for p in paths(r)),
}


@pytest.mark.parametrize("form", SETS)
def test_one_set_in_every_form(form: str, tmp_path: Path) -> None:
    root = folder(tmp_path)
    want = explorer.evaluate(root, "tiny", attacks="clean")
    got = explorer.evaluate(SETS[form](root), models="tiny", attacks=["Clean"])
    assert got["Tiny", "clean"].n == 4 and got.captions == 2
    assert got["Tiny", "clean"].accuracy == want["Tiny", "clean"].accuracy


def test_a_table_with_captions_and_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    root = folder(tmp_path)
    table = pd.DataFrame({"image": [str(p) for p in paths(root)],
                          "caption": ["a cat", "a grey cat", "a dog", "a big dog"]})
    table.loc[1, "image"] = str(tmp_path / "gone.png")
    found = explorer.evaluate(table, "tiny", ("clean", "PGD"), limit=np.int64(4), steps=np.int64(2))
    assert found["Tiny", "pgd"].n == 3 and "1 of 4 pictures cannot be read" in found.sentence()


class Numbered(list[Any]):
    """Without names of its classes."""


@pytest.mark.parametrize(("make", "say"), [
    (lambda r: None, "not nothing"), (lambda r: 3, "the type int"), (lambda r: "", "empty text"),
    (lambda r: "cifar11", "no file, folder or known set 'cifar11'"),
    (lambda r: [], "is empty"), (lambda r: [1, 2], "must be a pair"),
    (lambda r: Numbered((p, 1) for p in paths(r)), "class number 1 and no class names"),
    (lambda r: [(p, None) for p in paths(r)], "must be a name or a number"),
    (lambda r: DatasetDict({"test": hugging(r, True)}), r"has the splits test: give one"),
    (lambda r: hugging(r, True).remove_columns("label"), "label"),
    (lambda r: pd.DataFrame({"label": ["a"]}), "needs one column of pictures"),
    (lambda r: pd.DataFrame(), "no rows"), (lambda r: {"image": [1]}, "the type dict"),
    (lambda r: pd.DataFrame({"image": [str(p) for p in paths(r)], "label": [1, "a", "b", "c"]}),
     "values of several kinds"),
    (lambda r: "cifar10", "cifar10|CIFAR"), (lambda r: "CIFAR-10", "cifar10|CIFAR"),
])
def test_what_is_no_set_is_said(make: Callable[[Path], Any], say: str, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPLORER_DATA", raising=False)
    with pytest.raises(InputError, match=say) as error:
        explorer.evaluate(make(folder(tmp_path)), "tiny")
    assert "\n" not in str(error.value)


def test_other_mistakes_of_evaluate() -> None:
    for more, say in (({"attacks": "pgdd"}, "no attack 'pgdd'"), ({"limit": 0}, "limit must be"),
                      ({"limit": 2.5}, "limit must be"), ({"attacks": []}, "attacks must be"),
                      ({"attacks": [1]}, "list of texts"), ({"seed": None}, "seed must be"),
                      ({"stepps": 3}, "none of these attacks has a setting stepps")):
        with pytest.raises(InputError, match=say):
            explorer.evaluate("sample:photos", **{"models": "tiny", **more})  # type: ignore[arg-type]
