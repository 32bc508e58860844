"""What comes with the app finished, so that nobody waits for what is the same for everybody.

Each thing is a file or a folder of assets/shipped whose name is made from all that decides it, the
hash of a model's weights above all. The app looks for that name and, where it is not there, does
without it: a thing that is stale is never used, only missed. A thing that is missing, and one that
nothing asks for, mean that models or settings have changed and `make shipped` has to be run again.

To ship another thing, add a `Shipped` to `things`: a sentence that says what it is, the name that
the app looks for now, and a function that puts it there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from explorer.base.paths import ROOT, SHIPPED
from explorer.models.library import Library

MODELS = ("pocket", "pocket-robust")
PICTURES = ROOT.parent / "shared" / "data" / "photos_train.parquet"
MOST = 15_000_000  # bytes of all together: everybody downloads them
NOTICE = "NOTICE.md"


@dataclass(frozen=True)
class Shipped:
    """One finished thing. name: of its file or folder under assets/shipped, from all that decides
    it; make: puts it at a path whose parent is there."""

    what: str
    name: str
    make: Callable[[Path], None]


def things(library: Library, photos: Path = PICTURES) -> list[Shipped]:
    """Everything that is shipped. Opens the embedded models, to hash their weights. photos: what
    changes for all photos are learnt from, which needs to be there only to make them."""
    from tools.shipping import changes, features, jobs

    return [*features.things(library), *changes.things(library, photos), *jobs.things(library)]


def _held(folder: Path) -> set[str]:
    """The names of what is there: files, and folders one level down."""
    return {path.relative_to(folder).as_posix() for path in [*folder.glob("*"), *folder.glob("*/*")]
            if path.is_file() == (path.parent == folder) and path.name != NOTICE}


def stale(asked: list[Shipped], folder: Path = SHIPPED) -> list[str]:
    """What is wrong with the shipped things, a sentence each; nothing when all is well."""
    names, held = {thing.name for thing in asked}, _held(folder)
    wrong = [f"{thing.what} is missing" for thing in asked if thing.name not in held]
    wrong += [f"{name} is what nothing asks for any more" for name in sorted(held - names)]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MOST:
        wrong.append(f"the files are {size:,} bytes together, more than {MOST:,}")
    return wrong


def ship(asked: list[Shipped], folder: Path = SHIPPED) -> Iterator[str]:
    """Makes what is missing and deletes what nothing asks for; says what it does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(_held(folder) - {thing.name for thing in asked}):
        _remove(folder / name)
        yield f"deleted {name}"
    for thing in asked:
        path = folder / thing.name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            aside = path.with_name(f".{path.name}.part")
            _remove(aside)
            thing.make(aside)
            aside.rename(path)
            files = [one for one in (path, *path.rglob("*")) if one.is_file()]
            yield f"made {thing.what}: {sum(one.stat().st_size for one in files):,} bytes"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
