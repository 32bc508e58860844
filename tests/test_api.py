"""Programs that call the real app, good and hostile: gradio_client, plain HTTP, and MCP."""

from __future__ import annotations

import base64
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from PIL import Image
from serving import Running, app

from bench.page import API, Page
from explorer.base.settings import Settings
from explorer.data.examples import FOLDER
from explorer.ui.api.endpoints import is_open

DOG, PHOTO = FOLDER / "dog.jpg", (FOLDER / "parrot.jpg").read_bytes()
WORDS = ["a photo of a spaniel", "a photo of a cat", "a photo of a sheep"]
LEAKS = re.compile(r"Traceback|\.py\"?, line|site-packages|File \"", re.IGNORECASE)
QUICK = {"models": ["pocket"], "settings": {"steps": 2}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("api") / "log"
    limits = {"EXPLORER_JSON_BYTES": "600000", "EXPLORER_RUNS_PER_MINUTE": "300"}
    with app(log, "--mcp", environment=limits) as running:
        yield running
        assert "secret" not in running.logged()  # what the tests sent


@pytest.fixture(scope="module")
def client(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(server.address, verbose=False, analytics_enabled=False,
                  download_files=tmp_path_factory.mktemp("files"))


def refusal(client: Client, name: str, **values: Any) -> str:
    """The sentence that a call is refused with."""
    with pytest.raises(AppError) as caught:
        client.predict(**values, api_name=name)
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and not LEAKS.search(said), said
    return said


def test_three_endpoints_are_named_and_documented(client: Client, server: Running) -> None:
    info = httpx.get(f"{server.address}{API}/info").json()
    assert set(info["named_endpoints"]) == {"/attack", "/evaluate", "/project"}
    assert not info["unnamed_endpoints"]
    config = httpx.get(f"{server.address}/config").json()
    public = {d["api_name"] for d in config["dependencies"] if d["api_visibility"] != "private"}
    assert public == {"attack", "evaluate", "project"}  # training, above all, is not among them
    for name, about in info["named_endpoints"].items():
        assert about["description"], name
        assert about["returns"][0]["python_type"]["type"].startswith("dict"), name
        assert all(p["parameter_has_default"] for p in about["parameters"]), name


def test_an_attack_by_gradio_client(client: Client) -> None:
    job = client.submit(image=handle_file(str(DOG)), captions=WORDS, true=0, models=["pocket"],
                        settings={"eps": "4/255", "steps": 3}, api_name="/attack")
    found = job.result()
    (run,) = found["runs"]
    clean, now = (np.array(Image.open(run["files"][kind]), int) for kind in
                  ("clean", "adversarial"))
    assert run["files"]["adversarial"].endswith(".png")
    assert np.abs(now - clean).max() == run["linf_255"] <= 4
    assert run["success"] and run["adversarial"]["prediction"] != 0
    assert "Fooled" in found["sentences"][0]
    steps = [o for o in job.outputs() if "progress" in o]
    assert any(o["done"] == 2 and o["total"] == 3 for o in steps)
    assert f"number 0 is the true one, “{WORDS[0]}”." in found["understood"]
    assert found["understood"] in [o["progress"] for o in steps[:3]]
    again = client.predict(image=handle_file(str(DOG)), captions=WORDS, models=["pocket"],
                           settings={"eps": "4/255", "steps": 3}, api_name="/attack")
    assert again["runs"][0]["adversarial"] == run["adversarial"]  # the same seed, the same result


def test_a_call_without_arguments_is_the_first_example(client: Client) -> None:
    found = client.predict(**QUICK, api_name="/attack")
    assert found["captions"][found["true"]] == "a photo of a cat"
    found = client.predict(**QUICK, api_name="/project")
    shift = found["sides"][0]["true_space"]["shifts"][0]
    assert shift["angle"] > 3 * shift["noise_angle"]
    assert "in pocket" in found["sentence"]


def test_a_set_is_evaluated(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "pets.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("cat", "dog", "bee"):
            archive.writestr(f"{name}/photo.jpg", (FOLDER / f"{name}.jpg").read_bytes())
        archive.writestr("bee/secret.txt", b"no picture")
    job = client.submit(data=handle_file(str(file)), attacks=["clean", "pgd"], **QUICK,
                        api_name="/evaluate")
    found = job.result()
    assert found["understood"].startswith("your upload: 3 pictures (one folder a class")
    assert "3 different answers: “a photo of a cat”, “a photo of a dog”" in found["understood"]
    assert found["set"]["pictures"] == 3 and found["set"]["answers_are"] == "classes"
    news = [o["progress"] for o in job.outputs() if "progress" in o]
    assert found["understood"] in news[:3]  # before anything is measured
    assert [(r["attack"], r["n"]) for r in found["rows"]] == [("clean", 3), ("pgd", 3)]
    assert found["rows"][0]["accuracy"] >= found["rows"][1]["accuracy"]
    assert found["rows"][0]["ci95"][0] < found["rows"][0]["accuracy"]


@pytest.mark.parametrize(("name", "values", "words"), [
    ("/attack", {"image": "/etc/passwd"}, "no path and no address"),
    ("/attack", {"image": "http://127.0.0.1:1/secret.png"}, "no path and no address"),
    ("/attack", {"captions": [[]]}, "list"),
    ("/attack", {"kind": "train"}, "Kind must be"), ("/attack", {"true": 10**30}, "True must be"),
    ("/attack", {"models": ["local-dir:/root"]}, "There is no model"),
    ("/attack", {"settings": {"steps": 10**6}}, "Steps must be"),
    ("/attack", {"settings": {"secret": 1}}, "no setting secret"),
    ("/evaluate", {"data": "server:../../etc"}, "no data folder"),
    ("/evaluate", {"limit": 10**6}, "Limit must be"),
    ("/evaluate", {"attacks": ["secret"]}, "There is no attack"),
    ("/project", {"projection": "umap"}, "Projection must be"),
    ("/project", {"neighbours": {}}, "Neighbours must be"),
])
def test_mistakes_get_one_sentence(client: Client, name: str, values: dict[str, Any], words: str,
                                   ) -> None:
    assert words in refusal(client, name, **values)


def test_files_that_are_no_pictures_get_one_sentence(client: Client, tmp_path: Path) -> None:
    text, svg, bomb = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.zip"
    text.write_bytes(b"secret, and no picture")
    svg.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/x.png", bytes(300_000_000))
    assert "not an image" in refusal(client, "/attack", image=handle_file(str(text)),
                                     captions=WORDS)
    assert "SVG" in refusal(client, "/attack", image=handle_file(str(svg)), captions=WORDS)
    assert refusal(client, "/evaluate", data=handle_file(str(bomb)))
    assert "must be a file that ends with" in refusal(client, "/evaluate",
                                                      data=handle_file(str(text)))


ODD: list[Any] = [None, [], {}, "secret \U0001f600", -1, 1e308, True, [[["secret"]]],
                  {"path": None}, {"secret": {"a": [1]}}, 0.5, "x" * 5000]


def test_every_argument_may_be_anything(server: Running) -> None:
    """Through the queue as a script would, one argument wrong at a time."""
    with Page(server.address, 240) as page:
        named = {e["api_name"]: e for e in page.events if e["api_visibility"] == "public"}
        slow = {"settings": {"steps": 1}, "models": ["pocket"], "limit": 1}
        info = page.client.get(f"{API}/info").json()["named_endpoints"]
        for name, event in named.items():
            about = info[f"/{name}"]["parameters"]
            good = [slow.get(p["parameter_name"], p["parameter_default"]) for p in about]
            first = 10 if name == "project" else 0  # those before it are the same as attack's
            for place in range(first, len(good)):
                odd = ODD[place % len(ODD)]
                body = {**page.body(event), "data": [*good[:place], odd, *good[place + 1:]]}
                joined = page.client.post(f"{API}/queue/join", json=body)
                assert joined.status_code == 200, joined.text
                try:
                    list(page.follow(joined.json()["event_id"]))
                except Exception as error:  # noqa: BLE001 - any kind, but only with a sentence
                    said = str(error)
                    assert said.endswith(".") and "our side" not in said, (name, place, odd, said)
                    assert not LEAKS.search(said)


def test_paths_in_a_payload_are_refused_at_the_door(server: Running) -> None:
    with Page(server.address) as page:
        event = next(e for e in page.events if e["api_name"] == "attack")
        for path in ("/etc/passwd", "http://127.0.0.1:1/x.png", "../../app.py", "/proc/self/mem"):
            body = page.body(event)
            body["data"][0] = {"path": path, "meta": {"_type": "gradio.FileData"}}
            answer = page.client.post(f"{API}/queue/join", json=body)
            assert answer.status_code == 403 and "uploaded here" in answer.json()["error"]
        for way in ("call/attack", "run/attack", "api/attack"):
            assert page.client.post(f"{API}/{way}", json={"data": []}).status_code >= 400


def test_calls_wait_and_are_counted_by_address(tmp_path: Path) -> None:
    """New sessions do not make a new caller; the page's own visitors are not held up by it."""
    limits = {"EXPLORER_RUNS_PER_MINUTE": "3"}
    with app(tmp_path / "log", environment=limits) as running:
        said = []
        for _ in range(5):
            client = Client(running.address, verbose=False, analytics_enabled=False)
            try:
                client.predict(kind="wrong", api_name="/attack")
            except AppError as error:
                said.append(str(error))
        assert sum("Kind must be" in s for s in said) == 3
        assert "more than 3 runs in a minute" in said[-1]
        with Page(running.address, 240) as page:
            page.fill("rx-photo", page.upload(PHOTO))
            assert "runs in a minute" not in json.dumps(page.press("rx-go"))
        assert httpx.post(f"{running.address}/mcp", json={}).status_code == 404  # off


def test_who_may_call() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        assert is_open(Settings(), host) and not is_open(Settings(api="off"), host)
    assert not is_open(Settings(), "0.0.0.0") and is_open(Settings(api="all"), "0.0.0.0")
    for behind in (Settings(hosts="clip.example.org"), Settings(trusted_proxies="127.0.0.1"),
                   Settings(root_path="/clip")):
        assert not is_open(behind, "127.0.0.1")  # a proxy brings others here


def test_closed_and_behind_a_log_in(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("teacher:long enough\n", encoding="utf-8")
    with app(tmp_path / "log", "--api", "off") as running:
        assert not httpx.get(f"{running.address}{API}/info").json()["named_endpoints"]
    with app(tmp_path / "log", "--auth", str(users), "--mcp") as running:
        with pytest.raises(Exception, match="credentials"):
            Client(running.address, verbose=False, analytics_enabled=False)
        assert httpx.post(f"{running.address}/mcp", json={}).status_code == 401
        header = "Basic " + base64.b64encode(b"teacher:long enough").decode()
        client = Client(running.address, verbose=False, analytics_enabled=False,
                        headers={"Authorization": header})
        assert client.predict(**QUICK, api_name="/attack")["runs"]


def asked(address: str, work: Any) -> Any:
    """Runs `work(session)` in an MCP session; in a thread, for a browser's loop may run in this."""
    async def main() -> Any:
        async with (streamable_http_client(f"{address}/mcp") as (read, write, _),
                    ClientSession(read, write) as session):
            await session.initialize()
            return await work(session)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(anyio.run, main).result()


def test_the_tools_of_mcp(server: Running) -> None:
    said: list[str] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        said.append(message or "")

    async def work(session: ClientSession) -> None:
        tools = (await session.list_tools()).tools
        assert [t.name for t in tools] == ["attack", "evaluate", "project"]
        assert all(t.description and t.inputSchema["properties"] for t in tools)
        made = await session.call_tool("attack", {"image": base64.b64encode(PHOTO).decode(),
                                                  "captions": ["a parrot", "a fish"], **QUICK},
                                       progress_callback=tell)
        text, picture = made.content
        assert text.type == "text" and picture.type == "image" and not made.isError
        run = json.loads(text.text)["runs"][0]
        pixels = Image.open(io.BytesIO(base64.b64decode(picture.data)))
        assert pixels.format == "PNG" and pixels.size[0] > 100 and run["linf_255"] <= 1
        one = await session.call_tool("evaluate", {"limit": 2, **QUICK})
        made_of = json.loads(one.content[0].text)  # type: ignore[union-attr]
        assert "Of 2 pictures" in made_of["sentence"]
        assert made_of["understood"].startswith("12 example photos: 2 of 12 pictures.")
        for name, values, words in (
                ("train", {}, "There is no tool 'train'"),
                ("attack", {"image": "/etc/passwd"}, "no path and no address"),
                ("attack", {"secret": 1}, "no argument 'secret'"),
                ("attack", {"captions": 5}, "Captions must be"),
                ("evaluate", {"data": "server:.."}, "no data folder"),
                ("project", {"dims": "x"}, "Dims must be")):
            wrong = await session.call_tool(name, values)
            told = wrong.content[0].text  # type: ignore[union-attr]
            assert wrong.isError and words in told and told.endswith("."), told
            assert "\n" not in told and not LEAKS.search(told)

    asked(server.address, work)
    assert any("Attacking the photo on pocket" in s for s in said)
    assert any("number 0 is the true one, “a parrot”" in s for s in said[:3])


def test_whoever_leaves_frees_the_device(server: Running) -> None:
    async def work(session: ClientSession) -> None:
        with pytest.raises(TimeoutError), anyio.fail_after(4):
            await session.call_tool("attack", {"models": ["pocket"], "settings": {"steps": 900}})

    asked(server.address, work)
    deadline = time.monotonic() + 60
    while httpx.get(f"{server.address}/health").json()["running"]:
        assert time.monotonic() < deadline, "the run went on without its caller"
        time.sleep(0.3)


@pytest.mark.parametrize("body", [
    b"", b"[]", b"5", b"{", b'{"jsonrpc":"2.0"}', b'{"jsonrpc":"2.0","id":1,"method":"secret"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"attack","arguments":[]}}',
    b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"x":"' + b"y" * 700_000 + b'"}',
    b'{"image":{"path":"/etc/passwd"}}',
])
def test_malformed_mcp_requests(server: Running, body: bytes) -> None:
    headers = {"Content-Type": "application/json",
               "Accept": "application/json, text/event-stream"}
    answer = httpx.post(f"{server.address}/mcp", content=body, headers=headers, timeout=30)
    assert answer.status_code < 500 and not LEAKS.search(answer.text), answer.text[:300]
    assert "error" in answer.text.lower()


def test_other_sites_and_methods_do_not_reach_mcp(server: Running) -> None:
    there = f"{server.address}/mcp"
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert httpx.post(there, json={}, headers=headers).status_code == 403
    assert httpx.get(there).status_code == 404 and httpx.delete(there).status_code == 404
    assert httpx.post(f"{there}/x", json={}).status_code == 404
