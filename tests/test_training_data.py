"""The stream of batches: seeded, resumable, the same for any number of processes."""

from __future__ import annotations

import itertools
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import grid_images
from training_helpers import NAMES, png, write_parquet

from explorer.base.errors import InputError
from explorer.data.pairs import to_image
from explorer.data.sets import read_examples
from explorer.data.sources import Boxed, open_source
from explorer.training.attacker import Batch
from explorer.training.data import TrainingSet, open_training
from explorer.training.loader import Loader, any_order, augmented, order

TEMPLATE = "a photo of a {}"


def opened(path: Path, holdout: int = 0) -> TrainingSet:
    return open_training(str(path), TEMPLATE, holdout)[0]


def taken(loader: Loader, n: int, start: int = 0) -> list[Batch]:
    stream: Iterator[Batch] = loader.batches(start)
    found = list(itertools.islice(stream, n))
    stream.close()  # type: ignore[attr-defined]
    return found


def write_folder(root: Path, n: int = 40) -> Path:
    for k, pixels in enumerate(grid_images(n, 32, 3)):
        file = root / NAMES[k % 4] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    return root


@pytest.mark.parametrize(("block", "window"), [(1, 1), (4, 12), (16, 8)])
def test_the_order_is_a_seeded_permutation(block: int, window: int) -> None:
    first = order(50, 1, 0, block, window)
    assert sorted(first.tolist()) == list(range(50))
    assert np.array_equal(first, order(50, 1, 0, block, window))
    assert not np.array_equal(first, order(50, 1, 1, block, window))
    assert not np.array_equal(first, order(50, 2, 0, block, window))


