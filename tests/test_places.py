"""The sets that a visitor may name: shipped ones, those of the data folder, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import grid_images
from sets import picture, write_folder

from explorer.base.errors import InputError
from explorer.data.pairs import open_image, to_image
from explorer.data.registry import (
    CATALOGUE,
    CROPS,
    KINDS,
    NAMES,
    PHOTOS,
    PLACES,
    SERVER,
    UPLOAD,
    listed,
    open_place,
    shipped,
)
from explorer.data.sets import Examples, RetrievalSet


def test_the_shipped_sets_open(tmp_path: Path) -> None:
    for name, size, answers in ((PHOTOS, 12, 12), (PLACES, 12, 12), (CROPS, 200, 12),
                                (NAMES, 100, 100), (KINDS, 20, 8)):
        found = open_place(name, limit=size, work=tmp_path)
        assert isinstance(found, Examples)
        assert (len(found), len(found.captions)) == (size, answers)
    assert [name for _, name in shipped()] == [PHOTOS, PLACES, CROPS, KINDS, NAMES]
    assert [name for _, name in shipped(retrieval=True)] == [PHOTOS, PLACES, NAMES]


def test_parts_of_the_photos_are_the_same_in_any_order() -> None:
    """Each photo in turn, a square, the same bytes for the same number."""
    found = open_place(CROPS)
    source = found.source
    whole = list(source.pictures(range(200)))
    assert list(source.pictures([150, 3])) == [whole[150], whole[3]]
    assert len(set(whole)) == 200 and source.answers[0] == source.answers[12]
    assert source.name(13).endswith("part 2") and open_image(whole[7]).size == (160, 160)


def test_what_lies_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPLORER_DATA", raising=False)
    assert listed("") == []
    for kind, pixels in zip(("cat", "dog"), grid_images(2, 16), strict=True):
        (tmp_path / "mine" / kind).mkdir(parents=True)
        to_image(pixels).save(tmp_path / "mine" / kind / "1.png")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").touch()
    assert listed(tmp_path) == [("mine, in the data folder", f"{SERVER}mine")]
    found = open_place(f"{SERVER}mine", tmp_path)
    assert found.captions == ("a photo of a cat", "a photo of a dog")


def test_a_retrieval_set_is_read_as_pictures_with_a_caption_each(tmp_path: Path) -> None:
    entries = [{"filename": f"{k}.jpg", "split": "test", "sentences": [{"raw": t}, {"raw": "x"}]}
               for k, t in enumerate(("a cat", "the sea"))]
    write_folder(tmp_path / "flickr30k", {
        "dataset_flickr30k.json": json.dumps({"images": entries}).encode(),
        **{f"flickr30k-images/{k}.jpg": picture(9 * k) for k in range(2)}})
    found = open_place(f"{CATALOGUE}flickr30k", tmp_path)
    assert isinstance(found, Examples) and found.captions == ("a cat", "the sea")
    both = open_place(f"{CATALOGUE}flickr30k", tmp_path, retrieval=True)
    assert isinstance(both, RetrievalSet) and len(both.captions) == 4


@pytest.mark.parametrize(("name", "words"), [
    ("nonsense", "there is no data set"), (f"{SERVER}../secret", "in the data folder"),
    (f"{SERVER}.hidden", "in the data folder"), (f"{SERVER}/etc", "in the data folder"),
    (f"{SERVER}..", "in the data folder"), (UPLOAD, "upload it again"),
])
def test_nothing_else_opens(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".hidden").mkdir()
    (tmp_path / "secret").mkdir()
    with pytest.raises(InputError, match=words):
        open_place(name, tmp_path / "data", work=tmp_path)
