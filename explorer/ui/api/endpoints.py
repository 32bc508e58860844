"""The named endpoints attack, evaluate and project, as gradio_client and plain HTTP call them.

Each passes the gate like a press of a button does, counted by the caller's address, since scripts
bring no cookie. It yields {"progress": ...} on the way and its result at last.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, ParamSpec

import gradio as gr
from gradio import FileData
from gradio.context import Context
from gradio.events import api
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from explorer.actions.service import SAMPLES, Service, Told, Values
from explorer.actions.values import Answer
from explorer.base.errors import OURS, InputError, sentence
from explorer.base.progress import Progress
from explorer.base.settings import Settings
from explorer.server.gate import ADDRESS, REQUEST_ID, VISITOR, Gate
from explorer.server.rules import keeper_alone
from explorer.server.scheduler import place_words
from explorer.ui.shared.runs import DEVICE, WAIT

P = ParamSpec("P")
LOG = logging.getLogger(__name__)
Body = dict[str, Any]
Shown = Iterator[Body]


def is_open(settings: Settings, host: str) -> bool:
    """Whether programs may call. "local": those of this computer."""
    return settings.api == "all" or (settings.api == "local" and keeper_alone(settings, host))


def caller(headers: Any) -> Any:
    """A request as the gate reads it: whoever sends no cookie is told apart by address."""
    address = headers.get(ADDRESS) or "unknown"
    return SimpleNamespace(headers={VISITOR: f"api {address}",
                                    REQUEST_ID: headers.get(REQUEST_ID) or ""})


def through(gate: Gate, headers: Any, work: Callable[[], Told]) -> Told:
    """What a call yields, in its turn. Raises InputError, for faults of ours too."""
    try:
        yield from gate.pages(caller(headers), work, lambda before: Progress(place_words(before)))
    except InputError:
        raise
    except Exception:
        LOG.exception("a call failed")
        raise InputError(OURS.rstrip(".")) from None


def told(progress: Progress) -> Body:
    return {"progress": progress.text, "done": progress.done, "total": progress.total}


def inside(value: Any) -> None:
    """Raises InputError for a file that was not uploaded here. The guard before the app looks at
    this too; Gradio itself does so only for components of a page."""
    path = value.get("path") if isinstance(value, dict) else None
    if isinstance(path, str) and ("\0" in path or not Path(os.path.realpath(path)).is_relative_to(
            os.path.realpath(get_upload_folder()))):
        raise InputError("only a file that was uploaded here can be used")


def returns_data(endpoint: Callable[P, Shown]) -> Callable[P, Shown]:
    """Says of a generator that it returns what a client gets at last: Gradio describes endpoints
    by their annotations, and would call an iterator Any."""
    endpoint.__annotations__["return"] = dict[str, Any]
    return endpoint


class Api:
    """Adds the endpoints to the Blocks around it."""

    def __init__(self, service: Service, gate: Gate) -> None:
        self.service, self.gate = service, gate
        self.files: set[str] = set()
        demo = Context.root_block
        assert demo is not None, "endpoints are added inside a Blocks"
        demo.temp_file_sets.append(self.files)  # old ones go, as uploads do
        for name, endpoint in (("attack", self.attack), ("evaluate", self.evaluate),
                               ("project", self.project)):
            api(endpoint, api_name=name, concurrency_id=DEVICE, concurrency_limit=WAIT)

    def _told(self, request: gr.Request, work: Callable[[Values], Told], values: Body) -> Shown:
        try:
            for name in ("image", "data"):
                inside(values.get(name))
            for event in through(self.gate, request.headers, lambda: work(values)):
                yield told(event) if isinstance(event, Progress) else self._with_files(event)
        except InputError as error:
            raise gr.Error(sentence(error), print_exception=False) from None

    def _with_files(self, answer: Answer) -> Body:
        """The data, its PNG files in the cache, from where a client fetches them."""
        for run in answer.data.get("runs", ()):
            for kind, name in run["files"].items():
                path = save_bytes_to_cache(answer.pictures[name], name, get_upload_folder())
                self.files.add(path)
                run["files"][kind] = {"path": path, "orig_name": name, "mime_type": "image/png",
                                      "meta": {"_type": "gradio.FileData"}}
        return answer.data

    @returns_data
    def attack(self, request: gr.Request, image: FileData | str = "example:cat",
               captions: list[str] | None = None, true: int | None = None,
               kind: Literal["image", "text", "joint"] = "image", attack: str = "",
               settings: dict[str, Any] | None = None, models: list[str] | None = None,
               goal: str = "classification", target: str = "", seed: int = 0,
               defence: str = "", aware: bool = False, draw: str = "") -> Shown:
        """Attacks one photo, its captions, or both, and says what each model makes of it.

        Args:
            image: an uploaded picture, base64 text, or example:NAME, which brings captions
            captions: what the models choose from; one alone is joined by everyday sentences
            true: number of the true caption, from 0; 0 or the example's own if left out
            kind: what may change, the image, the text, or both (joint)
            attack: its name in docs/attacks.md; empty for pgd, bert or alternating
            settings: the attack's own, such as {"eps": "4/255", "steps": 20}
            models: ids of models, pocket and pocket-robust if left out
            goal: classification, similarity or embedding
            target: a caption that the models are to say; empty for anything wrong
            seed: the same seed gives the same result
            defence: such as jpeg:quality=50, behind which the models read; empty for none
            aware: the attacker knows of the defence
            draw: a caption to draw into the picture, or into plain grey with the image grey, in the
                place of attack, goal and target
        """
        values = {"image": image, "captions": captions, "true": true, "defence": defence,
                  "aware": aware, "draw": draw, "kind": kind, "attack": attack,
                  "settings": settings, "models": models, "goal": goal, "target": target,
                  "seed": seed}
        yield from self._told(request, self.service.attack, values)

    @returns_data
    def evaluate(self, request: gr.Request, data: FileData | str = SAMPLES,
                 models: list[str] | None = None, attacks: list[str] | None = None,
                 settings: dict[str, Any] | None = None, limit: int = 12, seed: int = 0,
                 defences: list[str] | None = None,
                 attacker: Literal["unaware", "aware", "both"] = "unaware",
                 corruptions: list[str] | None = None,
                 severities: list[int] | None = None) -> Shown:
        """Measures accuracy on a small set of pictures, clean and under attacks.

        Args:
            data: an uploaded zip, tar or parquet file, or the name of a set, as sample:photos
            models: ids of models, pocket and pocket-robust if left out
            attacks: clean, image, text, joint, or names in docs/attacks.md; clean and image if
                left out
            settings: for those attacks that have them, such as {"eps": "2/255"}
            limit: how many pictures to draw, at most 200
            seed: of the draw and the attacks
            defences: such as none and jpeg:quality=50, each measured in turn; none if left out
            attacker: whether the attacker knows of the defences
            corruptions: such as fog and jpeg-compression, or all; none if left out
            severities: of the corruptions, 1 to 5; all if left out
        """
        values = {"data": data, "models": models, "attacks": attacks, "settings": settings,
                  "limit": limit, "seed": seed, "defences": defences, "attacker": attacker,
                  "corruptions": corruptions, "severities": severities}
        yield from self._told(request, self.service.evaluate, values)

    @returns_data
    def project(self, request: gr.Request, image: FileData | str = "example:cat",
                captions: list[str] | None = None, true: int | None = None,
                kind: Literal["image", "text", "joint"] = "image", attack: str = "",
                settings: dict[str, Any] | None = None, models: list[str] | None = None,
                goal: str = "classification", target: str = "", seed: int = 0,
                projection: Literal["plane", "pca"] = "plane", dims: int = 2,
                centre: bool = False, neighbours: int = 10, background: bool = False,
                landmarks: Literal["both", "things", "sentences"] = "both") -> Shown:
        """Attacks as the endpoint attack does, and says where the embeddings went.

        Args:
            image: as for attack, and so are those up to seed
            projection: plane, through the clean point, the attacked one and the true caption; or
                pca of about 1,200 fixed captions and pictures
            dims: 2 or 3
            centre: whether the mean of pictures and that of texts are taken away first
            neighbours: how many nearest captions and pictures to list, 1 to 50
            background: whether to give the coordinates of the fixed points too
            landmarks: which captions stand around: names of things, everyday sentences, or both
        """
        values = {"image": image, "captions": captions, "true": true,
                  "kind": kind, "attack": attack, "settings": settings, "models": models,
                  "goal": goal, "target": target, "seed": seed, "projection": projection,
                  "dims": dims, "centre": centre, "neighbours": neighbours,
                  "background": background, "landmarks": landmarks}
        yield from self._told(request, self.service.project, values)
