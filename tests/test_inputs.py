"""Sets of pictures in the layouts in which people have them: what is understood or said."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from sets import picture, write_folder, write_tar, write_zip

from explorer.base.errors import InputError
from explorer.data.sets import read_examples, read_retrieval
from explorer.training.data import open_training

SIX = ("bird", "dog", "emu", "fox", "gnu", "owl")
TWO = ("a cat sits here .", "a dog, tongue out, runs .")


def grid(pattern: str, names: tuple[str, ...] = ("cat", "dog")) -> dict[str, bytes]:
    """A picture for each name, of grey 0, 1, ...; "{}" in the pattern is the name."""
    return {pattern.format(name): picture(k) for k, name in enumerate(names)}


def rest(pattern: str, names: tuple[str, ...] = ("cat", "dog")) -> dict[str, bytes]:
    """Pictures that must not be read: of grey 99."""
    return {pattern.format(name): picture(99) for name in names}


def text(*lines: str, end: str = "\n") -> bytes:
    return end.join(lines).encode()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def meta(ids: dict[int, str]) -> bytes:
    """ImageNet's meta.mat, as far as it is read."""
    import numpy as np
    from scipy.io import savemat

    rows = np.array(list(ids.items()),
                    dtype=[("ILSVRC2012_ID", "i4"), ("WNID", "U9")])
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": rows})
    return buffer.getvalue()


PAIR = {"1.png": picture(0), "2.png": picture(1)}
IMAGES = {f"images/{name}": raw for name, raw in PAIR.items()}
COCO = {"images": [{"id": 7, "file_name": "1.png"}, {"id": 9, "file_name": "2.png"}],
        "annotations": [{"id": 1, "image_id": 9, "caption": TWO[1]},
                        {"id": 2, "image_id": 7, "caption": TWO[0]},
                        {"id": 3, "image_id": 7, "caption": "one cat"}]}
WNIDS = ("n02123045", "n02099601")
TABBY = {0: "a photo of a tabby cat", 1: "a photo of a Golden Retriever"}
CATS = {0: "a photo of a cat", 1: "a photo of a dog"}
SAID = dict(enumerate(TWO))
VAL = {f"val/ILSVRC2012_val_0000000{k}.JPEG": picture(k - 1) for k in (1, 2)}
CUB = {"CUB/images.txt": text("1 001.Cat/a_1.png", "2 002.Dog/b_1.png", "3 001.Cat/c_1.png"),
       "CUB/image_class_labels.txt": text("1 1", "2 2", "3 1"),
       "CUB/classes.txt": text("1 001.Cat", "2 002.Dog"),
       "CUB/train_test_split.txt": text("1 0", "2 0", "3 1"),
       "CUB/images/001.Cat/a_1.png": picture(0), "CUB/images/002.Dog/b_1.png": picture(1),
       "CUB/images/001.Cat/c_1.png": picture(99)}

