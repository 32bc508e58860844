"""What a JSON request may hold: a known event, the number of values it takes, files we were sent.

Gradio would fetch a file that a payload names by a web address; here a payload names files of this
server only, and no address at all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DEPTH = 24
DATA = re.compile(r"data:image/(png|jpe?g|webp|gif|bmp);base64,[A-Za-z0-9+/=\s]*\Z")
NAME = re.compile(r"[A-Za-z0-9_-]{4,64}\Z")


class Refused(ValueError):
    """A request that goes no further. status: of HTTP; reason: one word for the meters."""

    def __init__(self, sentence: str, status: int = 400, reason: str = "payload") -> None:
        super().__init__(sentence)
        self.status, self.reason = status, reason


def check(raw: bytes, inputs: Mapping[int, int], folder: Path, mine: Callable[[str], bool],
          event: bool = False) -> tuple[bytes, str]:
    """A request's JSON, with addresses taken out of its files, and its session ("" if none).

    inputs: how many values each event takes; folder: where uploaded files lie; mine: whether a
    file there is this visitor's; event: it has to start one. Raises Refused.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused("the request is not JSON") from None
    if not isinstance(body, dict):
        raise Refused("the request is no JSON object")
    session = body.get("session_hash")
    if session is not None and not (isinstance(session, str) and NAME.match(session)):
        raise Refused("the session is not named as this app names them")
    _event(body, inputs, event)
    _walk(body, folder, mine)
    return json.dumps(body).encode(), session or ""


def _event(body: dict[str, Any], inputs: Mapping[int, int], needed: bool) -> None:
    number = body.get("fn_index")
    if number is None and not needed:
        return
    if not isinstance(number, int) or isinstance(number, bool) or number not in inputs:
        raise Refused("there is no such event", 404)
    if not needed:
        return
    data = body.get("data")
    if not isinstance(data, list) or len(data) != inputs[number]:
        raise Refused(f"this event takes {inputs[number]} values in a list")
    if body.get("batched") or body.get("simple_format"):
        raise Refused("this event takes one request at a time")


def _walk(value: Any, folder: Path, mine: Callable[[str], bool], depth: int = 0) -> None:
    if depth > DEPTH:
        raise Refused("the request is nested too deeply")
    if isinstance(value, dict):
        if "path" in value or "url" in value:
            _file(value, folder, mine)
        for inner in value.values():
            _walk(inner, folder, mine, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, folder, mine, depth + 1)


def _file(value: dict[str, Any], folder: Path, mine: Callable[[str], bool]) -> None:
    """Leaves the file its path or, without one, the picture its data: address, and no other."""
    path, url = value.get("path"), value.get("url")
    for key, held in (("path", path), ("url", url)):
        if held is not None and not isinstance(held, str):
            raise Refused(f"a file's {key} must be text")
    if url and url.startswith("data:") and not path:
        if not DATA.match(url):
            raise Refused("a picture sent as text must be PNG, JPEG, WebP, GIF or BMP")
    elif "url" in value:  # that of an SVG is sent beside its file, which says what it is
        value["url"] = None
    if not path:
        return
    if "\x00" in path:
        raise Refused("there is no such file", 404)
    place = os.path.realpath(path)
    if "://" in path or not place.startswith(os.path.realpath(folder) + os.sep):
        raise Refused("only a file that was uploaded here can be used", 403)
    if not mine(place):
        raise Refused("there is no such file", 404)
