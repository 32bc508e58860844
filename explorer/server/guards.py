"""What stands before the app: every request passes here, on its way in and on its way out."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from explorer.base.settings import Settings
from explorer.server.answers import Answer, Send
from explorer.server.arrivals import Again, Counted, Noting, Patient, Receive
from explorer.server.auth import REALM, Accounts
from explorer.server.bodies import NAME, Refused, check
from explorer.server.gate import ADDRESS, REQUEST_ID, VISITOR
from explorer.server.kept import Kept
from explorer.server.logs import LOG, REQUEST
from explorer.server.metrics import Meters
from explorer.server.rate import LockOut, Rate
from explorer.server.rules import LOOPBACK, file_refusal, host_refusal, listed, origin_refusal
from explorer.server.visit import API, Visit, read
from explorer.server.visitors import Visitors

App = Callable[[Any, Receive, Send], Awaitable[None]]
STREAMS = (f"{API}/heartbeat", f"{API}/queue/data", f"{API}/upload_progress")
EVENTS = (f"{API}/queue/join", f"{API}/run")
DROPPED = {b"range", b"x-gradio-server", VISITOR.encode(), REQUEST_ID.encode(), ADDRESS.encode()}
FORWARDED = {b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for", b"forwarded"}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
FORM_SLACK = 20_000  # bytes around the file in a form


def names(given: str) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in given.split(",") if part.strip())


def served_names(settings: Settings, host: str) -> frozenset[str]:
    """The host names to answer to; empty for any."""
    own = names(settings.hosts)
    if own:
        return own | set(LOOPBACK)
    return frozenset(LOOPBACK) if host in LOOPBACK else frozenset()


@dataclass
class Guard:
    """An ASGI app around another. inputs: how many values each of its events takes; folder: where
    its uploads lie; hashes: of the scripts its page adds by itself; hosts: names it answers to."""

    app: App
    settings: Settings = field(default_factory=Settings)
    accounts: Accounts = field(default_factory=lambda: Accounts({}))
    meters: Meters = field(default_factory=Meters)
    inputs: Mapping[int, int] = field(default_factory=dict)
    folder: Path = Path(tempfile.gettempdir())
    hashes: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    visitors: Visitors = field(default_factory=Visitors)
    kept: Kept | None = None

    def __post_init__(self) -> None:
        self.requests = Rate(self.settings.requests_per_minute)
        self.uploads = Rate(self.settings.uploads_per_minute)
        self.lock = LockOut(self.settings.login_failures, self.settings.lockout_seconds)
        self.proxies = names(self.settings.trusted_proxies)
        self.root = self.settings.root_path.rstrip("/")
        self.streams: dict[str, int] = {}

    def sweep(self) -> int:
        """Deletes the files whose time is over; returns how many."""
        return self.visitors.sweep() + (self.kept.sweep() if self.kept else 0)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        visit = read(scope, self.proxies, self.root)
        answer = Answer(visit, self.settings, self.meters, self.hashes, send)
        REQUEST.set(visit.id)
        try:
            self._admit(visit)
            await self._pass_on(scope, visit, receive, answer)
        except Refused as refused:
            self.meters.refused.labels(refused.reason).inc()
            await answer.refuse(str(refused), refused.status, **getattr(refused, "headers", {}))
        except Exception as error:  # noqa: BLE001 - the last door: nothing shows how we failed
            self.meters.errors.labels(type(error).__name__).inc()
            LOG.exception("a request failed")
            await answer.refuse(*_told(error, visit))

    def _admit(self, visit: Visit) -> None:
        """Raises Refused for a request that goes no further."""
        short = self.requests.take(visit.address)
        if short:
            raise _refused("too many requests: wait a little", 429, "rate",
                           retry_after=str(max(1, round(short))))
        for sentence, status in ((host_refusal(visit, self.hosts), 421),
                                 (origin_refusal(visit), 403)):
            if sentence:
                raise Refused(sentence, status, "origin")
        if not listed(visit, self.settings.mcp):
            raise Refused("there is nothing here", 404, "path")
        if visit.path == "/metrics":
            self._metrics(visit)
        elif visit.path != "/health":
            self._log_in(visit)
        sentence = file_refusal(visit.path) or file_refusal(unquote(visit.path))
        if sentence:
            raise Refused(sentence, 403, "file")
        self._own(visit)

    def _metrics(self, visit: Visit) -> None:
        if self.settings.metrics == "off" or (
                self.settings.metrics == "private" and not _private(visit.address)):
            raise Refused("there is nothing here", 404, "path")

    def _log_in(self, visit: Visit) -> None:
        if not self.accounts:
            return
        wait = self.lock.remaining(visit.address)
        if wait:
            raise _refused("too many wrong passwords: try again later", 429, "login",
                           retry_after=str(round(wait) + 1))
        given = visit.headers.get("authorization")
        if given and self.accounts.accepts(given):
            self.lock.succeeded(visit.address)
            return
        if given:
            self.lock.failed(visit.address)
        raise _refused("log in first", 401, "login", www_authenticate=REALM)

    def _own(self, visit: Visit) -> None:
        """Sessions and files that the address names must be the visitor's own."""
        session = visit.path.rpartition("/")[2] if visit.route == f"{API}/heartbeat" else None
        if visit.route == f"{API}/queue/data":
            session = (visit.query.get("session_hash") or [""])[0]
        if session is not None and not (NAME.match(session)
                                        and self.visitors.owns(session, visit.visitor)):
            raise Refused("that is another visitor's page", 403, "session")
        if visit.route == f"{API}/file":
            path = visit.path.partition("/file=")[2]
            if not self.visitors.may_use(path, visit.visitor):
                raise Refused("there is no such file", 403, "file")

    async def _pass_on(self, scope: Any, visit: Visit, receive: Receive, answer: Answer) -> None:
        visitor = visit.visitor
        anew = self.settings.demo != "off" and "fresh" in visit.query  # the next at the same screen
        if visit.is_page and (anew or not visitor):
            visitor = secrets.token_urlsafe(16)
            answer.give_cookie(visitor)
        inner: Receive = Patient(receive, self.settings.body_seconds).receive
        if visit.method == "POST":
            inner = await self._body(visit, inner)
        scope = {**scope, "headers": self._inward(scope["headers"], visit, visitor)}
        if visit.path != scope["path"]:
            scope |= {"path": visit.path, "raw_path": quote(visit.path).encode()}
        if visit.route in STREAMS:
            await self._stream(scope, visit, inner, answer)
            return
        noting = Noting(inner)
        answer.silenced = lambda: noting.refused is not None
        try:
            await self.app(scope, noting.receive, answer.send)
        finally:
            if noting.refused is not None:
                raise noting.refused
        if answer.crashed:
            raise RuntimeError("the app gave up on a request")
        self.visitors.sent(answer.sent_files, visit.visitor)

    async def _stream(self, scope: Any, visit: Visit, receive: Receive, answer: Answer) -> None:
        if self.streams.get(visit.address, 0) >= self.settings.streams_each:
            raise Refused("too many open pages from one address", 429, "streams")
        self.streams[visit.address] = self.streams.get(visit.address, 0) + 1
        self.visitors.opened(visit.visitor)
        try:
            await self.app(scope, receive, answer.send)
        finally:
            self.visitors.closed(visit.visitor)
            self.streams[visit.address] -= 1
            if not self.streams[visit.address]:
                del self.streams[visit.address]

    async def _body(self, visit: Visit, receive: Receive) -> Receive:
        if visit.route == f"{API}/upload":
            if self.settings.demo == "closed":
                raise Refused("this demonstration takes no files", 403, "demo")
            short = self.uploads.take(visit.visitor or visit.address)
            if short:
                raise _refused("too many files: wait a little", 429, "rate",
                               retry_after=str(max(1, round(short))))
            return Counted(receive, visit, self.settings.upload_bytes + FORM_SLACK).receive
        raw = await Counted(receive, visit, self.settings.json_bytes).whole()
        body, session = check(raw, self.inputs, self.folder,
                              lambda path: self.visitors.may_use(path, visit.visitor),
                              visit.route in EVENTS)
        if session and not self.visitors.owns(session, visit.visitor):
            raise Refused("that is another visitor's page", 403, "session")
        return Again(body, receive).receive

    def _inward(self, given: list[tuple[bytes, bytes]], visit: Visit, visitor: str,
                ) -> list[tuple[bytes, bytes]]:
        """Without what would make the app believe a stranger, with what the gate reads."""
        dropped = DROPPED if visit.proxied else DROPPED | FORWARDED
        if visit.is_page or visit.route == f"{API}/upload":
            dropped = dropped | {b"accept-encoding"}  # the answer is read on its way out
        if visit.method == "POST" and visit.route != f"{API}/upload":
            dropped = dropped | {b"content-length"}
        kept = [(n, v) for n, v in given if n.lower() not in dropped]
        return [*kept, (VISITOR.encode(), visitor.encode()),
                (REQUEST_ID.encode(), visit.id.encode()),
                (ADDRESS.encode(), visit.address.encode("latin-1", "replace"))]


def _refused(sentence: str, status: int, reason: str, **headers: str) -> Refused:
    refused = Refused(sentence, status, reason)
    refused.__dict__["headers"] = headers
    return refused


def _told(error: Exception, visit: Visit) -> tuple[str, int]:
    """What a visitor hears of a fault, and the status of HTTP."""
    number = error.errno if isinstance(error, OSError) else None
    if number in NO_ROOM:
        return "the server has no room left for files: tell its keeper", 507
    if number == errno.ENAMETOOLONG:
        return "the file's name is too long", 400
    if visit.route == f"{API}/upload" and isinstance(error, ValueError | TypeError | KeyError):
        return "the form that holds the file cannot be read", 400
    return "something failed on our side", 500


def _private(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_private
    except ValueError:
        return False
