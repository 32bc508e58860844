"""The three calls in a notebook, on a tiny model: short to write, drawn, kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from helpers import CAPTIONS, grid_images

import explorer
from explorer.actions import notebook
from explorer.analysis.embedding.landmarks import concepts
from explorer.analysis.embedding.shift import LANDMARK, Anchors
from explorer.analysis.embedding.state import Spaces
from explorer.base.errors import InputError
from explorer.data.pairs import to_image
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.bundle import read_bundle

PHOTO = to_image(grid_images(1, 32)[0])


@pytest.fixture(autouse=True)
def small(tiny: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The notebook's library holds `tiny` under its own id."""
    cards = {"tiny": Card("tiny", "tiny", "standard", "none", "none", "none")}
    library = cast(Library, SimpleNamespace(cards=lambda: cards, card=cards.__getitem__,
                                            load=lambda *_: tiny, loaded=list))
    spaces = Spaces(library, {})
    words = concepts()[:12]
    spaces.base["tiny"] = Anchors("tiny", tuple(f"w:{i}" for i in range(12)), words,
                                  (LANDMARK,) * 12, tiny.encode_text(words).numpy())
    monkeypatch.setattr(notebook, "_library", [library])
    monkeypatch.setattr(notebook, "_spaces", [spaces])
    yield


def attacked(**more: Any) -> notebook.Case:
    return explorer.attack(PHOTO, CAPTIONS, models=["tiny"], **{"steps": 2, "eps": "8/255", **more})


def test_three_calls_and_no_other_name() -> None:
    assert explorer.attack is notebook.attack and explorer.project is notebook.project
    assert explorer.evaluate is notebook.evaluate
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = explorer.train


def test_a_case_is_drawn_and_kept(tmp_path: Path) -> None:
    case = attacked()
    assert repr(case) == case.sentences[0] and repr(case).startswith("tiny: ")
    drawn, whole = case._repr_html_(), case.html()
    assert drawn.startswith("<iframe srcdoc=") and len(drawn) < len(whole)
    assert "rx-trail" not in case.html(small=True).split("</style>")[1].split("<script id")[0]
    assert "Clean PNG" in whole and "Clean PNG" not in case.html(small=True)
    assert "data-strong>" not in whole  # no app is behind it, so no button that needs one
    assert not re.search(r'(src|href)="(?!data:)', whole)
    case.save(tmp_path / "case.zip")
    case.save(tmp_path / "case.html")
    bundle = read_bundle(tmp_path / "case.zip")
    assert bundle.captions == CAPTIONS and bundle.alt == CAPTIONS[0]
    assert (tmp_path / "case.html").read_text("utf-8") == whole
    with pytest.raises(InputError, match=r"as \.zip or \.html"):
        case.save(tmp_path / "case.pdf")


KINDS = ("bees", "cats", "dogs")


def test_a_map_and_a_table_begin_with_a_sentence(tmp_path: Path) -> None:
    found = explorer.project(attacked())
    drawn = found._repr_html_()
    assert drawn.startswith("<p>The attack") and "<svg" in drawn and "<table>" in drawn
    assert 'role="img" aria-label="Map of tiny' in drawn and repr(found) == found.sentence()
    assert found["tiny"].layout.drawn == "plane" and found.plain()["sides"][0]["model"] == "tiny"
    for k in range(3):
        (tmp_path / KINDS[k]).mkdir()
        to_image(grid_images(1, 32, seed=k)[0]).save(tmp_path / KINDS[k] / "a.png")
    table = explorer.evaluate(tmp_path, ["tiny"], ["clean", "fgsm"], eps="4/255")
    assert table["tiny", "fgsm"].n == 3 and table["tiny", "fgsm"].eps_255 == 4
    assert repr(table) == table.sentence() and "<table>" in table._repr_html_()


@pytest.mark.parametrize("words", ["a <script>alert(1)</script> cat", 'x" onload="y', "{{c}} ${a}"])
def test_captions_are_harmless_when_drawn(words: str) -> None:
    case = explorer.attack(PHOTO, [words, "a dog"], models=["tiny"], steps=1)
    for drawn in (case.html(small=True).split("<body>")[1].split("<script id")[0],
                  explorer.project(case)._repr_html_()):
        assert "<script>alert" not in drawn and 'x" onload' not in drawn


def test_mistakes_are_one_sentence() -> None:
    for more, said in (({"kind": "video"}, "kind must be"), ({"name": "none"}, "no image attack"),
                       ({"wrong": 1}, "no setting wrong"), ({"true": 9}, "true must be")):
        with pytest.raises(InputError, match=said):
            attacked(**more)
    with pytest.raises(InputError, match="no example 'x'"):
        explorer.attack("example:x")
    with pytest.raises(InputError, match="projection must be one of"):
        explorer.project(attacked(), projection="tsne")
    with pytest.raises(InputError, match="there is no attack"):
        explorer.evaluate("sample:photos", attacks=["what"])


def test_a_seed_decides() -> None:
    first, second = (attacked(seed=4)["tiny"].adversarial_images for _ in range(2))
    assert np.array_equal(first.numpy(), second.numpy())
