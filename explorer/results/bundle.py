"""One case as a zip that replays: pictures, numbers, settings, hashes.

bundle.json names every file with its SHA-256; a bundle whose files do not match is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explorer.attacks.result import Result
from explorer.base.errors import InputError
from explorer.base.files import read_start
from explorer.data.pairs import clean_captions, open_image
from explorer.results.saving import as_dict, file_stem, json_bytes, picture_files

FORMAT = 1
MAIN = "bundle.json"
MOST_FILES, MOST_BYTES = 200, 100_000_000
WHAT = "bundle of the CLIP robustness explorer"


@dataclass(frozen=True, eq=False)
class Entry:
    """One model's run as a bundle has it: its numbers (see saving.as_dict), and the clean and
    attacked pictures, (3, S, S) in [0, 1]."""

    numbers: dict[str, Any]
    clean: Tensor
    adversarial: Tensor


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a bundle says. models: id -> fingerprint of the weights; photo: PNG bytes of the
    picture that was uploaded, if kept."""

    captions: tuple[str, ...]
    label: int
    alt: str
    models: dict[str, str]
    versions: dict[str, str]
    cases: tuple[Entry, ...]


def bundle_bytes(results: Sequence[Result], fingerprints: Mapping[str, str], alt: str = "",
                 row: int = 0) -> bytes:
    """A zip of image `row` of each result, one result a model. Deterministic."""
    first, files, runs = results[0], dict[str, bytes](), []
    for result in results:
        stem = file_stem(result.model)
        while f"{stem}-clean.png" in files:
            stem += "-"
        names, contents = picture_files(result, stem, row)
        runs.append(as_dict(result, row, names))
        files.update(contents)
    main = {
        "what": WHAT, "format": FORMAT, "captions": list(first.captions),
        "label": int(first.labels[row]), "alt": alt, "versions": first.versions,
        "models": {r.model: fingerprints.get(r.model, "") for r in results}, "runs": runs,
        "sha256": {name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()},
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in {MAIN: json_bytes(main), **files}.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), raw,
                             zipfile.ZIP_DEFLATED)
    return out.getvalue()


def read_bundle(source: Path | bytes) -> Bundle:
    """A bundle, checked. Raises InputError in one sentence for anything else."""
    raw = source if isinstance(source, bytes) else _read(source)
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            files = _files(archive)
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, NotImplementedError):
        raise InputError("this file is no zip, or a damaged one: choose a bundle that this app "
                         "saved") from None
    except Exception as error:  # decompressors have errors of their own
        if isinstance(error, InputError):
            raise
        raise InputError("this zip is damaged: choose a bundle that this app saved") from None
    return _parse(files)


def _read(path: Path) -> bytes:
    raw = read_start(path, MOST_BYTES, "the bundle ")
    if len(raw) > MOST_BYTES:
        raise InputError(f"a bundle has at most {MOST_BYTES // 1_000_000} MB")
    return raw


def _files(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The members by plain name, none read beyond what it declares."""
    members = archive.infolist()
    if len(members) > MOST_FILES or sum(m.file_size for m in members) > MOST_BYTES:
        raise InputError(f"a bundle has at most {MOST_FILES} files and "
                         f"{MOST_BYTES // 1_000_000} MB unpacked")
    found: dict[str, bytes] = {}
    for member in members:
        if "/" in member.filename or "\\" in member.filename or member.filename in found:
            raise InputError("this zip has folders or doubled names, which no bundle has")
        with archive.open(member) as file:
            found[member.filename] = file.read(member.file_size + 1)
        if len(found[member.filename]) > member.file_size:
            raise InputError("this zip holds more than it declares: it is no bundle")
    return found


def _parse(files: dict[str, bytes]) -> Bundle:
    try:
        main = json.loads(files[MAIN])
        known = isinstance(main, dict) and main.get("what") == WHAT
    except (KeyError, ValueError, RecursionError):
        known = False
    if not known:
        raise InputError("this zip is no bundle of this app: it has no proper bundle.json")
    if main.get("format") != FORMAT:
        raise InputError(f"this bundle has the format {str(main.get('format'))[:20]}; this release "
                         f"reads format {FORMAT}: open it with the release that wrote it")
    try:
        for name, digest in main["sha256"].items():
            if hashlib.sha256(files[name]).hexdigest() != digest:
                raise InputError(f"the file {name} of this bundle is not the one that was saved: "
                                 "its hash differs")
        cases = tuple(_case(run, files, main["sha256"]) for run in main["runs"])
        captions = clean_captions(main["captions"])
        label = int(main["label"])
        models = {str(k): str(v) for k, v in main["models"].items()}
        versions = {str(k): str(v) for k, v in main["versions"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"bundle.json lacks something or has it wrong ({error})") from None
    if not cases or not 0 <= label < len(captions):
        raise InputError("bundle.json describes no case")
    return Bundle(captions, label, str(main.get("alt", "")), models, versions, cases)


def _case(run: dict[str, Any], files: dict[str, bytes], listed: Mapping[str, str]) -> Entry:
    pictures = []
    for kind in ("clean", "adversarial"):
        name = run["files"][kind]
        if name not in listed:
            raise InputError(f"the file {name} of this bundle has no hash")
        levels = np.array(open_image(files[name]))
        pictures.append(torch.from_numpy(levels).permute(2, 0, 1).float() / 255)
    if pictures[0].shape != pictures[1].shape:
        raise InputError("the pictures of this bundle do not fit together")
    return Entry(run, pictures[0], pictures[1])
