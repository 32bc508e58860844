"""One question gets one answer, whatever door it comes in by: thirteen questions through all doors,
and the settings and the saved bytes compared."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import gradio as gr
import pytest
import uvicorn
from helpers import CAPTIONS, grid_images
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from PIL import Image
from serving import free_port
from starlette.applications import Starlette

from explorer.actions import cli, notebook, terminal
from explorer.actions.attack import attack_both
from explorer.actions.service import Service
from explorer.actions.values import Answer
from explorer.analysis.company import OTHERS
from explorer.analysis.embedding.state import Spaces
from explorer.analysis.failures import hunt as failures_hunt
from explorer.analysis.failures.hunt import HuntPlan, hunt
from explorer.analysis.failures.pictures import attacked_picture
from explorer.analysis.failures.slices import read_hunt
from explorer.attacks.image.classic import IMAGE_ATTACKS
from explorer.attacks.registry import USUAL
from explorer.attacks.request import Request
from explorer.base.settings import Settings as Limits
from explorer.data.pairs import to_image
from explorer.data.registry import UPLOAD
from explorer.models.library import Library
from explorer.server.gate import Gate
from explorer.ui.api.mcp import Tools
from explorer.ui.shared.choice import AttackChoice
from explorer.ui.shared.desk import aim
from explorer.ui.shared.fields import own_fields

Settings = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """eps: as a person types it; own: further settings, under the attacks' own names."""

    kind: str = "image"
    name: str = ""
    eps: str = ""
    norm: str = ""
    target: str = ""
    own: Settings = field(default_factory=dict)
    captions: tuple[str, ...] = CAPTIONS

    def settings(self) -> Settings:
        said = {"eps": self.eps, "norm": self.norm}
        return {**{k: v for k, v in said.items() if v}, **self.own}


QUESTIONS = {
    "as it is": Question(),
    "small": Question(eps="0.5/255"),
    "large, few steps": Question(eps="16/255", own={"steps": 2}),
    "large, ten steps": Question(eps="16/255"),
    "many steps": Question(eps="8/255", own={"steps": 40}),
    "L2 as it is": Question(norm="l2", own={"steps": 3}),
    "L2, large": Question(norm="l2", eps="4", own={"steps": 4}),
    "targeted": Question(eps="8/255", target=CAPTIONS[2], own={"steps": 5}),
    "a step of one's own": Question(eps="8/255", own={"steps": 3, "step": 1.5 / 255}),
    "text as it is": Question("text"),
    "joint as it is": Question("joint", own={"steps": 2}),
    "joint, separate": Question("joint", "separate", eps="16/255",
                                own={"steps": 3, "text_attack": "typo"}),
    "one caption": Question(own={"steps": 2}, captions=CAPTIONS[:1]),
}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    to_image(grid_images(1, 32)[0]).save(file)
    return file


Found = tuple[Settings, bytes, list[str]]  # settings, attacked pixels, attacked captions


def pixels(png: bytes | Path) -> bytes:
    with Image.open(io.BytesIO(png) if isinstance(png, bytes) else png) as image:
        return image.convert("RGB").tobytes()


def by_notebook(asked: Question, photo: Path, library: Library, tmp_path: Path) -> Found:
    case = notebook.attack(photo, asked.captions, 0, asked.kind, asked.name or None, ["plain"],
                           target=asked.target or None, **asked.settings())
    result = case["plain"]
    out = io.BytesIO()
    to_image(result.adversarial_images[0]).save(out, "PNG")
    return result.settings, pixels(out.getvalue()), list(result.adversarial_captions[0])


def by_api(asked: Question, photo: Path, library: Library, tmp_path: Path) -> Found:
    service = Service(library, Spaces(library, {}), work=tmp_path)
    *_, answer = service.attack({
        "image": {"path": str(photo)}, "captions": list(asked.captions), "true": 0,
        "kind": asked.kind, "attack": asked.name or None, "models": ["plain"],
        "target": asked.target or None, "settings": asked.settings()})
    assert isinstance(answer, Answer)
    return _run(answer.data["runs"][0], answer.pictures.__getitem__)


