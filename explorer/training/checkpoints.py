"""Checkpoints that a kill, a full disk or a damaged file cannot take away.

Written aside, flushed to the disk, checked, renamed to a name that holds the content's sum. Read
with torch's restricted unpickler.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import Any

import torch

from explorer.base.errors import InputError

NAME = re.compile(r"step-(\d+)-([0-9a-f]{8})\.pt")
KEPT = 2
ASIDE = ".part"


def _sum(path: Path) -> str:
    """CRC-32 of a file, read in pieces."""
    value = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 22):
            value = zlib.crc32(piece, value)
    return f"{value:08x}"


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder last through a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def saved(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    found = [(int(match[1]), p) for p in folder.glob("step-*.pt")
             if (match := NAME.fullmatch(p.name))]
    return [path for _, path in sorted(found, reverse=True)]


def save(folder: Path, step: int, state: dict[str, Any], keep: int = KEPT) -> Path:
    """Writes the checkpoint of a step and removes all but the newest `keep`.

    state: tensors, numbers, strings, and lists and dicts of them. Raises OSError when it cannot
    be written (a full disk); those that are there stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"step-{step:08d}{ASIDE}"
    try:
        with open(aside, "wb") as handle:
            _dump(state, handle)
            handle.flush()
            os.fsync(handle.fileno())
        final = folder / f"step-{step:08d}-{_sum(aside)}.pt"
        os.replace(aside, final)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    for old in saved(folder)[keep:]:
        old.unlink(missing_ok=True)
    for left in folder.glob(f"*{ASIDE}"):  # of a run that was killed while writing
        left.unlink(missing_ok=True)
    return final


def _dump(state: dict[str, Any], handle: Any) -> None:
    """torch.save that passes the system's error on, which its writer hides behind its own."""
    caught: list[OSError] = []

    class Passing:
        def write(self, piece: Any) -> int:
            try:
                return int(handle.write(piece))
            except OSError as error:
                caught.append(error)
                raise

        def flush(self) -> None:
            handle.flush()

    try:
        torch.save(state, Passing())  # type: ignore[arg-type]
    except Exception as error:
        if caught:
            raise caught[0] from error
        raise


def load_newest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """(state, notes): the newest checkpoint that is whole, or None where there is none at all;
    a note for each damaged one that was passed over. Raises InputError when all are damaged."""
    notes: list[str] = []
    for path in saved(folder):
        match = NAME.fullmatch(path.name)
        assert match is not None
        try:
            if _sum(path) != match[2]:
                raise ValueError("its content has changed")
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise ValueError("it holds no table")
            return state, notes
        except Exception as error:  # noqa: BLE001 - unpickling fails in many ways
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
            notes.append(f"the checkpoint of step {int(match[1])} is damaged ({reason}), so the "
                         "one before it is used")
    if notes:
        raise InputError(f"all checkpoints in {folder} are damaged: start the run anew in "
                         "another folder")
    return None, notes
