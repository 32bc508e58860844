"""The image sets that papers on CLIP's robustness measure on, by name.

Nothing is downloaded but what the hub's own library fetches: a set is read from a folder of the
data root, in the layout in which its authors or torchvision leave it. Prompts are those of MMCoA's
test set-up (Zhou et al. 2024, arXiv 2404.19287), as far as it has them; PatchCamelyon's is CLIP's.
Class names are those that the set gives, with spaces for "_".
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from explorer.base.errors import InputError
from explorer.data import published
from explorer.data.hub import PREFIX, open_hub
from explorer.data.sets import Examples, RetrievalSet, draw, make_examples, make_retrieval
from explorer.data.sources import Source, open_source
from explorer.data.tables import Reading
from explorer.data.tasks import CLASSES, RETRIEVAL

VARIABLE = "EXPLORER_DATA"
PLAIN = ("This is a photo of a {}",)


@dataclass(frozen=True)
class Entry:
    """A set by name. size: images of the part that is read; folder: below the data root; part:
    what is read of it; hub: its name on the hub, where that carries class names."""

    id: str
    title: str
    size: int
    folder: str
    part: str
    read: Callable[[Path], Source]
    templates: tuple[str, ...] = PLAIN
    task: str = CLASSES
    hub: str = ""


def _json(folder: Path, name: str) -> Source:
    return open_source(folder / name, Reading(captions_first=True))


def _vision(kind: str, **options: object) -> Callable[[Path], Source]:
    return partial(published.torchvision, kind=kind, **options)  # type: ignore[arg-type]


ENTRIES = (
    Entry("cifar10", "CIFAR-10", 10_000, "cifar-10-batches-py", "test_batch",
          partial(published.cifar, file="test_batch", meta="batches.meta", labels="labels",
                  names="label_names"), hub="uoft-cs/cifar10"),
    Entry("cifar100", "CIFAR-100", 10_000, "cifar-100-python", "test",
          partial(published.cifar, file="test", meta="meta", labels="fine_labels",
                  names="fine_label_names"), hub="uoft-cs/cifar100"),
    Entry("stl10", "STL-10", 8_000, "stl10_binary", "test", published.stl10),
    Entry("tiny-imagenet", "Tiny-ImageNet", 10_000, "tiny-imagenet-200", "val",
          published.tiny_imagenet),
    Entry("imagenet", "ImageNet", 50_000, "imagenet", "val", published.imagenet),
    Entry("caltech101", "Caltech-101", 8_677, "caltech101/101_ObjectCategories", "all",
          partial(published.class_folders, without="BACKGROUND_Google")),
    Entry("caltech256", "Caltech-256", 30_607, "caltech256/256_ObjectCategories", "all",
          partial(published.class_folders, name=published.numbered)),
    Entry("food101", "Food-101", 25_250, "food-101", "test", _vision("Food101", split="test"),
          ("A photo of {}, a type of food.",), hub="ethz/food101:validation"),
    Entry("pets", "Oxford-IIIT Pet", 3_669, "oxford-iiit-pet", "test", published.pets,
          ("A photo of a {}, a type of pet.",)),
    Entry("flowers102", "Flowers-102", 6_149, "flowers-102", "test", published.flowers,
          ("A photo of a {}, a type of flower.",)),
    Entry("dtd", "Describable Textures", 1_880, "dtd", "test", _vision("DTD", split="test"),
          ("A surface with a {} texture.",)),
    Entry("eurosat", "EuroSAT", 27_000, "eurosat", "all",
          _vision("EuroSAT", name=published.camel), ("A centered satellite photo of {}.",)),
    Entry("fgvc-aircraft", "FGVC Aircraft", 3_333, "fgvc-aircraft-2013b", "test",
          _vision("FGVCAircraft", split="test"), ("A photo of a {}, a type of aircraft.",)),
    Entry("sun397", "SUN397", 108_754, "SUN397", "all",
          _vision("SUN397", name=lambda n: n.replace("/", " "))),
    Entry("stanford-cars", "Stanford Cars", 8_041, "stanford_cars", "test",
          _vision("StanfordCars", split="test"), ("A photo of a {}.",)),
    Entry("pcam", "PatchCamelyon", 32_768, "pcam", "test", published.pcam,
          ("this is a photo of {}",)),
    Entry("country211", "Country211", 21_100, "country211", "test",
          _vision("Country211", split="test", name=published.country),
          ("A photo I took in {}.",)),
    Entry("flickr30k", "Flickr30k", 1_000, "flickr30k", "Karpathy's test split",
          partial(_json, name="dataset_flickr30k.json"), (), RETRIEVAL),
    Entry("coco", "COCO", 5_000, "coco", "Karpathy's test split",
          partial(_json, name="dataset_coco.json"), (), RETRIEVAL),
)
SETS = {entry.id: entry for entry in ENTRIES}


def data_root(given: str | Path | None = None) -> Path | None:
    """The folder of all sets: the one given, else that of the variable EXPLORER_DATA."""
    named = given or os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else None


def present(root: str | Path | None = None) -> list[str]:
    """The names of the sets whose folder is there."""
    base = data_root(root)
    return [e.id for e in ENTRIES if base is not None and (base / e.folder).is_dir()]


def open(name: str, root: str | Path | None = None, limit: int | None = None, seed: int = 0,
         ) -> Examples | RetrievalSet:
    """A set of the catalogue, from the data root or else the hub.

    limit: draw this many images at random, the same ones for the same seed. Raises InputError
    when the name is not known, the set is not there, or its copy is damaged.
    """
    entry = SETS.get(name.strip().lower())
    if entry is None:
        raise InputError(f"there is no set '{name[:60]}' in the catalogue; it has "
                         f"{', '.join(SETS)}")
    if limit is not None and limit < 1:
        raise InputError(f"the limit must be at least 1, not {limit}")
    source = _source(entry, data_root(root))
    if entry.task == RETRIEVAL:
        return make_retrieval(entry.title, source, draw(source, entry.title, limit, seed))
    return make_examples(entry.title, source, limit, seed, entry.templates[0])


def _source(entry: Entry, base: Path | None) -> Source:
    if base is not None and (base / entry.folder).is_dir():
        return published.reading(entry.read, base / entry.folder)
    absent = (f"it is not in {base / entry.folder}" if base is not None else
              f"no data root is given, nor {VARIABLE} set")
    if not entry.hub:
        raise InputError(f"{entry.title} cannot be read: {absent}")
    try:
        return open_hub(PREFIX + entry.hub)
    except InputError as error:
        raise InputError(f"{entry.title} cannot be read: {absent}, and {error}") from None
