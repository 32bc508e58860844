"""The image, the proxies and the scripts around them."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import ROOT, Running, app

from bench.page import Page
from deploy.advisories import judge
from deploy.proof import Stage, copy_context, ignored, stages
from explorer.base.settings import Settings, variable


@pytest.fixture(scope="module")
def image() -> Stage:
    return stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))[-1]


def test_hadolint_finds_nothing() -> None:
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or "hadolint"
    done = subprocess.run([tool, str(ROOT / "Dockerfile")], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_small_in_rights(image: Stage) -> None:
    assert image.user.isdigit() and int(image.user) >= 1000
    assert image.check[-1].count("/health") == 1 and image.command == ["python", "app.py"]
    written = ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "HF_HOME")
    assert all(image.env[name].startswith("/tmp") for name in written)
    assert image.env["HF_HUB_OFFLINE"] == "1" and image.env["EXPLORER_RUNS"].startswith("/tmp")
    first = stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))[0]
    assert first.arguments["TORCH_INDEX"].endswith("/cpu") and first.user == "root"
    assert not image.runs or all("pip" not in run for run in image.runs)


def test_the_image_holds_the_app_and_nothing_else(image: Stage, tmp_path: Path) -> None:
    assert copy_context(image, tmp_path) > 100
    held = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    for needed in ("app.py", "explorer/server/guards.py", "assets/examples/cat.jpg",
                   "assets/models/pocket-robust/open_clip_model.safetensors"):
        assert needed in held
    assert not [p for p in held if p.startswith((".", "tests", "docs"))]
    assert not [p for p in held if p.endswith((".pyc", ".pyi"))]


@pytest.mark.parametrize(("path", "out"), [
    (".git/config", True), (".venv/bin/python", True), ("tests/conftest.py", True),
    ("app.py", False), ("explorer/ui/shell.py", False), ("explorer/x/__pycache__/y.pyc", True),
    ("explorer/ui/forms.pyi", True), ("assets/models/pocket/card.json", False), ("users", True),
])
def test_what_goes_to_the_builder(path: str, out: bool) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored(path, [n for n in lines if n and not n.startswith("#")]) is out


def test_compose_and_proxies_name_real_settings() -> None:
    known = {variable(f) for f in Settings.__dataclass_fields__.values()}
    for file in ("compose.yaml", "deploy/nginx.conf", "deploy/Caddyfile", "docs/deploy.md",
                 "Dockerfile"):
        used = set(re.findall(r"EXPLORER_[A-Z_]+", (ROOT / file).read_text(encoding="utf-8")))
        assert used <= known | {"EXPLORER_"}, f"{file} sets {used - known}"


def test_compose_is_strict() -> None:
    yaml = pytest.importorskip("yaml")
    compose: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    server = compose["services"]["app"]
    assert server["read_only"] is True and server["cap_drop"] == ["ALL"]
    assert server["tmpfs"] and compose["networks"]["inside"]["internal"] is True
    assert server["networks"] == ["inside"] and "ports" not in server
    proxy = compose["services"]["proxy"]
    address = proxy["networks"]["inside"]["ipv4_address"]
    assert server["environment"]["EXPLORER_TRUSTED_PROXIES"] == address


def test_an_audit_that_asked_nobody_says_so() -> None:
    skipped = {"dependencies": [{"name": "a", "skip_reason": "not found"}]}
    for text in ("", "oops", json.dumps(skipped)):
        status, words = judge(text)
        assert status == 3 and "nothing was audited" in words[0]
    hole = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    status, words = judge(json.dumps({"dependencies": [hole, *skipped["dependencies"]]}))
    assert status == 1 and words == ["a 1: CVE-1, fixed in 2",
                                     "1 of 2 packages were audited: 1 known holes"]
    assert judge(json.dumps({"dependencies": [{**hole, "vulns": []}]}))[0] == 0


class Proxy(http.server.BaseHTTPRequestHandler):
    """A reverse proxy of a few lines: serves a path, adds the headers that real ones add."""

    target = ""
    prefix = "/clip"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass(None)

    def do_POST(self) -> None:
        self._pass(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _pass(self, body: bytes | None) -> None:
        if not self.path.startswith(self.prefix):
            self.send_error(404)
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        headers |= {"Host": "clip.example.org", "X-Forwarded-Host": "clip.example.org",
                    "X-Forwarded-Proto": "https", "X-Forwarded-For": "9.9.9.9"}
        request = urllib.request.Request(self.target + self.path, body, headers)
        try:
            answer: Any = urllib.request.urlopen(request, timeout=120)
        except urllib.error.HTTPError as error:
            answer = error
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while part := answer.read1(65536):
            self.wfile.write(part)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[str, Running]]:
    with app(tmp_path / "log", "--root-path", "/clip", environment={
            "EXPLORER_TRUSTED_PROXIES": "127.0.0.1",
            "EXPLORER_HOSTS": "clip.example.org"}) as running:
        handler = type("Handler", (Proxy,), {"target": running.address})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/clip", running
        server.shutdown()


def test_the_app_works_behind_a_proxy_under_a_path(proxied: tuple[str, Running]) -> None:
    address, running = proxied
    with Page(address) as page:
        config = page.client.get("/config").json()
        assert config["root"] == "https://clip.example.org/clip"
        cookie = page.client.get("/", headers={"Cookie": ""}).headers.get("set-cookie", "")
        assert "Path=/clip" in cookie and "Secure" in cookie and "HttpOnly" in cookie
        own = {"Origin": "https://clip.example.org"}
        stop = page.body(page.chain("rx-stop")[0])
        assert page.client.post("/gradio_api/run/predict", json=stop,
                                headers=own).status_code == 200
        assert page.client.post("/gradio_api/run/predict", json=stop,
                                headers={"Origin": "https://evil.example"}).status_code == 403
        assert page.client.get("/metrics").status_code == 404, "the visitor's address is public"
    assert running.health()["status"] in ("ok", "starting")


def test_the_card_of_a_hosted_demo_is_what_is_here() -> None:
    """The header of the README, as Hugging Face reads it."""
    _, header, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = dict(line.split(": ", 1) for line in header.strip().splitlines())
    assert card["sdk"] == "gradio" and card["license"] == "apache-2.0"
    assert (ROOT / card["app_file"]).is_file() and (ROOT / "requirements.txt").is_file()
    assert f"gradio>={card['sdk_version']}," in (ROOT / "requirements.txt").read_text("utf-8")
    assert f"python:{card['python_version'].strip(chr(34))}-" in (ROOT / "Dockerfile").read_text()
    assert len(card["short_description"]) <= 60 and card["title"] and card["emoji"]


def test_a_hosted_demo_answers_in_its_frame(tmp_path: Path) -> None:
    """`python app.py` with what the host sets, seen through its proxy."""
    with app(tmp_path / "log", environment={"SPACE_ID": "me/demo",
                                            "GRADIO_SERVER_NAME": "0.0.0.0"}) as running:
        seen = {"Host": "me-demo.hf.space", "X-Forwarded-Proto": "https",
                "X-Forwarded-For": "203.0.113.9"}
        answer = httpx.get(f"{running.address}/", headers=seen, verify=False, timeout=60)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'self' https://huggingface.co" in policy
        assert "x-frame-options" not in answer.headers
        other = httpx.post(f"{running.address}/gradio_api/queue/join", json={}, verify=False,
                           headers={**seen, "Origin": "https://evil.example"})
        assert other.status_code == 403


@pytest.mark.slow
def test_the_dockerfiles_steps_work_without_docker() -> None:
    done = subprocess.run([sys.executable, "-m", "deploy.proof", "--site-packages",
                           str(Path(sys.prefix))], cwd=ROOT, capture_output=True, text=True,
                          timeout=600, check=False)
    assert done.returncode == 0 and "docker-proof: done" in done.stdout, done.stdout + done.stderr


def test_every_promise_names_a_test_that_exists() -> None:
    said = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    written = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    missing = [name for name in said if f"def {name}(" not in written]
    assert said and not missing, missing
