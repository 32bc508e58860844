"""What an attack did in the true space, how it is laid out and drawn, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from explorer.analysis.embedding.figures import INKS, MANY, figure, labels, panel, short
from explorer.analysis.embedding.landmarks import (
    concepts,
    fingerprint,
    landmark_features,
    named,
    sentences,
)
from explorer.analysis.embedding.layout import (
    PROJECTIONS,
    Chosen,
    View,
    lay_out,
    mirrored,
    one_scale,
)
from explorer.analysis.embedding.shift import (
    EXAMPLE,
    LANDMARK,
    OWN,
    SENTENCE,
    Anchors,
    Attacked,
    among,
    angle,
    answer,
    attacked,
    caption_ranks,
    nearest,
    overlap,
    rank,
    shifts,
)
from explorer.analysis.embedding.state import SetAttack
from explorer.analysis.embedding.umaps import Maps
from explorer.analysis.embedding.words import numbers, sentence, set_table
from explorer.attacks.image.classic import PGD, Noise
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.base import diskcache
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.ui.embedding.near import lassoed, picked


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def result(tiny: DualEncoder, four: Pairs) -> Result:
    one = Pairs(four.images[:1], four.captions, four.labels[:1])
    return run(PGD(eps=16 / 255, steps=5), tiny, one, record=True)


@pytest.fixture(scope="module")
def noise(tiny: DualEncoder, four: Pairs) -> Result:
    one = Pairs(four.images[:1], four.captions, four.labels[:1])
    return run(Noise(eps=16 / 255), tiny, one)


def unit(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    unit_rows: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit_rows.astype(np.float32)


def anchors(texts: int = 30, images: int = 12, own: int = 0, dim: int = 16, name: str = "tiny",
            ) -> Anchors:
    kinds = (LANDMARK,) * texts + (EXAMPLE,) * images + (OWN,) * own
    keys = (*(f"landmark:{i}" for i in range(texts)), *(f"example:{i}" for i in range(images)),
            *(f"own:{i}" for i in range(own)))
    return Anchors(name, keys, tuple(f"<b>{k}</b>" for k in keys), kinds, unit(len(keys), dim))


def test_points_and_arrows_of_a_real_attack(result: Result, noise: Result) -> None:
    found = attacked(result, noise)
    assert [p.key for p in found.points] == [
        "clean", "attacked", "noise", *(f"caption:{k}" for k in range(4))]
    assert found.arrows == (("clean", "attacked", "attack"), ("clean", "noise", "noise"))
    assert found.true == "caption:0" and found.trail.shape == (6, 16) == (len(found.steps), 16)
    assert np.allclose(found.trail[0], found["clean"].features, atol=1e-5)
    assert np.allclose(found.trail[-1], found["attacked"].features, atol=1e-5)
    became = found.became("clean")
    assert became is not None and became.key == "attacked" and found.became("noise") is None


def test_changed_captions_get_arrows_of_their_own(result: Result, tiny: DualEncoder) -> None:
    words = ("a bat", *result.captions[1:])
    text = tiny.encode_text(words)
    moved = replace(result, kind="joint", adversarial_captions=(words,), adversarial_text=text)
    for form in (moved, replace(moved, adversarial_text=text[None])):
        found = attacked(form)
        assert ("caption:0", "attacked:0", "attack") in found.arrows
        assert found["attacked:0"].name == "a bat" and not found["attacked:0"].is_image
        assert "The true caption’s turned by" in sentence([("tiny", anchors(), found)])
        second = shifts(found)[1]
        assert second.name == "a cat" and second.noise is None and second.ratio is None
        assert second.angle == pytest.approx(
            angle(text[0].numpy(), result.text_features[0].numpy()))


def test_points_without_finite_features_are_left_out_and_counted(result: Result) -> None:
    features = result.adversarial.features.clone()
    features[0, 3] = float("nan")
    broken = replace(result, adversarial=replace(result.adversarial, features=features))
    found = attacked(broken)
    assert not found.has("attacked") and found.arrows == () and found.dropped == 1
    made = Anchors("m", ("landmark:0", "landmark:1"), ("a", "b"), (LANDMARK,) * 2,
                   np.array([[1, 0], [np.nan, 0]], np.float32))
    assert made.keys == ("landmark:0",) and made.dropped == 1 and len(made.features) == 1
    at = lay_out(anchors(), found, View(), Maps())
    assert "1 point has no finite features and is left out." in at.notes


@pytest.mark.parametrize("degrees", [0, 1e-4, 0.5, 45, 90, 179.999, 180])
def test_angles_are_exact_where_the_cosine_is_flat(degrees: float) -> None:
    r = np.radians(degrees)
    assert angle(np.array([1, 0]), np.array([np.cos(r), np.sin(r)])) == pytest.approx(
        degrees, abs=1e-7)


def test_shift_ranks_and_overlap(result: Result, noise: Result) -> None:
    (shift,) = shifts(attacked(result, noise))
    assert shift.cosine == pytest.approx(float(result.image_cosine[0]), abs=1e-6)
    assert shift.angle == pytest.approx(np.degrees(np.arccos(shift.cosine)), abs=1e-2)
    assert shift.noise is not None and shift.ratio == pytest.approx(shift.angle / shift.noise)
    assert caption_ranks(attacked(result)) == (
        rank(result.clean.cosines[0].numpy(), 0), rank(result.adversarial.cosines[0].numpy(), 0), 4)
    assert rank(np.array([0.5, 0.5, 0.9]), 0) == 2
    a = [("x", "x", 1.0), ("y", "y", 0.9)]
    assert overlap(a, [("y", "y", 1.0), ("z", "z", 0.9)]) == 0.5 and overlap([], a) is None


def test_neighbours_are_those_of_brute_force() -> None:
    known = anchors()
    near = nearest(known.features[4], known, False, 5, skip="landmark:4")
    cosines = known.features[:30] @ known.features[4]
    cosines[4] = -2
    assert [key for key, _, _ in near] == [f"landmark:{i}" for i in np.argsort(-cosines)[:5]]
    assert near[0][2] == pytest.approx(float(cosines.max()))
    assert len(nearest(known.features[0], known, True, 99)) == 12


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("centre", [False, True])
def test_every_view_lays_out_every_point(
    result: Result, noise: Result, projection: str, dims: int, centre: bool,
) -> None:
    known, found, maps = anchors(own=4), attacked(result, noise), Maps()
    view = View(projection, dims, centre)
    chosen = Chosen(np.array([42, 43]), unit(2, seed=5))
    if projection == "umap":
        waiting = lay_out(known, found, view, maps, chosen)
        assert waiting.drawn == "pca" and "PCA is shown until it is ready" in waiting.notes[-1]
        assert maps.wait(240)
    at = lay_out(known, found, view, maps, chosen)
    assert at.drawn == projection and ("trustworthiness" in at.quality)
    for rows, n in ((at.anchors, 46), (at.points, 7), (at.trail, 6), (at.chosen, 2)):
        assert rows.shape == (n, dims) and np.isfinite(rows).all()
    assert set(at.shown) == {("clean", "attacked"), ("clean", "noise")}
    if projection == "plane":
        assert at.shown["clean", "attacked"] == pytest.approx(1, abs=1e-6)
    if projection == "pca":
        assert all(v is not None and v <= 1 + 1e-9 for v in at.shown.values())
        assert np.allclose(at.trail[-1], at.points[1], atol=1e-4)
    assert any("own mean, of 16 pictures (few" in n for n in at.notes) == centre
    assert any("the modality gap: their means lie" in n for n in at.notes) != centre
    drawn = figure(known, found, at, view, chosen)
    import plotly.graph_objects as go

    made = go.Figure(drawn)  # the package checks every property of it
    assert len(made.data) == len(drawn["data"]) and json.dumps(drawn)


def test_axes_do_not_follow_the_attack(result: Result, noise: Result) -> None:
    known = anchors()
    first = lay_out(known, None, View(), Maps())
    second = lay_out(known, attacked(result, noise), View(), Maps())
    assert np.array_equal(first.anchors, second.anchors)


def test_a_plane_of_an_attack_on_words_alone_starts_at_the_caption(
    result: Result, tiny: DualEncoder,
) -> None:
    words = ("a bat", *result.captions[1:])
    still = replace(
        result, kind="text", adversarial_captions=(words,),
        adversarial_text=tiny.encode_text(words), linf_255=torch.zeros(1),
        adversarial=result.clean, trail=None, frames=None)
    found = attacked(still)
    assert found.arrows == (("caption:0", "attacked:0", "attack"),)
    at = lay_out(anchors(), found, View("plane"), Maps())
    assert at.shown["caption:0", "attacked:0"] == pytest.approx(1, abs=1e-6)
    assert "true caption, clean and attacked" in at.quality
    assert at.titles == ("towards the attacked caption", "towards the picture")
    said = {one["text"]: (one["x"], one["y"]) for one in labels(found, at)}
    assert said["attacked: a bat"][0] > 0 == said["true: a cat"][0] == said["true: a cat"][1]
    assert "caption’s embedding" in sentence([("tiny", anchors(), found)])


@pytest.mark.parametrize(("known", "words"), [
    (Anchors("tiny", ("landmark:0",), ("a",), (LANDMARK,), unit(1)), "too few different points"),
    (Anchors("tiny", ("example:0",), ("a",), (EXAMPLE,), unit(1)), "too few different points"),
    (Anchors("tiny", tuple(f"landmark:{i}" for i in range(9)), ("a",) * 9, (LANDMARK,) * 9,
             np.repeat(unit(1), 9, 0)), "too few different points"),
])
def test_one_point_or_identical_points_are_a_smaller_true_picture(
    result: Result, known: Anchors, words: str,
) -> None:
    for view in (View(), View("plane"), View(dims=3, centre=True)):
        at = lay_out(known, attacked(result), view, Maps())
        assert np.isfinite(at.points).all() and words in at.quality
        assert json.dumps(panel("a", "robust", known, attacked(result), at, view))
    if len(known.keys) > 1:
        assert any("on one spot" in n for n in at.notes)
    maps = Maps()
    lay_out(known, attacked(result), View("umap"), maps)
    assert maps.wait(60)
    at = lay_out(known, attacked(result), View("umap"), maps)
    assert at.drawn == "pca" and "at least 5 different" in at.notes[-1]


def test_no_point_at_all_and_no_attack_are_said_in_words(result: Result) -> None:
    none = Anchors("tiny", (), (), (), np.empty((0, 16), np.float32))
    with pytest.raises(InputError, match="no clean point"):
        lay_out(none, None, View(), Maps())
    at = lay_out(anchors(), None, View("plane"), Maps())
    assert at.drawn == "pca" and "no attack" in at.notes[-1]
    assert "run one in the Attack tab" in sentence([("tiny", anchors(), None)])
    with pytest.raises(InputError, match="projection"):
        View("tsne")
    with pytest.raises(InputError, match="projection"):
        View(dims=4)


def test_one_caption_and_nothing_changed(tiny: DualEncoder, four: Pairs) -> None:
    one = Pairs(four.images[:1], ("a cat",), torch.tensor([0]))
    still = run(PGD(eps=0.0, steps=2), tiny, one, goal="similarity")
    found = attacked(still)
    assert found.arrows == () and caption_ranks(found) == (1, 1, 1)
    at = lay_out(anchors(), found, View("plane"), Maps())
    assert "Nothing moved" in at.quality and np.isfinite(at.points).all()
    assert "no embedding" in sentence([("tiny", anchors(), found)])


def test_models_of_different_sizes_stand_side_by_side(result: Result, noise: Result) -> None:
    small, large = anchors(), anchors(dim=24, name="large")
    found = attacked(result, noise)
    grown = Attacked(tuple(replace(p, features=np.pad(p.features, (0, 8))) for p in found.points),
                     found.arrows, np.pad(found.trail, ((0, 0), (0, 8))), found.steps, found.true)
    sides = [("tiny", small, found), ("large", large, grown)]
    layouts = [lay_out(a, f, View(), Maps()) for _, a, f in sides]
    page = numbers(sides, [at.shown for at in layouts], 5)
    assert "16 and 24 numbers" in page and "places cannot" in page
    assert picked("clean", sides, [None, None], 5).count("<section") == 2


def test_both_maps_have_one_scale_or_none(result: Result) -> None:
    found, wide = attacked(result), anchors()
    near = replace(wide, features=wide.features * 0.5)
    for projection in ("plane", "pca"):
        layouts = [lay_out(a, found, View(projection), Maps()) for a in (near, wide)]
        side, said = one_scale(layouts)
        assert side is not None and "one scale" in said and ("true length" in said) == (
            projection == "plane")
        spans = []
        for a, at in zip((near, wide), layouts, strict=True):
            drawn = figure(a, found, at, View(projection), None, side)["layout"]
            every = np.concatenate([at.anchors, at.points])
            for k, axis in enumerate(("xaxis", "yaxis")):
                low, high = drawn[axis]["range"]
                assert low < every[:, k].min() and every[:, k].max() < high
                spans.append(high - low)
        assert np.ptp(spans) < 1e-3
    umap = replace(layouts[0], drawn="umap")
    assert one_scale([umap, layouts[1]]) == one_scale([umap, umap])
    assert one_scale([umap])[0] is None and "do not compare" in one_scale([umap])[1]


def test_the_new_answer_is_named_on_the_map(result: Result, tiny: DualEncoder) -> None:
    found = attacked(result)
    now = answer(found)
    assert now is not None
    assert now.name == result.captions[int(result.adversarial.prediction[0])]
    said = [one["text"] for one in labels(found, lay_out(anchors(), found, View(), Maps()))]
    assert any(text.startswith("new answer: ") for text in said) == (now.key != found.true)
    assert len(said) == len(set(said)) and {"clean", "attacked"} <= set(said)


def test_another_models_map_is_mirrored_to_match() -> None:
    at = lay_out(anchors(), None, View(), Maps())
    turned = replace(at, anchors=at.anchors * [-1, 1])
    assert np.allclose(mirrored(turned, at).anchors, at.anchors)
    other = lay_out(anchors(texts=5), None, View(), Maps())
    assert mirrored(other, at) is other


def test_words_and_tables(result: Result, noise: Result) -> None:
    known, found = anchors(own=3), attacked(result, noise)
    sides = [("left", known, found), ("right", known, found)]
    said = sentence(sides)
    assert said.count("°") == 4 and "random noise of the same size" in said and "1.0 ×" in said
    at = lay_out(known, found, View("plane"), Maps())
    page = numbers(sides, [at.shown] * 2, 5)
    for words in ("overlap@5", "rank of the true caption", "attack over noise", "100 %",
                  "turned, left over right"):
        assert words in page
    near = picked("attacked", sides, [None, None], 5)
    assert near.count("<h5>clean</h5>") == 4 and "overlap@5" in near
    assert "<b>landmark" not in near and "&lt;b&gt;landmark" in near, "names must be escaped"
    assert "with noise" in picked("noise", sides, [None, None], 5)
    assert "share 100 %" in picked("landmark:3", sides, [None, None], 5)
    assert "not on the map" in picked("nothing", sides, [None, None], 5)


def test_an_attack_on_a_set_in_words() -> None:
    known = anchors(own=5)
    made = SetAttack(Chosen(np.array([42, 44]), unit(2, seed=9)), np.array([10.0, 30.0]),
                     np.array([1.0, 3.0]), np.array([True, True]), np.array([True, False]), 2.0)
    page = set_table({"m": made})
    assert "20°" in page and "2.0°" in page and "10 ×" in page and "1 of 2" in page
    near = picked("own:0", [("m", known, None)], [made], 3)
    assert "attacked" in near
    assert picked("after:own:0", [("m", known, None)], [made], 3) == near
    said = lassoed(["own:0", "own:1", "landmark:2", "clean"], known, made)
    assert "3 background points selected, 2 of them your pictures" in said and "10°" in said
    assert "No background point" in lassoed(["clean"], known, None)


def test_many_points_get_a_density_and_drawn_by_the_fast_path() -> None:
    known = anchors(own=MANY + 1)
    at = lay_out(known, None, View(), Maps())
    drawn = figure(known, None, at, View())
    kinds = [t["type"] for t in drawn["data"]]
    assert kinds.count("histogram2dcontour") == 1 and kinds.count("scattergl") == 3
    few = figure(anchors(own=9), None, lay_out(anchors(own=9), None, View(), Maps()), View())
    assert [t["type"] for t in few["data"]] == ["scatter"] * 3
    assert all(len(pair) == 2 for pair in INKS.values())


def test_captions_cannot_become_markup_in_the_picture() -> None:
    assert short("<a href='x'>" + "y" * 40) == "&lt;a href=&#x27;x&#x27;&gt;yyyyyyyyyyyyy…"


def test_landmarks_are_read_once_a_model(tiny: DualEncoder) -> None:
    names = ("cat", "dog", "sea")
    captions = named(names)

    def take() -> tuple[int, np.ndarray]:
        work, steps = landmark_features(tiny, captions), 0
        while True:
            try:
                next(work)
                steps += 1
            except StopIteration as stop:
                return steps, stop.value

    steps, first = take()
    again, second = take()
    assert steps == 1 and again == 0 and np.array_equal(first, second)
    assert np.allclose(first, tiny.encode_text([f"a photo of a {n}" for n in names]).numpy(),
                       atol=5e-4)  # kept in half precision
    assert len(fingerprint(tiny)) == 64 and len(list(diskcache.folder().glob("*.npz"))) == 1


def test_the_landmarks_are_a_thousand_distinct_words_with_a_notice() -> None:
    words = concepts()
    assert 950 <= len(words) == len(set(words)) <= 1_050
    notice = (Path(__file__).parents[1] / "assets" / "landmarks" / "NOTICE.md").read_text("utf-8")
    assert f"{len(words)} nouns" in notice and "WordNet 3.0 Copyright 2006" in notice


def test_the_sentences_are_everyday_ones_in_groups() -> None:
    said, file = sentences(), Path(__file__).parents[1] / "assets" / "landmarks" / "sentences.txt"
    assert 150 <= len(said) == len(set(said)) <= 200 and not set(said) & set(named(concepts()))
    assert all(5 <= len(one.split()) <= 14 and one == one.strip(". ") for one in said)
    groups = [line for line in file.read_text("utf-8").splitlines() if line.startswith("#")]
    assert len(groups) >= 12
    notice = (file.parent / "NOTICE.md").read_text("utf-8")
    assert f"{len(said)} everyday sentences" in notice


def mixed() -> Anchors:
    """Three concepts, two sentences, one example, two pictures of one's own."""
    kinds = (LANDMARK,) * 3 + (SENTENCE,) * 2 + (EXAMPLE,) + (OWN,) * 2
    keys = tuple(f"{kind}:{i}" for i, kind in enumerate(kinds))
    return Anchors("m", keys, keys, kinds, unit(8))


