"""A visitor without a browser: reads the page's config and presses its buttons as the page does.

The app's events are private to its page, so this speaks the page's own queue protocol: plain
requests for light events, /queue/join and a stream of messages for the others.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
from gradio_client.utils import apply_diff

API = "/gradio_api"


class PageError(RuntimeError):
    """The server answered an event with an error."""


class Page:
    """One open page. values: what its controls hold, by component number."""

    def __init__(self, address: str, seconds: float = 120, **client: Any) -> None:
        client.setdefault("verify", address.startswith("https:"))  # a store of keys takes long
        self.client = httpx.Client(base_url=address.rstrip("/"), timeout=seconds, **client)
        self.session = secrets.token_hex(6)
        self.client.get("/").raise_for_status()  # gives the cookie, as the first visit does
        config = self.client.get("/config").raise_for_status().json()
        parts = {c["id"]: c["props"] for c in config["components"]}
        self.values = {number: props.get("value") for number, props in parts.items()}
        self.named = {props["elem_id"]: n for n, props in parts.items() if props.get("elem_id")}
        self.events: list[dict[str, Any]] = config["dependencies"]

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def fill(self, name: str, value: Any) -> None:
        """Types into the control whose elem_id is `name`; nothing that listens to it is run."""
        self.values[self.named[name]] = value

    def upload(self, photo: bytes, name: str = "photo.png") -> dict[str, Any]:
        """Sends a picture; returns what a photo control then holds."""
        sent = self.client.post(f"{API}/upload", files={"files": (name, photo)})
        (path,) = sent.raise_for_status().json()
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"},
                "url": f"{self.client.base_url}{API}/file={path}"}

    def chain(self, name: str, kind: str = "click") -> list[dict[str, Any]]:
        """The events that a click sets off, in order."""
        events = [e for e in self.events if [self.named[name], kind] in e["targets"]]
        while after := [e for e in self.events if e.get("trigger_after") == events[-1]["id"]]:
            events.append(after[0])
        return events

    def press(self, name: str) -> list[Any]:
        """Clicks and waits for all that follows; returns what each event put out last."""
        shown = []
        for event in self.chain(name):
            last: list[Any] = []
            for last in self.run(event):  # noqa: B007 - only the last one counts
                pass
            self.keep(event, last)
            shown.append(last)
        return shown

    def keep(self, event: dict[str, Any], outputs: list[Any]) -> None:
        """The controls after an event; an update without a value leaves its control alone."""
        for number, new in zip(event["outputs"], outputs, strict=True):
            if isinstance(new, dict) and new.get("__type__") == "update":
                if "value" in new:
                    self.values[number] = new["value"]
            elif number in self.values:
                self.values[number] = new

    def body(self, event: dict[str, Any]) -> dict[str, Any]:
        return {"fn_index": event["id"], "session_hash": self.session, "event_data": None,
                "trigger_id": None, "data": [self.values.get(n) for n in event["inputs"]]}

    def run(self, event: dict[str, Any]) -> Iterator[list[Any]]:
        """The outputs of one event, each time it yields. Raises PageError."""
        if not event["queue"]:
            yield self.client.post(f"{API}/run/predict", json=self.body(event)
                                   ).raise_for_status().json()["data"]
            return
        joined = self.client.post(f"{API}/queue/join", json=self.body(event)).raise_for_status()
        yield from self.follow(joined.json()["event_id"])

    def follow(self, event: str) -> Iterator[list[Any]]:
        """The outputs of a queued event: the first whole, the later ones as changes to it."""
        shown: list[Any] = []
        with self.client.stream("GET", f"{API}/queue/data",
                                params={"session_hash": self.session}) as stream:
            stream.raise_for_status()
            for line in stream.iter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line.removeprefix("data:"))
                if message.get("event_id") not in (event, None):
                    continue
                kind, output = message["msg"], message.get("output") or {}
                if kind == "unexpected_error" or message.get("success") is False:
                    raise PageError(str(output.get("error") or message.get("message") or kind))
                if kind == "process_generating":
                    shown = ([apply_diff(old, new) for old, new in
                              zip(shown, output["data"], strict=True)]
                             if shown else output["data"])
                    yield shown
                elif kind == "process_completed":
                    if not shown:
                        yield output["data"]
                    return
