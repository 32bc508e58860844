"""The way back: headers that tell the browser what this page may do, and refusals as JSON."""

from __future__ import annotations

import gzip
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from explorer.base.settings import Settings
from explorer.server.logs import say
from explorer.server.metrics import Meters
from explorer.server.visit import API, COOKIE, Visit

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
SCRIPT = re.compile(rb"<script(?=[\s>])")
KEPT = ("/assets", "/static", "/svelte", "/kept")
DULL = (*KEPT, "/health", "/metrics")  # not worth a line in the log
FIXED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


def page_policy(nonce: str, hashes: tuple[str, ...], ancestors: str) -> str:
    """The page's own scripts only, nothing from or to elsewhere. 'unsafe-eval' because Gradio
    builds the listeners of gr.HTML from text; inline handlers and foreign scripts stay shut out."""
    scripts = " ".join(f"'{h}'" for h in hashes)
    return "; ".join((
        "default-src 'self'", f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval' {scripts}".strip(),
        "style-src 'self' 'unsafe-inline'", "img-src 'self' data: blob:",
        "media-src 'self' data: blob:", "font-src 'self' data:", "connect-src 'self' data: blob:",
        "worker-src 'self' blob:", "object-src 'none'", "base-uri 'self'", "form-action 'self'",
        f"frame-ancestors {ancestors}"))


def _is_json(start: Message) -> bool:
    kinds = [v for n, v in start.get("headers", []) if n.lower() == b"content-type"]
    return bool(kinds) and kinds[0].startswith(b"application/json")


class Answer:
    """Sends one response on; buffers the page, to mark its scripts, and lists of sent files."""

    def __init__(self, visit: Visit, settings: Settings, meters: Meters, hashes: tuple[str, ...],
                 send: Send) -> None:
        self.visit, self.settings, self.meters, self._send = visit, settings, meters, send
        self.hashes, self.began, self.status = hashes, time.monotonic(), 0
        self.sent_files: list[str] = []
        self.crashed = False
        self.silenced: Callable[[], bool] = lambda: False  # the app's words do not count
        self._cookie = ""
        self._start: Message | None = None
        self._held = bytearray()
        self._nonce = secrets.token_urlsafe(16)

    @property
    def _buffered(self) -> bool:
        return self.visit.method != "HEAD" and (
            self.visit.is_page or self.visit.route == f"{API}/upload")

    def give_cookie(self, value: str) -> None:
        path = self.settings.root_path.rstrip("/") or "/"
        secure = "; Secure" if self.visit.secure else ""
        self._cookie = f"{COOKIE}={value}; Path={path}; HttpOnly; SameSite=Lax{secure}"

    async def send(self, message: Message) -> None:
        if not self.status and self.silenced():
            return
        if self.crashed:
            return
        if message["type"] == "http.response.start":
            if message["status"] == 500 and not _is_json(message):
                self.crashed = True  # the app's last words, which ours replace
                return
            self._count(message["status"])
            message = {**message, "headers": self._headers(message.get("headers", []))}
            if self._buffered:
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._start is not None:
            self._held += message.get("body", b"")
            if not message.get("more_body"):
                await self._flush()
            return
        await self._send(message)

    async def _flush(self) -> None:
        assert self._start is not None
        body, headers = bytes(self._held), self._start["headers"]
        if self.visit.is_page:
            body = SCRIPT.sub(b'<script nonce="' + self._nonce.encode() + b'"', body)
        elif self.status == 200:
            self.sent_files = [p for p in json.loads(body) if isinstance(p, str)]
        headers = [(n, v) for n, v in headers if n != b"content-length"]
        if self.visit.is_page and "gzip" in self.visit.headers.get("accept-encoding", ""):
            body = gzip.compress(body, 5)
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
        headers.append((b"content-length", str(len(body)).encode()))
        start, self._start = self._start, None
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, sentence: str, status: int, **more: str) -> None:
        """An error as JSON, under both names that Gradio's clients look for."""
        if self.status and self._start is None:
            return  # the answer has begun; nothing more can be said
        self._start = None
        body = json.dumps({"error": sentence, "detail": sentence,
                           "request": self.visit.id}).encode()
        headers = [(b"content-type", b"application/json"),
                   (b"content-length", str(len(body)).encode())]
        headers += [(n.replace("_", "-").encode(), v.encode()) for n, v in more.items()]
        self._count(status)
        await self._send({"type": "http.response.start", "status": status,
                          "headers": self._headers(headers)})
        await self._send({"type": "http.response.body",
                          "body": b"" if self.visit.method == "HEAD" else body})

    def _headers(self, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        ours = {**FIXED, "x-request-id": self.visit.id}
        if self.visit.is_page:
            ours["content-security-policy"] = page_policy(self._nonce, self.hashes,
                                                          self.settings.frame_ancestors)
        else:
            ours["content-security-policy"] = "default-src 'none'; sandbox; frame-ancestors 'none'"
        if self.visit.route not in KEPT:
            ours["cache-control"] = "no-store"
        if self._cookie:
            ours["set-cookie"] = self._cookie
        dropped = {b"server", *(n.encode() for n in ours)} - {b"set-cookie"}
        kept = [(n, v) for n, v in given if n.lower() not in dropped
                and not n.lower().startswith(b"access-control-")]
        return kept + [(n.encode(), v.encode("latin-1")) for n, v in ours.items()]

    def _count(self, status: int) -> None:
        self.status = status
        seconds = time.monotonic() - self.began
        self.meters.requests.labels(self.visit.route, str(status)).inc()
        self.meters.request_seconds.labels(self.visit.route).observe(seconds)
        say("request", 10 if self.visit.route in DULL else 20, request=self.visit.id,
            method=self.visit.method, route=self.visit.route, status=status,
            ms=round(seconds * 1000, 1))
