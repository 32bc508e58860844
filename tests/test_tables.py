"""Tables of every kind that people have: separators, encodings, columns, paths, JSON, shards."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import picture, write_folder, write_tar

from explorer.actions.cli import main
from explorer.analysis.evaluation.sets import split_names
from explorer.base.errors import InputError
from explorer.data.columns import Given
from explorer.data.encodings import NAMES, TABLES, guess
from explorer.data.file_sets import expand
from explorer.data.pairs import open_image
from explorer.data.sets import read_examples, read_retrieval

PICTURES = {f"img/{name}.jpg": picture(k) for k, name in enumerate(("cat", "dog"))}
LABELS = {0: "a photo of a cat", 1: "a photo of a dog"}
WORDS = {0: "a cat", 1: "a dog"}


def greys(examples: Any) -> dict[int, str]:
    return {round(float(image[0, 0, 0]) * 255): pairs.captions[int(label)]
            for pairs in examples.batches(4, 4)
            for image, label in zip(pairs.images, pairs.labels, strict=True)}


def rows(head: str, form: str, *cells: str) -> str:
    """A table with a line for each cell; "{}" in the form is the cell."""
    return "\n".join([head] * bool(head) + [form.format(cell) for cell in cells])


def both(head: str, form: str) -> str:
    return rows(head, form, "cat", "dog")


JSON = [{"image": f"img/{n}.jpg", "caption": f"a {n}"} for n in ("cat", "dog")]
TEXTS: dict[str, tuple[str, str, dict[int, str]]] = {
    # what: name, text, what is read
    "commas": ("t.csv", both("image,label", "img/{0}.jpg,{0}"), LABELS),
    "blanks in the header": ("t.csv", both("Image Path , Label", "img/{0}.jpg, {0}"), LABELS),
    "other names": ("t.csv", both("filename,class", "img/{0}.jpg,{0}"), LABELS),
    "open_clip's": ("t.csv", both("filepath\ttitle", "img/{0}.jpg\ta {0}"), WORDS),
    "an index of pandas": ("t.csv", both(",image,label", "0,img/{0}.jpg,{0}"), LABELS),
    "no header": ("t.csv", both("", "img/{0}.jpg,{0}"), LABELS),
    "no header, captions": ("t.tsv", both("", "img/{0}.jpg\ta big {0}"),
                            {0: "a big cat", 1: "a big dog"}),
    "bars": ("t.psv", both("image|caption", "img/{0}.jpg|a {0}"), WORDS),
    "tabs in .txt": ("t.txt", both("image\tcaption", "img/{0}.jpg\ta {0}"), WORDS),
    "tabs, quotes": ("t.tsv",
                     'image\tcaption\nimg/cat.jpg\t"a ""grey"" cat"\nimg/dog.jpg\ta 5" dog',
                     {0: 'a "grey" cat', 1: 'a 5" dog'}),
    "unquoted commas": ("t.csv", both("image,caption", "img/{0}.jpg,a {0}, at rest"),
                        {0: "a cat, at rest", 1: "a dog, at rest"}),
    "quotes inside": ("t.csv",
                      'image,caption\nimg/cat.jpg,a "grey" cat\nimg/dog.jpg,"a dog" running',
                      {0: 'a "grey" cat', 1: '"a dog" running'}),
    "trailing commas": ("t.csv", both("image,label", "img/{0}.jpg,{0},,"), LABELS),
    "lines of Windows": ("t.csv", both("image,label", "img/{0}.jpg,{0}").replace("\n", "\r\n"),
                         LABELS),
    "Python lists": ("t.csv", both("image,captions", "img/{0}.jpg,\"['a {0}', 'one {0}']\""),
                     WORDS),
    "a column for each class": ("t.csv", "image,cat,dog\nimg/cat.jpg,1,0\nimg/dog.jpg,0.0,1.0",
                                LABELS),
    "backslashes": ("t.csv", both("image,label", "img\\{0}.jpg,{0}"), LABELS),
    "paths of Windows": ("t.csv", both("image,label", "C:\\Users\\me\\img\\{0}.jpg,{0}"), LABELS),
    "paths of Kaggle": ("t.csv", both("image,label", "/kaggle/input/x/img/{0}.jpg,{0}"), LABELS),
    "a home folder": ("t.csv", both("image,label", "~/img/{0}.jpg,{0}"), LABELS),
    "file addresses": ("t.csv", both("image,label", "file:///data/img/{0}.jpg,{0}"), LABELS),
    "dots": ("t.csv", both("image,label", "./img/../img/{0}.jpg,{0}"), LABELS),
    "names alone": ("t.csv", both("image,label", "{0}.jpg,{0}"), LABELS),
    "names without ending": ("t.csv", both("id,label", "{0},{0}"), LABELS),
    "names in other case": ("t.csv", both("image,label", "IMG/{0}.JPG,{0}"), LABELS),
    "another ending": ("t.csv", both("image,label", "img/{0}.png,{0}"), LABELS),
    "JSON lines": ("t.jsonl", "\n".join(map(json.dumps, JSON)), WORDS),
    "a JSON list": ("t.json", json.dumps(JSON), WORDS),
    "JSON pairs": ("t.json", json.dumps([[one["image"], one["caption"]] for one in JSON]), WORDS),
    "JSON by name": ("t.json", json.dumps({o["image"]: [o["caption"], "x"] for o in JSON}), WORDS),
    "JSON inside data": ("t.json", json.dumps({"version": 1, "data": JSON}), WORDS),
    "JSON by column": ("t.json", json.dumps({k: {str(n): o[k] for n, o in enumerate(JSON)}
                                             for k in ("image", "caption")}), WORDS),
    "JSON lines called JSON": ("t.json", "\n".join(map(json.dumps, JSON)), WORDS),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables(tmp_path: Path, kind: str, encoding: str) -> None:
    name, text, wanted = TEXTS[kind]
    folder = write_folder(tmp_path / "set", {**PICTURES, name: text.encode(encoding)})
    for path in (folder / name, folder):
        examples = read_examples(path)
        assert greys(examples) == wanted
        assert name in examples.understood.how


@pytest.mark.parametrize(("text", "left", "sentence"), [
    ("image,caption\nimg/cat.jpg,a cat\nimg/dog.jpg,a dog\nimg/cat.jpg,", 1,
     "no image or nothing about it in the table"),
    ("image,label\nimg/cat.jpg,cat\nimg/dog.jpg,dog\nimg/gone.jpg,cat", 1,
     "listed, but not there"),
    ('image,caption\nimg/cat.jpg,a cat\nimg/dog.jpg,a dog\nimg/cat.jpg,"a cat', 1,
     "cannot be read"),
])
def test_one_bad_row_is_left_out_and_said(tmp_path: Path, text: str, left: int,
                                          sentence: str) -> None:
    folder = write_folder(tmp_path / "set", {**PICTURES, "t.csv": text.encode()})
    examples = read_examples(folder / "t.csv")
    assert len(examples) == 2 and len(examples.report) == left
    assert sentence in examples.understood.paragraph()


def test_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files = {"a/1.png": picture(0), "b/1.png": picture(1), "c/2.png": picture(2)}
    table = b"image,label\n/x/a/1.png,cat\n/x/b/1.png,dog\n1.png,emu\n2.png,fox"
    examples = read_examples(write_folder(tmp_path / "set", {**files, "t.csv": table}) / "t.csv")
    assert greys(examples) == {**LABELS, 2: "a photo of a fox"}
    assert examples.report.names == {"listed, but not there": ["1.png"]}  # it may be either


def test_columns_that_a_person_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "foto,nummer,wort\nimg/cat.jpg,1,a cat\nimg/dog.jpg,2,a dog"
    path = write_folder(tmp_path / "set", {**PICTURES, "t.csv": text.encode()}) / "t.csv"
    with pytest.raises(InputError, match="--columns image=foto,label=wort"):
        read_examples(path)
    assert greys(read_examples(path, columns=Given.of("image=foto,caption=wort"))) == WORDS
    assert greys(read_examples(path, columns=Given.of("image=1,label=WORT"))) == {
        0: "a photo of a a cat", 1: "a photo of a a dog"}
    with pytest.raises(InputError, match="t.csv has no column 'bild'; it has foto, nummer, wort"):
        read_examples(path, columns=Given.of("image=bild,caption=wort"))
    for bad in ("foto", "image=", "picture=foto", "image"):
        with pytest.raises(InputError, match="--columns must be image=NAME,caption=NAME"):
            Given.of(bad)
    assert main(["evaluate", "--dry-run", "--data", str(path), "--columns",
                 "image=foto,caption=wort"]) == 0
    assert "columns foto and wort" in capsys.readouterr().out
    assert main(["train", "--dry-run", "--data", str(path), "--columns", "image=foto,caption=wort",
                 "--out", str(tmp_path / "run")]) == 0
    assert "2 different captions: “a cat”, “a dog”." in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_encodings_that_are_guessed_are_said(tmp_path: Path) -> None:
    for k, (word, encoding, name) in enumerate([
            ("猫がいる", "cp932", "Shift-JIS"), ("一只猫在跑", "gb18030", "GBK"),
            ("ein schöner Käfer", "cp1252", "Windows-1252"), ("кошка спит", "cp1251", "Cyrillic")]):
        text = f"image,caption\nimg/cat.jpg,{word}\nimg/dog.jpg,a dog"
        files = {**PICTURES, "t.csv": text.encode(encoding)}
        said = read_examples(write_folder(tmp_path / f"{k}", files)).understood
        assert said.answers == (word, "a dog")
        assert [name in note for note in said.notes] == [True]


@pytest.mark.parametrize(("words", "encoding"), [
    ("写真/猫/1 写真/犬/1 写真/ペンギン/1", "cp932"), ("Kätzchen Hündchen Möwe Café", "cp850"),
    ("照片/小猫 照片/大狗", "gb18030"), ("кошка собака", "cp866"), ("貓 狗 企鵝", "big5"),
    ("Ñandú", "cp850")])
def test_guesses_of_encodings(words: str, encoding: str) -> None:
    assert words.encode(encoding).decode(guess(words.encode(encoding), NAMES)) == words
    assert guess(b"plain", TABLES) == TABLES[0]


def test_names_of_zips(tmp_path: Path) -> None:
    """Written without the mark of UTF-8, as Windows writes them, and with the extra field."""
    import struct
    import zlib

    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for k, name in enumerate(("AAAA", "BBBB")):
            archive.writestr(f"{name}/1.png", picture(k))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"AAAA", "子猫".encode("cp932")).replace(
        b"BBBB", "大犬".encode("cp932")))
    said = read_examples(path).understood
    assert said.answers == ("a photo of a 子猫", "a photo of a 大犬")
    assert said.notes == (
        "the names in set.zip do not say their encoding: they were read as Shift-JIS",)
    with zipfile.ZipFile(path, "w") as archive:
        for k, word in enumerate(("кот", "пёс")):
            info = zipfile.ZipInfo(f"x{k}/1.png")
            body = b"\1" + struct.pack("<I", zlib.crc32(info.filename.encode())) + (
                f"{word}/1.png".encode())
            info.extra = struct.pack("<HH", 0x7075, len(body)) + body
            archive.writestr(info, picture(k))
    assert read_examples(path).captions == ("a photo of a кот", "a photo of a пёс")


# --- parquet, arrow and shards ----------------------------------------------------------------


def shard(path: Path, label: Any = ("cat", "dog"), column: str = "label", image: str = "image",
          cells: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [{"bytes": picture(k), "path": None} for k in range(2)] if cells is None else cells
    pq.write_table(pa.table({image: made, column: list(label)}), path)
    return path


CARD = ('---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n'
        '    dtype:\n      class_label:\n        names:\n          "0": cat\n          "1": dog\n'
        '---\n# A set\n')


@pytest.mark.parametrize(("image", "column", "values", "wanted"), [
    ("img", "fine_label", ("cat", "dog"), LABELS), ("Image", "Caption", ("a cat", "a dog"), WORDS),
    ("jpg", "txt", ("a cat", "a dog"), WORDS), ("image", "text", (["a cat"], ["a dog"]), WORDS)])
def test_columns_of_parquet(tmp_path: Path, image: str, column: str, values: Any,
                            wanted: Any) -> None:
    assert greys(read_examples(shard(tmp_path / "a.parquet", values, column, image))) == wanted


def test_parquet_with_paths(tmp_path: Path) -> None:
    write_folder(tmp_path, PICTURES)
    for cells in (["img/cat.jpg", "img/dog.jpg"], [{"bytes": None, "path": f"{n}.jpg"} for n in (
            "cat", "dog")]):
        path = shard(tmp_path / "a.parquet", cells=cells)
        assert greys(read_examples(path)) == LABELS
    path = shard(tmp_path / "a.parquet", cells=["gone.jpg", "img/dog.jpg"], label=("x", "y"))
    with pytest.raises(InputError, match="same answer.*.listed, but not there.: gone.jpg"):
        read_examples(path)


def test_numbered_captions_of_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [picture(0), picture(1)],
                             **{f"caption_{k}": [f"cat {k}", f"dog {k}"] for k in range(5)}}),
                   tmp_path / "a.parquet")
    found = read_retrieval(tmp_path / "a.parquet")
    assert found.own(1) == tuple(f"dog {k}" for k in range(5))


def test_a_folder_of_shards(tmp_path: Path) -> None:
    for k in range(2):
        for split, labels in (("train", (0, 0)), ("test", (0, 1))):
            shard(tmp_path / "set" / "data" / f"{split}-0000{k}-of-00002.parquet", labels)
    with pytest.raises(InputError, match=r"the labels \(column label\) of set are numbers, 0 to 1"):
        read_examples(tmp_path / "set")
    (tmp_path / "set" / "README.md").write_text(CARD)
    examples = read_examples(tmp_path / "set")
    assert len(examples) == 4 and greys(examples) == LABELS
    assert examples.understood.paragraph().startswith(
        "set: 4 pictures (2 parquet files, columns image and label, the split test; one that "
        "measures reads test, else val, and train is left alone). 2 different answers: ")
    drawn = read_examples(tmp_path / "set", 3, seed=1)
    assert len(drawn) == 3 and set(greys(drawn)) <= {0, 1}
    (tmp_path / "set" / "README.md").write_text(CARD.replace('          "1": dog\n', ""))
    with pytest.raises(InputError, match=r"README\.md names 1 class, and the labels go from 0"):
        read_examples(tmp_path / "set")


def test_shards_that_do_not_go_together(tmp_path: Path) -> None:
    shard(tmp_path / "a.parquet")
    shard(tmp_path / "b.parquet", ("a cat", "a dog"), "text")
    with pytest.raises(InputError, match="a.parquet has the columns image and label, and b.par"):
        read_examples(tmp_path)


def test_sets_that_datasets_saved(tmp_path: Path) -> None:
    from datasets import (  # type: ignore[import-untyped]
        ClassLabel,
        Dataset,
        DatasetDict,
        Features,
        Image,
    )

    made = Dataset.from_dict({"img": [{"bytes": picture(k), "path": None} for k in range(2)],
                              "labels": [0, 1]}, features=Features({
                                  "img": Image(), "labels": ClassLabel(names=["cat", "dog"])}))
    made.save_to_disk(str(tmp_path / "one"))
    DatasetDict({"train": made.select([0, 0, 1]), "test": made}).save_to_disk(str(tmp_path / "two"))
    for path in (tmp_path / "one", next((tmp_path / "one").glob("*.arrow"))):
        assert greys(read_examples(path)) == LABELS
    examples = read_examples(tmp_path / "two")
    assert len(examples) == 2 and greys(examples) == LABELS
    assert examples.understood.split.startswith("the split test; ")
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(InputError, match="cannot read one as a saved data set"):
        read_examples(tmp_path / "one")


def tars(folder: Path) -> Path:
    """Three tars as img2dataset writes them, with the tables it leaves beside them."""
    folder.mkdir()
    for k, word in enumerate(("cat", "dog", "emu")):
        write_tar(folder / f"0000{k}.tar", {
            f"0000{k}0.jpg": picture(k), f"0000{k}0.txt": f"a {word}".encode(),
            f"0000{k}0.json": json.dumps({"caption": f"a {word}", "url": "http://x"}).encode()})
        pq.write_table(pa.table({"url": ["http://x"], "caption": ["x"]}),
                       folder / f"0000{k}.parquet")
    return folder


def test_tars_and_patterns(tmp_path: Path) -> None:
    folder = tars(tmp_path / "set")
    whole = {**WORDS, 2: "a emu"}
    for path, wanted in ((folder, whole), (f"{folder}/{{00000..00002}}.tar", whole),
                         (f"{folder}/*.tar", whole), (f"{folder}/0000[01].tar", WORDS),
                         (f"{folder}/{{00000,00001}}.tar", WORDS)):
        examples = read_examples(path)
        assert greys(examples) == wanted
        assert "a file beside each picture (.json, .txt)" in examples.understood.how
    source = read_examples(folder).source
    assert [open_image(raw).getpixel((0, 0)) for raw in source.pictures([2, 0, 1, 2])] == [
        (k,) * 3 for k in (2, 0, 1, 2)]
    examples = read_examples(f"{folder}/{{00001..00003}}.tar")
    assert len(examples) == 2
    assert list(examples.report.counts) == ["named by the pattern, but not there"]
    with pytest.raises(InputError, match="no file fits the pattern"):
        read_examples(f"{folder}/*.zip")


def test_braces() -> None:
    assert expand("a{08..11}b") == ["a08b", "a09b", "a10b", "a11b"]
    assert expand("{a,b}{1..2}") == ["a1", "a2", "b1", "b2"]
    assert expand("a{b}c") == ["a{b}c"]
    assert split_names("x/{a,b}.tar,cifar10") == ("x/{a,b}.tar", "cifar10")
    with pytest.raises(InputError, match="more than 100,000 files"):
        expand("{0..9999999}")


def test_names_of_classes_beside_and_above_a_tar(tmp_path: Path) -> None:
    for k in range(2):
        (tmp_path / "set" / "test").mkdir(parents=True, exist_ok=True)
        write_tar(tmp_path / "set" / "test" / f"{k}.tar", {
            f"s{k}.webp": picture(k), f"s{k}.cls": f"{k}\n".encode()})
    with pytest.raises(InputError, match=r"the labels of 0\.tar are numbers, 0 to 0"):
        read_examples(tmp_path / "set")
    (tmp_path / "set" / "classnames.txt").write_text("cat\ndog\n")
    assert greys(read_examples(tmp_path / "set")) == LABELS
    one = read_examples  # one class alone is nothing to tell apart, but its name is known
    with pytest.raises(InputError, match="same answer, 'a photo of a dog'"):
        one(tmp_path / "set" / "test" / "1.tar")


def test_samples_with_endings_of_several_parts(tmp_path: Path) -> None:
    files = {f"00{k}.{end}": raw for k, word in enumerate(("cat", "dog")) for end, raw in (
        ("img.jpg", picture(k)), ("seg.png", picture(9)), ("cls.txt", word.encode()))}
    examples = read_examples(write_tar(tmp_path / "a.tar", files))
    assert greys(examples) == LABELS
    assert examples.report.counts == {"a second picture of the same sample": 2}


def test_a_stranger_above_an_archive_names_no_classes(tmp_path: Path) -> None:
    files = {f"{k}.{end}": raw for k in range(2) for end, raw in (("png", picture(k)),
                                                                 ("cls", f"{k}".encode()))}
    (tmp_path / "set").mkdir()
    path = write_tar(tmp_path / "set" / "a.tar", files)
    for name in ("names.txt", "words.txt", "labels.txt"):
        (tmp_path / name).write_text("cat\ndog\n")
    with pytest.raises(InputError, match="are numbers, 0 to 1"):
        read_examples(path)
    (tmp_path / "set" / "labels.txt").write_text("....\n[20%]\n")
    with pytest.raises(InputError, match="are numbers, 0 to 1"):
        read_examples(path)
    (tmp_path / "set" / "labels.txt").write_text("cat\ndog\n")
    assert greys(read_examples(path)) == LABELS
    with pytest.raises(InputError, match="are numbers, 0 to 1"):
        read_examples(path, upload=True)  # nothing beside it is read


def test_a_parquet_that_lists_the_pictures_beside_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", PICTURES)
    shard(tmp_path / "set" / "t.parquet", cells=["/old/cat.jpg", "/old/dog.jpg"],
          label=("a cat", "a dog"), column="text")
    assert greys(read_examples(tmp_path / "set")) == WORDS
    pq.write_table(pa.table({"url": ["http://x"], "caption": ["x"]}), tmp_path / "set/t.parquet")
    assert greys(read_examples(tmp_path / "set")) == {0: "cat", 1: "dog"}


def test_links_are_followed_and_not_in_circles(tmp_path: Path) -> None:
    kept = write_folder(tmp_path / "kept", {"cat/1.png": picture(0), "dog/2.png": picture(1)})
    (tmp_path / "set" / "val").mkdir(parents=True)
    for name in ("cat", "dog"):
        (tmp_path / "set" / "val" / name).symlink_to(kept / name)
    (tmp_path / "set" / "train").mkdir()
    (tmp_path / "set" / "train" / "1.png").symlink_to(kept / "cat" / "1.png")
    assert greys(read_examples(tmp_path / "set")) == LABELS
    (kept / "cat" / "again").symlink_to(tmp_path / "set")
    (kept / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert greys(read_examples(tmp_path / "set")) == LABELS


def test_a_pattern_of_pictures(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", {"cat/1.png": picture(0), "dog/2.png": picture(1),
                                    "emu/3.jpg": picture(2)})
    assert greys(read_examples(f"{tmp_path}/set/*/*.png")) == LABELS


def test_captions_that_are_too_long_are_left_out(tmp_path: Path) -> None:
    text = f"image,caption\nimg/cat.jpg,a cat\nimg/cat.jpg,{'word ' * 900}\nimg/dog.jpg,a dog"
    folder = write_folder(tmp_path / "set", {**PICTURES, "t.csv": text.encode()})
    found = read_retrieval(folder)
    assert found.captions == ("a cat", "a dog")
    assert found.report.counts["a caption of more than 2,000 characters"] == 1


# --- the command line -------------------------------------------------------------------------


def test_a_dry_run_says_what_is_understood_and_measures_nothing(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_folder(tmp_path / "good", {"cat/1.png": picture(0), "dog/2.png": picture(1),
                                            "dog/3.png": b"<!doctype html><html>404"})
    bad = write_folder(tmp_path / "bad", {"0/1.png": picture(0), "1/2.png": picture(1)})
    assert main(["evaluate", "--dry-run", "--data", str(good), "--data", str(bad)]) == 1
    first, second = capsys.readouterr().out.strip().splitlines()
    assert first == (
        "good: 3 pictures (one folder a class). 2 different answers: “a photo of a cat”, “a photo "
        "of a dog”. Of 3 pictures 1 cannot be read (3.png: the file is a web page, perhaps one "
        "that a download left in the place of the picture, and not an image this app can read: use "
        "PNG or JPEG).")
    assert second.startswith(f"{bad}: cannot be used: the class folders of bad are numbers, 0 to 1")
    assert main(["evaluate", "--dry-run", "--data", str(bad)]) == 2
    assert main(["evaluate", "--data", str(good)]) == 2
    assert "--models" in capsys.readouterr().err


def test_what_is_understood_is_said_before_it_is_measured(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_folder(tmp_path / "good", {"cat/1.png": picture(0), "dog/2.png": picture(1),
                                            "notes.md": b"x"})
    out = tmp_path / "t.json"
    assert main(["evaluate", "--data", str(good), "--models", "pocket", "--attacks", "clean",
                 "--out", str(out)]) == 0
    said = capsys.readouterr().out
    wanted = ("good: 2 pictures (one folder a class). 2 different answers: “a photo of a cat”, “a "
              "photo of a dog”. Left out 1 file (not pictures): notes.md.")
    assert wanted in said and said.index(wanted) < said.index("accuracy")
    assert " ".join(json.loads(out.read_text())["sets"][0]["understood"]) == wanted


def test_a_truncated_picture_names_its_kind() -> None:
    with pytest.raises(InputError, match="the file is a PDF document and not an image"):
        open_image(b"%PDF-1.7 ...")
