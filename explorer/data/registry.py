"""The data sets that a visitor may name: shipped ones and, where the server was started with a data
folder, the sets of the catalogue and whatever else lies in it."""

from __future__ import annotations

from pathlib import Path

from explorer.base.errors import InputError
from explorer.data import catalogue
from explorer.data.examples import SCENES, THINGS, of_group
from explorer.data.samples import EMOJI, EMOJI_KINDS, by_kind
from explorer.data.samples.crops import Crops
from explorer.data.sets import Examples, RetrievalSet, draw, make_examples, make_retrieval
from explorer.data.sources import Files, Source, open_source, open_upload
from explorer.data.tables import Reading

PHOTOS, CROPS, PLACES = "sample:photos", "sample:crops", "sample:scenes"
KINDS, NAMES = "sample:emoji-kinds", "sample:emoji"
SERVER, CATALOGUE, UPLOAD = "server:", "catalogue:", "upload"
READABLE = (".parquet", ".arrow", ".csv", ".tsv", ".psv", ".json", ".jsonl", ".zip", ".tar",
            ".tar.gz", ".tgz")
SAMPLES = (("12 example photos, shipped with the app", PHOTOS),
           ("12 example scenes, shipped with the app", PLACES),
           ("200 parts of photos, shipped with the app", CROPS),
           ("1,513 emoji by kind, shipped with the app", KINDS),
           ("100 emoji by name, shipped with the app", NAMES))
MOST_LISTED = 200
Set = Examples | RetrievalSet


def shipped(retrieval: bool = False) -> list[tuple[str, str]]:
    """(title, id) of the sets that come with the app; retrieval: those with captions."""
    return [(title, name) for title, name in SAMPLES if not retrieval or name not in (CROPS, KINDS)]


def listed(root: str | Path | None) -> list[tuple[str, str]]:
    """(title, id) of what lies in the data folder: known sets first, then anything readable."""
    base = catalogue.data_root(root)
    if base is None:
        return []
    there = catalogue.present(root)
    known = [(f"{catalogue.SETS[name].title} ({catalogue.SETS[name].size:,} images)",
              CATALOGUE + name) for name in there]
    tops = {Path(catalogue.SETS[name].folder).parts[0] for name in there}
    try:
        entries = sorted(base.iterdir())
    except OSError:
        return known
    own = [(f"{path.name}, in the data folder", SERVER + path.name) for path in entries
           if path.name not in tops and not path.name.startswith(".")
           and (path.is_dir() or path.name.lower().endswith(READABLE))]
    return [*known, *own[:MOST_LISTED]]


def open_place(name: str, root: str | Path | None = None, limit: int | None = None, seed: int = 0,
               work: Path | None = None, retrieval: bool = False) -> Set:
    """The set of an id. work: the folder that holds an upload, or may hold what is made on the
    way. Raises InputError for one that is not there, cannot be read, or has no captions where
    `retrieval` wants them."""
    if name.startswith(CATALOGUE):
        found = catalogue.open(name.removeprefix(CATALOGUE), root, limit, seed)
        if retrieval and isinstance(found, Examples):
            raise InputError(f"{found.name} has labels and no captions: retrieval needs captions")
        if not retrieval and isinstance(found, RetrievalSet):  # each image with its first caption
            return make_examples(found.name, found.source, limit, seed)
        return found
    title, source, template = _source(name, root, work, retrieval)
    if retrieval:
        return make_retrieval(title, source, draw(source, title, limit, seed))
    return make_examples(title, source, limit, seed, *([template] if template else []))


def _source(name: str, root: str | Path | None, work: Path | None, captions: bool,
            ) -> tuple[str, Source, str]:
    """(title, source, template of its labels or "")."""
    reading = Reading(captions_first=captions)
    if name == PHOTOS:
        return "12 example photos", _photos(THINGS), ""
    if name == PLACES:
        return "12 example scenes", _photos(SCENES), ""
    if name == CROPS:
        return "200 parts of the example photos", Crops.of(of_group(THINGS)), ""
    if name == NAMES:
        assert EMOJI.probe is not None
        return "100 emoji by name", open_source(EMOJI.probe, reading), ""
    if name == KINDS:
        made = by_kind(EMOJI_KINDS.train, (work or Path("runs")) / "emoji-kinds.parquet")
        return "1,513 emoji by kind", open_source(made), "a picture of {}"
    if name.startswith(SERVER):
        path = _inside(name.removeprefix(SERVER), root)
        return path.name, open_source(path, reading), ""
    if name == UPLOAD and work is not None:
        held = sorted(p for p in work.glob("data.*") if not p.name.endswith(".json"))
        if held:
            return "your upload", open_upload(held[0], reading), ""
        raise InputError("the upload is not there any more: upload it again")
    raise InputError(f"there is no data set '{name[:60]}'")


def _photos(group: str) -> Files:
    """Example photos of the Attack tab, each with its true caption."""
    photos = of_group(group)
    return Files([(photo.truth,) for photo in photos], True, [photo.path for photo in photos])


def _inside(name: str, root: str | Path | None) -> Path:
    base = catalogue.data_root(root)
    if base is None:
        raise InputError("this server has no data folder: start it with --data")
    path = base / name
    if name != Path(name).name or name.startswith(".") or not path.exists():
        raise InputError(f"there is no '{name[:60]}' in the data folder")
    return path
