"""The stop words that TextAttack reads when it is imported: ours, without a download."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from explorer.base.paths import ASSETS

FOLDER = ASSETS / "nltk"


@cache
def private_copy() -> Path:
    """A copy of assets/nltk that only this account can write to, for this process.

    NLTK refuses data that others could have changed, such as a checkout made with the usual
    umask of a shared group.
    """
    folder = Path(tempfile.mkdtemp(prefix="explorer-nltk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for source in sorted(p for p in FOLDER.rglob("*") if p.is_file()):
        target = folder / source.relative_to(FOLDER)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    for path in folder.rglob("*"):
        os.chmod(path, 0o700 if path.is_dir() else 0o600)
    return folder


def use_own_nltk_data() -> None:
    """Puts our stop words first on NLTK's search path; call it before `import textattack`.

    First, so that a text attack keeps to the same words on every machine, whatever is installed.
    """
    import nltk

    folder = str(private_copy())
    if folder not in nltk.data.path:
        nltk.data.path.insert(0, folder)


def fetch_quietly(name: str, *_: Any, **__: Any) -> bool:
    """In the place of `nltk.download`, which asks the network even for what is here, and prints:
    whether this data is here now. What is missing is named by whoever needs it."""
    import nltk

    for kind in ("corpora", "tokenizers", "taggers", "help", "models"):
        for ending in ("", ".zip"):
            try:
                nltk.data.find(f"{kind}/{name}{ending}")
                return True
            except LookupError:
                continue
    return bool(nltk.downloader.Downloader().download(name, quiet=True,
                                                      print_error_to=io.StringIO()))
