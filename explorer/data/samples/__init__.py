"""The data sets shipped with the app: where they are, and what a person should know of them."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from explorer.base.paths import ASSETS

FOLDER = ASSETS / "samples"
KINDS = {
    "Activities": "a game, a toy or a prize", "Animals & Nature": "an animal or a plant",
    "Food & Drink": "something to eat or drink", "Objects": "a tool, a device or a garment",
    "People & Body": "a person or a hand", "Smileys & Emotion": "a face or a heart",
    "Symbols": "a sign or an arrow", "Travel & Places": "a vehicle, a building or the sky"}


@dataclass(frozen=True)
class Sample:
    """train: pictures to learn from, with a caption each; probe: pictures to measure on, or None
    to hold some of `train` out; kinds: learn the kind of each picture, see `by_kind`, and not its
    caption. Both are files that `sources.open_source` reads."""

    id: str
    title: str
    about: str
    train: Path
    probe: Path | None = None
    kinds: bool = False


NOTO, FLUENT = FOLDER / "emoji" / "noto.parquet", FOLDER / "emoji" / "fluent.parquet"
FLUENT_100 = FOLDER / "emoji" / "fluent-100.parquet"
EMOJI_KINDS = Sample(
    "emoji-kinds", "Emoji by kind",
    "1,513 emoji as Google draws them (Noto), each with one of eight kinds, such as “an animal or "
    "a plant”. Some are held out to measure on.", NOTO, kinds=True)
EMOJI = Sample(
    "emoji", "Emoji by name",
    "The same 1,513 emoji, each with its Unicode name as the caption. Measured on a style that is "
    "never learnt from: 100 things as Microsoft draws them (Fluent).", NOTO, FLUENT_100)
SAMPLES = {sample.id: sample for sample in (EMOJI_KINDS, EMOJI)}


def by_kind(path: Path, out: Path) -> Path:
    """Writes an emoji file again with the columns image and label, its kind in words, unless
    `out` is there already; returns `out`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not out.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(path, columns=["image", "group"])
        labels = pa.array([KINDS[group] for group in table["group"].to_pylist()])
        aside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
        pq.write_table(pa.table({"image": table["image"], "label": labels}), aside)
        os.replace(aside, out)
    return out