# Name: files, and grey level -> answer, or what is said instead.
LAYOUTS: dict[str, tuple[dict[str, bytes], Any]] = {
    # splits
    "train/valid/test": ({**grid("d/test/{}/1.png"), **rest("d/train/{}/1.png"),
                          **rest("d/valid/{}/1.png")}, CATS),
    "train/val": ({**grid("val/{}/1.png"), **rest("train/{}/1.png")}, CATS),
    "training_set/test_set below archive": (
        {**grid("archive/test_set/{}s/1.png"), **rest("archive/training_set/{}s/1.png")},
        {0: "a photo of a cats", 1: "a photo of a dogs"}),
    "Intel's seg_test twice": ({**grid("seg_test/seg_test/{}/1.png"),
                                **rest("seg_train/seg_train/{}/1.png"),
                                "seg_pred/seg_pred/5.png": picture(99)}, CATS),
    "a copy beside the splits": ({**grid("x/test/{}/1.png"), **rest("x/train/{}/1.png"),
                                  **rest("x/x/train/{}/1.png"), "__MACOSX/x/._1.png": b"x"}, CATS),
    "Training and Test": ({**grid("Test/{}/1.PNG"), **rest("Training/{}/1.PNG")}, CATS),
    "only train": (grid("train/{}/1.png"), CATS),
    "splits inside the classes": ({**grid("{}/test/1.png"), **rest("{}/train/1.png")}, CATS),
    "train, the vehicle": (grid("{}/1.png", ("train", "ship")),
                           {0: "a photo of a train", 1: "a photo of a ship"}),
    "train, the vehicle, in splits": (
        {**grid("test/{}/1.png", ("train", "ship")), **rest("train/{}/1.png", ("train", "ship"))},
        {0: "a photo of a train", 1: "a photo of a ship"}),
    "train and test without classes": ({"train/1.png": picture(0), "test/2.png": picture(1)},
                                       "no sub-folders of classes"),
    # names of classes
    "wnids": (grid("val/{}/ILSVRC2012_val_1.JPEG", WNIDS), TABBY),
    "wnids with names": (grid("Images/{}/n1_1.png", ("n02085620-Chihuahua", "n02085782-Old_dog")),
                         {0: "a photo of a Chihuahua", 1: "a photo of a Old dog"}),
    "wnids of ImageNet-21k": (grid("{}/1.png", ("n00007846", "n00015388")),
                              {0: "a photo of a person", 1: "a photo of a animal"}),
    "a wnid that is none": (grid("{}/1.png", ("n02123045", "n99999999")), "n99999999 .* words.txt"),
    "numbered names": (grid("{}/1.png", ("001.Black_footed_Albatross", "002.Laysan_Albatross")),
                       {0: "a photo of a Black footed Albatross",
                        1: "a photo of a Laysan Albatross"}),
    "numbers and names": (grid("{}/1.png", ("12_cat", "7_dog")), CATS),
    "numbers": (grid("{}/1.png", ("0", "1")), "class folders of .* are numbers, 0 to 1"),
    "numbers and classnames.txt": ({**grid("{}/1.png", ("0", "1")),
                                    "classnames.txt": text("cat", "dog")}, CATS),
    "numbers and cat_to_name.json": (
        {**grid("test/{}/1.png", ("21", "3")), **rest("train/{}/1.png", ("21", "3")),
         "cat_to_name.json": as_json({"21": "cat", "3": "dog", "1": "sea"})}, CATS),
    "numbers from 1": ({**grid("{}/1.png", ("1", "2")), "labels.txt": text("cat", "dog")}, CATS),
    "numbers and class_to_idx": ({**grid("{}/1.png", ("0", "1")),
                                  "class_to_idx.json": as_json({"cat": 0, "dog": 1})}, CATS),
    "numbers and too few names": ({**grid("{}/1.png", ("0", "1")), "classes.txt": text("cat")},
                                  r"classes\.txt names 1 class, and the labels go from 0 to 1"),
    "codes": (grid("{}/1.png", ("693b08cb0e", "577c3a7d70")), "are codes such as"),
    "domains": ({**grid("art_painting/{}/1.png"), **grid("photo/{}/2.png")}, CATS),
    "domains with splits": ({**grid("Art/test/{}/1.png"), **rest("Art/train/{}/1.png"),
                             **grid("Clip Art/test/{}/1.png"), **rest("Clip Art/train/{}/1.png")},
                            CATS),
    "letters above classes": ({"a/abbey/1.png": picture(0), "b/bar/1.png": picture(1)},
                              {0: "a photo of a abbey", 1: "a photo of a bar"}),
    "classes with sessions": (grid("{}/session_1/1.png"), CATS),
    "hidden files and empty classes": ({**grid("{}/1.png"), "emu/.keep": b"", ".DS_Store": b"x",
                                        "cat/Thumbs.db": b"x", "cat/._1.png": b"x"}, CATS),
    "one picture": ({"cat/1.png": picture(0)}, "the same answer, 'a photo of a cat'"),
    "classes of one name": (grid("{}/1.png", ("n03773504", "n04008634", "n02123045")),
                            {0: "a photo of a missile", 1: "a photo of a missile",
                             2: "a photo of a tabby cat"}),
    # names of files
    "one folder of images": ({"images/a cat.png": picture(0), "images/a dog.png": picture(1)},
                             {0: "a cat", 1: "a dog"}),
    "classes in the names": ({f"train/{n}.{k}.png": picture(g) for g, n in enumerate(("cat", "dog"))
                              for k in range(3)}, CATS),
    "Oxford pets": ({**{f"images/{n}_{k}.png": picture(g) for k in (1, 12) for g, n in
                        enumerate(("Abyssinian", "great_pyrenees"))},
                     **rest("annotations/trimaps/{}_1.png", ("Abyssinian", "great_pyrenees"))},
                    {0: "a photo of a Abyssinian", 1: "a photo of a great pyrenees"}),
    "hexadecimal names": ({f"images/{k}000268201_693b08cb0e.png": picture(k) for k in (1, 2)},
                          r"1000268201_693b08cb0e\.png\) are no words"),
    "counted names": ({f"COCO_val2014_{k:012d}.png": picture(k) for k in (1, 2)}, "are no words"),
    "uuids": ({f"3f2504e0-4f89-41d3-9a0c-0305e82c330{k}.png": picture(k) for k in (1, 2)},
              "are no words"),
    # published sets
    "ImageNet flat": (VAL, "without their classes: put LOC_val_solution"),
    "ImageNet flat, no meta.mat": ({**VAL, "kit/data/ILSVRC2012_validation_ground_truth.txt":
                                    text("2", "1")}, "which class a number is: put meta.mat"),
    "ImageNet flat, devkit": ({**VAL, "kit/data/ILSVRC2012_validation_ground_truth.txt":
                               text("2", "1"), "kit/data/meta.mat":
                               meta({1: WNIDS[1], 2: WNIDS[0]})}, TABBY),
    "ImageNet at Kaggle": ({f"ILSVRC/Data/CLS-LOC/{n}": raw for n, raw in VAL.items()} | {
        "LOC_val_solution.csv": text("ImageId,PredictionString", *(
            f"ILSVRC2012_val_0000000{k},{w} 1 2 3 4 {w} 5 6 7 8" for k, w in enumerate(WNIDS, 1))),
        "LOC_synset_mapping.txt": text("n02123045 tabby, tabby cat")}, TABBY),
    "Tiny-ImageNet val": ({**{f"val/images/val_{k}.JPEG": picture(k) for k in (0, 1)},
                           "val/val_annotations.txt": text(*(
                               f"val_{k}.JPEG\t{w}\t0\t0\t62\t62" for k, w in enumerate(WNIDS))),
                           "train/n02123045/images/n02123045_0.JPEG": picture(99)}, TABBY),
    "CUB-200": (CUB, {0: "a photo of a Cat", 1: "a photo of a Dog"}),
    "Food-101": ({**grid("food/images/{}_pie/10.png"), "food/images/cat_pie/11.png": picture(99),
                  "food/meta/test.txt": text("cat_pie/10", "dog_pie/10"),
                  "food/meta/train.txt": text("cat_pie/11"),
                  "food/meta/classes.txt": text("cat_pie", "dog_pie")},
                 {0: "a photo of a cat pie", 1: "a photo of a dog pie"}),
    "lists of paths and numbers": ({**grid("real/{}/1.png"), "real/cat/2.png": picture(99),
                                    "real_train.txt": text("real/cat/2.png 0"),
                                    "real_test.txt": text("real/cat/1.png 0", "real/dog/1.png 1"),
                                    "classes.txt": text("cat", "dog")}, CATS),
    # captions
    "Flickr8k at Kaggle": ({f"Images/{k}000268201_693b08cb0e.jpg": picture(k - 1) for k in (1, 2)}
                           | {"captions.txt": text("image,caption", *(
                               f"{k}000268201_693b08cb0e.jpg,{t}" for k, own in ((1, (
                                   TWO[0], "one cat")), (2, (TWO[1],))) for t in own))}, SAID),
    "Flickr30k at Kaggle": (
        {"flickr30k_images/flickr30k_images/1.jpg": picture(0),
         "flickr30k_images/flickr30k_images/2.jpg": picture(1),
         "flickr30k_images/results.csv": text(
             "image_name| comment_number| comment", f"1.jpg| 0| {TWO[0]}", "1.jpg| 1| one cat",
             f"2.jpg| 0| {TWO[1]}", "2.jpg| 4   A dog runs .")}, SAID),
    "Flickr30k's token file": ({f"flickr30k-images/{n}": raw for n, raw in PAIR.items()} | {
        "results_20130124.token": text(f"1.png#0\t{TWO[0]}", "1.png#1\tone cat",
                                       f"2.png#0\t{TWO[1]}")}, SAID),
    "Flickr8k's own files": ({f"Flicker8k_Dataset/{n}": raw for n, raw in PAIR.items()} | {
        "Flickr8k_text/Flickr8k.token.txt": text(f"1.png#0\t{TWO[0]}", f"2.png#0\t{TWO[1]}"),
        "Flickr8k_text/Flickr8k.lemma.token.txt": text("1.png#0\ta lemma", "2.png#0\tthe lemma"),
        "Flickr8k_text/ExpertAnnotations.txt": text("1.png\t2.png#2\t1\t1\t1"),
        "Flickr8k_text/readme.txt": b"If you use this corpus, please cite"}, SAID),
    "COCO": ({**{f"val2017/{n}": raw for n, raw in PAIR.items()},
              **{f"train2017/{n}": picture(99) for n in ("5.png", "6.png")},
              "annotations/captions_val2017.json": as_json(COCO),
              "annotations/captions_train2017.json": as_json({
                  "images": [{"id": 1, "file_name": "5.png"}],
                  "annotations": [{"image_id": 1, "caption": "no"}]}),
              "annotations/instances_val2017.json": as_json({
                  "images": COCO["images"], "categories": [{"id": 1, "name": "x"}, {"id": 2,
                                                                                  "name": "y"}],
                  "annotations": [{"image_id": 7, "category_id": c} for c in (1, 2)]})}, SAID),
    "COCO's boxes of one kind": ({**IMAGES, "instances.json": as_json({
        "images": COCO["images"],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [{"image_id": 7, "category_id": 3}, {"image_id": 9, "category_id": 5}]})},
        CATS),
    "metadata.csv": ({**PAIR, "metadata.csv": text("file_name,text", f"1.png,{TWO[0]}",
                                                   f'2.png,"{TWO[1]}"')}, SAID),
    "metadata.jsonl in splits": (
        {**{f"test/{n}": raw for n, raw in PAIR.items()}, "train/1.png": picture(99),
         "test/metadata.jsonl": text(*(as_json({"file_name": f"{k}.png", "text": t}).decode()
                                       for k, t in enumerate(TWO, 1))),
         "train/metadata.jsonl": as_json({"file_name": "1.png", "text": "no"})}, SAID),
    "captions apart": ({**IMAGES, **{f"captions/{k}.txt": t.encode()
                                     for k, t in enumerate(TWO, 1)}}, SAID),
    "img2dataset": ({f"0000{g}/{g}.{end}": raw for g, t in enumerate(TWO) for end, raw in (
        ("jpg", picture(g)), ("txt", t.encode()), ("json", as_json({
            "caption": t, "status": "success", "url": "http://x"})))} | {
        "00000_stats.json": as_json({"count": 2})}, SAID),
    "YOLO boxes": ({**PAIR, "1.txt": text("0 0.5 0.5 0.1 0.1"), "2.txt": text("1 0.5 0.5 1 1")},
                   "captions of .* are no words, as “0 0.5"),
    "a table that is not understood": ({"a cat.png": picture(0), "a dog.png": picture(1),
                                        "x.csv": text("foto,wort", "a cat.png,Katze")},
                                       "--columns image=foto,label=wort"),
    "a table of other things": ({**grid("{}/1.png"), "noisy.csv": text(
        "path,noisy_labels_0,is_valid", "cat/1.png,n1,True", "dog/1.png,n2,True")}, CATS),
    "a dog breed contest": ({**{f"train/{c * 8}1a.png": picture(g) for g, c in enumerate("bc")},
                             "test/dddddddd1a.png": picture(99),
                             "labels.csv": text("id,breed", "bbbbbbbb1a,cat", "cccccccc1a,dog"),
                             "sample_submission.csv": text("id,beagle,pug", "dddddddd1a,0.5,0.5")},
                            CATS),
    "train.csv and test.csv": ({**{f"img/{n}": raw for n, raw in PAIR.items()},
                                "img/3.png": picture(99),
                                "train.csv": text("img,class", "3.png,emu"),
                                "test.csv": text("img,class", "1.png,cat", "2.png,dog")}, CATS),
    "a column of splits": ({**IMAGES, "images/3.png": picture(99), "all.csv": text(
        "filepaths,labels,data set", "images/1.png,cat,test", "images/2.png,dog,test",
        "images/3.png,emu,train")}, CATS),
    "numbers and names in columns": ({**PAIR, "x.csv": text(
        "image,label,label_name", "1.png,0,cat", "2.png,1,dog")}, CATS),
    "numbered captions": ({**PAIR, "x.tsv": text(
        "filename\tcaption_0\tcaption_1", f"1.png\t{TWO[0]}\tone cat", f"2.png\t{TWO[1]}\t")},
        SAID),
    "names that splits share": (
        {"train/1.png": picture(0), "train/2.png": picture(1), "test/1.png": picture(99),
         "train.csv": text("id,label", "1,cat", "2,dog"), "test.csv": text("id", "1"),
         "sample_submission.csv": text("id,label", "1,cat")}, CATS),
    "a map of labels at Kaggle": (
        {"train_images/1.png": picture(0), "train_images/2.png": picture(1),
         "test_images/3.png": picture(99), "train.csv": text(
             "image_id,label", "1.png,0", "2.png,1"),
         "label_num_to_disease_map.json": as_json({"0": "cat", "1": "dog"})}, CATS),
    "a table with a header alone": ({**grid("{}/1.png"), "t.csv": text("image,label")}, CATS),
    "negative labels": ({**IMAGES, "labels.csv": text("file,class", "1.png,-1", "2.png,1")},
                        r"labels \(column class\) of .* are numbers, -1 to 1"),
    "titles that are file names": (
        {f"IMG_{k}.jpg{end}": raw for k, word in enumerate(("a cat", "a dog")) for end, raw in (
            ("", picture(k)), (".json", as_json({"title": f"IMG_{k}.jpg", "description": word})))},
        {0: "a cat", 1: "a dog"}),
    "labels and their names in JSON": (
        {f"{k}.{end}": raw for k, word in enumerate(("cat", "dog")) for end, raw in (
            ("png", picture(k)), ("json", as_json({"label": k, "label_name": word})))}, CATS),
    "JSON of shapes beside pictures": (
        {f"{k}.{end}": raw for k in range(2) for end, raw in (
            ("png", picture(k)), ("json", as_json({"shapes": [], "version": 1})))}, "are no words"),
    "names, a blank, captions": ({**IMAGES, "captions.txt": text(
        f"1.png {TWO[0]}", f"2.png {TWO[1]}")}, SAID),
    "Flickr8k's lists of splits": (
        {**IMAGES, "images/3.png": picture(99), "Flickr8k.token.txt": text(
            f"1.png#0\t{TWO[0]}", f"2.png#0\t{TWO[1]}", "3.png#0\tnot this one"),
         "Flickr_8k.testImages.txt": text("1.png", "2.png"),
         "Flickr_8k.trainImages.txt": text("3.png")}, SAID),
    "web addresses": ({**PAIR, "x.tsv": text("image\tcaption", "https://x/a.jpg\ta cat")},
                      "addresses of pictures on the web in image"),
    "captions and numbers": ({**PAIR, "x.csv": text("image,label,caption", "1.png,0,a cat",
                                                    "2.png,1,a dog")}, {0: "a cat", 1: "a dog"}),
    "boxes of Roboflow": ({f"{s}/{n}": raw for s in ("test",) for n, raw in PAIR.items()} | {
        "test/_annotations.csv": text("filename,width,class", "1.png,8,cat", "2.png,8,dog"),
        "train/1.png": picture(99),
        "train/_annotations.csv": text("filename,width,class", "1.png,8,emu")}, CATS),
    "classes below classes": (
        {"animals/cat/1.png": picture(0), "animals/emu/2.png": picture(0),
         "cars/bus/1.png": picture(1), "cars/van/1.png": picture(1)},
        {0: "a photo of a animals", 1: "a photo of a cars"}),
    "nothing": ({"notes.md": b"x", "a.dcm": b"x", "b.dcm": b"y"},
                r"no images in .*: it holds files of other kinds \(2 \.dcm, 1 \.md\)"),
}
WRITERS = {"set": write_folder, "set.zip": write_zip, "set.tar": write_tar}


