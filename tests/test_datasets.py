"""Reading picture sets: parquet, folders, archives, CSV, JSON, the hub; several captions too."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sets import files_of, picture, write_folder, write_tar, write_zip

from explorer.base.errors import InputError
from explorer.data import sets as datasets
from explorer.data.pairs import MAX_CAPTIONS, open_image
from explorer.data.sets import read_examples, read_retrieval
from explorer.data.tables import UNTOLD

LABELS = ["red_fox", "sea", "red_fox", "Zebra's", "sea", "sea"]
CAPTIONS = ("a photo of a red fox", "a photo of a sea", "a photo of a Zebra's")
NUMBERS = [0, 1, 0, 2, 1, 1]


def seen(examples: Any, batch: Any = 4) -> Any:
    """(grey level, caption number) of every picture in the batches."""
    return [(round(float(image[0, 0, 0]) * 255), int(label))
            for pairs in examples.batches(4, batch)
            for image, label in zip(pairs.images, pairs.labels, strict=True)]


def parquet(tmp_path: Path, labels: Any = LABELS, images: Any = None, column: Any = "label",
            **options: Any) -> Any:
    images = [picture(i) for i in range(len(labels))] if images is None else images
    metadata = options.pop("metadata", None)
    table = pa.table({"image": images, "other": [1] * len(labels), column: labels})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "set.parquet", **options)
    return tmp_path / "set.parquet"


def folder(tmp_path: Path, labels: Any = LABELS) -> Any:
    for i, label in enumerate(labels):
        (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / label / f"{i}.png").write_bytes(picture(i))
    return tmp_path / "set"


def table(tmp_path: Path, text: Any, encoding: Any = "utf-8", pictures: Any = 6) -> Any:
    (tmp_path / "p").mkdir()
    for i in range(pictures):
        (tmp_path / "p" / f"{i}.png").write_bytes(picture(i))
    (tmp_path / "set.csv").write_bytes(text.encode(encoding))
    return tmp_path / "set.csv"


def lines(labels: Any = LABELS, head: Any = "image,label", form: Any = "p/{}.png,{}") -> Any:
    return "\n".join([head, *(form.format(i, label) for i, label in enumerate(labels))])


@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: {"bytes": b, "path": "x.png"}])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_parquet(tmp_path: Path, wrap: Any, rows: Any) -> None:
    path = parquet(tmp_path, images=[wrap(picture(i)) for i in range(6)], row_group_size=rows)
    examples = read_examples(path)
    assert examples.captions == CAPTIONS
    assert seen(examples) == list(enumerate(NUMBERS))
    assert seen(examples, 1) == seen(examples, 100)


def test_parquet_with_whole_number_labels_and_their_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the labels \(column label\) of set.parquet are numbers, "
                       r"0 to 2, and nothing says .* classnames\.txt beside set\.parquet"):
        read_examples(parquet(tmp_path, NUMBERS))
    names = {"info": {"features": {"label": {"names": ["cat", "dog", "tabby_cat"]}}}}
    path = parquet(tmp_path, NUMBERS, metadata={"huggingface": json.dumps(names)})
    assert read_examples(path).captions == (
        "a photo of a cat", "a photo of a dog", "a photo of a tabby cat")


def test_captions_stay_as_they_are(tmp_path: Path) -> None:
    path = parquet(tmp_path, ["a_b", "two dogs", "a_b"], column="caption")
    examples = read_examples(path)
    assert examples.captions == ("a_b", "two dogs")
    assert seen(examples) == [(0, 0), (1, 1), (2, 0)]


def test_folder(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "sea" / "notes.txt").write_text("not a picture")
    (path / ".cache").mkdir()
    (path / ".cache" / "9.png").write_bytes(picture(9))
    examples = read_examples(path)
    assert examples.captions == ("a photo of a Zebra's", "a photo of a red fox", "a photo of a sea")
    assert sorted(seen(examples)) == [(i, [1, 2, 0][n]) for i, n in enumerate(NUMBERS)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be",
                                      "latin-1", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_encodings_and_separators(tmp_path: Path, encoding: Any, separator: Any) -> None:
    words = ["Müller’s dog" if encoding == "cp1252" else "Müllers dog", "a café"]
    text = lines(words, "Image,Caption ").replace(",", separator)
    assert read_examples(table(tmp_path, text, encoding)).captions == tuple(words)


@pytest.mark.parametrize("text", [
    'image,caption\np/0.png,"a cat, asleep"\np/1.png,"he said ""hi"""\n',
    'caption,image\r\n"a cat, asleep",p/0.png\r\n\r\n"he said ""hi""",p/1.png\r\n',
    '"image","caption"\n"p/0.png","a cat,\n asleep"\n"p/1.png","he said ""hi"""',
])
def test_csv_quoting(tmp_path: Path, text: Any) -> None:
    examples = read_examples(table(tmp_path, text))
    assert examples.captions == ("a cat, asleep", 'he said "hi"')
    assert seen(examples) == [(0, 0), (1, 1)]


