"""Requests as they arrive: no slower and no larger than the settings allow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from explorer.server.answers import Message
from explorer.server.bodies import Refused
from explorer.server.visit import Visit

Receive = Callable[[], Awaitable[Message]]


class Patient:
    """Waits `seconds` for each part of a request, not for ever; after its end, for as long as the
    connection lives."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive, self.seconds, self.ended = receive, seconds, False

    async def receive(self) -> Message:
        if self.ended:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self.seconds)
        except TimeoutError:
            raise Refused("the request took too long to arrive", 408, "slow") from None
        self.ended = not message.get("more_body")
        return message


class Counted:
    """Cuts a body off at `most` bytes, by what it says or by what it is."""

    def __init__(self, receive: Receive, visit: Visit, most: int) -> None:
        self._receive, self.most, self.got = receive, most, 0
        self.sentence = f"the request is larger than {most / 1e6:g} MB"
        said = visit.headers.get("content-length", "0")
        if not said.isdigit() or int(said) > most:
            raise Refused(self.sentence, 413, "size")

    async def receive(self) -> Message:
        message = await self._receive()
        self.got += len(message.get("body") or b"")
        if self.got > self.most:
            raise Refused(self.sentence, 413, "size")
        return message

    async def whole(self) -> bytes:
        parts = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Refused("the request was cut short")
            parts.append(message.get("body") or b"")
            if not message.get("more_body"):
                return b"".join(parts)


class Again:
    """Hands a body over that was read already, then what follows it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def receive(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class Noting:
    """Remembers a refusal that the app may answer in words of its own, so that ours are sent."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.refused: Refused | None = None

    async def receive(self) -> Message:
        try:
            return await self._receive()
        except Refused as refused:
            self.refused = refused
            raise
