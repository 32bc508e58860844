"""Image sets by name: catalogue names, paths, the hub, shipped samples, uploads."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from explorer.analysis.evaluation.plan import EvaluationPlan
from explorer.base.errors import InputError
from explorer.data import catalogue
from explorer.data.columns import Given
from explorer.data.file_sets import is_pattern
from explorer.data.hub import PREFIX
from explorer.data.registry import CATALOGUE, SERVER, UPLOAD, open_place
from explorer.data.sets import Examples, RetrievalSet, read_examples, read_retrieval
from explorer.data.sources import Picture
from explorer.data.tasks import RETRIEVAL

LOOKED_AT = 4  # pictures whose bytes tell a set from another with the same labels
SAMPLE = "sample:"


@dataclass(frozen=True)
class Opened:
    """name: as it was asked for; title: for a person; digest: of what was drawn."""

    name: str
    title: str
    data: Examples | RetrievalSet
    digest: str


def open_set(name: str, plan: EvaluationPlan, root: str | Path | None = None,
             work: Path | None = None) -> Opened:
    """The set of a name: of the catalogue, a path, hf:NAME[:SPLIT], or an id of `places`.

    A name of the catalogue means its set; ./pets is the folder of that name. root: where the
    catalogue's sets lie; work: what `open_place` takes. Raises InputError with why it cannot be
    read, or is of no use for the plan's task.
    """
    wanted = plan.task == RETRIEVAL
    known = name.strip().lower()
    data: Examples | RetrievalSet
    if name.startswith((SAMPLE, SERVER, CATALOGUE)) or (name == UPLOAD and work is not None):
        data = open_place(name, root, plan.limit, plan.seed, work, wanted)
    elif known in catalogue.SETS:
        data = open_place(CATALOGUE + known, root, plan.limit, plan.seed, work, wanted)
    else:
        read = read_retrieval if wanted else read_examples
        data = read(_where(name), plan.limit, plan.seed, columns=Given.of(plan.columns))
    if not wanted and isinstance(data, RetrievalSet):
        raise InputError(f"{data.name} is a set for retrieval: choose that task for it")
    return Opened(name, data.name, data, digest_of(data))


def opened(data: Examples | RetrievalSet) -> Opened:
    """A set that is at hand already."""
    return Opened(data.name, data.name, data, digest_of(data))


def _where(name: str) -> str | Path:
    """A path, or the address of a set on the hub."""
    path = Path(name)
    if name.startswith(PREFIX):
        return name
    if is_pattern(name):
        return path
    if path.name == name and not path.suffix and not path.exists():  # no path at all, most likely
        raise InputError(f"there is no file, folder or known set '{name[:60]}'; known are "
                         f"{', '.join(catalogue.SETS)}")
    return path


def open_all(plan: EvaluationPlan, root: str | Path | None = None, work: Path | None = None,
             titles: Mapping[str, str] | None = None) -> tuple[list[Opened], list[str]]:
    """(the sets that can be read, a sentence for each that cannot). titles: in the place of the
    sets' own. Raises InputError when there is none of the first."""
    opened: list[Opened] = []
    refusals: list[str] = []
    for name in plan.sets:
        try:
            one = open_set(name, plan, root, work)
        except InputError as error:
            entry = catalogue.SETS.get(name.removeprefix(CATALOGUE).strip().lower())
            about = f"{entry.title}: " if entry and entry.title not in str(error) else ""
            refusals.append(f"{about}{error}")
        else:
            opened.append(replace(one, title=(titles or {}).get(name, one.title)))
    if not opened:
        raise InputError("; ".join(refusals))
    known = [one.title for one in opened]
    return [one if known.count(one.title) == 1 else
            replace(one, title=f"{one.title} ({one.name})") for one in opened], refusals


def digest_of(data: Examples | RetrievalSet) -> str:
    """Tells sets apart by which examples were drawn, their answers, and the first few pictures."""
    found = hashlib.sha256(repr((data.chosen, data.captions)).encode())
    found.update(repr(data.labels if isinstance(data, Examples) else data.owner).encode())
    for picture in data.source.pictures(data.chosen[:LOOKED_AT]):
        found.update(_bytes(picture))
    return found.hexdigest()[:32]


def _bytes(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, Path):
        try:
            return picture.read_bytes()
        except OSError:
            return b""
    return picture.tobytes()


@dataclass(frozen=True)
class Known:
    """A set of the catalogue for a person: id, and whether and how it can be had here."""

    id: str
    title: str
    size: int
    task: str
    here: bool
    how: str


def known_sets(root: str | Path | None) -> list[Known]:
    """All sets of the catalogue: in the data folder, on the hub, or how to make them available."""
    there = set(catalogue.present(root))
    base = catalogue.data_root(root)
    found = []
    for entry in catalogue.ENTRIES:
        stored = bool(entry.hub) and _stored(entry.hub)
        how = ("in the data folder" if entry.id in there else
               "stored here by the hub's library" if stored else
               f"put it into the folder {entry.folder}" if base is not None else "")
        found.append(Known(CATALOGUE + entry.id, entry.title, entry.size, entry.task,
                           entry.id in there or stored, how))
    return found


def _stored(name: str) -> bool:
    """Whether the hub's library has a copy, found without asking the hub."""
    home = os.environ.get("HF_DATASETS_CACHE") or Path(
        os.environ.get("HF_HOME") or "~/.cache/huggingface") / "datasets"
    return (Path(home).expanduser() / name.partition(":")[0].replace("/", "___")).is_dir()


def split_names(text: str) -> tuple[str, ...]:
    """"A,B" -> names of sets; a path that has a comma in it counts as one where it exists, and so
    does a pattern such as {a,b}.tar."""
    if Path(text).exists():
        return (text,)
    names = tuple(part.strip() for part in re.split(r",(?![^{}]*\})", text))
    if not all(names):
        raise InputError(f"--data must be names or paths with one comma between them, not '{text}'")
    return names
