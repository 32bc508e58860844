"""Reading labelled picture sets: parquet, folders, CSV."""

from __future__ import annotations

import io
import json
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

from explorer import datasets
from explorer.datasets import read_examples
from explorer.errors import InputError
from explorer.pairs import MAX_CAPTIONS, open_image

LABELS = ["red_fox", "sea", "red_fox", "Zebra's", "sea", "sea"]
CAPTIONS = ("a photo of a red fox", "a photo of a sea", "a photo of a Zebra's")
NUMBERS = [0, 1, 0, 2, 1, 1]


def picture(grey: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (grey, grey, grey)).save(buffer, "PNG")
    return buffer.getvalue()


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
    assert read_examples(parquet(tmp_path, NUMBERS)).captions == tuple(
        f"a photo of a {i}" for i in range(3))
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
def test_csv_does_not_leave_its_folder(tmp_path: Path, name: Any) -> None:
    (tmp_path / "outside.png").write_bytes(picture(77))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    path = table(tmp_path / "in", f"image,label\np/1.png,dog\n{name},cat")
    with pytest.raises(InputError, match=r"line 3 .* leads out of the folder"):
        read_examples(path)


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
    (lambda t: table(t, lines()).rename(t / "set.xlsx"), "cannot read set.xlsx: give a .parquet"),
    (damaged, "cannot read set.parquet as parquet"),
    (lambda t: parquet(t, column="answer"), "needs the columns image and label"),
    (lambda t: parquet(t, images=["x.png"] * 6), "must hold encoded pictures"),
    (lambda t: parquet(t, ["a", None, "b", "a", "b", "a"]), "row 2 of set.parquet has no label"),
    (lambda t: parquet(t, [0.5] * 6), "row 1 .* in words or whole numbers"),
    (lambda t: parquet(t, pa.array([], pa.string()), pa.array([], pa.binary())), "no images in"),
    (lambda t: parquet(t, ["a", "b", " ", "a", "b", "a"]), "label 3 is empty"),
    (lambda t: parquet(t, ["sea"] * 6), "the same answer, 'a photo of a sea'"),
    (lambda t: parquet(t, ["red_fox", "red fox"] * 3), "the same answer, 'a photo of a red fox'"),
    (lambda t: folder(t, ["sea"] * 6), "the same answer, 'a photo of a sea'"),
    (lambda t: table(t, lines()).parent / "p", "has no sub-folders"),
    (empty_folder, "no images in set"),
    (lambda t: table(t, ""), "set.csv is empty"),
    (lambda t: table(t, "image,label\n"), "no images in set.csv"),
    (lambda t: table(t, "file,label\nx,y"), "needs the columns .* it has file, label"),
    (lambda t: table(t, lines(head="image,text")), "needs the columns"),
    (lambda t: table(t, "image,label\np/0.png,cat\np/1.png\n"), "line 3 of set.csv has no label"),
    (lambda t: table(t, "image,label\n,cat\n"), "line 2 of set.csv has no image"),
    (lambda t: table(t, 'image,label\np/0.png,"cat\n'), "line 2 of set.csv is not valid CSV"),
    (lambda t: table(t, "image,label\np/0.png,a\np/\0.png,b"), "cannot be used"),
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
