"""An earlier version of the project beside this one, so that both are timed in one run."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def default() -> str:
    """The newest tag before this version; where there is none, the commit before."""
    tags = [tag for tag in _git("tag", "--merged", "HEAD", "--sort=-creatordate").splitlines()
            if _git("rev-list", "-n1", tag) != _git("rev-parse", "HEAD")]
    return tags[0] if tags else "HEAD~1"


def name(version: str) -> str:
    """How a page names a version: its tag or short number, and its day."""
    return _git("log", "-1", "--format=%h of %as", version)


@contextmanager
def earlier(version: str) -> Iterator[Path]:
    """A folder with the project as it was, gone afterwards; this folder is left as it is."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "before"
        _git("worktree", "add", "--detach", str(place), version)
        try:
            yield place
        finally:
            _git("worktree", "remove", "--force", str(place))