def greys(examples: Any) -> dict[int, str]:
    """Grey level -> the answer, over all pictures that are read."""
    return {round(float(image[0, 0, 0]) * 255): pairs.captions[int(label)]
            for pairs in examples.batches(4, 4)
            for image, label in zip(pairs.images, pairs.labels, strict=True)}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_layouts(tmp_path: Path, kind: str, name: str) -> None:
    files, wanted = LAYOUTS[kind]
    path = WRITERS[name](tmp_path / name, files)
    if isinstance(wanted, str):
        with pytest.raises(InputError, match=wanted):
            read_examples(path)
        return
    examples = read_examples(path)
    assert greys(examples) == wanted
    said = examples.understood
    assert said.how and said.pictures == len(examples)
    assert [a for a in dict.fromkeys(wanted.values()) if f"“{a}”" not in said.paragraph()] == []


def test_several_captions_of_a_picture_are_all_read(tmp_path: Path) -> None:
    for kind in ("Flickr8k at Kaggle", "Flickr30k at Kaggle", "Flickr30k's token file", "COCO",
                 "numbered captions"):
        path = write_folder(tmp_path / kind.split()[0] / kind, LAYOUTS[kind][0])
        found = read_retrieval(path)
        assert sorted(found.own(place) for place in range(2)) == [
            (TWO[0], "one cat"), (TWO[1],)], kind
        assert ": 2 pictures with 3 captions (" in found.understood.paragraph()
    path = write_folder(tmp_path / "i2d", LAYOUTS["img2dataset"][0])
    assert read_retrieval(path).owner == (0, 1)  # the text and the JSON say the same once


