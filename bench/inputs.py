"""Runs the command line over a folder of inputs as people have them, and compares what it says.

`python -m bench.inputs FOLDER`: the folder holds the inputs of the table below, or some of them;
others that lie in it are run and shown. Each is one `evaluate --dry-run`. Status 1 where an answer
is another than the right one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from pathlib import Path

from explorer.actions.cli import main as command
from explorer.base.errors import InputError
from explorer.data.pairs import open_image

CATS = "“a photo of a cat”, “a photo of a dog”"
FOUR = f"{CATS}, “a photo of a penguin”, “a photo of a parrot”"
SEEN = "“a cat seen outside”, “a dog seen outside”"
FLICKR = "“A cat sits on the floor .”, “A dog runs, tongue out, over the grass .”"
RIGHT = {  # input: what must be said, as a pattern
    "splits2": f"2 pictures .*split test; .* {CATS}",
    "cats-and-dogs-splits": "4 pictures .*split test; .* “a photo of a cats”, “a photo of a dogs”",
    "imagenette": "3 pictures .*split val; .*Springer.*church.*golf ball.*Ids of WordNet",
    "imagenet-wnid": "6 pictures .*lorikeet.*king penguin.*tabby cat.*Ids of WordNet",
    "imagenet-flat": "error: .*put meta.mat from ILSVRC2012_devkit_t12",
    "flickr8k-kaggle": f"6 pictures .*captions.txt.* {FLICKR}",
    "flickr30k-kaggle": f"6 pictures .*results.csv.* {FLICKR}",
    "flickr30k-token": f"6 pictures .*results_20130124.token.* {FLICKR}",
    "coco-official": f"6 pictures .*captions_val2017.json.* {FLICKR}",
    "coco-official/coco/annotations/captions_val2017.json": f"6 pictures .* {FLICKR}",
    "karpathy": f"4 pictures .*dataset_flickr30k.json.*split test; .* {FLICKR}",
    "hf-imagefolder-csv": f"4 pictures .*metadata.csv.* {SEEN}",
    "hf-imagefolder-jsonl": f"4 pictures .*metadata.jsonl.* {SEEN}",
    "hf_saved": f"2 pictures .* {CATS}",
    "hub-snapshot/cats": f"4 pictures .*2 parquet files.* {CATS}|"
                         "error: .*README.md names 1 class, and the labels go from 0 to 3",
    "openclip-csv": f"4 pictures .*filepath and title.* {SEEN}",
    "parquet-odd/beans_style.parquet": f"4 pictures .* {FOUR}",
    "parquet-odd/capital.parquet": "4 pictures .*Image and Caption.*“a cat seen”",
    "parquet-odd/caption_list.parquet": "4 pictures .*“a cat”, “a dog”",
    "parquet-odd/dict_path_only.parquet": "error: .*the first is cat.jpg, which was looked for at",
    "parquet-odd/float_label.parquet": "error: .*are numbers, 0 to 3.*classnames.txt",
    "parquet-odd/label_numbers_no_names.parquet": "error: .*are numbers, 0 to 3.*classnames.txt",
    "parquet-odd/paths.parquet": "error: .*the first is cat.jpg, which was looked for at",
    "parquet-odd/pokemon_style.parquet": "4 pictures .*image and text.*“a cat seen”",
    "wds-compound": "error: .*labels of a.tar are numbers, 0 to 3.*classnames.txt",
    "img2dataset-files": f"4 pictures .* 4 different captions: {SEEN}",
    "csv/comma_unquoted.csv": "2 pictures .*“a cat, sitting on the floor”, “a dog, running”",
    "csv/file.psv": "error: all images of file.psv have the same answer, 'a cat'",
    "csv/inner_quotes.csv": '2 pictures .*“a "grey" cat”, “"a dog" running”',
    "csv/lines.jsonl": "4 pictures .*“a cat”, “a dog”",
    "csv/list.json": "4 pictures .*“a cat”, “a dog”",
    "csv/missing_some.csv": f"4 pictures .* {FOUR}.*Left out 2 files .listed, but not there.",
    "csv/nan_caption.csv": "4 pictures .*“a cat”.*Left out 1 ",
    "csv/pylist.csv": "2 pictures .*“a cat”, “a dog”",
    "csv/tabs.txt": "2 pictures .*“a cat”, “a dog”",
    **{f"csv/{name}.csv": f"4 pictures .* {FOUR}" for name in (
        "backslash", "bom_semicolon", "dotslash", "filename_class", "id_label", "image_path_label",
        "kaggleabs", "label_space", "no_ext", "no_folder", "no_header", "pandas_index", "parent",
        "plain", "sub/outside", "tilde", "utf16", "winabs")},
    "zips/cp850.zip": "4 pictures .*Kätzchen.*Hündchen.*Möwe.*Café.*read as cp850",
    "zips/csv_prefix.zip": f"2 pictures .* {CATS}",
    "zips/finder.zip": "4 pictures .*“a photo of a cats”",
    "zips/jfif_heic.zip": "6 pictures .*cats.*Of 6 pictures 1 cannot be read .e.heic: the HEIC",
    "zips/lzma.zip": "4 pictures .*“a photo of a cats”",
    "zips/noext.zip": "2 pictures .*“a photo of a cats”, “a photo of a dogs”",
    "zips/noext_csv.zip": f"2 pictures .* {CATS}",
    "zips/shiftjis.zip": "4 pictures .*猫.*犬.*ペンギン.*オウム.*read as Shift-JIS",
    "zips/upper_ext_csv.zip": f"2 pictures .* {CATS}",
}
PICTURES = {"images/heic.heic": "the HEIC photo is damaged or cut short"}  # 224 bytes alone


def said(path: Path) -> str:
    """What `evaluate --dry-run` says, or what opening a picture alone does."""
    if path.parent.name == "images":
        try:
            return "opened, {} x {}".format(*open_image(path).size)
        except InputError as error:
            return str(error)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        command(["evaluate", "--dry-run", "--data", str(path)])
    return out.getvalue().strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    root = parser.parse_args().folder
    pictures = {f"images/{p.name}": PICTURES.get(f"images/{p.name}", "opened, ")
                for p in sorted((root / "images").glob("*.*"))}
    known = {name.split("/")[0] for name in (*RIGHT, *pictures)}
    others = {p.name: "" for p in sorted(root.iterdir()) if p.name not in known and p.is_dir()}
    wrong = 0
    for name, right in {**RIGHT, **pictures, **others}.items():
        if not (root / name).exists():
            continue
        got = said(root / name)
        fits = re.search(right, got) is not None
        wrong += not fits
        print(f"{('right' if fits else 'WRONG') if right else 'new  '} {name}: {got}")
    print(f"{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
