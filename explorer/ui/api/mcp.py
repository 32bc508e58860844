"""The calls attack, evaluate and project as tools of the Model Context Protocol, at /mcp.

By the protocol's own package, and not by Gradio's: that calls the app over HTTP in its own name,
past log-in and limits, and makes a tool of whatever is public.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, cast

from anyio import CapacityLimiter, from_thread, to_thread
from starlette.routing import BaseRoute, Route

from explorer import __version__
from explorer.actions.service import Service, Told, Values
from explorer.actions.values import Answer
from explorer.base.errors import InputError, sentence
from explorer.base.progress import Progress
from explorer.base.settings import Settings
from explorer.data.examples import names_said
from explorer.server.gate import Gate
from explorer.server.rules import TOOLS
from explorer.ui.api.endpoints import through

LOG = logging.getLogger(__name__)
Schema = dict[str, Any]
ABOUT = ("CLIP models read a photo and tell which caption fits. These tools attack the photo, the "
         "caption, or both, and compare a standard model (pocket) with an adversarially fine-tuned "
         "one (pocket-robust). Start with the tool attack and no arguments.")


def _text(about: str, *choices: str) -> Schema:
    return {"type": "string", "description": about, **({"enum": choices} if choices else {})}


def _texts(about: str) -> Schema:
    return {"type": "array", "items": {"type": "string"}, "description": about}


def _whole(about: str, default: int) -> Schema:
    return {"type": "integer", "description": about, "default": default}


SETTINGS: Schema = {"type": "object", "description": "settings of the attack, such as "
                    '{"eps": "4/255", "steps": 20} or {"words": 2}'}
MODELS = _texts("ids of models; pocket and pocket-robust if left out")
SEED = _whole("the same seed gives the same result", 0)
ATTACK: Schema = {
    "image": _text("the picture as base64 text, or example:NAME with NAME one of "
                   f"{names_said()}; example:cat if left out. No path and no address is read"),
    "captions": _texts("what the models choose from; an example brings its own"),
    "true": _whole("number of the true caption, from 0", 0),
    "kind": _text("what may change; joint is both", "image", "text", "joint"),
    "attack": _text("name of the attack, such as pgd, apgd, strong, bert, typo, alternating"),
    "settings": SETTINGS, "models": MODELS,
    "goal": _text("what the attacker wants", "classification", "similarity", "embedding"),
    "target": _text("a caption that the models are to say; empty for anything wrong"),
    "seed": SEED,
    "defence": _text("such as jpeg:quality=50, behind which the models read; empty for none"),
    "aware": {"type": "boolean", "description": "the attacker knows of the defence"},
    "draw": _text("a caption to draw into the picture, or into plain grey with the image grey, in "
                  "the place of attack, goal and target"),
}
PROJECT: Schema = {
    **ATTACK,
    "projection": _text("how to look", "plane", "pca"),
    "dims": _whole("2 or 3", 2),
    "centre": {"type": "boolean", "description": "take each modality's mean away first"},
    "neighbours": _whole("how many nearest captions and pictures to list, 1 to 50", 10),
    "background": {"type": "boolean", "description": "give the fixed points' coordinates too"},
    "landmarks": _text("which captions stand around, names of things, everyday sentences, or both",
                       "both", "things", "sentences"),
}
EVALUATE: Schema = {
    "data": _text("name of a set: sample:photos, sample:scenes, sample:emoji-kinds or "
                  "sample:emoji"),
    "models": MODELS,
    "attacks": _texts("clean, image, text, joint, or names of attacks; clean and image if left "
                      "out"),
    "settings": SETTINGS, "limit": _whole("how many pictures to draw, at most 200", 12),
    "seed": SEED,
    "defences": _texts("such as none and jpeg:quality=50, each measured in turn; none if left out"),
    "attacker": _text("whether the attacker knows of the defences", "unaware", "aware", "both"),
    "corruptions": _texts("such as fog and jpeg-compression, or all; none if left out"),
    "severities": {"type": "array", "items": {"type": "integer"},
                   "description": "of the corruptions, 1 to 5; all if left out"},
}
OFFERED: dict[str, tuple[str, Schema]] = {
    "attack": ("Attacks one photo, its captions, or both; returns each model's probabilities "
               "before and after, what was changed, and the attacked pictures.", ATTACK),
    "evaluate": ("Measures accuracy on a small set of pictures, clean and under attacks, with "
                 "95 % intervals.", EVALUATE),
    "project": ("Attacks as the tool attack does and returns where the embeddings went: angles, "
                "ranks and neighbours in the true space, and coordinates on a map.", PROJECT),
}


class Tools:
    """An ASGI app for POST /mcp. Raises InputError where the package is not installed."""

    def __init__(self, service: Service, gate: Gate, settings: Settings) -> None:
        try:
            from mcp.server.lowlevel import Server
            from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        except ImportError:
            raise InputError("MCP needs the Python package mcp, which is not installed: install "
                             "requirements.txt, or start the app without --mcp") from None
        self.service, self.gate = service, gate
        self.limiter = CapacityLimiter(settings.waiting + gate.at_once)
        self.server = cast(Any, Server("clip-robustness-explorer", __version__, ABOUT))
        self.server.list_tools()(self._list)
        self.server.call_tool(validate_input=False)(self._call)
        self.manager = StreamableHTTPSessionManager(
            self.server, stateless=True, max_request_body_size=settings.json_bytes)

    def routes(self) -> list[BaseRoute]:
        app = _App(self.manager.handle_request)
        return [Route(TOOLS, app), Route(f"{TOOLS}/", app)]

    @asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        async with self.manager.run():
            yield

    async def _list(self) -> list[Any]:
        from mcp.types import Tool

        return [Tool(name=name, description=about,
                     inputSchema={"type": "object", "properties": properties})
                for name, (about, properties) in OFFERED.items()]

    async def _call(self, name: str, arguments: Values) -> Sequence[Any]:
        """Runs in a thread of its own; what it raises the package sends as the tool's error."""
        if name not in OFFERED:
            raise InputError(f"There is no tool '{name[:60]}'; there are {', '.join(OFFERED)}.")
        unknown = arguments.keys() - OFFERED[name][1].keys()
        if unknown:
            raise InputError(f"The tool {name} has no argument '{min(unknown)[:60]}'; it has "
                             f"{', '.join(OFFERED[name][1])}.")
        context = self.server.request_context
        token = context.meta.progressToken if context.meta else None

        async def tell(number: int, progress: Progress) -> None:
            if token is not None:
                await context.session.send_progress_notification(
                    token, number, None, progress.text, str(context.request_id))

        work = getattr(self.service, name)
        answer = await to_thread.run_sync(
            self._run, context.request.headers, lambda: work(arguments), tell,
            limiter=self.limiter)
        return _content(answer)

    def _run(self, headers: Any, work: Callable[[], Told], tell: Callable[..., Any]) -> Answer:
        """A call to its end; left at its next step when the client has gone."""
        try:
            with closing(cast(Any, through(self.gate, headers, work))) as events:
                for number, event in enumerate(events):
                    from_thread.check_cancelled()
                    if isinstance(event, Answer):
                        return event
                    from_thread.run(tell, number, event)
        except InputError as error:
            raise InputError(sentence(error)) from None
        raise AssertionError("a call ended without its answer")


class _App:
    """A class, since Starlette takes a function for a handler of requests."""

    def __init__(self, handle: Callable[..., Any]) -> None:
        self.handle = handle

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.handle(scope, receive, send)


def _content(answer: Answer) -> list[Any]:
    """The data as JSON text, then the attacked pictures."""
    from mcp.types import ImageContent, TextContent

    pictures = []
    for run in answer.data.get("runs", ()):
        name = run["files"]["adversarial"]
        pictures.append(ImageContent(type="image", mimeType="image/png", data=base64.b64encode(
            answer.pictures[name]).decode()))
        run["files"] = {"adversarial": f"picture {len(pictures)} of this answer"}
    said = json.dumps(answer.data, ensure_ascii=False, separators=(",", ":"))
    return [TextContent(type="text", text=said), *pictures]