@pytest.mark.parametrize(("kind", "split"), [
    ("train/valid/test", "test"), ("train/val", "val"), ("metadata.jsonl in splits", "test"),
    ("COCO", "val"), ("a column of splits", "test"), ("only train", "train"),
    ("train.csv and test.csv", "test")])
def test_the_split_that_is_read_is_said_and_training_reads_another(tmp_path: Path, kind: str,
                                                                   split: str) -> None:
    files = {**LAYOUTS[kind][0]}
    path = write_folder(tmp_path / "set", files)
    assert read_examples(path).understood.split.startswith(f"the split {split}")
    for name in list(files):  # training needs two answers of its own
        if "train" in name and name.endswith("2017.json"):
            files[name] = as_json({"images": [{"id": 1, "file_name": "5.png"},
                                              {"id": 2, "file_name": "6.png"}],
                                   "annotations": [{"image_id": 1, "caption": "no"},
                                                   {"image_id": 2, "caption": "yes"}]})
        elif name == "train.csv":
            files |= {name: text("img,class", "3.png,emu", "4.png,owl"), "img/4.png": picture(98)}
        elif name == "all.csv":
            files |= {name: files[name] + b"\nimages/4.png,owl,train", "images/4.png": picture(98)}
        elif name == "train/metadata.jsonl":
            files |= {name: files[name] + b'\n{"file_name": "2.png", "text": "yes"}',
                      "train/2.png": picture(98)}
    data, _ = open_training(str(write_folder(tmp_path / "again", files)), "a {}")
    assert data.understood.split.startswith("the split train")
    assert len(data) == 2


