"""Data sets of the Hugging Face hub, by name, through its own library. No code of theirs runs."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from explorer.base import hub
from explorer.base.errors import InputError
from explorer.data.containers import first_line
from explorer.data.listings import answer_column
from explorer.data.sources import Picture, Source, read_answers

PREFIX = "hf:"
NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
SPLIT = "test"
ALIASES = {"img": "image", "fine_label": "label", "text": "caption"}


@dataclass(frozen=True)
class HubSet(Source):
    """rows: a `datasets.Dataset` with the column image, kept on disk and read by row."""

    rows: Any
    column: str

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        for i in chosen:
            cell = self.rows[i][self.column]
            raw = cell.get("bytes") if isinstance(cell, dict) else None
            where = cell.get("path") if isinstance(cell, dict) else None
            yield raw or (Path(where) if where else b"")


def open_hub(address: str, captions_first: bool = False) -> Source:
    """The data set of an address hf:NAME[:SPLIT], such as hf:ethz/food101:validation.

    Without a split: test, else validation, else the first there is. Raises InputError at once
    when the hub is not reachable, and for a set that is not there or has no pictures.
    """
    name, _, split = address.removeprefix(PREFIX).partition(":")
    if not NAME.fullmatch(name):
        raise InputError(f"'{name[:60]}' is not the name of a hub data set: give hf:NAME[:SPLIT]")
    if Path(name).exists():  # the library would read it instead, as files of any kind
        raise InputError(f"{name} is a file or folder here: give it without {PREFIX}")
    from datasets import (  # type: ignore[import-untyped]
        config,
        disable_progress_bars,
        load_dataset,
    )

    stored = Path(config.HF_DATASETS_CACHE, name.replace("/", "___"))
    if not stored.is_dir():
        _reach(name)
    disable_progress_bars()
    try:
        loaded = load_dataset(name, split=split or None)
    except Exception as error:  # noqa: BLE001 - a dozen kinds, of four libraries
        raise InputError(f"cannot load the data set {name}: {first_line(error)}") from None
    return from_dataset(loaded if split else _pick(loaded), name, captions_first)


def _pick(splits: Any) -> Any:
    """The split to measure on."""
    for wanted in (SPLIT, "validation", "valid"):
        if wanted in splits:
            return splits[wanted]
    return splits[next(iter(splits))]


def from_dataset(rows: Any, name: str, captions_first: bool = False) -> HubSet:
    """The source of a `datasets.Dataset`. Raises InputError for one without images or answers."""
    from datasets import ClassLabel, Image

    known = {ALIASES.get(column, column): column for column in reversed(rows.column_names)}
    known |= {column: column for column in rows.column_names}
    answer = answer_column(list(known), name, captions_first)
    column = known["image"]
    if not isinstance(rows.features[column], Image):
        raise InputError(f"the column {column} of {name} does not hold pictures")
    kind = rows.features[known[answer]]
    names = kind.names if isinstance(kind, ClassLabel) else []
    values = list(rows.select_columns([known[answer]])[known[answer]])
    return HubSet(read_answers(values, answer, names, name), answer != "label",
                  rows.cast_column(column, Image(decode=False)), column)


def _reach(name: str) -> None:
    """Raises InputError within seconds when the hub does not answer."""
    from huggingface_hub import constants

    if any(os.environ.get(proxy) for proxy in hub.PROXIES) and not constants.HF_HUB_OFFLINE:
        return  # only the proxy knows
    address = urlsplit(constants.ENDPOINT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), hub.PATIENCE).close()
    except OSError as error:
        raise InputError(f"cannot fetch the data set {name}: the hub is not reachable from here, "
                         f"and there is no stored copy ({error})") from None
