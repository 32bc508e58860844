"""What happens when something fails: a killed server, a full disk, damaged and missing files."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import httpx
import pytest
from serving import ROOT, app, free_port, served
from starlette.applications import Starlette
from starlette.testclient import TestClient

from bench.page import API, Page
from explorer.base.errors import InputError
from explorer.base.paths import ASSETS
from explorer.base.settings import Settings
from explorer.data.examples import FOLDER
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.models.loaders import sha256_of
from explorer.server.gate import Gate
from explorer.server.serve import Health
from explorer.ui.attack.tab import AttackTab
from explorer.ui.shell import TEMPORARY, mount
from explorer.ui.warming import warm

PHOTO = (FOLDER / "parrot.jpg").read_bytes()


@pytest.mark.nightly
def test_a_server_that_was_killed_starts_again_and_tidies_up(tmp_path: Path) -> None:
    port = free_port()
    with app(tmp_path / "log", port=port, environment={"TMPDIR": str(tmp_path)}) as first:
        page = Page(first.address)
        page.fill("rx-photo", page.upload(PHOTO))
        ended: list[Exception] = []

        def attack() -> None:
            try:
                page.press("rx-go")
            except (httpx.HTTPError, RuntimeError) as error:
                ended.append(error)

        running = threading.Thread(target=attack)
        running.start()
        while "queue/join" not in first.logged():
            threading.Event().wait(0.2)
        first.kill()
        running.join(30)
        assert ended, "the visitor is told, by the end of the connection"
    left = list(tmp_path.glob(f"{TEMPORARY}*"))
    assert left, "a killed server leaves its uploads; the next one removes them"
    with app(tmp_path / "log", port=port, environment={"TMPDIR": str(tmp_path)}) as second:
        assert not any(folder.exists() for folder in left)
        assert second.until("ok")["models"] == ["pocket", "pocket-robust"]
        with Page(second.address) as again:
            assert again.client.get(f"{API}/file={page.values[page.named['rx-photo']]['path']}"
                                    ).status_code == 403
    assert not list(tmp_path.glob(f"{TEMPORARY}*")), "a server that ends well leaves nothing"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets another process's limits")
def test_a_full_disk_is_said_and_all_else_goes_on(tmp_path: Path) -> None:
    import resource

    with app(tmp_path / "log") as running, Page(running.address) as page:
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (400_000, 400_000))
        full = page.client.post(f"{API}/upload", files={"files": ("x.png", b"x" * 2_000_000)})
        assert full.status_code == 507 and "no room left" in full.json()["error"]
        page.fill("rx-photo", page.upload(PHOTO))  # a smaller one fits
        assert running.health()["status"] in ("starting", "ok")


def test_caches_that_cannot_be_written_do_not_matter(tmp_path: Path) -> None:
    nowhere = "/proc/explorer-none"  # not even root can make it
    places = ("XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "HOME")
    with app(tmp_path / "log", environment=dict.fromkeys(places, nowhere), fresh=True) as running:
        assert running.until("ok")["models"] == ["pocket", "pocket-robust"]


def copied(model: str, folder: Path) -> Path:
    shutil.copytree(ASSETS / "models" / model, folder / model)
    return folder / model


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    folder = copied("pocket", tmp_path)
    weights = folder / "open_clip_model.safetensors"
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert card["sha256"] == sha256_of(weights)
    with open(weights, "r+b") as file:  # one bit, in the middle of the numbers
        file.seek(30_000_000)
        (byte,) = file.read(1)
        file.seek(30_000_000)
        file.write(bytes([byte ^ 1]))
    library = Library()
    with pytest.raises(InputError, match=r"weights of pocket are not those .* sha256"):
        library.load(f"local-dir:{folder}")
    (folder / "card.json").write_text(json.dumps({**card, "sha256": 5}), encoding="utf-8")
    with pytest.raises(InputError, match="sha256 must be text"):
        library.load(f"local-dir:{folder}")


def test_health_says_why_models_cannot_be_opened() -> None:
    def refuse(name: str) -> Any:
        raise InputError(f"the weights of {name} are damaged")

    health = Health(Gate(Settings(at_once=1)), lambda: [])
    assert health.state()["status"] == "starting"
    warm(cast(Library, SimpleNamespace(load=refuse)), ("pocket",), health).join(20)
    answer = TestClient(Starlette(routes=health.routes())).get("/health")
    assert answer.status_code == 503
    assert answer.json()["fault"] == "the weights of pocket are damaged"
    health.opened()
    assert TestClient(Starlette(routes=health.routes())).get("/health").json()["status"] == "ok"


class Failing(Library):
    """Every model fails to open, in a way that a visitor cannot help."""

    error: Exception

    def load(self, name: str, device: str | None = None) -> DualEncoder:
        raise self.error


def test_what_fails_on_the_device_is_a_sentence_and_the_next_run_goes_ahead(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    gate, library = Gate(Settings(at_once=1)), Failing()
    with gr.Blocks(analytics_enabled=False) as demo:
        AttackTab(demo, library, ("pocket", "pocket-robust"), gate=gate)
    demo.queue(max_size=99, api_open=False)
    with served(mount(demo, Health(gate, list), Settings(), "127.0.0.1", tmp_path)) as address, \
            Page(address) as page:
        page.fill("rx-photo", page.upload(PHOTO))
        for error, words in (
                (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't "
                              "allocate memory"), "The device ran out of memory: use a smaller"),
                (MemoryError(), "The device ran out of memory"),
                (RuntimeError("shapes of <b>mine</b>"), "Something failed on our side"),
                (KeyError("mine"), "Something failed on our side"),
                (InputError("no such model"), "No such model.")):
            library.error = error
            said = page.press("rx-go")[1][0]
            assert words in said and "mine" not in said and "rx-error" in said
            assert gate.turns.running() == gate.turns.waiting() == 0
    ends = {end: gate.meters.registry.get_sample_value("explorer_runs_total", {"end": end})
            for end in ("failed", "refused")}
    assert ends == {"failed": 4, "refused": 1}


def start(tree: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "app.py", "--port", str(free_port()), *flags], cwd=tree,
                          env={**os.environ, **environment}, capture_output=True, text=True,
                          timeout=280, check=False)


def test_missing_assets_and_wrong_settings_end_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "explorer", tmp_path / "explorer")
    shutil.copyfile(ROOT / "app.py", tmp_path / "app.py")
    done = start(tmp_path)
    said = done.stderr.strip().splitlines()
    assert done.returncode in (1, 2) and len(said) == 1 and said[0].startswith("error: ")
    assert "assets" in said[0]
    wrong = start(ROOT, EXPLORER_STEPS="many")
    assert wrong.returncode == 2
    assert wrong.stderr.strip().startswith("error: EXPLORER_STEPS must be a whole number")
    users = start(ROOT, "--auth", str(tmp_path / "none"))
    assert users.returncode == 2 and "cannot read the file of users" in users.stderr


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = subprocess.run([sys.executable, "app.py", "--port", str(other.getsockname()[1])],
                               cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert taken.returncode == 1 and "the port may be taken" in taken.stderr