def write_shards(root: Path, kind: str, n: int = 40) -> Path:
    """The same pictures in two archives or parquet files."""
    root.mkdir()
    if kind == "parquets":
        for k in range(2):
            write_parquet(root / f"{k}.parquet", n // 2, seed=k)
        return root
    files = sorted(write_folder(root.parent / "loose", n).rglob("*.png"))
    for k, own in enumerate((files[:n // 2 + 3], files[n // 2 + 3:])):
        with tarfile.open(root / f"{k}.tar", "w") as packed:
            for file in own:
                packed.add(file, str(file.relative_to(root.parent / "loose")))
    return root


@pytest.mark.parametrize("kind", ["parquet", "folder", "zip", "tar", "tar.gz", "tars", "parquets"])
def test_every_source_streams_each_picture_once_an_epoch(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        path = write_parquet(tmp_path / "set.parquet")
    elif kind in ("tars", "parquets"):
        path = write_shards(tmp_path / "shards", kind)
    else:
        path = write_folder(tmp_path / "set")
        if kind == "zip":
            with zipfile.ZipFile(tmp_path / "set.zip", "w") as out:
                for file in sorted(path.rglob("*.png")):
                    out.write(file, str(file.relative_to(path)))
        elif kind != "folder":
            with tarfile.open(tmp_path / f"set.{kind}",
                              "w:gz" if kind == "tar.gz" else "w") as packed:
                packed.add(path, "set")
        path = path if kind == "folder" else tmp_path / f"set.{kind}"
    data = opened(path)
    assert any_order(data.source) == (kind in ("folder", "zip", "tar"))
    loader = Loader(data, 32, 8, 0)
    epoch = torch.cat([b.pixels for b in taken(loader, loader.per_epoch)])
    whole = next(read_examples(path).batches(32, 100)).images
    assert loader.per_epoch == 5
    ours, theirs = ({bytes(p.numpy().tobytes()) for p in x} for x in (epoch, whole))
    assert ours == theirs
    pairs = next(read_examples(path).batches(32, 100))
    truth = {bytes(p.numpy().tobytes()): pairs.captions[int(k)]
             for p, k in zip(pairs.images, pairs.labels, strict=True)}
    for batch in taken(loader, loader.per_epoch):
        assert [truth[bytes(p.numpy().tobytes())] for p in batch.pixels] == list(batch.captions)
    second = torch.cat([b.pixels for b in taken(loader, 5, 5)])
    assert not torch.equal(epoch, second)


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_the_stream_starts_anywhere(tmp_path: Path, kind: str) -> None:
    path = write_parquet(tmp_path / "set.parquet") if kind == "parquet" else write_folder(
        tmp_path / "set")
    data = opened(path)
    whole = taken(Loader(data, 32, 8, 0, "crop+flip"), 8)
    for start in (1, 4, 6):
        part = taken(Loader(data, 32, 8, 0, "crop+flip"), 2, start)
        for a, b in zip(part, whole[start:], strict=False):
            assert torch.equal(a.pixels, b.pixels) and a.captions == b.captions


def test_processes_share_the_batches_of_one(tmp_path: Path) -> None:
    data = opened(write_parquet(tmp_path / "set.parquet", damaged=[3]))
    alone = taken(Loader(data, 32, 8, 0, "crop"), 6)
    pair = [taken(Loader(data, 32, 8, 0, "crop", rank, 2), 6) for rank in (0, 1)]
    for whole, *halves in zip(alone, *pair, strict=True):
        joined = torch.cat([h.groups for h in halves])
        assert (whole.groups != joined).sum() <= 1  # what takes a damaged one's place may differ
    with pytest.raises(InputError, match="cannot be shared by 3 processes"):
        Loader(data, 32, 8, 0, rank=0, world=3)


def test_a_damaged_picture_is_counted_and_another_takes_its_place(tmp_path: Path) -> None:
    data = opened(write_parquet(tmp_path / "set.parquet", damaged=[3, 17]))
    loader = Loader(data, 32, 8, 0)
    batches = taken(loader, loader.per_epoch)
    assert loader.unreadable == {3, 17}
    for batch in batches:
        assert len(batch.pixels) == 8
        assert len({p.numpy().tobytes() for p in batch.pixels}) == 8  # none comes twice


def test_a_set_of_damaged_pictures_ends_with_a_sentence(tmp_path: Path) -> None:
    data = opened(write_parquet(tmp_path / "set.parquet", damaged=range(40)))
    with pytest.raises(InputError, match="too many pictures of set.parquet cannot be read"):
        taken(Loader(data, 32, 8, 0), 1)


def test_a_set_smaller_than_a_batch_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 10 pictures to train on, fewer than one batch"):
        Loader(opened(write_parquet(tmp_path / "set.parquet", 10)), 32, 16, 0)


def test_one_class_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the same answer, 'a photo of a cat'"):
        opened(write_parquet(tmp_path / "set.parquet", 10, ["cat"]))


def test_held_out_pictures_are_not_trained_on(tmp_path: Path) -> None:
    data, held = open_training(str(write_parquet(tmp_path / "set.parquet")), TEMPLATE, 8)
    assert held is not None and len(held) == 8 and len(data) == 32
    assert not set(held.chosen) & set(data.chosen.tolist())
    assert held.captions == data.captions
    assert [held.captions[k] for k in held.labels] == [
        TEMPLATE.format(NAMES[i % 4]) for i in held.chosen]
    few, _ = open_training(str(tmp_path / "set.parquet"), TEMPLATE, 100)
    assert len(few) == 32  # a fifth at most


def test_all_captions_of_a_picture_take_their_turn(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 8)
    rows = [f"{NAMES[k % 4]}/{k}.png,a thing {k}" for k in range(8)]
    rows += [f"{NAMES[k % 4]}/{k}.png,the same thing {k}" for k in range(8)]
    (folder / "set.csv").write_text("image,caption\n" + "\n".join(rows) + "\n")
    data = opened(folder / "set.csv")
    assert data.classes is None
    seen = {c for b in taken(Loader(data, 32, 8, 0), 12) for c in b.captions}
    assert len(seen) > 12 and len(data.captions) == 16


def test_the_fingerprint_knows_pictures_and_labels(tmp_path: Path) -> None:
    one = opened(write_parquet(tmp_path / "a.parquet")).fingerprint
    assert opened(write_parquet(tmp_path / "b.parquet")).fingerprint == one
    assert opened(write_parquet(tmp_path / "c.parquet", seed=1)).fingerprint != one
    other = opened(write_parquet(tmp_path / "d.parquet", names=("x", "y", "z", "w")))
    assert other.fingerprint["bytes"] == one["bytes"] and other.fingerprint != one


def test_a_name_of_the_hub_that_cannot_be_reached_says_so() -> None:
    with pytest.raises(InputError, match="cannot fetch the data set cifar10"):
        open_training("hf:cifar10", TEMPLATE)


def test_augmentation_stays_on_the_grid_and_follows_its_key() -> None:
    image = to_image(grid_images(1, 40, 9)[0])
    for how in ("crop", "crop+flip"):
        made = [augmented(image, 32, how, key) for key in (1, 1, 2)]
        assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
        assert torch.equal(made[0] * 255, (made[0] * 255).round())
    mirrored = [augmented(image, 32, "crop+flip", key) for key in range(12)]
    plain = [augmented(image, 32, "crop", key) for key in range(12)]
    flips = sum(not torch.equal(a, b) for a, b in zip(mirrored, plain, strict=True))
    assert 0 < flips < 12
    for a, b in zip(mirrored, plain, strict=True):
        assert torch.equal(a, b) or torch.allclose(a.flip(2), b, atol=2 / 255)


def test_gzipped_archives_are_read_from_front_to_back(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 8)
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as packed:
        packed.add(folder, "set")
    source = open_source(tmp_path / "set.tar.gz")
    assert isinstance(source, Boxed) and not any_order(source)