def test_csv_takes_an_absolute_path(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(picture(77))
    (tmp_path / "in").mkdir()
    path = table(tmp_path / "in", f"image,label\n{outside},cat\np/1.png,dog")
    assert seen(read_examples(path)) == [(77, 0), (1, 1)]


@pytest.mark.parametrize("name", ["../outside.png", "p/../../outside.png", "link/outside.png"])
def test_a_csv_may_name_pictures_above_it_and_behind_links(tmp_path: Path, name: Any) -> None:
    """It is a file of this machine's own; an upload may not (see below)."""
    (tmp_path / "outside.png").write_bytes(picture(77))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    path = table(tmp_path / "in", f"image,label\np/1.png,dog\n{name},cat")
    assert seen(read_examples(path)) == [(1, 0), (77, 1)]


@pytest.mark.parametrize("make", [parquet, folder, lambda t: table(t, lines())])
def test_limit_draws_a_fixed_sample_of_the_whole_set(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path)
    full = read_examples(path)
    drawn = {seed: read_examples(path, 3, seed) for seed in range(8)}
    for seed, examples in drawn.items():
        assert len(examples) == 3
        assert examples.captions == full.captions  # the sample is as hard as the set
        assert seen(examples) == seen(read_examples(path, 3, seed))
        assert set(seen(examples)) < set(seen(full))
    assert len({examples.chosen for examples in drawn.values()}) > 2
    assert seen(read_examples(path, 100)) == seen(full)


def test_many_captions_are_cut_to_those_of_the_sample(tmp_path: Path) -> None:
    path = parquet(tmp_path, [f"caption {i}" for i in range(MAX_CAPTIONS + 5)],
                   images=[picture(0, 1)] * (MAX_CAPTIONS + 5), column="caption")
    assert len(read_examples(path, 10).captions) == 10
    with pytest.raises(InputError, match="at most"):
        read_examples(path)


@pytest.mark.parametrize("bad", [b"", b"not a picture", picture(1)[:40], None])
def test_unreadable_pictures_are_left_out_and_counted(tmp_path: Path, bad: Any) -> None:
    images = [picture(0), bad, picture(2), picture(3), bad, picture(5)]
    examples = read_examples(parquet(tmp_path, images=images))
    assert seen(examples, 2) == [(0, 0), (2, 0), (3, 2), (5, 1)]
    assert len(examples) - len(seen(examples)) == 2


def test_a_csv_row_whose_file_is_missing_is_left_out(tmp_path: Path) -> None:
    assert seen(read_examples(table(tmp_path, lines(), pictures=5))) == list(
        enumerate(NUMBERS))[:5]


def test_batches_are_pairs_at_the_size_asked_for(tmp_path: Path) -> None:
    batches = list(read_examples(parquet(tmp_path)).batches(16, 4))
    assert [tuple(pairs.images.shape) for pairs in batches] == [(4, 3, 16, 16), (2, 3, 16, 16)]
    assert all(pairs.captions == CAPTIONS for pairs in batches)


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    path = parquet(tmp_path, ["cat", "dog"] * 400, images=[buffer.getvalue()] * 800)
    examples = read_examples(path)
    decoded = []
    tracemalloc.start()
    for pairs in examples.batches(64, 8):
        decoded.append(weakref.ref(pairs.images))
        assert sum(images() is not None for images in decoded) <= 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(decoded) == 100
    assert peak < 3_000_000  # all 800 encoded pictures are 10 MB


def test_pictures_are_decoded_only_when_their_batch_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def watched(raw: Any) -> Image.Image:
        opened.append(raw)
        return open_image(raw)

    monkeypatch.setattr(datasets, "open_image", watched)
    batches = read_examples(parquet(tmp_path)).batches(4, 2)
    assert opened == []
    next(batches)
    assert len(opened) == 2


def damaged(tmp_path: Path) -> Any:
    raw = parquet(tmp_path).read_bytes()
    (tmp_path / "set.parquet").write_bytes(raw[: len(raw) // 2])
    return tmp_path / "set.parquet"


def empty_folder(tmp_path: Path) -> Any:
    (tmp_path / "set" / "cat").mkdir(parents=True)
    return tmp_path / "set"


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda t: t / "no.parquet", "there is no file or folder"),
    (lambda t: t / "no", "there is no file or folder"),
    (lambda t: table(t, lines()).rename(t / "set.xlsx"), "save the sheet as CSV, or give a"),
    (damaged, "cannot read set.parquet as parquet"),
    (lambda t: parquet(t, column="answer"), "needs the columns image and label"),
    (lambda t: parquet(t, images=["x.png"] * 6), "holds paths .* the first is x.png, .*/x.png$"),
    (lambda t: parquet(t, images=[1] * 6), "must hold encoded pictures"),
    (lambda t: parquet(t, [None] * 6), "no images in .* Left out 6 rows .*: row 1 of set.parquet"),
    (lambda t: parquet(t, [0.5] * 6), "are numbers such as 0.5, which name no class"),
    (lambda t: parquet(t, ["3", "4"] * 3), "are numbers, 3 to 4, and nothing says"),
    (lambda t: parquet(t, [f"693b08cb0e{i}" for i in range(6)]), "codes such as 693b08cb0e0"),
    (lambda t: parquet(t, [str(i) for i in range(6)], column="caption"), "no captions in words"),
    (lambda t: parquet(t, pa.array([], pa.string()), pa.array([], pa.binary())), "no images in"),
    (lambda t: parquet(t, ["sea"] * 6), "the same answer, 'a photo of a sea'"),
    (lambda t: parquet(t, ["red_fox", "red fox"] * 3), "the same answer, 'a photo of a red fox'"),
    (lambda t: folder(t, ["sea"] * 6), "the same answer, 'a photo of a sea'"),
    (lambda t: table(t, lines()).parent / "p", r"has no sub-folders of .* \(0\.png\) are no words"),
    (empty_folder, "no images in set"),
    (lambda t: table(t, ""), "set.csv is empty"),
    (lambda t: table(t, "image,label\n"), "no images in set.csv"),
    (lambda t: table(t, "foto,wort\np/0.png,cat\np/1.png,dog"),
     "needs the columns .* it has foto, wort. .* say --columns image=foto,label=wort"),
    (lambda t: table(t, "image,label\ngone.png,y"),
     "none of the 1 pictures .* on line 2, is gone.png, which was looked for at .*/gone.png"),
    (lambda t: table(t, "url,caption\nhttp://x/0.png,a cat"), "download them first"),
    (lambda t: table(t, "image,label,x\np/0.png,a,b,c"), "line 2 of set.csv has 4 cells .* 3 col"),
    (lambda t: table(t, "image,label\np/0.png,cat\np/1.png\n"), "same answer.* Left out 1 file"),
    (lambda t: table(t, "image,label\n,cat\n"), r"no images .*about it .*: line 2 of set\.csv"),
    (lambda t: table(t, 'image,label\np/0.png,"cat\n'), "row that cannot be read.*: line 2 of"),
    (lambda t: table(t, "image,label\np/0.png,a\np/\0.png,b"), "same .* but not there"),
])
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, make: Any, sentence: Any) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_examples(make(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one(tmp_path: Path, limit: Any) -> None:
    with pytest.raises(InputError, match="limit must be at least 1"):
        read_examples(parquet(tmp_path), limit)


def test_no_readable_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of the 6 images of set\.parquet can be read"):
        list(read_examples(parquet(tmp_path, images=[b"x"] * 6)).batches(4))


def test_values_are_on_the_grid(tmp_path: Path) -> None:
    (pairs,) = read_examples(parquet(tmp_path)).batches(7, 6)
    assert torch.equal((pairs.images * 255).round() / 255, pairs.images)


# --- layouts, the same in a folder and in every archive -------------------------------------

WRITERS = {"set": write_folder, "set.zip": write_zip, "set.tar": write_tar,
           "set.tar.gz": write_tar, "set.tgz": write_tar}
BOTH = (("a cat", "one cat"), ("a dog",), ("the sea", "water"))
LAYOUTS: dict[str, Any] = {
    "folders": ("cat", "dog", "red fox"), "labels": ("cat", "dog", "red fox"),
    "rows": BOTH, "lists": BOTH, "beside": BOTH, "json beside": BOTH, "karpathy": BOTH,
    "words": (("a cat",), ("a dog",), ("the sea",)),
}


@pytest.mark.parametrize("prefix", ["", "top/", "top/data/"])
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_layouts(tmp_path: Path, kind: Any, name: Any, prefix: Any) -> None:
    files = {prefix + key: raw for key, raw in reversed(files_of(kind).items())}
    path = WRITERS[name](tmp_path / name, files)
    examples = read_examples(path)
    found = sorted((grey, examples.captions[label]) for grey, label in seen(examples))
    own = LAYOUTS[kind]
    if isinstance(own[0], str):
        assert found == [(i, f"a photo of a {label}") for i, label in enumerate(own)]
        with pytest.raises(InputError, match="has labels and no captions"):
            read_retrieval(path)
    else:
        assert found == [(i, texts[0]) for i, texts in enumerate(own)]
        assert captions_by_grey(read_retrieval(path)) == dict(enumerate(own))
        assert captions_by_grey(examples.retrieval()) == dict(enumerate(own))
    assert len(examples.report) == 0


def captions_by_grey(found: Any) -> Any:
    """Grey level of each image -> its captions."""
    return {round(float(image[0, 0, 0]) * 255): found.own(place)
            for places, images in found.pixels(4, 2)
            for place, image in zip(places, images, strict=True)}


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar"])
def test_what_is_left_out_is_counted(tmp_path: Path, name: Any) -> None:
    files = {**files_of("beside"), "d.png": picture(9), "notes.md": b"x", "e.txt": b"no picture"}
    examples = read_examples(WRITERS[name](tmp_path / name, files))
    assert len(examples) == 3
    assert examples.report.counts == {"not pictures": 2, "no caption beside it": 1}
    assert examples.report.sentences() == [
        f"Left out 2 files (not pictures): {first}."
        for first in ["e.txt, notes.md" if name == "set" else "notes.md, e.txt"]
    ] + ["Left out 1 file (no caption beside it): d.png."]


def test_listed_pictures_that_are_not_there(tmp_path: Path) -> None:
    files = files_of("rows")
    del files["b.png"]
    examples = read_examples(write_zip(tmp_path / "set.zip", files))
    assert examples.report.counts == {"listed, but not there": 1} and len(examples) == 2
    files = files_of("karpathy")
    del files["val2014/a.png"]
    examples = read_examples(write_folder(tmp_path / "set", files) / "dataset.json")
    assert examples.report.counts == {"listed, but not there": 1} and len(examples) == 2


def test_names_of_cameras_are_no_words(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"IMG_0123.png": picture(0), "a cat.png": picture(1),
                                            "DSC00042.png": picture(2), "a dog.png": picture(3)})
    examples = read_examples(path)
    assert examples.captions == ("a cat", "a dog")
    assert examples.report.counts == {"no words in the file name": 2}


def test_webdataset_with_classes_by_number(tmp_path: Path) -> None:
    files = {f"s{i:04d}.{end}": raw for i, label in enumerate([1, 0, 1])
             for end, raw in (("png", picture(i)), ("cls", str(label).encode()))}
    with pytest.raises(InputError, match=r"the labels of set\.tar are numbers, 0 to 1"):
        read_examples(write_tar(tmp_path / "set.tar", files))
    files["classnames.txt"] = b"tabby_cat\ndog\n"
    examples = read_examples(write_tar(tmp_path / "set.tar", files))
    assert examples.captions == ("a photo of a dog", "a photo of a tabby cat")
    assert seen(examples) == [(0, 0), (1, 1), (2, 0)]


def test_parquet_with_lists_of_captions(tmp_path: Path) -> None:
    for column in ("captions", "caption"):
        found = read_retrieval(parquet(tmp_path, [list(own) for own in BOTH], column=column))
        assert captions_by_grey(found) == dict(enumerate(BOTH))
    found = read_retrieval(parquet(tmp_path, [["a"], [], ["b"]], column="captions"))
    assert captions_by_grey(found) == {0: ("a",), 2: ("b",)}
    assert found.report.names == {UNTOLD: ["row 2 of set.parquet"]}


def test_captions_are_preferred_where_retrieval_asks(tmp_path: Path) -> None:
    path = table(tmp_path, "image,label,caption\np/0.png,cat,a cat asleep\np/1.png,dog,a dog")
    assert read_examples(path).captions == ("a photo of a cat", "a photo of a dog")
    assert read_retrieval(path).captions == ("a cat asleep", "a dog")


def test_retrieval_keeps_captions_that_two_images_share(tmp_path: Path) -> None:
    path = table(tmp_path, "image,caption\np/0.png,x\np/1.png,x\np/0.png,y\np/2.png,z")
    found = read_retrieval(path)
    assert found.captions == ("x", "y", "x", "z") and found.owner == (0, 0, 1, 2)
    assert [found.own(place) for place in range(3)] == [("x", "y"), ("x",), ("z",)]
    drawn = [read_retrieval(path, 2, seed) for seed in range(9)]
    assert {one.chosen for one in drawn} == {(0, 1), (0, 2), (1, 2)}
    assert all(one.owner[0] == 0 and max(one.owner) == 1 for one in drawn)


@pytest.mark.parametrize("text", [
    "image;label\np/0.png;a cat, asleep\np/1.png;a dog",
    "sep=;\nimage;label\np/0.png;a cat, asleep\np/1.png;a dog",
    'IMAGE\tnote, of any; kind\tLabel\np/0.png\tx\ta cat, asleep\np/1.png\ty\ta dog',
    '"image","label"\r\n"p/0.png","a cat, asleep"\r\n\r\n"p/1.png","a dog"\r\n',
])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_csv_separators_are_found(tmp_path: Path, text: Any, encoding: Any) -> None:
    assert read_examples(table(tmp_path, text, encoding)).captions == (
        "a photo of a a cat, asleep", "a photo of a a dog")


@pytest.mark.parametrize(("cell", "texts"), [
    ('"[""a"", ""b""]"', ("a", "b")), ("\"['a', 'it''s \\'b\\'']\"", ("a", "it''s 'b'")[:1]),
    ("\"['a' 'b c']\"", ("a", "b c")), ("\"('a', \"\"b's\"\")\"", ("a", "b's")), ("[a", ("[a",)),
    ("[loud] a dog", ("[loud] a dog",)), ("[]", ()), ('"[""a"", [""b""], null]"', ("a", "b")),
    ('"[{""raw"": ""a""}, {""raw"": ""b""}]"', ("a", "b")), ('"{}"'.format("[" * 5000), ()),
])
def test_lists_of_captions_in_a_cell(tmp_path: Path, cell: Any, texts: Any) -> None:
    path = table(tmp_path, f"image,captions\np/0.png,{cell}\np/1.png,x\np/2.png,y")
    found = captions_by_grey(read_retrieval(path))
    assert found.pop(0, ())[:len(texts)] == texts and found == {1: ("x",), 2: ("y",)}


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda t: write_zip(t / "s.zip", {}), "there are no images in s.zip"),
    (lambda t: write_zip(t / "s.zip", {"a.txt": b"x"}), "there are no images in s.zip"),
    (lambda t: write_zip(t / "s.zip", {"1.png": picture(1)}), "s.zip has no sub-folders of"),
    (lambda t: write_zip(t / "s.zip", {"1.png": b"", "s.csv": b"file,x\n"}), "needs the columns"),
    (lambda t: write_folder(t / "s", {"d.json": b"{}"}) / "d.json", "not the JSON of a set of pic"),
    (lambda t: write_folder(t / "s", {"d.json": files_of("karpathy")["dataset.json"]}) / "d.json",
     "none of the 3 pictures that d.json lists"),
    (lambda t: "x" * 5000, "not a usable path"), (lambda t: "a\0b", "not a usable path"),
])
def test_what_is_wrong_with_other_forms(tmp_path: Path, make: Any, sentence: Any) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_examples(make(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["set.zip", "set.tar", "set.tar.gz", "set.tgz"])
def test_uploads(tmp_path: Path, name: Any) -> None:
    path = WRITERS[name](tmp_path / name, files_of("rows"))
    assert len(read_examples(path, upload=True)) == 3
    assert len(read_retrieval(path, upload=True)) == 3
    assert len(read_examples(parquet(tmp_path), upload=True)) == 6


def test_an_upload_reads_nothing_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture(7))
    text = f"image,label\n{tmp_path}/secret.png,a\n{tmp_path}/secret.png,b"
    for path in (table(tmp_path, text), tmp_path, "hf:ethz/food101",
                 write_folder(tmp_path / "j", files_of("karpathy")) / "dataset.json"):
        with pytest.raises(InputError, match="cannot be taken as an upload: give a"):
            read_examples(path, upload=True)
    examples = write_zip(tmp_path / "set.zip", {"set.csv": text.encode(), "a.png": picture(1)})
    with pytest.raises(InputError, match=r"none of the 2 pictures that set\.csv lists is there"):
        read_examples(examples, upload=True)
    paths = parquet(tmp_path, images=[str(tmp_path / "secret.png")] * 6)
    assert len(read_examples(paths)) == 6
    with pytest.raises(InputError, match="an upload must hold them itself"):
        read_examples(paths, upload=True)


