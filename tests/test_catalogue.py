"""The sets of the literature, from made-up copies in the layout in which each is published."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
import scipy.io
from sets import picture, write_folder

from explorer.base.errors import InputError
from explorer.data import catalogue, published
from explorer.data import class_names as classnames
from explorer.data.sets import Examples, RetrievalSet
from explorer.data.tasks import CLASSES, RETRIEVAL

Wanted = list[tuple[int, str]]  # (grey level, caption) of each picture
GREYS = (10, 20, 30, 40)


def pictures(names: list[str]) -> dict[str, bytes]:
    """Files whose grey level is 10, 20, and so on."""
    return {name: picture(10 * i) for i, name in enumerate(names, 1)}


def dump(path: Path, value: Any, protocol: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol))


def rows(side: int) -> Any:
    """(4, 3, side, side): flat pictures but for a bright first row."""
    data = np.stack([np.full((3, side, side), g, np.uint8) for g in GREYS])
    data[:, :, 0] = 255
    return data


def cifar10(root: Path) -> Wanted:
    folder = root / "cifar-10-batches-py"
    dump(folder / "test_batch", {"data": rows(32).reshape(4, -1), "labels": [1, 0, 1, 0],
                                 "batch_label": "testing batch 1 of 1", "filenames": ["x"] * 4})
    dump(folder / "batches.meta", {"label_names": ["airplane", "automobile"], "num_vis": 3072})
    return [(g, f"This is a photo of a {n}") for g, n in
            zip(GREYS, ["automobile", "airplane"] * 2, strict=True)]


def cifar100(root: Path) -> Wanted:
    folder = root / "cifar-100-python"
    dump(folder / "test", {"data": rows(32).reshape(4, -1), "fine_labels": [1, 0, 1, 0],
                           "coarse_labels": [0] * 4})
    dump(folder / "meta", {"fine_label_names": ["apple", "aquarium_fish"],
                           "coarse_label_names": ["x"]})
    return [(g, f"This is a photo of a {n}") for g, n in
            zip(GREYS, ["aquarium fish", "apple"] * 2, strict=True)]


def stl10(root: Path) -> Wanted:
    folder = root / "stl10_binary"
    folder.mkdir()
    rows(96).transpose(0, 1, 3, 2).tofile(folder / "test_X.bin")  # column by column
    np.array([2, 1, 1, 2], np.uint8).tofile(folder / "test_y.bin")
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    return [(g, f"This is a photo of a {n}") for g, n in
            zip(GREYS, ["bird", "airplane", "airplane", "bird"], strict=True)]


def pcam(root: Path) -> Wanted:
    (root / "pcam").mkdir()
    start = str(root / "pcam" / "camelyonpatch_level_2_split_test_")
    with h5py.File(start + "x.h5", "w") as file:
        file["x"] = rows(96).transpose(0, 2, 3, 1)
    with h5py.File(start + "y.h5", "w") as file:
        file["y"] = np.array([0, 1, 1, 0], np.uint8).reshape(-1, 1, 1, 1)
    none, some = ("this is a photo of lymph node",
                  "this is a photo of lymph node containing metastatic tumor tissue")
    return list(zip(GREYS, [none, some, some, none], strict=True))


def tiny_imagenet(root: Path) -> Wanted:
    write_folder(root / "tiny-imagenet-200", {
        **pictures(["val/images/val_0.JPEG", "val/images/val_1.JPEG"]), "wnids.txt": b"n01\nn02\n",
        "words.txt": b"n01\tgoldfish, Carassius auratus\nn02\tEgyptian cat\nn03\tentity\n",
        "val/val_annotations.txt": b"val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n"})
    return [(10, "This is a photo of a Egyptian cat"), (20, "This is a photo of a goldfish")]


def imagenet(root: Path) -> Wanted:
    write_folder(root / "imagenet", pictures(["val/n01440764/ILSVRC2012_val_00000293.JPEG",
                                              "val/n02123045/ILSVRC2012_val_00000499.JPEG"]))
    return [(10, "This is a photo of a tench"), (20, "This is a photo of a tabby cat")]


def caltech101(root: Path) -> Wanted:
    write_folder(root / "caltech101/101_ObjectCategories", pictures([
        "crocodile_head/image_0001.jpg", "yin_yang/image_0001.jpg",
        "BACKGROUND_Google/image_0001.jpg"]))
    return [(10, "This is a photo of a crocodile head"), (20, "This is a photo of a yin yang")]


def caltech256(root: Path) -> Wanted:
    write_folder(root / "caltech256/256_ObjectCategories", pictures([
        "001.ak47/001_0001.jpg", "224.touring-bike/224_0001.jpg",
        "253.faces-easy-101/253_0001.jpg"]))
    return [(10, "This is a photo of a ak47"), (20, "This is a photo of a touring bike"),
            (30, "This is a photo of a faces easy")]


def food101(root: Path) -> Wanted:
    write_folder(root / "food-101", {
        **pictures(["images/baby_back_ribs/1.jpg", "images/sushi/2.jpg"]),
        "meta/test.json": json.dumps({"sushi": ["sushi/2"],
                                      "baby_back_ribs": ["baby_back_ribs/1"]}).encode()})
    return [(10, "A photo of baby back ribs, a type of food."),
            (20, "A photo of sushi, a type of food.")]


def pets(root: Path) -> Wanted:
    write_folder(root / "oxford-iiit-pet", {
        **pictures(["images/Abyssinian_201.jpg", "images/american_bulldog_1.jpg"]),
        "annotations/test.txt": b"Abyssinian_201 1 1 1\namerican_bulldog_1 2 2 1\n"})
    return [(10, "A photo of a Abyssinian, a type of pet."),
            (20, "A photo of a american bulldog, a type of pet.")]


def flowers102(root: Path) -> Wanted:
    folder = write_folder(root / "flowers-102", pictures([f"jpg/image_{k:05d}.jpg"
                                                         for k in (1, 2, 3)]))
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": [[77, 102, 1]]})
    scipy.io.savemat(folder / "setid.mat", {"trnid": [[2]], "valid": [[2]], "tstid": [[3, 1]]})
    return [(30, "A photo of a pink primrose, a type of flower."),
            (10, "A photo of a passion flower, a type of flower.")]


def dtd(root: Path) -> Wanted:
    write_folder(root / "dtd/dtd", {
        **pictures(["images/banded/banded_0002.jpg", "images/zigzagged/zigzagged_0004.jpg"]),
        "labels/test1.txt": b"banded/banded_0002.jpg\nzigzagged/zigzagged_0004.jpg\n"})
    return [(10, "A surface with a banded texture."), (20, "A surface with a zigzagged texture.")]


def eurosat(root: Path) -> Wanted:
    write_folder(root / "eurosat/2750", pictures(["HerbaceousVegetation/a_1.jpg",
                                                  "River/River_1.jpg"]))
    return [(10, "A centered satellite photo of herbaceous vegetation."),
            (20, "A centered satellite photo of river.")]


def fgvc_aircraft(root: Path) -> Wanted:
    write_folder(root / "fgvc-aircraft-2013b/data", {
        **pictures(["images/1514522.jpg", "images/0747566.jpg"]),
        "variants.txt": b"707-320\nF-16A/B\n",
        "images_variant_test.txt": b"1514522 707-320\n0747566 F-16A/B\n"})
    return [(10, "A photo of a 707-320, a type of aircraft."),
            (20, "A photo of a F-16A/B, a type of aircraft.")]


def sun397(root: Path) -> Wanted:
    write_folder(root / "SUN397", {
        **pictures(["a/abbey/sun_aaa.jpg", "a/apartment_building/outdoor/sun_bbb.jpg"]),
        "ClassName.txt": b"/a/abbey\n/a/apartment_building/outdoor\n"})
    return [(10, "This is a photo of a abbey"),
            (20, "This is a photo of a apartment building outdoor")]


def stanford_cars(root: Path) -> Wanted:
    folder = write_folder(root / "stanford_cars", pictures(["cars_test/00001.jpg",
                                                            "cars_test/00002.jpg"]))
    (folder / "devkit").mkdir()
    kind = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
    marks = np.array([[(1, 2, "00001.jpg"), (1, 1, "00002.jpg")]], dtype=kind)
    scipy.io.savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": marks})
    names = np.array([["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]], dtype=object)
    scipy.io.savemat(folder / "devkit/cars_meta.mat", {"class_names": names})
    return [(10, "A photo of a Acura RL Sedan 2012."),
            (20, "A photo of a AM General Hummer SUV 2000.")]


def country211(root: Path) -> Wanted:
    write_folder(root / "country211", pictures(["test/AD/1.jpg", "test/XK/2.jpg"]))
    return [(10, "A photo I took in Andorra."), (20, "A photo I took in Kosovo.")]


MAKERS: dict[str, Callable[[Path], Wanted]] = {
    "cifar10": cifar10, "cifar100": cifar100, "stl10": stl10, "tiny-imagenet": tiny_imagenet,
    "imagenet": imagenet, "caltech101": caltech101, "caltech256": caltech256, "food101": food101,
    "pets": pets, "flowers102": flowers102, "dtd": dtd, "eurosat": eurosat,
    "fgvc-aircraft": fgvc_aircraft, "sun397": sun397, "stanford-cars": stanford_cars,
    "pcam": pcam, "country211": country211,
}


@pytest.mark.parametrize("name", MAKERS)
def test_sets_are_read_as_they_are_published(tmp_path: Path, name: str,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = MAKERS[name](tmp_path)
    assert catalogue.present(tmp_path) == [name]
    examples = catalogue.open(name, tmp_path)
    assert isinstance(examples, Examples)
    found = [(round(float(image[0, -1, -1]) * 255), pairs.captions[label])
             for pairs in examples.batches(32, 3)
             for image, label in zip(pairs.images, pairs.labels.tolist(), strict=True)]
    assert sorted(found) == sorted(wanted)
    monkeypatch.setenv(catalogue.VARIABLE, str(tmp_path))
    assert len(catalogue.open(name.upper(), limit=1)) == 1


@pytest.mark.parametrize("name", ["cifar10", "stl10", "pcam"])
def test_arrays_are_the_right_way_up(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path)
    examples = catalogue.open(name, tmp_path)
    ((_, images),) = examples.pixels(32, 4)
    assert bool((images[:, :, 0, 5:25] > 0.3).all())  # the bright row is the top one
    assert bool((images[:, :, 8:, 0] < 0.2).all())  # and not the left one


def entry(name: str, split: str, *texts: str, **more: str) -> dict[str, Any]:
    return {"filename": name, "split": split, "sentences": [{"raw": t} for t in texts], **more}


@pytest.mark.parametrize(("name", "folder", "where", "more"), [
    ("flickr30k", "flickr30k", "flickr30k-images", {}),
    ("coco", "coco", "val2014", {"filepath": "val2014"})])
def test_retrieval_sets(tmp_path: Path, name: str, folder: str, where: str, more: Any) -> None:
    images = [entry("1.jpg", "test", "a cat", "one cat", **more), entry("2.jpg", "train", "no"),
              entry("3.jpg", "test", "the sea", **more)]
    write_folder(tmp_path / folder, {
        f"dataset_{name}.json": json.dumps({"images": images, "dataset": name}).encode(),
        **pictures([f"{where}/{k}.jpg" for k in (1, 2, 3)])})
    found = catalogue.open(name, tmp_path)
    assert isinstance(found, RetrievalSet)
    assert found.captions == ("a cat", "one cat", "the sea") and found.owner == (0, 0, 1)
    ((_, pixels),) = found.pixels(8, 4)
    assert [round(float(p[0, 0, 0]) * 255) for p in pixels] == [10, 30]


def test_the_catalogue_is_whole() -> None:
    assert {e.id for e in catalogue.ENTRIES if e.task == CLASSES} == set(MAKERS)
    assert len(catalogue.SETS) == len(catalogue.ENTRIES) == 19
    for one in catalogue.ENTRIES:
        assert (one.task == RETRIEVAL) == (not one.templates)
        assert all(template.count("{}") == 1 for template in one.templates)
        assert one.title and one.size >= 1000 and one.folder and one.part


# --- what goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MAKERS, "flickr30k", "coco"])
def test_a_set_that_is_not_there_is_said_in_one_sentence(
        tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be read: it is not in ") as error:
        catalogue.open(name, tmp_path)
    assert "\n" not in str(error.value)
    assert ("hub is not reachable" in str(error.value)) == bool(catalogue.SETS[name].hub)
    monkeypatch.delenv(catalogue.VARIABLE, raising=False)
    with pytest.raises(InputError, match="no data root is given, nor EXPLORER_DATA set"):
        catalogue.open(name)


@pytest.mark.parametrize("name", [*MAKERS, "flickr30k", "coco"])
def test_an_empty_or_damaged_copy_is_said_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / catalogue.SETS[name].folder).mkdir(parents=True)
    with pytest.raises(InputError) as error:
        catalogue.open(name, tmp_path)
    assert "\n" not in str(error.value)
    if name in MAKERS:
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        MAKERS[name](fresh)
        for path in fresh.rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[:-3][::-1])
        with pytest.raises(InputError) as error:
            list(catalogue.open(name, fresh).pixels(8, 4))
        assert "\n" not in str(error.value)


def test_names_that_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no set 'mnist' in the catalogue; it has cifar10, "):
        catalogue.open("mnist", tmp_path)
    cifar10(tmp_path)
    with pytest.raises(InputError, match="limit must be at least 1"):
        catalogue.open("cifar10", tmp_path, limit=0)


class Harm:
    """What unpickling would run."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harm-was-done"),))


