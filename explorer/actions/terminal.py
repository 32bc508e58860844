"""What several commands share: names with commas, models and devices of flags, printed tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from explorer.base.errors import InputError
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library


def names_of(text: str, what: str) -> list[str]:
    """"A,B" -> ["A", "B"], all different. what: the flag."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise InputError(f"--{what} must be different names with a comma between them, "
                         f"not '{text}'")
    return names


def model_names(args: argparse.Namespace) -> tuple[Library, list[str]]:
    """A library that has room for the models of --models, and their names, all known."""
    names = names_of(args.models, "models")
    library = Library(args.models_dir, keep=len(names))
    ids = [library.card(name).id for name in names]
    if len(set(ids)) < len(ids):
        raise InputError(f"--models names the same model twice: {', '.join(ids)}")
    keep_memory()
    return library, names


def device_named(name: str | None) -> str | None:
    """A device that is there. Raises InputError for another."""
    if name is None:
        return None
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"there is no device '{name}': use cpu, cuda or mps") from None
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("this machine has no GPU of Apple's (mps): leave out --device")
    gpus = torch.cuda.device_count()
    if device.type not in ("cpu", "cuda", "mps") or (device.index or 0) >= max(gpus, 1):
        raise InputError(f"there is no device '{name}': use cpu, cuda or mps")
    if device.type == "cuda" and not gpus:
        raise InputError("this machine has no GPU that PyTorch can use: leave out --device")
    return name


def print_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        cells = zip(line, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
