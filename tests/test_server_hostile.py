"""Hostile visitors against the app as it really runs: what they get, and what they do not."""

from __future__ import annotations

import io
import json
import re
import secrets
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Running, app

from bench.page import API, Page, PageError
from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.base.paths import ASSETS
from explorer.data.examples import FOLDER
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.results.bundle import MAIN, bundle_bytes

PHOTO = (FOLDER / "parrot.jpg").read_bytes()
CALL = httpx.Client(timeout=60, verify=False)  # nobody's browser
LEAKS = re.compile(r"Traceback|\.py\"?, line|site-packages|File \"", re.IGNORECASE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("server") / "log"
    limits = {"UPLOAD_BYTES": "3000000", "JSON_BYTES": "200000", "UPLOADS_PER_MINUTE": "500"}
    with app(log, environment={f"EXPLORER_{k}": v for k, v in limits.items()}) as running:
        yield running
        assert "secret" not in running.logged()  # what the tests sent as captions and names


@pytest.fixture
def page(server: Running) -> Iterator[Page]:
    with Page(server.address, 240) as visitor:
        yield visitor


def declared(answer: httpx.Response) -> str:
    """The sentence of a refusal; fails on anything else."""
    assert 400 <= answer.status_code < 500, f"{answer.status_code}: {answer.text[:200]}"
    body = answer.json()
    assert body["error"] and not LEAKS.search(answer.text), answer.text[:300]
    return str(body["error"])


@pytest.mark.parametrize("path", [
    "/etc/passwd", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
    "....//....//etc/passwd", "/proc/self/environ", "app.py", "explorer/base/settings.py",
    "requirements.txt", ".git/config", "assets/models/pocket/card.json", "/tmp",
    "C:/windows/win.ini",
    "assets/examples/../../app.py", "assets/examples/..\\..\\app.py", "\x00", "%00/etc/passwd",
    "/dev/zero", "~/.ssh/id_rsa", "//etc/passwd", "file:///etc/passwd", "%252e%252e/etc/passwd",
])
def test_only_declared_files_can_be_fetched(server: Running, path: str) -> None:
    for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/",
                   "/svelte/", "/gradio_api/stream/"):
        url = server.address + prefix + path.replace("\x00", "%00")
        answer = CALL.get(url)
        assert answer.status_code >= 400, f"{prefix}{path}: {answer.text[:100]}"
        assert "root:" not in answer.text and not LEAKS.search(answer.text)


