"""The gate inside a real Gradio app behind the real guard: places, closed tabs, light events."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.state_holder import SessionState
from serving import served

from bench.page import API, Page
from explorer.base.errors import InputError
from explorer.base.settings import Settings
from explorer.server.gate import Gate
from explorer.server.scheduler import place_words
from explorer.server.serve import Health
from explorer.ui.shell import mount

STEP = 0.1  # seconds
ANSWER = "an answer that nobody needs again"


class Slow:
    """A page whose one heavy event takes `steps` steps and notes how it ended."""

    def __init__(self, settings: Settings) -> None:
        self.gate, self.ended = Gate(settings), dict[str, int]()
        self.hurry = threading.Event()  # ends the run that is on the device
        with gr.Blocks(analytics_enabled=False) as self.demo:
            self.name = gr.Textbox(elem_id="name")
            self.status = gr.Textbox(elem_id="status")
            gr.Button(elem_id="go").click(
                self.run, [self.name], self.status, concurrency_id="device",
                concurrency_limit=None, api_visibility="private")
            gr.Button(elem_id="light").click(lambda: "here", None, self.status, queue=False,
                                             api_visibility="private")
            gr.Button(elem_id="twice").click(self.twice, None, self.status,
                                             api_visibility="private")
        self.demo.queue(max_size=99, api_open=False)

    @staticmethod
    def twice() -> Iterator[Any]:
        yield gr.skip()
        yield ANSWER

    def run(self, name: str, request: gr.Request) -> Iterator[str]:
        def work() -> Iterator[str]:
            step = 0
            try:
                for step in range(int(name.partition(":")[2])):
                    if self.hurry.wait(STEP):
                        break
                    yield f"{name} step {step}"
                yield f"{name} done"
            finally:
                self.ended[name] = step

        try:
            yield from self.gate.pages(request, work, place_words, 0.05)
        except InputError as error:
            yield f"error: {error}"


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Slow, str]]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    settings = Settings(waiting=3, at_once=1)
    app = Slow(settings)
    guard = mount(app.demo, Health(app.gate, list), settings, "127.0.0.1", tmp_path)
    with served(guard) as address:
        yield app, address


def press(address: str, name: str, said: list[Any]) -> threading.Thread:
    """A visitor who presses the button; what they are shown is added to `said`."""

    def work() -> None:
        with Page(address, 60) as page:
            page.fill("name", name)
            for event in page.chain("go"):
                for outputs in page.run(event):
                    said.append(outputs[0])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def eventually(what: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_visitor_sees_their_place_and_their_own_answer(slow: tuple[Slow, str]) -> None:
    app, address = slow
    said: list[list[str]] = [[], [], []]
    threads = [press(address, "a:20", said[0])]
    eventually(lambda: app.gate.turns.running() == 1)
    threads.append(press(address, "b:2", said[1]))
    eventually(lambda: app.gate.turns.waiting() == 1)
    threads.append(press(address, "c:2", said[2]))
    for thread in threads:
        thread.join(60)
    assert place_words(1) in said[1] and place_words(2) in said[2] and place_words(1) in said[2]
    assert [s[-1] for s in said] == ["a:20 done", "b:2 done", "c:2 done"]
    assert not any("b:" in line or "c:" in line for line in said[0])


def test_a_full_queue_is_said_and_light_events_never_wait(slow: tuple[Slow, str]) -> None:
    app, address = slow
    threads = []
    with Page(address) as page:
        for k in range(4):
            threads.append(press(address, f"{k}:{8 if k else 900}", []))
            eventually(lambda k=k: app.gate.turns.running() + app.gate.turns.waiting() == k + 1)
        late: list[str] = []
        press(address, "late:1", late).join(60)
        assert late[-1].startswith("error: 3 runs wait for the device already")
        assert page.press("light") == [["here"]]
        assert app.gate.turns.running() == 1 and not app.ended, "the first run goes on"
    app.hurry.set()
    for thread in threads:
        thread.join(60)
    assert app.gate.turns.running() == app.gate.turns.waiting() == 0


def test_a_closed_tab_frees_the_device_and_the_place(slow: tuple[Slow, str]) -> None:
    app, address = slow
    streams = []
    for name in ("running:900", "waiting:900"):
        page = Page(address, 60)
        page.fill("name", name)
        (event,) = page.chain("go")
        page.client.post(f"{API}/queue/join", json=page.body(event)).raise_for_status()
        stream = page.client.send(page.client.build_request(
            "GET", f"{API}/queue/data", params={"session_hash": page.session}), stream=True)
        lines = stream.iter_lines()
        streams.append((stream, lines))  # a reader that is dropped closes its connection
        while "process_generating" not in next(lines):
            pass
    assert (app.gate.turns.running(), app.gate.turns.waiting()) == (1, 1)
    streams[1][0].close()
    eventually(lambda: app.gate.turns.waiting() == 0)
    assert app.gate.turns.running() == 1 and not app.ended
    streams[0][0].close()
    eventually(lambda: app.gate.turns.running() == 0)
    assert list(app.ended) == ["running:900"] and app.ended["running:900"] < 800
    said: list[str] = []
    press(address, "next:1", said).join(60)
    assert said[-1] == "next:1 done"
    assert httpx.get(f"{address}/health", verify=False).json()["running"] == 0


def test_no_answer_is_kept_for_links_that_are_not_offered(slow: tuple[Slow, str]) -> None:
    """Gradio would add one copy at each press: a server's memory would grow without end."""
    _, address = slow
    with Page(address, 60) as page:
        for _ in range(3):
            (event,) = page.chain("twice")
            assert list(page.run(event))[-1] == [ANSWER]
        kept = [o for o in gc.get_objects() if isinstance(o, SessionState)]
        assert kept and not any(ANSWER in repr(state.config_values) for state in kept)