# --- the hub --------------------------------------------------------------------------------


def hub_rows(columns: Any, features: Any) -> Any:
    from datasets import Dataset, Features  # type: ignore[import-untyped]

    return Dataset.from_dict(columns, features=Features(features))


def test_a_data_set_of_the_hub(tmp_path: Path) -> None:
    """The real library's own object, as load_dataset hands it over."""
    from datasets import ClassLabel, Image, List, Value

    from explorer.data.hub import from_dataset

    images = [{"bytes": picture(i), "path": None} for i in range(3)]
    rows = hub_rows({"img": images, "fine_label": [1, 0, 1]},
                    {"img": Image(), "fine_label": ClassLabel(names=["cat", "red_fox"])})
    examples = datasets.make_examples("x", from_dataset(rows, "x"))
    assert examples.captions == ("a photo of a red fox", "a photo of a cat")
    assert seen(examples) == [(0, 0), (1, 1), (2, 0)]
    rows = hub_rows({"image": images, "caption": [list(own) for own in BOTH]},
                    {"image": Image(), "caption": List(Value("string"))})
    found = datasets.make_retrieval("x", from_dataset(rows, "x"), (0, 1, 2))
    assert captions_by_grey(found) == dict(enumerate(BOTH))
    with pytest.raises(InputError, match="needs the columns image and label"):
        from_dataset(hub_rows({"image": images}, {"image": Image()}), "x")
    with pytest.raises(InputError, match="does not hold pictures"):
        from_dataset(hub_rows({"image": ["x"], "label": [0]}, {
            "image": Value("string"), "label": Value("int32")}), "x")


@pytest.mark.parametrize(("name", "sentence"), [
    ("hf:ethz/food101", "cannot fetch the data set ethz/food101: the hub is not reachable"),
    ("hf:ethz/food101:test", "cannot fetch the data set ethz/food101: the hub is not reachable"),
    ("hf:../x", "is not the name of a hub data set"), ("hf:", "is not the name of a hub data set"),
    ("hf:a/b/c", "is not the name of a hub data set"),
    ("hf:tests", "tests is a file or folder here"),
])
def test_the_hub_out_of_reach(name: Any, sentence: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parent.parent)
    began = time.monotonic()
    with pytest.raises(InputError, match=sentence):
        read_examples(name)
    assert time.monotonic() - began < 10
