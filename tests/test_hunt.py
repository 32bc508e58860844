"""A hunt from its pictures to what is saved of it, with a tiny model."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import grid_images
from PIL import Image

from explorer.analysis.failures import examples as single
from explorer.analysis.failures import hunt as failures_hunt
from explorer.analysis.failures.hunt import BATCH, HuntPlan, hunt
from explorer.analysis.failures.pictures import attacked_picture, clean_picture, pack
from explorer.analysis.failures.slices import Filter, Found, chosen, quantity, read_hunt
from explorer.attacks.image.classic import PGD
from explorer.attacks.joint import Separate
from explorer.attacks.registry import Attack
from explorer.attacks.run import run
from explorer.attacks.text.classic import Typo
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.pairs import Pairs, to_image, to_pixels
from explorer.data.registry import UPLOAD
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.bundle import read_bundle
from explorer.ui.failures.cards import Sheet, gallery
from explorer.ui.failures.report import attack_words, report

MANY = BATCH + 3
KINDS = ("a cat", "a dog", "a red car")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hunt's folder with an upload of eleven pictures, one of them damaged."""
    rows = ["image,caption"]
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for number, pixels in enumerate(grid_images(MANY, 32)):
            out = io.BytesIO()
            to_image(pixels).save(out, "PNG")
            raw = out.getvalue() if number != 2 else out.getvalue()[:40]
            archive.writestr(f"{number:02d}.png", raw)
            rows.append(f"{number:02d}.png,{KINDS[number % 3]}")
        archive.writestr("table.csv", "\n".join(rows))
    return tmp_path


def plan(attack: Attack | None = None, **more: object) -> HuntPlan:
    return HuntPlan.of(UPLOAD, ("plain", "hard"), attack or PGD(eps=8 / 255, steps=2), **more)


def done(asked: HuntPlan, folder: Path, library: Library) -> Found:
    for _ in hunt(asked, folder, library):
        pass
    return read_hunt(folder)


def test_every_picture_is_attacked_and_the_damaged_one_is_named(
    two: Library, tiny: DualEncoder, folder: Path,
) -> None:
    steps = list(hunt(plan(), folder, two))
    assert [s.done for s in steps if s.kept] == [BATCH, MANY] and steps[-1].total == MANY
    assert any("step 1 of 2" in s.text for s in steps)
    found = read_hunt(folder)
    assert len(found.cases) == MANY - 1 and found.bad == 1
    assert "02.png" in " ".join(found.left_out)
    case = found.cases[0]
    pixels = to_pixels(clean_picture(folder, 0), tiny.size)[None]
    again = run(PGD(eps=8 / 255, steps=2), tiny,
                Pairs(pixels, found.captions, torch.tensor([case.label])))
    assert case.sides[0].now == int(again.adversarial.prediction[0])
    assert case.sides[0].linf == int(again.linf_255[0]) == 8


def test_packed_pictures_are_the_same_to_the_bit(tmp_path: Path) -> None:
    """A JPEG in the place of the clean picture where it says the same; changes, not pictures."""
    (tmp_path / "pictures").mkdir()
    jpeg = io.BytesIO()
    Image.radial_gradient("L").resize((40, 40)).convert("RGB").save(jpeg, "JPEG", quality=80)
    clean = Image.open(io.BytesIO(jpeg.getvalue())).convert("RGB")
    moved = np.asarray(clean, np.int16) + np.random.default_rng(0).integers(
        -8, 9, np.asarray(clean).shape)
    attacked = Image.fromarray(moved.clip(0, 255).astype(np.uint8))
    for place in (0, 1):
        clean.save(tmp_path / "pictures" / f"{place:05d}-clean-0.png")
        attacked.save(tmp_path / "pictures" / f"{place:05d}-attacked-1.png")
    other = io.BytesIO()
    attacked.save(other, "JPEG", quality=50)  # of other pixels
    for place, original in enumerate((jpeg, other)):
        pack(tmp_path, place, original.getvalue())
        assert clean_picture(tmp_path, place, 1).convert("RGB").tobytes() == clean.tobytes()
        held = attacked_picture(tmp_path, place, 0)  # not a pixel changed
        assert held.convert("RGB").tobytes() == clean.tobytes()
        assert attacked_picture(tmp_path, place, 1).tobytes() == attacked.tobytes()
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
        "00000-clean-0.jpg", "00000-change-1.webp", "00001-clean-0.png", "00001-change-1.webp"}
    with pytest.raises(InputError, match="not in the"):
        clean_picture(tmp_path, 2)


