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
from explorer.data.columns import choose
from explorer.data.containers import Report, first_line
from explorer.data.shards import answers_of
from explorer.data.sources import Picture, Source
from explorer.data.splits import choice, kind_of, preferred
from explorer.data.tables import Reading

PREFIX = "hf:"
NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
SAMPLED = 50  # rows that the choice of columns looks at


@dataclass(frozen=True)
class HubSet(Source):
    """rows: a `datasets.Dataset` with the column image, kept on disk and read by row."""

    rows: Any
    column: str
    places: Sequence[int]  # the row of each example

    def pictures(self, chosen: Sequence[int]) -> Iterator[Picture]:
        for i in chosen:
            cell = self.rows[self.places[i]][self.column]
            cell = cell[0] if isinstance(cell, list) and cell else cell
            raw = cell.get("bytes") if isinstance(cell, dict) else None
            where = cell.get("path") if isinstance(cell, dict) else None
            yield raw or (Path(where) if where else b"")


def open_hub(address: str, reading: Reading | None = None) -> Source:
    """The data set of an address hf:NAME[:SPLIT], such as hf:ethz/food101:validation.

    Without a split: test, else validation, else the first there is; train first, where the
    reading is for training. Raises InputError at once
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
    reading = reading or Reading()
    if split:
        source = from_dataset(loaded, name, reading)
        source.report.split = f"the split {split}"
        return source
    kinds = {kind_of(own) or own: own for own in loaded}
    source = from_dataset(loaded[kinds[preferred(kinds, reading.training)]], name, reading)
    source.report.split = choice(list(kinds), reading.training)
    return source


def from_dataset(rows: Any, name: str, reading: Reading | None = None) -> HubSet:
    """The source of a `datasets.Dataset`. Raises InputError for one without images or answers."""
    from datasets import ClassLabel, Image

    reading = reading or Reading()

    def is_image(kind: Any) -> bool:
        return isinstance(kind, Image) or isinstance(getattr(kind, "feature", None), Image)

    def values(column: str) -> list[Any]:
        if is_image(rows.features[column]):
            return [b"x"]
        return list(rows.select_columns([column])[:SAMPLED][column])

    chosen = choose(rows.column_names, name, values, reading.captions_first, reading.given,
                    lambda c: isinstance(rows.features[c], ClassLabel))
    kind = rows.features[chosen.image]
    if not is_image(kind):
        raise InputError(f"the column {chosen.image} of {name} does not hold pictures")
    label = rows.features[chosen.answers[0]]
    names = label.names if isinstance(label, ClassLabel) else []
    held = [list(rows.select_columns([c])[c]) for c in chosen.answers]
    found = [list(own) if len(own) > 1 else own[0] for own in zip(*held, strict=True)]
    report = Report()
    answers = answers_of(found, chosen, names, name, report, None)
    report.how = f"{name}, columns {chosen}"
    raw = Image(decode=False)
    cast = raw if isinstance(kind, Image) else type(kind)(raw)
    return HubSet(list(answers.values()), not chosen.is_label, rows.cast_column(chosen.image, cast),
                  chosen.image, tuple(answers), report=report)


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
