"""Axes, planes and maps: fitted once on clean points, seeded, safe between threads, honest."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.analysis.embedding.projection import (
    Axes,
    Centres,
    attack_plane,
    fit_pca,
    flip_to,
    length_kept,
    trustworthiness,
)
from explorer.analysis.embedding.umaps import FEWEST, Maps, UmapSettings, fit_umap
from explorer.base import diskcache
from explorer.base.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
QUICK = UmapSettings(neighbours=8)


def unit(n: int, dim: int = 32, seed: int = 0, groups: int = 6) -> np.ndarray:
    """Unit rows around a few centres."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(groups, dim))[random.integers(0, groups, n)] + 0.4 * random.normal(
        size=(n, dim))
    unit_rows: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit_rows.astype(np.float32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_pca_is_that_of_the_well_known_package() -> None:
    from sklearn.decomposition import PCA

    points = unit(80)
    axes, known = fit_pca(points, 3), PCA(3, svd_solver="full").fit(points)
    ours, theirs = axes.transform(points), known.transform(points)
    assert np.abs(np.abs(ours) - np.abs(theirs)).max() < 1e-5
    assert np.allclose(axes.kept, known.explained_variance_ratio_, atol=1e-6)


def test_a_fit_is_the_same_again_and_a_batch_equals_its_parts() -> None:
    points = unit(60)
    axes, again = fit_pca(points), fit_pca(points)
    assert np.array_equal(axes.directions, again.directions)
    whole = axes.transform(points)
    assert np.array_equal(whole[:7], axes.transform(points[:7]))
    assert np.allclose(np.concatenate([axes.transform(p[None]) for p in points]), whole, atol=1e-12)


def test_attacked_points_do_not_move_the_axes() -> None:
    points = unit(50)
    axes = fit_pca(points)
    before = axes.transform(points)
    axes.transform(points + 5)
    assert np.array_equal(axes.transform(points), before)


@pytest.mark.parametrize("points", [unit(1), np.repeat(unit(1), 9, 0), unit(2), unit(5, dim=2),
                                    unit(4, dim=1)])
def test_few_identical_or_flat_points_land_somewhere_finite(points: np.ndarray) -> None:
    axes = fit_pca(points, 3)
    placed = axes.transform(points)
    assert placed.shape == (len(points), 3) and np.isfinite(placed).all()
    assert len(axes.titles) == 3 and np.isfinite(axes.kept).all()
    if np.allclose(points, points[0]):
        assert np.abs(placed).max() < 1e-6 and axes.kept.sum() == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 1.5), st.integers(2, 3))
def test_lengths_in_the_attack_plane_are_those_of_the_cosines(
    seed: int, size: float, dims: int,
) -> None:
    """Of unit vectors, |a - b|^2 = 2 - 2 cos(a, b); both arrows lie in the plane whole."""
    random = np.random.default_rng(seed)
    clean, caption, step = (v / np.linalg.norm(v) for v in random.normal(size=(3, 32)))
    moved = clean + size * step
    moved /= np.linalg.norm(moved)
    axes = attack_plane(clean, moved, caption, unit(30, seed=seed), dims)
    at_clean, at_moved, at_caption = axes.transform(np.stack([clean, moved, caption]))
    for a, b, x, y in ((clean, moved, at_clean, at_moved), (clean, caption, at_clean, at_caption),
                       (moved, caption, at_moved, at_caption)):
        assert np.isclose(np.linalg.norm(x - y), np.sqrt(2 - 2 * float(a @ b)), atol=1e-6)
    assert np.allclose(at_clean, 0, atol=1e-9) and abs(at_moved[1]) < 1e-9 and at_moved[0] > 0
    assert np.allclose(axes.directions @ axes.directions.T, np.eye(dims), atol=1e-9)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_plane_without_a_shift_or_caption_has_axes_from_the_background(dims: int) -> None:
    points = unit(20)
    axes = attack_plane(points[0], points[0], points[0], points, dims)
    assert np.allclose(axes.directions @ axes.directions.T, np.eye(dims), atol=1e-9)
    flat = np.repeat(points[:1], 5, 0)
    none = attack_plane(points[0], points[0], points[0], flat, dims)
    assert np.isfinite(none.transform(flat)).all() and none.kept.sum() == 0


@pytest.mark.parametrize("k", [3, 10])
def test_trustworthiness_is_that_of_the_well_known_package(k: int) -> None:
    from sklearn.manifold import trustworthiness as known

    points = unit(120).astype(np.float64)
    for drawn in (fit_pca(points, 2).transform(points),
                  np.random.default_rng(1).normal(size=(120, 2))):
        ours = trustworthiness(points, drawn, k)
        assert ours is not None and np.isclose(ours, known(points, drawn, n_neighbors=k), atol=1e-9)
    assert trustworthiness(points, points, k) == 1


def test_trustworthiness_has_no_value_for_too_few_or_identical_points() -> None:
    assert trustworthiness(unit(2), unit(2, dim=2)) is None
    assert trustworthiness(np.repeat(unit(1), 30, 0), np.zeros((30, 2))) is None
    assert trustworthiness(unit(1_500), fit_pca(unit(1_500), 2).transform(unit(1_500))) is not None