def test_what_is_left_out_is_said_with_the_first_names(tmp_path: Path) -> None:
    files = {**IMAGES, "images/3.png": picture(3), "x.csv": text(
        "image,caption", "images/1.png,a cat", "images/2.png,a dog", "images/2.png,",
        "gone.png,an owl"), "notes.md": b"hello"}
    said = read_examples(write_zip(tmp_path / "set.zip", files)).understood
    assert said.paragraph() == (
        "set.zip: 2 pictures (the table x.csv, columns image and caption). 2 different captions: "
        "“a cat”, “a dog”. Left out 1 file (no image or nothing about it in the table): "
        "images/2.png. Left out 1 file (listed, but not there): gone.png. Left out 1 file (not in "
        "the table): images/3.png. Left out 1 file (not pictures): notes.md.")
    assert said.plain()["first_answers"] == ["a cat", "a dog"]


def test_classes_of_one_name_are_said(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", LAYOUTS["classes of one name"][0])
    said = read_examples(path).understood
    assert len(said.answers) == 2
    assert ("“missile” is the name of 2 classes (n03773504, n04008634) and counts as one answer"
            in said.notes)


def test_only_the_first_five_answers_are_told(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", grid("{}/1.png", SIX))
    assert "6 different answers: “a photo of a bird”" in read_examples(path).understood.paragraph()
    assert "“a photo of a gnu” and 1 more." in read_examples(path).understood.paragraph()


@pytest.mark.parametrize(("name", "wanted"), [
    ("a 4x4 car.jpg", "a 4x4 car"), ("cat2.jpg", "cat"), ("redFox.jpg", "redFox"),
    ("猫.jpg", "猫"), ("DSC_0001.JPG", ""), ("IMG-20200101-WA0003.jpg", ""), ("deadbeef01.png", ""),
    ("qwrtz.png", ""), ("frame_00017.png", ""), ("x.png", ""), ("val_0.JPEG", "")])
def test_words_in_file_names(name: str, wanted: str) -> None:
    from explorer.data.wording import words_of

    assert words_of(name) == wanted


def test_a_refusal_keeps_the_report(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"../up.png": picture(1), "more.zip": b"PK"})
    with pytest.raises(InputError, match=r"no images in set\.zip: Left out 1 file \(names that "
                       r"lead out of the archive\): \.\./up\.png\. Left out 1 file \(archives"):
        read_examples(path)