def test_it_goes_on_where_it_was_ended_and_finds_the_same(
    two: Library, folder: Path, tmp_path_factory: pytest.TempPathFactory,
) -> None:
    whole = done(plan(), folder, two)
    other = tmp_path_factory.mktemp("cut")
    (other / "data.zip").write_bytes((folder / "data.zip").read_bytes())
    for progress in hunt(plan(), other, two):
        if progress.kept:
            break
    with open(other / "rows.jsonl", "a") as file:
        file.write('{"i": 9, "si')  # killed in the middle of a line
    assert len(read_hunt(other).cases) == BATCH - 1
    first = next(iter(hunt(plan(), other, two)))
    assert first.done == BATCH
    again = done(plan(), other, two)

    def read(found: Found) -> list[tuple[int, ...]]:
        return [(c.place, *(s.now for s in c.sides)) for c in found.cases]

    assert read(again) == read(whole)


@pytest.mark.parametrize(("attack", "pixels", "words"), [
    (Typo(words=1), False, True),
    (Separate(image=PGD(eps=8 / 255, steps=1), text=Typo(words=1)), True, True),
])
def test_captions_are_attacked_too(
    two: Library, folder: Path, attack: Attack, pixels: bool, words: bool,
) -> None:
    found = done(plan(attack, limit=3), folder, two)
    sides = [side for case in found.cases for side in case.sides]
    assert any(side.linf for side in sides) is pixels
    assert any(side.words for side in sides) is words
    sheet = Sheet(folder, found, ("standard", "robust"))
    page = gallery(sheet, found.cases, Filter())
    assert ("photo unchanged" in page) is not pixels
    assert "words changed" in gallery(sheet, found.cases, Filter(table=True))


def test_filters_by_quantity(two: Library, folder: Path) -> None:
    cases = done(plan(), folder, two).cases
    middle = sorted(q for c in cases if (q := quantity(c, "shift")) is not None)[4]
    above = chosen(cases, Filter(sort="shift", low=middle))
    assert len(above) == len(cases) - 4
    assert len(chosen(cases, Filter(sort="shift", high=middle))) == 5
    assert chosen(cases, Filter(sort="flip", high=16.0)) == []  # not one was searched
    assert len(chosen(cases, Filter(sort="flip"))) == len(cases)


def finished(events: Iterator[Progress | tuple[str, bytes]]) -> tuple[str, bytes]:
    *progress, last = events
    assert progress and isinstance(last, tuple)
    return last


def test_what_is_saved(two: Library, folder: Path) -> None:
    asked = plan()
    found = done(asked, folder, two)
    name, raw = finished(single.bundles(folder, asked, found, found.cases[:1], two))
    (folder / name).write_bytes(raw)
    bundle = read_bundle(folder / name)
    assert bundle.captions == found.captions and len(bundle.cases) == 2
    name, raw = finished(single.bundles(folder, asked, found, found.cases[:3], two))
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert len(archive.namelist()) == 3
    sheet = single.contact_sheet(folder, found, found.cases, ("standard", "robust"))
    with Image.open(io.BytesIO(sheet)) as picture:
        assert picture.size == (6 * 268 + 12, 2 * 172 + 12)
    with pytest.raises(InputError, match="at most 48 bundles"):
        next(iter(single.bundles(folder, asked, found, found.cases * 9, two)))


