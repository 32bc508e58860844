"""What comes with the app is what the app asks for now; says what is stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from explorer.analysis.embedding.landmarks import (
    concepts,
    known_landmarks,
    known_pictures,
    landmark_name,
)
from explorer.base.diskcache import SHIPPED
from explorer.data.examples import load_examples
from explorer.models.library import Library
from tools.shipping import MOST, NOTICE, Shipped, ship, stale, things


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))


def test_nothing_shipped_is_stale(library: Library, bare: None) -> None:
    """Fails when the models, landmarks, photos or maps have changed: run `make shipped`."""
    assert stale(things(library)) == []


@pytest.mark.parametrize("name", ("pocket", "pocket-robust"))
def test_a_fresh_installation_need_not_read_the_landmarks(library: Library, bare: None,
                                                          name: str) -> None:
    model, files = library.load(name), [e.path for e in load_examples().values()]
    words, seen = known_landmarks(model), known_pictures(model, files)
    assert words is not None and words.shape == (len(concepts()), model.dim)
    assert seen is not None and seen.shape == (len(files), model.dim)
    read = model.encode_text([f"a photo of a {w}" for w in concepts()[:3]]).numpy()
    assert abs(words[:3] - read).max() < 5e-4  # kept in half precision
    assert abs((words**2).sum(1) - 1).max() < 1e-5
    assert (SHIPPED / f"{landmark_name(model, concepts())}.npz").exists()


def test_making_fills_what_is_missing_and_drops_what_nobody_asks_for(tmp_path: Path) -> None:
    made: list[str] = []

    def thing(name: str) -> Shipped:
        def make() -> bytes:
            made.append(name)
            return name.encode()

        return Shipped(f"the {name}", f"{name}.bin", make)

    old, new = [thing("a"), thing("b")], [thing("b"), thing("c")]
    assert stale(old, tmp_path) == ["the a is missing", "the b is missing"]
    list(ship(old, tmp_path))
    (tmp_path / NOTICE).write_text("from where", encoding="utf-8")
    assert stale(old, tmp_path) == [] and made == ["a", "b"]
    assert stale(new, tmp_path) == ["the c is missing", "a.bin is what nothing asks for any more"]
    assert list(ship(new, tmp_path)) == ["deleted a.bin", "made the c: 1 bytes"]
    assert stale(new, tmp_path) == [] and made == ["a", "b", "c"]
    (tmp_path / "c.bin").write_bytes(bytes(MOST))
    assert "more than" in stale(new, tmp_path)[0]