def by_mcp(asked: Question, photo: Path, library: Library, tmp_path: Path) -> Found:
    """Over HTTP, by the protocol's own client."""
    tools = Tools(Service(library, Spaces(library, {}), work=tmp_path), Gate(Limits()), Limits())
    site = Starlette(routes=tools.routes(), lifespan=tools.lifespan)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(site, port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    arguments = {"image": base64.b64encode(photo.read_bytes()).decode(), "true": 0,
                 "captions": list(asked.captions), "kind": asked.kind, "attack": asked.name,
                 "models": ["plain"], "target": asked.target, "settings": asked.settings()}

    async def call() -> Any:
        async with (streamable_http_client(f"http://127.0.0.1:{port}/mcp") as (read, write, _),
                    ClientSession(read, write) as session):
            await session.initialize()
            return await session.call_tool("attack", arguments)

    try:
        said, picture = anyio.run(call).content
    finally:
        server.should_exit = True
        thread.join(20)
    return _run(json.loads(said.text)["runs"][0], lambda _: base64.b64decode(picture.data))


def _run(run: dict[str, Any], picture: Callable[[str], bytes]) -> Found:
    """Of the plain data of one model."""
    settings = {key: value for key, value in run["attack"].items()
                if key not in ("name", "goal", "target", "seed")}
    return (settings, pixels(picture(run["files"]["adversarial"])),
            list(run["adversarial"]["captions"]))


def by_command_line(asked: Question, photo: Path, library: Library, tmp_path: Path) -> Found:
    out = tmp_path / "out"
    flags = {"eps": "--eps", "norm": "--norm", "steps": "--steps", "step": "--step",
             "text_attack": "--text-attack", "words": "--words"}
    line = ["attack", "--image", str(photo), "--models", "plain", "--out", str(out),
            "--kind", asked.kind]
    line += [part for text in asked.captions for part in ("--caption", text)]
    line += ["--attack", asked.name] if asked.name else []
    line += ["--target", asked.target] if asked.target else []
    line += [part for key, value in asked.settings().items()
             for part in (flags[key], str(value))]
    assert cli.main(line) == 0
    (run,) = json.loads((out / "result.json").read_text("utf-8"))["runs"]
    return _run(run, lambda name: (out / name).read_bytes())


def _controls(asked: Question, choice: AttackChoice) -> list[Any]:
    """The form's values as a person leaves them who touches only what the question says."""
    values = {id(c): cast(Any, c).value for c in choice.components()}
    name = asked.name or USUAL[asked.kind]
    values[id(choice.kind)] = asked.kind
    norm = asked.norm or "linf"
    values[id(choice.image.norm)] = norm
    if asked.eps and norm == "linf":
        values[id(choice.eps)] = float(asked.eps.split("/")[0])
    elif asked.eps:
        values[id(choice.image.eps_l2)] = float(asked.eps)
    pgd = [f.name for f in _own("pgd")]
    for key, value in asked.own.items():
        if key in pgd:
            scale = 255 if key == "step" else 1
            values[id(choice.image.choices.own["pgd"][pgd.index(key)])] = value * scale
    if asked.kind == "joint":
        values[id(choice.joint.choices.attack)] = name
        if "text_attack" in asked.own:
            values[id(choice.text.choices.attack)] = asked.own["text_attack"]
    return [values[id(c)] for c in choice.components()]


def _own(name: str) -> list[Any]:
    return own_fields(IMAGE_ATTACKS[name])


def by_attack_tab(asked: Question, photo: Path, library: Library, tmp_path: Path) -> Found:
    with gr.Blocks():
        choice = AttackChoice()
        choice.what()
        choice.budgets()
        choice.more()
    attack = choice.build(_controls(asked, choice))
    request = Request((str(photo),), asked.captions, (CAPTIONS[0],), attack, aim(asked.target),
                      models=("plain", "hard"))
    outcome = list(attack_both(library, request))[-1].outcome
    result = outcome.parts[0].result
    out = io.BytesIO()
    to_image(result.adversarial_images[0]).save(out, "PNG")
    return result.settings, pixels(out.getvalue()), list(result.adversarial_captions[0])


def by_hunt(asked: Question, photo: Path, library: Library, tmp_path: Path) -> Found:
    with gr.Blocks():
        choice = AttackChoice("fx")
        choice.what()
        choice.budgets()
        choice.more()
    folder = tmp_path / "hunt"
    folder.mkdir()
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        for name in ("photo.png", "second.png"):  # a set needs two answers
            archive.write(photo, name)
        archive.writestr("captions.csv", f"image,caption\nphoto.png,{CAPTIONS[0]}\n"
                         f"second.png,{CAPTIONS[1]}\n")
    plan = HuntPlan.of(UPLOAD, ("plain", "hard"), choice.build(_controls(asked, choice)),
                   extra=CAPTIONS[2:])
    list(hunt(plan, folder, library))
    found = read_hunt(folder)
    one = found.cases[0].sides[0]
    words = [one.captions.get(str(k), text) for k, text in enumerate(found.captions)]
    return (HuntPlan.read(json.loads(json.dumps(plan.as_dict()))).settings,
            attacked_picture(folder, 0, 0).convert("RGB").tobytes(), words)


DOORS = {"API": by_api, "MCP": by_mcp, "command line": by_command_line,
         "Attack tab": by_attack_tab, "failure hunt": by_hunt}


@pytest.fixture
def shelf(two: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    """`two`, behind every door."""
    cards = {name: two.card(name) for name in ("plain", "hard")}
    library = cast(Library, SimpleNamespace(cards=lambda: cards, card=two.card, load=two.load))
    monkeypatch.setattr(notebook, "_library", [library])
    monkeypatch.setattr(terminal, "Library", lambda *_, **__: library)
    # Matrix products of another size round otherwise, by a bit that a sign may turn on.
    monkeypatch.setattr(failures_hunt, "BATCH", 1)
    return library


@pytest.mark.parametrize("about", QUESTIONS)
def test_a_question_has_one_answer(about: str, photo: Path, shelf: Library, tmp_path: Path,
                                   ) -> None:
    asked = QUESTIONS[about]
    settings, changed, words = by_notebook(asked, photo, shelf, tmp_path)
    assert len(words) == (len(CAPTIONS) if asked.captions == CAPTIONS else 1 + OTHERS)
    for name, door in DOORS.items():
        if name == "failure hunt" and (asked.target or asked.captions != CAPTIONS):
            continue  # a hunt has no target, and the captions of a set
        own = tmp_path / name.replace(" ", "-")
        own.mkdir()
        got = door(asked, photo, shelf, own)
        assert got[0] == pytest.approx(settings), f"{name}: other settings"
        assert got[2] == words, f"{name}: other words"
        assert got[1] == changed, f"{name}: other pixels"