def raw(address: str, request: bytes) -> bytes:
    """A request sent as it is, with nothing tidied by a client."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as line:
        line.sendall(request)
        got = b""
        while part := line.recv(65536):
            got += part
    return got


def test_climbing_paths_sent_untidied(server: Running) -> None:
    for path in ("/assets/../../../../../etc/passwd", "/static/..%2f..%2f..%2fetc/passwd",
                 "/gradio_api/file=/tmp/../etc/passwd", "//etc/passwd", "/assets/%2e%2e/%2e%2e/x"):
        got = raw(server.address, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                  "Connection: close\r\n\r\n".encode())
        assert got.split()[1][:1] == b"4", got[:80]
        assert b"root:" not in got


@pytest.mark.parametrize("target", ["http://example.org/", "https://example.org/x.png",
                                    "//example.org", "HTTP://example.org", "javascript:alert(1)",
                                    "\\\\example.org\\x", "%09http://example.org"])
def test_no_redirect_leads_elsewhere(server: Running, target: str) -> None:
    """Gradio before 6.20 sends the browser to any address after /file=."""
    answer = CALL.get(f"{server.address}{API}/file={target}", follow_redirects=False)
    assert answer.status_code >= 400 and "location" not in answer.headers


class Ear:
    """An internal server that only notes whether anybody called."""

    def __enter__(self) -> Ear:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port, self.calls = self.socket.getsockname()[1], 0
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def _listen(self) -> None:
        while True:
            try:
                line, _ = self.socket.accept()
            except OSError:
                return
            self.calls += 1
            line.close()

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def test_no_address_in_a_payload_is_ever_fetched(page: Page) -> None:
    event = next(e for e in page.events if e["queue"] and e["inputs"])
    light = next(e for e in page.events if not e["queue"] and e["inputs"])
    with Ear() as ear:
        inside = f"http://127.0.0.1:{ear.port}/secret.png"
        meta = {"_type": "gradio.FileData"}
        svg = f"data:image/svg+xml,<svg><image href='{inside}'/></svg>"
        for value in ({"path": inside, "meta": meta}, {"path": inside, "url": inside, "meta": meta},
                      {"path": inside.replace("http:", "HTTP:"), "meta": meta},
                      {"path": "/etc/passwd", "url": inside, "meta": meta},
                      {"url": svg, "path": "x.svg", "meta": meta}, {"url": svg},
                      [{"deep": {"path": inside, "meta": meta}}]):
            for one in (event, light):
                body = page.body(one)
                body["data"][-1] = value
                way = "queue/join" if one["queue"] else "run/predict"
                declared(page.client.post(f"{API}/{way}", json=body))
        # An address beside a good file is taken out before the app sees it.
        good = page.upload(PHOTO)
        page.fill("rx-photo", {**good, "url": inside})
        steps = page.run(page.chain("rx-go")[0])
        list(steps)
        assert page.client.post(f"{API}/queue/join", json=page.body(event)).status_code == 200
        with socket.create_connection(("127.0.0.1", ear.port)):
            pass  # the ear does hear
        for _ in range(50):
            if ear.calls:
                break
            threading.Event().wait(0.05)
        assert ear.calls == 1


def test_an_svg_photo_is_refused(page: Page) -> None:
    page.fill("rx-photo", page.upload(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)"
                                      b"</script></svg>", "drawing.svg"))
    said = json.dumps(page.press("rx-go"))
    assert "SVG drawings are not supported" in said
    kept = page.client.get(f"{API}/file={page.values[page.named['rx-photo']]['path']}")
    policy = kept.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "sandbox" in policy


def test_another_visitors_files_and_page_are_theirs(server: Running, page: Page) -> None:
    mine = page.upload(PHOTO + secrets.token_bytes(8))
    assert page.client.get(f"{API}/file={mine['path']}").status_code == 200
    with Page(server.address) as other:
        assert declared(other.client.get(f"{API}/file={mine['path']}"))
        page.client.post(f"{API}/run/predict", json=page.body(page.chain("rx-stop")[0]))
        for way in ("queue/data?session_hash=" + page.session, "heartbeat/" + page.session):
            assert "another visitor" in declared(other.client.get(f"{API}/{way}"))
        body = {**other.body(other.chain("rx-stop")[0]), "session_hash": page.session}
        assert "another visitor" in declared(other.client.post(f"{API}/run/predict", json=body))
        cancel = {"session_hash": page.session, "fn_index": 1, "event_id": "x"}
        assert "another visitor" in declared(other.client.post(f"{API}/cancel", json=cancel))
        event = next(e for e in other.events
                     if e["queue"] and other.named["rx-photo"] in e["inputs"])
        other.fill("rx-photo", mine)
        assert "no such file" in declared(
            other.client.post(f"{API}/queue/join", json=other.body(event)))


@pytest.mark.parametrize("path", [
    "/gradio_api/deep_link?session_hash=abcdefgh", "/monitoring", "/monitoring/summary",
    "/monitoring/x", "/gradio_api/token", "/gradio_api/vibe-code", "/gradio_api/dev/reload",
    "/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/custom_component/x/client/component/x.js",
    "/docs", "/redoc", "/openapi.json", "/login", "/logout", "/gradio_api/mcp/", "/.env",
    "/gradio_api/stream/abcdefgh/1/1/playlist.m3u8", "/pwa_icon/99999999",
])
def test_what_the_page_never_asks_for_is_not_there(server: Running, path: str) -> None:
    assert "nothing here" in declared(CALL.get(server.address + path))
    for way in ("post", "put", "delete", "patch", "options"):
        declared(getattr(CALL, way)(server.address + path))


@pytest.mark.parametrize("path", ["component_server", "process_recording", "vibe-edit", "login",
                                  "call/v2/x", "stream/abc", "stream/abc/close"])
def test_private_endpoints_take_no_call(page: Page, path: str) -> None:
    declared(page.client.post(f"{API}/{path}", json={"data": []}))


@pytest.mark.parametrize("headers", [
    {"Origin": "https://evil.example"}, {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://localhost.evil.example"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://[", "Sec-Fetch-Site": "cross-site"}, {"Origin": "http://["},
])
def test_posts_from_other_sites_are_refused(page: Page, headers: dict[str, str]) -> None:
    for way in ("queue/join", "run/predict", "upload", "cancel", "reset"):
        sentence = declared(page.client.post(f"{API}/{way}", json={}, headers=headers))
        assert "other sites" in sentence
    answer = page.client.get("/config", headers=headers)
    assert "other sites" in declared(answer)
    assert not [n for n in answer.headers if n.lower().startswith("access-control")]


def test_a_link_from_another_site_still_opens_the_page(server: Running) -> None:
    came = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert CALL.get(server.address, headers=came).status_code == 200
    own = {"Origin": server.address}
    assert CALL.get(f"{server.address}/config", headers=own).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "a b", "x\ty", ""])
def test_other_names_for_this_server_are_refused(server: Running, host: str) -> None:
    got = raw(server.address, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
              .encode())
    assert got.split()[1] in (b"400", b"421"), got[:60]


def test_headers_cannot_be_put_into_answers(server: Running, page: Page) -> None:
    poison = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
              "X-Gradio-Server": "http://evil.example", "Forwarded": "host=evil.example"}
    for path in ("/", "/config", f"{API}/info"):
        assert "evil" not in page.client.get(path, headers=poison).text
    sent = page.upload(PHOTO, 'a"\r\nSet-Cookie: secret=1\r\n.png')
    for path in (sent["path"], "%0d%0aSet-Cookie:%20secret=1", "x\u0130y"):
        answer = page.client.get(f"{API}/file={path}", headers={"Range": "bytes=0-1",
                                                                "X-Mine": "secret"})
        assert "secret" not in str(answer.headers.get("set-cookie", ""))
        # Gradio 6.17 answers a range request with all headers of the request.
        assert not {"x-mine", "cookie", "host"} & set(answer.headers.keys())


def test_every_answer_carries_the_policy(page: Page) -> None:
    for path in ("/", "/config", "/health", "/nothing", f"{API}/info"):
        headers = page.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin" and headers["x-request-id"]
        assert "frame-ancestors" in headers["content-security-policy"]
        assert "server" not in headers
    policy = page.client.get("/").headers["content-security-policy"]
    scripts = next(p for p in policy.split("; ") if p.startswith("script-src"))
    assert "'unsafe-inline'" not in scripts and "http" not in scripts and "*" not in policy
    nonce = re.search(r"'nonce-([^']+)'", scripts)
    assert nonce
    first, second = (re.search("nonce-([^']+)", page.client.get("/").headers[
        "content-security-policy"]) for _ in range(2))
    assert first and second and first[1] != second[1]


def test_large_and_deep_requests_are_cut_off(page: Page) -> None:
    join = f"{API}/queue/join"
    event = next(e for e in page.events if e["queue"] and len(e["inputs"]) > 1)
    assert "larger than" in declared(page.client.post(join, content=b"[" * 300_000))
    assert declared(page.client.post(join, content=b"[" * 150_000))
    assert declared(page.client.post(join, content=b'{"a":' * 30_000 + b"1" + b"}" * 30_000))
    body = page.body(event)
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    body["data"][0] = deep
    assert "nested too deeply" in declared(page.client.post(join, json=body))

    def slowly() -> Iterator[bytes]:
        for _ in range(400):
            yield b"x" * 1000

    answer = page.client.post(join, content=slowly())  # without a length
    assert answer.status_code == 413
    big = page.client.post(f"{API}/upload", files={"files": ("x.png", b"x" * 3_100_000)})
    assert big.status_code == 413 and not LEAKS.search(big.text)
    assert raw(page.client.base_url.copy_with(path="").__str__().rstrip("/"),
               b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n"
               b"Connection: close\r\n\r\n").split()[1] == b"400"


WRONG: list[Any] = [None, [], {}, "", 5, True, float("1e308"), "x" * 1000, {"data": None},
                    {"data": {}}, {"data": []}, {"data": [None] * 999}, {"fn_index": "0"},
                    {"fn_index": -1, "data": []}, {"fn_index": 10**9, "data": []},
                    {"fn_index": True, "data": []}, {"session_hash": 5}, {"session_hash": "../x"},
                    {"session_hash": {"a": 1}}, {"event_id": []}]


ODD: list[Any] = [None, [], {}, "secret \U0001f600\x00", -1, 1e308, True, [[["secret"]]]]


@pytest.mark.parametrize("each", [1, pytest.param(len(ODD), marks=pytest.mark.nightly)])
def test_malformed_payloads_get_declared_errors_from_every_endpoint(page: Page, each: int) -> None:
    """Every event, through every way in, with every control wrong in turn; each: in so many of
    the ways to be wrong, which take turns from control to control."""
    for way in ("queue/join", "run/predict", "call/_run", "cancel", "reset", "upload"):
        for body in WRONG:
            answer = page.client.post(f"{API}/{way}", json=body)
            assert answer.status_code < 500 and not LEAKS.search(answer.text), (way, body)
    for event in page.events:
        if event["queue"]:
            continue
        for place in range(max(1, len(event["inputs"]))):
            for turn in range(each):
                odd = ODD[(event["id"] + place + turn) % len(ODD)]
                body = page.body(event)
                if body["data"]:
                    body["data"][place] = odd
                body["event_data"] = odd
                answer = page.client.post(f"{API}/run/predict", json=body)
                assert not LEAKS.search(answer.text), answer.text[:300]
                assert answer.status_code in (200, 400, 422, 500)
                if answer.status_code == 500:  # so Gradio answers when a control refuses a value
                    said = answer.json()["error"]
                    assert said is None or ("\n" not in said and len(said) < 600), said


def test_malformed_values_of_heavy_events_get_declared_errors(page: Page) -> None:
    odd: Any
    for event in [e for e in page.events if e["queue"] and e["inputs"]]:
        for odd in ({}, "secret \x00"):
            body = {**page.body(event), "data": [odd] * len(event["inputs"]), "event_data": odd}
            joined = page.client.post(f"{API}/queue/join", json=body)
            assert joined.status_code in (200, 400, 422) and not LEAKS.search(joined.text)
            if joined.status_code == 200:
                try:
                    said = json.dumps(list(page.follow(joined.json()["event_id"]))[-1:])
                except PageError as error:
                    said = str(error)
                assert said and not LEAKS.search(said), said[:300]


def test_queued_events_cannot_be_called_past_the_queue(page: Page) -> None:
    event = next(e for e in page.chain("rx-go") if e["queue"])
    answer = page.client.post(f"{API}/run/predict", json=page.body(event))
    assert answer.status_code == 404 and "queue" in answer.text


def test_huge_file_names_do_no_harm(page: Page) -> None:
    """CVE-2025-0187: a name of many megabytes once stopped Gradio."""
    for name in ("a" * 100_000 + ".png", "../" * 500 + "x.png", "\u202e" * 300 + ".png", ".", ""):
        answer = page.client.post(f"{API}/upload", files={"files": (name, PHOTO)})
        assert answer.status_code in (200, 400, 413, 422) and not LEAKS.search(answer.text)
    assert page.client.get("/health").status_code == 200


def test_pickles_and_code_are_no_photos(page: Page) -> None:
    import pickle

    for name, content in (("x.pkl", pickle.dumps(print)), ("x.png", b"#!/bin/sh\nid\n"),
                          ("x.html", b"<script>alert(1)</script>"), ("x.png", b"")):
        page.fill("rx-photo", page.upload(content, name))
        assert "rx-error" in json.dumps(page.press("rx-go"))


def test_a_saved_case_opens_no_folder_of_the_server(page: Page, tiny: DualEncoder, four: Pairs,
                                                    ) -> None:
    case = Pairs(four.images[:1], four.captions, four.labels[:1])
    raw = bundle_bytes([run(PGD(steps=1), tiny, case)], {"tiny": tiny.fingerprint})
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    folder = f"local-dir:{ASSETS / 'models' / 'pocket'}"
    files[MAIN] = files[MAIN].replace(b'"model": "tiny"', f'"model": "{folder}"'.encode())
    assert folder.encode() in files[MAIN]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    page.fill("rx-open", page.upload(out.getvalue(), "case.zip"))
    said = json.dumps(list(page.run(page.chain("rx-open", "upload")[0])))
    assert "There is no model" in said and "rx-error" in said


def test_no_weights_are_taken_where_training_was_not_switched_on(page: Page) -> None:
    assert "tr-bring" not in page.named and "tr-weights" not in page.named


def test_health_and_metrics_tell_numbers_only(server: Running, page: Page) -> None:
    page.fill("rx-captions", "a secret caption\nanother secret caption")
    page.fill("rx-photo", page.upload(b"not a picture", "secret.png"))
    page.press("rx-go")
    health = CALL.get(f"{server.address}/health").json()
    assert health["status"] in ("ok", "starting") and health["waiting"] >= 0
    text = CALL.get(f"{server.address}/metrics").text
    for name in ("explorer_requests_total", "explorer_run_seconds_bucket", "explorer_waiting_runs",
                 "explorer_memory_bytes", "explorer_refused_total", "explorer_models_loaded"):
        assert name in text
    assert "secret" not in text and "secret" not in server.logged()
    lines = [json.loads(line) for line in server.logged().splitlines() if line.strip()]
    assert lines and all({"time", "level", "logger"} <= set(line) for line in lines)
    assert not LEAKS.search(" ".join(line["message"] for line in lines))


def test_log_in_is_asked_everywhere_and_locks_out(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("teacher:long enough\n", encoding="utf-8")
    with app(tmp_path / "log", "--auth", str(users), environment={
            "EXPLORER_LOGIN_FAILURES": "3", "EXPLORER_ROOT_PATH": "/clip"}) as running:
        for path in ("/", "/config", f"{API}/info", "/assets/x", f"{API}/heartbeat/abcdefgh",
                     f"{API}/startup-events", f"{API}/upload_progress?upload_id=x"):
            answer = CALL.get(running.address + path)
            assert answer.status_code == 401 and answer.headers["www-authenticate"]
        assert CALL.post(f"{running.address}{API}/cancel", json={}).status_code == 401
        assert CALL.get(f"{running.address}/health").status_code == 200
        right = ("teacher", "long enough")
        for prefix in ("", "/clip"):  # a proxy may take the path off, or leave it on
            config = CALL.get(f"{running.address}{prefix}/config", auth=right).json()
            assert config["root"] == f"{running.address}/clip"
        for _ in range(3):
            wrong = CALL.get(running.address, auth=("teacher", "wrong word"))
            assert wrong.status_code == 401
        locked = CALL.get(running.address, auth=right)
        assert locked.status_code == 429 and int(locked.headers["retry-after"]) > 0
        assert "long enough" not in running.logged() and "wrong word" not in running.logged()