def test_the_smallest_eps_is_searched_and_kept(two: Library, folder: Path) -> None:
    asked = plan()
    found = done(asked, folder, two)
    list(single.flips(folder, asked, found, found.cases[:2], two))
    after = read_hunt(folder).cases
    assert all(side.flip for case in after[:2] for side in case.sides)
    assert not any(side.flip for case in after[2:] for side in case.sides)
    for case in after[:2]:
        if case.sides[0].was != case.label:
            assert case.sides[0].flip is not None and case.sides[0].flip[0] == 0
    with pytest.raises(InputError, match="the photo alone"):
        list(single.flips(folder, plan(Typo(words=1)), found, found.cases[:1], two))


def test_the_report_needs_no_other_file(two: Library, folder: Path) -> None:
    asked = plan()
    found = done(asked, folder, two)
    sheet = Sheet(folder, found, ("standard", "robust"), live=False)
    page = report(sheet, asked, "<mine>", found.cases, {"plain": "abc", "hard": "def"}, "both")
    assert page.count('class="fx-card"') == len(found.cases)
    assert "&lt;mine&gt;" in page and "<mine>" not in page and "sha256 abc" in page
    assert "http" not in page and "<script" not in page and "<button" not in page
    assert "src=" in page and page.count("src=") == page.count('src="data:image/jpeg;base64,')
    assert "02.png" in page
    assert attack_words(asked).startswith("PGD on the photo (eps 8/255")


def test_mistakes_get_a_sentence(
    two: Library, folder: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match="choose 1 to 2,000 pictures"):
        done(plan(limit=0), folder, two)
    with pytest.raises(InputError, match="there is no data set"):
        done(HuntPlan.of("elsewhere", ("plain", "hard"), PGD()), folder, two)
    monkeypatch.setattr(failures_hunt, "LEAST_FREE", 10**18)
    with pytest.raises(InputError, match="disk has less than"):
        done(plan(), folder, two)
    monkeypatch.undo()
    done(plan(limit=2), folder, two)
    found = read_hunt(folder)
    (folder / "pictures" / f"{found.cases[0].place:05d}-clean-0.png").unlink()
    with pytest.raises(InputError, match="not in the hunt's folder any more"):
        single.result_of(folder, plan(), found, found.cases[0], 0, two.load("plain"))
    (folder / "set.json").write_text(json.dumps([])[:1])
    with pytest.raises(InputError, match="damaged"):
        read_hunt(folder)


def test_what_a_model_cannot_tell_apart_is_not_hunted(
    two: Library, folder: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    tale = "a photo of " + " ".join(["a cat near a dog"] * 30)
    monkeypatch.setitem(globals(), "KINDS", (f"{tale} x", "a dog", f"{tale} y"))
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        rows = ["image,caption"]
        for number, pixels in enumerate(grid_images(MANY, 32)):
            out = io.BytesIO()
            to_image(pixels).save(out, "PNG")
            archive.writestr(f"{number:02d}.png", out.getvalue())
            rows.append(f"{number:02d}.png,{KINDS[number % 3]}")
        archive.writestr("table.csv", "\n".join(rows))
    found = done(plan(), folder, two)
    assert [case.place for case in found.cases] == [1, 4, 7, 10] and found.bad == 0
    said = " ".join(found.left_out)
    assert "7 pictures are not judged by " in said and "2 of 3 captions are longer" in said
    again = done(plan(), folder, two)  # nothing is left to do, and it is said as before
    assert again == found
    with pytest.raises(InputError, match="no picture can be judged"):
        (folder / "rows.jsonl").unlink()
        monkeypatch.setattr(failures_hunt, "twins", lambda tokenize, captions: {0: 1, 1: 0, 2: 1})
        done(plan(), folder, two)
