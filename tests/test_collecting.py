"""What a person hands in: archives, loose pictures, tables and typed lines."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from explorer.base.errors import InputError
from explorer.data.listed import UNLISTED
from explorer.data.registry import UPLOAD, open_place
from explorer.data.sets import Examples
from explorer.data.tables import UNTOLD
from explorer.data.uploads import NOT_A_PICTURE, UNUSED, WORDLESS, collect


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 24), (shade, 80, 200 - shade)).save(out, "PNG")
    return out.getvalue()


def photos(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(40 * number))
    return paths


def packed(path: Path, members: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def shown(out: Path) -> dict[str, int]:
    """Caption -> how many pictures of it are read back."""
    examples = open_place(UPLOAD, work=out)
    assert isinstance(examples, Examples)
    names = [examples.captions[label] for label in examples.labels]
    return {name: names.count(name) for name in names}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_loose_photos_are_told_of_by_lines_in_the_order_of_their_names(
    tmp_path: Path, out: Path,
) -> None:
    files = photos(tmp_path / "in", "b.png", "a.png")
    got = collect(files, ["a cat", "", " a dog "], out)
    assert got.name == "2 photos" and len(got.report) == 0
    with zipfile.ZipFile(got.path) as archive:
        assert archive.read("table.csv").decode().split() == [
            "image,caption", "a.png,a", "cat", "b.png,a", "dog"]
    assert shown(out) == {"a cat": 1, "a dog": 1}


def test_lines_may_name_the_files_and_leave_some_out(tmp_path: Path, out: Path) -> None:
    files = photos(tmp_path / "in", "a.png", "b.png", "c.png")
    got = collect(files, ["c.png: a cat", "a.png: a dog"], out)
    assert got.report.names == {WORDLESS: ["b.png"]}
    assert shown(out) == {"a dog": 1, "a cat": 1}


def test_file_names_say_it_where_nothing_else_does(tmp_path: Path, out: Path) -> None:
    files = photos(tmp_path / "in", "red_fox-02.png", "grey owl.png", "IMG_0412.png")
    got = collect(files, [], out)
    assert got.report.names == {WORDLESS: ["IMG_0412.png"]}
    assert shown(out) == {"grey owl": 1, "red fox": 1}


def test_a_table_among_the_photos(tmp_path: Path, out: Path) -> None:
    files = photos(tmp_path / "in", "a.png", "b.png", "c.png", "d.png")
    table = tmp_path / "in" / "mine.csv"
    table.write_bytes("sep=;\nImage;Label\na.png;caf\u00e9\nb.png;\nc.png;tea\nz.png;milk\n".encode(
        "utf-16"))
    got = collect([*files, table], [], out)
    examples = open_place(UPLOAD, work=out)
    assert isinstance(examples, Examples) and len(examples) == 2
    assert set(examples.captions) == {"a photo of a caf\u00e9", "a photo of a tea"}
    assert examples.report.names == {
        UNTOLD: ["b.png"], "listed, but not there": ["z.png"], UNLISTED: ["b.png", "d.png"]}
    assert got.name == "4 photos"


def test_lines_go_before_a_table_which_is_told(tmp_path: Path, out: Path) -> None:
    files = photos(tmp_path / "in", "a.png", "b.png")
    table = tmp_path / "in" / "t.csv"
    table.write_text("image,caption\na.png,wrong\nb.png,false\n")
    got = collect([*files, table], ["a cat", "a dog"], out)
    assert got.report.names == {UNUSED: ["t.csv"]}
    assert shown(out) == {"a cat": 1, "a dog": 1}


def test_an_archive_is_taken_as_it_is(tmp_path: Path, out: Path) -> None:
    path = packed(tmp_path / "my set.zip", {"cat/1.png": png(1), "dog/1.png": png(9)})
    got = collect([path], [], out)
    assert got.path.read_bytes() == path.read_bytes() and got.name == "my set.zip"
    assert shown(out) == {"a photo of a cat": 1, "a photo of a dog": 1}


@pytest.mark.parametrize("folder", ["", "photos/"])
def test_an_archive_and_typed_lines(tmp_path: Path, out: Path, folder: str) -> None:
    path = packed(tmp_path / "x.zip", {
        f"{folder}2.png": png(1), f"{folder}1.png": png(9), f"{folder}readme.txt": "hello"})
    got = collect([path], ["one thing", "another"], out)
    assert got.report.names == {NOT_A_PICTURE: [f"{folder}readme.txt"]}
    with zipfile.ZipFile(got.path) as archive:
        assert archive.read("1.png") == png(9)
        assert "1.png,one thing" in archive.read("table.csv").decode()
    assert shown(out) == {"one thing": 1, "another": 1}


def test_an_archive_and_a_table_beside_it(tmp_path: Path, out: Path) -> None:
    path = packed(tmp_path / "x.zip", {"in/deep/2.png": png(1), "in/1.png": png(9)})
    table = tmp_path / "t.csv"
    table.write_text('image,caption\n2.png,"one, two"\n1.png,three\n')
    collect([path, table], [], out)
    assert shown(out) == {"one, two": 1, "three": 1}


def test_files_of_the_same_name_are_both_kept(tmp_path: Path, out: Path) -> None:
    (tmp_path / "in").mkdir()
    files = photos(tmp_path / "in", "x/cat.png", "y/cat.png", "dog.png")
    collect(files, [], out)
    assert shown(out) == {"cat": 2, "dog": 1}


def test_what_is_no_picture_is_left_out(tmp_path: Path, out: Path) -> None:
    files = photos(tmp_path / "in", "red cat.png", "old dog.png")
    fake = tmp_path / "in" / "a letter.png"
    fake.write_text("dear reader")
    got = collect([*files, fake], [], out)
    assert got.report.names == {NOT_A_PICTURE: ["a letter.png"]}
    assert shown(out) == {"red cat": 1, "old dog": 1}


def test_mistakes_get_a_sentence(tmp_path: Path, out: Path) -> None:
    one, two = photos(tmp_path / "in", "1.png", "2.png")
    table, fake = tmp_path / "t.csv", tmp_path / "f.png"
    table.write_text("image,caption\n")
    fake.write_text("x")
    archive = packed(tmp_path / "x.zip", {"1.png": png(1)})
    parquet = tmp_path / "x.parquet"
    parquet.write_bytes(b"PAR1")
    for files, lines, words in (
        ([], [], "choose pictures first"), ([table], [], "choose pictures first"),
        ([archive, one], [], "one archive or parquet file alone"),
        ([archive, parquet], [], "one archive or parquet file alone"),
        ([fake], [], "none of the 1 files is a picture"),
        ([one, two], ["only one"], "2 pictures and 1 lines"),
        ([one, two], [], "nothing says what the pictures show"),
        ([parquet], ["a"], "a parquet file says itself"),
        ([archive], ["a", "b"], "1 pictures and 2 lines"),
        ([packed(tmp_path / "y.zip", {"a.txt": "x"})], ["a"], "there are no images in y.zip"),
        ([one] * 2001, [], "at most 2,000 files"),
    ):
        with pytest.raises(InputError, match=words):
            collect(files, lines, out)