def test_centring_closes_the_gap_and_keeps_differences_within_a_modality() -> None:
    points, images = unit(40), np.arange(40) < 15
    points[images] += 0.7
    centres = Centres.of(points, images)
    moved = centres.subtract(points, images)
    assert np.abs(moved[images].mean(0)).max() < 1e-6 > np.abs(moved[~images].mean(0)).max()
    assert np.allclose(moved[0] - moved[1], points[0] - points[1], atol=1e-6)
    assert centres.gap == pytest.approx(float(np.linalg.norm(centres.image - centres.text)))
    alone = Centres.of(points, np.zeros(40, bool))
    assert not alone.image.any()


def test_mirroring_brings_two_maps_together() -> None:
    drawn = fit_pca(unit(30), 2).transform(unit(30))
    assert flip_to(drawn, drawn * [1, -1]).tolist() == [1, -1]


def test_the_length_of_an_arrow_that_is_seen() -> None:
    axes = Axes(np.zeros(2), np.array([[1.0, 0.0]]), np.ones(1), ("x",))
    a, b = np.array([0.0, 0.0]), np.array([3.0, 4.0])
    at, to = axes.transform(np.stack([a, b]))
    assert length_kept(a, b, at, to) == pytest.approx(0.6)
    assert length_kept(a, a, at, at) is None


def test_umap_is_seeded_restored_from_disk_exactly_and_transforms(own_cache: Path) -> None:
    points, fresh = unit(90), unit(6, seed=3)
    first = fit_umap(points, 2, QUICK)
    files = list(own_cache.glob("umap-*.npz"))
    assert len(files) == 1 and first.coordinates.shape == (90, 2)
    restored = fit_umap(points, 2, QUICK)
    assert np.array_equal(first.coordinates, restored.coordinates)
    assert np.array_equal(first.transform(fresh), restored.transform(fresh))
    files[0].unlink()
    again = fit_umap(points, 2, QUICK)
    assert np.array_equal(first.coordinates, again.coordinates)
    other = fit_umap(points, 2, UmapSettings(neighbours=8, seed=1))
    assert not np.array_equal(first.coordinates, other.coordinates)
    assert np.array_equal(first.transform(points), first.coordinates)


def test_umap_calls_at_the_same_time_give_what_they_give_alone() -> None:
    points = unit(60)
    made = fit_umap(points, 2, QUICK)
    queries = [unit(5, seed=s) for s in range(8)]
    alone = [made.transform(q) for q in queries]
    together: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda i=i: together.update({i: made.transform(queries[i])}))
               for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(together[i], alone[i]) for i in range(8))


def test_umap_with_fewer_points_than_neighbours_says_so() -> None:
    made = fit_umap(unit(9), 2, UmapSettings(neighbours=50))
    assert "lowered to 8" in made.note and np.isfinite(made.coordinates).all()
    assert made.transform(unit(2, seed=5)).shape == (2, 2)


@pytest.mark.parametrize("points", [unit(1), unit(FEWEST - 1), np.repeat(unit(1), 50, 0)])
def test_umap_of_too_few_different_points_is_refused_in_words(points: np.ndarray) -> None:
    with pytest.raises(InputError, match=f"at least {FEWEST} different"):
        fit_umap(points, 2, QUICK)


@pytest.mark.parametrize(("change", "words"), [
    ({"metric": "x"}, "metric"), ({"neighbours": 1}, "n_neighbors"), ({"min_dist": 1}, "min_dist"),
    ({"min_dist": float("nan")}, "min_dist"),
])
def test_umap_settings_outside_the_rules_are_refused(
    change: dict[str, object], words: str,
) -> None:
    with pytest.raises(InputError, match=words):
        UmapSettings(**change)  # type: ignore[arg-type]


def test_maps_are_fitted_behind_the_page_once() -> None:
    points, maps = unit(40), Maps()
    calls: list[int] = []

    def anchors() -> np.ndarray:
        calls.append(1)
        return points

    assert maps.get("a", anchors, 2, QUICK) is None and maps.get("a", anchors, 2, QUICK) is None
    assert maps.wait(240)
    ready = maps.get("a", anchors, 2, QUICK)
    assert ready is not None and len(calls) == 1
    assert np.array_equal(ready.coordinates, fit_umap(points, 2, QUICK).coordinates)
    assert maps.get("b", lambda: points[:2], 2, QUICK) is None
    assert maps.wait(60)
    with pytest.raises(InputError, match="different"):
        maps.get("b", lambda: points[:2], 2, QUICK)


def test_a_cached_file_that_is_damaged_or_cannot_be_written_is_no_error(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    name = diskcache.key("x", ["a", b"b", np.arange(3)])
    assert name != diskcache.key("x", ["ab", b"", np.arange(3)])
    assert diskcache.load(name) is None
    assert diskcache.save(name, {"v": np.arange(3)})
    held = diskcache.load(name)
    assert held is not None and held["v"].tolist() == [0, 1, 2]
    (own_cache / f"{name}.npz").write_bytes(b"PK\3\4 cut short")
    assert diskcache.load(name) is None
    assert not list(own_cache.glob("*.part"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "file" / "under"))
    assert not diskcache.save(name, {"v": np.arange(3)})


def test_old_cached_files_go(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diskcache, "KEEP", 3)
    for i in range(5):
        diskcache.save(f"x-{i}", {"v": np.arange(i)})
    assert len(list(own_cache.glob("*.npz"))) == 3


def test_importing_the_app_imports_neither_umap_nor_numba() -> None:
    code = ("import sys, explorer.ui.shell, explorer.ui.embedding.tab;"
            "print(sorted({'umap', 'numba', 'sklearn', 'plotly'} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
