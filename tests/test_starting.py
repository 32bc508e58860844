"""A quick start: somebody at the door at once, few imports, weights that are only read, and two
models opened side by side."""

from __future__ import annotations

import gc
import hashlib
import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
from safetensors.torch import load_file

from explorer.base.imports import after_import
from explorer.base.paths import ASSETS
from explorer.models.lean import Later
from explorer.models.library import Library
from explorer.server.starting import Doorman, open_port
from explorer.ui.warming import warm

ROOT = Path(__file__).resolve().parent.parent
LATE = ("torch._dynamo", "torch.distributed.tensor", "sympy", "scipy.optimize", "sklearn")


def said(port: int, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    visitor = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    visitor.request(method, path)
    answer = visitor.getresponse()
    body = answer.read()
    visitor.close()
    return answer, body


def test_somebody_answers_while_the_app_starts() -> None:
    bound = open_port("127.0.0.1", 0)
    port = bound.getsockname()[1]
    with bound, Doorman(bound) as doorman:
        idle = socket.create_connection(("127.0.0.1", port))  # says nothing: holds nobody up
        page, html = said(port, "/?view=x")
        assert page.status == 503 and page.headers["retry-after"] == "1"
        assert b'http-equiv="refresh"' in html and b"starting" in html
        assert page.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        health, state = said(port, "/health")
        assert health.status == 503 and json.loads(state)["status"] == "starting"
        assert said(port, "/", "HEAD")[1] == b"" and said(port, "/config")[0].status == 503
        doorman.leave()
        assert idle.recv(10) == b""  # told that nobody listens any more
        idle.close()
        late = socket.create_connection(("127.0.0.1", port), timeout=60)  # waits for the app
        bound.setblocking(True)
        served, _ = bound.accept()
        with served, late:
            served.sendall(b"app")
            assert late.recv(10) == b"app"


def test_a_crowd_and_a_long_request_do_not_stop_the_doorman() -> None:
    bound = open_port("127.0.0.1", 0)
    port = bound.getsockname()[1]
    with bound, Doorman(bound):
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        long = socket.create_connection(("127.0.0.1", port), timeout=60)
        long.sendall(b"GET / HTTP/1.1\r\n" + b"x" * 20_000)
        assert said(port, "/")[0].status == 503
        for one in (*crowd, long):
            one.close()


def test_opening_a_model_imports_no_compiler_and_fills_each_weight() -> None:
    code = f"""
import sys, torch
from explorer.models.library import Library
model = Library().load("pocket", "cpu")
print([name for name in {LATE!r} if name in sys.modules])
print(model.fingerprint)
print(torch.distributed.is_available(), torch.compiler.is_compiling())
roi = sys.modules["torchvision.ops.roi_align"]
print(roi.is_compile_supported("cpu"), "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    late, fingerprint, spread, compiler = done.stdout.splitlines()
    assert late == "[]" and spread == "True False"
    assert compiler.endswith(" True")  # asked for, it is there
    weights = load_file(ASSETS / "models/pocket/open_clip_model.safetensors")
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        whole = value if not value.is_floating_point() else value.float()
        digest.update(f"{name} {tuple(whole.shape)} {whole.dtype}".encode())
        digest.update(whole.contiguous().numpy().tobytes())
    assert fingerprint == digest.hexdigest()


def test_a_stand_in_becomes_the_module_when_it_is_called(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_one.py").write_text(
        "def twice(x):\n    return 2 * x\n"
        "def louder(f, by=1):\n    return lambda *a: f(*a) + by\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    stand_in = Later("late_one")
    monkeypatch.setitem(sys.modules, "late_one", stand_in)
    from_import: Callable[[int], int] = import_module("late_one").twice
    louder = import_module("late_one").louder(lambda x: x, by=5)  # as a decorator, when imported
    del sys.modules["late_one"]
    assert from_import(4) == 8 and louder(1) == 6 and sys.modules["late_one"] is not stand_in
    with pytest.raises(AttributeError):
        _ = stand_in.__file__


def test_a_module_is_changed_as_it_is_imported(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "changed_one.py").write_text("value = 1\n", encoding="utf-8")
    (tmp_path / "its_user.py").write_text("from changed_one import value\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    def change(module: ModuleType) -> None:
        module.value += 1  # type: ignore[attr-defined]

    finders = list(sys.meta_path)
    after_import("changed_one", change)
    assert import_module("its_user").value == 2 and sys.meta_path == finders
    after_import("changed_one", change)  # there already: at once
    assert sys.modules["changed_one"].value == 3
    for name in ("changed_one", "its_user"):
        del sys.modules[name]


def test_gradio_writes_no_stubs_at_a_start() -> None:
    from gradio import component_meta

    assert component_meta.create_or_modify_pyi.__module__ == "explorer.ui"


def test_models_are_opened_side_by_side_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both, opened = threading.Barrier(2), list[str]()

    def slow(card: SimpleNamespace, device: str | None) -> SimpleNamespace:
        opened.append(card.id)
        both.wait(60)  # goes on only when the other is being opened too
        model = SimpleNamespace()
        model.settle = lambda: model
        return model

    monkeypatch.setattr("explorer.models.loaders.open_model", slow)
    library = Library()
    found: list[object] = []
    threads = [threading.Thread(target=lambda name=name: found.append(library.load(name)))
               for name in ("pocket", "pocket", "pocket-robust")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(opened) == ["pocket", "pocket-robust"] and len(found) == 3
    assert len({id(model) for model in found}) == 2


def test_the_garbage_collector_works_once_the_models_are_open() -> None:
    gc.disable()
    try:
        warm(cast(Library, SimpleNamespace(load=lambda name: None)), ("a", "b")).join(60)
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
