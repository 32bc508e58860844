"""A visitor's own pictures on the map, and what the tab sends to the page; no browser."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from explorer.analysis.embedding import state as space_state
from explorer.analysis.embedding.landmarks import sentences
from explorer.analysis.embedding.state import CELL, Spaces, columns, drain
from explorer.attacks.image.classic import PGD, Noise
from explorer.attacks.run import run
from explorer.base.errors import InputError
from explorer.base.settings import Settings
from explorer.base.store import Store
from explorer.data.examples import load_examples
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.outcome import Outcome, Part
from explorer.server.gate import Gate
from explorer.ui.embedding.jobs import LASSO, SAMPLE, SpaceJobs
from explorer.ui.embedding.saliency import saliency_job
from explorer.ui.embedding.scene import Panels

PAIR = ("plain", "hard")
VIEW = ("pca", 2, False, 15, 0.1, "cosine", 0, 10, "both")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def spaces(two: Library, monkeypatch: pytest.MonkeyPatch) -> Spaces:
    monkeypatch.setattr(space_state, "concepts", lambda: ("cat", "dog", "sea", "car", "tree"))
    return Spaces(two, load_examples())


def packed(folder: Path, n: int = 6, broken: int = 1) -> str:
    random = np.random.default_rng(0)
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(n):
            buffer = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (40, 40, 3), np.uint8)).save(buffer, "PNG")
            archive.writestr(f"{('cat', 'dog')[i % 2]}/{i}.png",
                             b"no picture" if i < broken else buffer.getvalue())
    return str(path)


def test_a_zip_becomes_points_and_a_sheet_of_thumbnails(spaces: Spaces, tmp_path: Path) -> None:
    said = drain(spaces.take_set("me", packed(tmp_path), PAIR))
    assert said is not None and said.last and said.text == (
        "5 pictures are on the map. 1 could not be read.")
    own = spaces.sets.last("me")
    assert own is not None and spaces.sets.last("you") is None
    joined = spaces.anchors("plain", own)
    assert joined is not None and joined.kinds.count("own") == 5
    assert len(joined.keys) == 5 + len(sentences()) + len(load_examples()) + 5
    assert joined is spaces.anchors("plain", own), "one object, so that axes are fitted once"
    assert "own:0" not in joined.keys and set(joined.names[-5:]) == {
        "a photo of a cat", "a photo of a dog"}
    page = Image.open(io.BytesIO(base64.b64decode(own.sheet.split(",", 1)[1])))
    assert page.size == (columns(6) * CELL, 2 * CELL)
    grey = np.asarray(page, int)  # JPEG lets a cell colour the edge of its neighbour
    empty, full = grey[8:32, 8:32], grey[8:32, CELL + 8 : 2 * CELL - 8]
    assert empty.std() < 3 < full.std(), "the unreadable picture's place stays empty"


def test_a_large_set_is_drawn_from(
    spaces: Spaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(space_state, "MOST_OWN", 4)
    said = drain(spaces.take_set("me", packed(tmp_path, broken=0), PAIR))
    assert said is not None and said.text.startswith("4 pictures (drawn from 6)")


@pytest.mark.parametrize(("name", "words"), [
    (None, "choose a file first"), ("x.csv", "in a zip together"), ("x.exe", "must be a zip"),
    ("x.zip", "x.zip"), ("x.parquet", "x.parquet"),
])
def test_files_that_are_no_sets_get_one_sentence(
    spaces: Spaces, tmp_path: Path, name: str | None, words: str,
) -> None:
    path = None
    if name:
        (tmp_path / name).write_text("image,caption\n/etc/passwd,a\n")
        path = str(tmp_path / name)
    with pytest.raises(InputError, match=words):
        drain(spaces.take_set("me", path, PAIR))
    assert spaces.sets.last("me") is None


def test_an_attack_on_a_slice(spaces: Spaces, tmp_path: Path) -> None:
    drain(spaces.take_set("me", packed(tmp_path), PAIR))
    own = spaces.sets.last("me")
    assert own is not None
    said = list(spaces.attack_set(own, [1, 2, 4], PAIR, 8.0))
    assert said[-1].text == "3 pictures attacked." and any("step 10 of 10" in s.text for s in said)
    made = own.attacks["plain"]
    anchors = spaces.anchors("plain", own)
    assert anchors is not None
    assert [anchors.keys[r] for r in made.chosen.rows] == ["own:1", "own:2", "own:4"]
    assert (made.angles > made.noise).all() and not (made.fooled & ~made.right).any()
    moved = np.einsum("nd,nd->n", made.chosen.features, anchors.features[made.chosen.rows])
    assert np.allclose(np.degrees(np.arccos(moved.clip(-1, 1))), made.angles, atol=0.1)
    work = spaces.attack_set(own, [1, 2], PAIR, 8.0)
    next(iter(work))
    cast(Any, work).close()
    assert own.attacks == {}, "a stopped attack shows nothing half done"
    with pytest.raises(InputError, match="at least one picture"):
        drain(spaces.attack_set(own, [], PAIR, 8.0))


@pytest.fixture
def scene(two: Library, tiny: DualEncoder, four: Pairs, monkeypatch: pytest.MonkeyPatch) -> Panels:
    monkeypatch.setattr(space_state, "concepts", lambda: ("cat", "dog", "sea", "car", "tree"))
    made = Panels(two, Store(), PAIR)
    one = Pairs(four.images[:1], four.captions, four.labels[:1])
    result, noise = run(PGD(eps=8 / 255, steps=3), tiny, one, record=True), run(
        Noise(eps=8 / 255), tiny, one)
    made.store.put("me", Outcome("a photo", [Part(two.card(n), result, noise) for n in PAIR]))
    return made


def asks(session: str) -> Any:
    return SimpleNamespace(session_hash=session, headers={})


def test_the_page_asks_for_what_is_missing_and_then_gets_all(scene: Panels) -> None:
    page, sentence, _, menu = scene.show(asks("me"), *VIEW)
    assert json.loads(page) == {"missing": True} and not isinstance(sentence, str)
    drain(scene.spaces.prepare(scene.names("me")))
    page, sentence, numbers, menu = scene.show(asks("me"), *VIEW)
    data = json.loads(page)
    assert [p["name"] for p in data["panels"]] == list(PAIR) and not data["pending"]
    assert all(len(p["trail"]) == 4 == len(p["steps"]) for p in data["panels"])
    assert set(data["panels"][0]["thumbs"]) == {"clean", "attacked", "noise"}
    assert len(data["thumbs"]) == len(load_examples()) and "The attack turned" in sentence
    assert "rank of the true caption" in numbers and menu["choices"][0] == "a cat"
    page, sentence, numbers, _ = scene.show(asks("somebody else"), *VIEW)
    assert "no attack to show yet" in sentence and numbers == ""
    assert all(not p["trail"] for p in json.loads(page)["panels"])
    assert json.loads(scene.show(asks("me"), "umap", *VIEW[1:])[0])["pending"]
    assert scene.spaces.maps.wait(280)


def test_settings_that_are_wrong_get_one_sentence(scene: Panels) -> None:
    drain(scene.spaces.prepare(PAIR))
    for view in (("umap", 2, False, 15, 5, "cosine", 0, 10, "both"), ("pca", 7, *VIEW[2:]),
                 (*VIEW[:-1], "<b>"), ("umap", 2, False, 15, 0.1, "<b>", 0, 10, "both")):
        _, sentence, _, _ = scene.show(asks("me"), *view)
        assert "rx-error" in sentence


def test_slices_of_a_set(scene: Panels, tmp_path: Path) -> None:
    jobs = SpaceJobs(scene, Gate(Settings(at_once=1)))
    drain(scene.spaces.take_set("me", packed(tmp_path, broken=0), PAIR))
    own = scene.spaces.sets.last("me")
    assert own is not None
    assert jobs.rows(own, "me", SAMPLE, "", 99) == [0, 1, 2, 3, 4, 5]
    assert len(jobs.rows(own, "me", SAMPLE, "", 2)) == 2
    cats = jobs.rows(own, "me", SAMPLE, " CAT", 99)
    assert len(cats) == 3 and len(set(cats)) == 3
    jobs.lassos.put("me", ["own:1", "landmark:2", "own:4"])
    assert jobs.rows(own, "me", LASSO, "", 99) == [1, 4]
    for which, contains in ((LASSO, "zebra"), (SAMPLE, "zebra")):
        with pytest.raises(InputError, match="draw a lasso"):
            jobs.rows(own, "me", which, contains, 5)


def test_a_stopped_job_says_so_and_mistakes_are_sentences(scene: Panels) -> None:
    jobs, me = SpaceJobs(scene, Gate(Settings(at_once=1))), asks("me")
    ticket = jobs.tickets.take(me)
    lines = jobs.prepare(me, ticket)
    assert "Opening" in next(lines)
    jobs.stop(me)
    assert "Stopped." in list(lines)[-1]
    last = list(jobs.put(me, jobs.tickets.take(me), None))
    assert any(isinstance(said, str) and "Choose a file first" in said for said, _ in last)
    last = list(jobs.attack(me, jobs.tickets.take(me), SAMPLE, "", 5, 1))
    assert any(isinstance(said, str) and "on the map first" in said for said, _ in last)


def test_saliency_of_the_last_attack(scene: Panels) -> None:
    made: list[str] = []
    said = drain(saliency_job(scene.library, scene.store.last("me"), "gradient", "a dog", made))
    assert said is not None and said.last and len(made) == 2
    assert made[0].count("<img") == 3 and "“a dog”" in made[0] and made[0].count("<tr>") == 10
    with pytest.raises(InputError, match="run an attack"):
        drain(saliency_job(scene.library, None, "gradient", None, []))
    with pytest.raises(InputError, match="one of the captions"):
        drain(saliency_job(scene.library, scene.store.last("me"), "gradient", "a moose", []))