@pytest.mark.parametrize("value", [
    Harm(), {"data": Harm()}, {"data": [], "labels": Harm()}, {"x": np.random.default_rng}])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_runs_nothing(tmp_path: Path, value: Any, protocol: int,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cifar10(tmp_path)
    dump(tmp_path / "cifar-10-batches-py" / "test_batch", value, protocol)
    with pytest.raises(InputError, match="asks to run"):
        catalogue.open("cifar10", tmp_path)
    assert not (tmp_path / "harm-was-done").exists()


def test_the_original_pickles_of_python_2_are_read() -> None:
    """Written by hand as Python 2's numpy wrote them: the array's bytes are a str."""
    raw = (b"\x80\x02}q\x01U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\n"
           b"ndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x06"
           b"U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
           b"b\x89U\x06\x00\x01\x80\xff\x7f\x0atbs.")
    found = published.unpickle(io.BytesIO(raw))["data"]
    assert found.tolist() == [[0, 1, 128], [255, 127, 10]]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_copies_pickled_again_are_read(protocol: int) -> None:
    value = {"data": np.arange(6, dtype=np.uint8), "labels": [1, 2]}
    found = published.unpickle(io.BytesIO(pickle.dumps(value, protocol)))
    assert found["data"].tolist() == list(range(6)) and found["labels"] == [1, 2]


def test_labels_and_images_must_agree(tmp_path: Path) -> None:
    cifar10(tmp_path)
    batch = tmp_path / "cifar-10-batches-py" / "test_batch"
    dump(batch, {"data": rows(32).reshape(4, -1), "labels": [0, 1]})
    with pytest.raises(InputError, match="test_batch has 4 images and 2 labels"):
        catalogue.open("cifar10", tmp_path)
    dump(batch, {"data": rows(32).reshape(4, -1), "labels": [0, 1, 2, 0]})
    with pytest.raises(InputError, match="a label is 2, and there are 2 names"):
        catalogue.open("cifar10", tmp_path)


def test_codes_that_are_no_country_and_ids_that_are_no_class(tmp_path: Path) -> None:
    write_folder(tmp_path / "country211", pictures(["test/AD/1.jpg", "test/QQ/2.jpg"]))
    with pytest.raises(InputError, match="no country with the code QQ"):
        catalogue.open("country211", tmp_path)
    write_folder(tmp_path / "imagenet", pictures(["val/n1/1.JPEG", "val/n2/2.JPEG"]))
    with pytest.raises(InputError, match="n1 is not one of ImageNet's 1000 classes"):
        catalogue.open("imagenet", tmp_path)


def test_class_names_match_their_ids() -> None:
    """Two lists from two libraries are joined by place; ids far apart show that they agree."""
    names = classnames.imagenet_names()
    assert len(names) == 1000
    assert {k: names[k] for k in ("n01440764", "n02123045", "n03063599", "n15075141")} == {
        "n01440764": "tench", "n02123045": "tabby cat", "n03063599": "coffee mug",
        "n15075141": "toilet paper"}