@pytest.mark.parametrize(("landmarks", "gone"), [("both", None), ("things", SENTENCE),
                                                 ("sentences", LANDMARK)])
def test_the_landmarks_that_are_looked_at(landmarks: str, gone: str | None) -> None:
    """Drawn, listed as neighbours, and every other point stays."""
    every = mixed()
    shown = among(every, landmarks)
    assert set(every.kinds) - set(shown.kinds) == ({gone} if gone else set())
    assert among(every, landmarks) is shown and (shown is every) == (gone is None)
    rows = [i for i, kind in enumerate(every.kinds) if kind != gone]
    assert np.array_equal(shown.features, every.features[rows])
    near = nearest(every.features[0], shown, False, 9)
    assert {key.split(":")[0] for key, _, _ in near} == {LANDMARK, SENTENCE} - {gone}
    view = View(landmarks=landmarks)
    drawn = figure(shown, None, lay_out(shown, None, view, Maps()), view)
    inks = {trace["meta"].get("ink") for trace in drawn["data"]}
    assert inks == set(shown.kinds)
    assert {key for t in drawn["data"] for key, _ in t["customdata"]} == set(shown.keys)


def test_an_attack_on_a_set_keeps_its_places_when_landmarks_go() -> None:
    every, rows = mixed(), np.array([6, 7])
    made = SetAttack(Chosen(rows, every.features[rows]), np.zeros(2), np.zeros(2),
                     np.ones(2, bool), np.ones(2, bool), 1.0)
    for landmarks in ("things", "sentences"):
        shown = among(every, landmarks)
        moved = made.without(len(every.keys) - len(shown.keys))
        assert [shown.keys[i] for i in moved.chosen.rows] == ["own:6", "own:7"]
    with pytest.raises(InputError, match="landmarks must be one of both, things, sentences"):
        View(landmarks="words")
