"""The shipped emoji: complete, distinct, readable, small; and how they are made."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explorer.base.errors import InputError
from explorer.data.pairs import open_image
from explorer.data.samples import (
    EMOJI,
    EMOJI_KINDS,
    FLUENT,
    FLUENT_100,
    KINDS,
    NOTO,
    SAMPLES,
    by_kind,
)
from explorer.data.sets import read_examples
from explorer.data.sources import Source, open_source
from tools.samples import build as made
from tools.samples.build import DULL, SIDE, THINGS, Package, choose, fetch, icon_of, render, svg

FILES = [NOTO, FLUENT, FLUENT_100]


def columns(path: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    return {k: v for k, v in pq.read_table(path).to_pydict().items() if k != "image"}


def pictures(path: Path) -> tuple[Source, list[np.ndarray]]:
    source = open_source(path)
    found = [open_image(raw) for raw in source.pictures(range(len(source.answers)))]
    return source, [np.asarray(image) for image in found]


def test_both_styles_draw_the_same_1500_names() -> None:
    noto, fluent = columns(NOTO), columns(FLUENT)
    assert noto == fluent and len(noto["caption"]) >= 1500
    names = noto["caption"]
    assert len(set(names)) == len(names) and len(set(noto["emoji"])) == len(names)
    assert all(name == " ".join(name.split()) and not set(name) & set("’“”") for name in names)
    assert not [name for name in names if "skin tone" in name or any(d in name for d in DULL)]
    assert "Flags" not in noto["group"] and {"grapes", "grinning face", "bus"} <= set(names)
    assert open_source(NOTO).are_captions


def test_the_measured_part_is_of_the_other_style() -> None:
    part, whole = columns(FLUENT_100), columns(FLUENT)
    rows = set(zip(whole["caption"], whole["group"], whole["emoji"], strict=True))
    assert set(zip(part["caption"], part["group"], part["emoji"], strict=True)) <= rows
    assert set(part["group"]) <= set(THINGS)
    examples = read_examples(FLUENT_100)
    assert len(examples) == len(examples.captions) == 100
    _, drawn = pictures(FLUENT_100)
    _, all_fluent = pictures(FLUENT)
    places = [whole["caption"].index(name) for name in part["caption"]]
    assert all(np.array_equal(drawn[k], all_fluent[i]) for k, i in enumerate(places))


@pytest.mark.parametrize("path", [NOTO, FLUENT], ids=lambda p: p.stem)
def test_every_picture_shows_something_of_its_own(path: Path) -> None:
    source, drawn = pictures(path)
    assert {max(image.shape) for image in drawn} == {SIDE}
    assert not len(source.report)
    blank = [k for k, image in enumerate(drawn) if (image < 250).any(2).mean() < 0.01]
    assert not [source.answers[k] for k in blank]
    assert len({image.tobytes() for image in drawn}) > 0.99 * len(drawn)


def test_the_files_are_small_and_noticed() -> None:
    assert sum(path.stat().st_size for path in FILES) < 10_000_000
    notice = (NOTO.parent / "NOTICE.md").read_text("utf-8")
    for path in FILES:
        assert f"`{path.name}`" in notice
    for package in (made.NOTO, made.FLUENT, made.UNICODE):
        assert f"{package.name} {package.version}" in notice
    assert {p.name for p in NOTO.parent.iterdir()} == {p.name for p in FILES} | {"NOTICE.md"}
    said = len(open_source(NOTO).answers)
    assert f"{said:,}" in notice
    assert all(f"{said:,}" in sample.about for sample in SAMPLES.values())
    assert {sample.train for sample in SAMPLES.values()} == {NOTO} and EMOJI.probe == FLUENT_100


def test_kinds_are_made_from_the_groups(tmp_path: Path) -> None:
    out = by_kind(EMOJI_KINDS.train, tmp_path / "new" / "kinds.parquet")
    source, groups = open_source(out), columns(NOTO)["group"]
    assert not source.are_captions and set(KINDS) == set(groups)
    assert source.answers == [(KINDS[group],) for group in groups]
    first = (next(iter(open_source(path).pictures([700]))) for path in (out, NOTO))
    assert len(set(first)) == 1
    before = out.stat().st_mtime_ns
    assert by_kind(NOTO, out).stat().st_mtime_ns == before
    assert len(list(out.parent.iterdir())) == 1


ICONS: dict[str, Any] = {
    "icons": {"cat": {"body": "<circle cx='8' cy='8' r='8'/>"},
              "wide": {"body": "<g/>", "width": 40, "height": 20, "left": -4}},
    "aliases": {"kitty": {"parent": "puss"}, "puss": {"parent": "cat"}},
    "chars": {"1f408": "kitty", "2764": "wide", "1f600": "cat"}, "width": 16, "height": 16}


def test_icons_are_found_with_and_without_the_selector() -> None:
    assert icon_of(ICONS, "🐈") == "kitty" and icon_of(ICONS, "❤\ufe0f") == "wide"
    assert icon_of(ICONS, "🐕") is None
    assert svg(ICONS, "kitty") == svg(ICONS, "cat") and 'viewBox="0 0 16 16"' in svg(ICONS, "cat")
    assert 'viewBox="-4 0 40 20"' in svg(ICONS, "wide")


def test_what_is_chosen() -> None:
    def entry(name: str, group: str = "Objects") -> dict[str, str]:
        return {"name": name, "group": group}

    table = {"🐈": entry("cat’s"), "❤\ufe0f": entry("heart"), "🐕": entry("dog"),
             "😀": entry("one o’clock")}
    assert choose(table, [ICONS]) == [("🐈", "cat's", "Objects"), ("❤\ufe0f", "heart", "Objects")]
    flagged = {"🐈": entry("cat", "Flags"), "❤": entry("heart"), "😀": entry("heart")}
    assert choose(flagged, [ICONS]) == [("❤", "heart", "Objects")]
    assert choose(table, [ICONS, {**ICONS, "chars": {}}]) == []


def test_a_drawing_becomes_a_picture_on_white() -> None:
    pytest.importorskip("resvg_py", reason="needed to build the sample, not to use it")
    image = np.asarray(open_image(render(svg(ICONS, "cat"))))
    assert image.shape == (SIDE, SIDE, 3)
    assert tuple(image[0, 0]) == (255, 255, 255) and tuple(image[SIDE // 2, SIDE // 2]) == (0, 0, 0)


def test_only_the_archive_it_was_made_from_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = Package("@scope/name", "1.0.0", "0" * 64)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="npm is not installed"):
        fetch(package, tmp_path)
    archive = tmp_path / "scope-name-1.0.0.tgz"
    with tarfile.open(archive, "w:gz") as file:
        raw = json.dumps({"a": 1}).encode()
        entry = tarfile.TarInfo("package/icons.json")
        entry.size = len(raw)
        file.addfile(entry, io.BytesIO(raw))
    with pytest.raises(InputError, match="not the archive"):
        fetch(package, tmp_path)
    right = Package("@scope/name", "1.0.0", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert json.loads((fetch(right, tmp_path) / "icons.json").read_text()) == {"a": 1}
