"""`make run`: what it installs, and what it adds to a start."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import ROOT, free_port

NOWHERE = "http://127.0.0.1:9/simple"  # the port where nothing listens


def wheel(folder: Path, name: str, version: str) -> None:
    """An empty package, in a folder of an index."""
    place = folder / name
    place.mkdir(parents=True)
    info = f"{name}-{version}.dist-info"
    file = place / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA",
                         f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL",
                         "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (place / "index.html").write_text(
        f'<a href="{file.name.replace("+", "%2B")}">{file.name}</a>', encoding="utf-8")


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[str]:
    """The address of two indexes: /cpu with processor builds, /plain with the ordinary ones."""
    for name in ("torch", "torchvision"):
        wheel(tmp_path / "served" / "cpu", name, "1.0+cpu")
        wheel(tmp_path / "served" / "plain", name, "1.0")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def install(folder: Path, index: str, *flags: str) -> str:
    """make .venv/.run in a folder; what it says."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "MAKE"))}
    env |= {"PIP_INDEX_URL": f"{index}/plain", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0",
            "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(["make", ".venv/.run", *flags], cwd=folder, env=env, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def version(folder: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('torch'), m.version('torchvision'))"
    return subprocess.run([folder / ".venv" / "bin" / "python", "-c", code], text=True,
                          capture_output=True, check=True).stdout.strip()


@pytest.mark.nightly
def test_processor_builds_come_from_their_own_index_or_the_ordinary_one(
        tmp_path: Path, indexes: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    asked = tmp_path / "requirements.txt"
    asked.write_text("torch==1.0\ntorchvision==1.0\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=tmp_path, check=True)
    said = install(tmp_path, indexes, "CPU=1", f"CPU_INDEX={NOWHERE}")
    assert "cannot be reached" in said and "7 GB" in said and version(tmp_path) == "1.0 1.0"
    assert install(tmp_path, indexes, "CPU=1").strip() in ("", "make: '.venv/.run' is up to date.")

    os.utime(asked, (time.time() + 5, time.time() + 5))  # asked anew, with nothing installed
    subprocess.run([tmp_path / ".venv" / "bin" / "python", "-m", "pip", "uninstall", "-qy", "torch",
                    "torchvision"], check=True)
    said = install(tmp_path, indexes, "CPU=1", f"CPU_INDEX={indexes}/cpu")
    assert "saves some 5 GB" in said and "reached" not in said
    assert version(tmp_path) == "1.0+cpu 1.0+cpu"


def test_make_adds_little_to_a_start() -> None:
    """On an installed tree `make run` has nothing to do but to start the app: measured with the
    app's place taken, by make itself, as processor seconds of make and its shells."""
    taken = free_port()
    used = os.times()
    subprocess.run(["make", "-n", "run", f"PORT={taken}", "-o", ".venv/.run"], cwd=ROOT,
                   capture_output=True, check=True, timeout=120)
    now = os.times()
    spent = now.children_user - used.children_user + now.children_system - used.children_system
    assert spent < 0.3
