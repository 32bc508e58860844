"""One request as the guard sees it: who, from where, to which kind of path."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

COOKIE = "explorer_visitor"
TOKEN = re.compile(r"[A-Za-z0-9_-]{8,64}\Z")
API = "/gradio_api"

Scope = Mapping[str, Any]


@dataclass(frozen=True)
class Visit:
    """address: of the visitor, past the proxies we trust; visitor: their cookie, "" when they have
    none; new: that cookie, when it is to be set; route: the path with what varies taken out."""

    id: str
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    address: str
    proxied: bool
    visitor: str
    route: str
    secure: bool

    @property
    def is_page(self) -> bool:
        return self.path == "/" and self.method in ("GET", "HEAD")


def read(scope: Scope, proxies: frozenset[str], root: str) -> Visit:
    """The visit of an ASGI scope. Headers that came more than once keep their first value."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    peer = (scope.get("client") or ("", 0))[0]
    proxied = peer in proxies or "*" in proxies
    address = peer
    if proxied and headers.get("x-forwarded-for"):
        address = headers["x-forwarded-for"].split(",")[-1].strip()[:64] or peer
    path = scope["path"]
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root):] or "/"  # the proxy left the prefix on
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=50)
    secure = scope.get("scheme") == "https" or (
        proxied and headers.get("x-forwarded-proto", "").split(",")[0].strip() == "https")
    return Visit(secrets.token_hex(8), scope["method"], path, query, headers, address, proxied,
                 _cookie(headers.get("cookie", "")), route_of(path), secure)


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found and TOKEN.match(found.value) else ""


def route_of(path: str) -> str:
    """A path without names, hashes and files, for logs and meters."""
    if path in ("/", "/health", "/metrics", "/config", "/mcp"):
        return path
    inner = path.removeprefix(API)
    if inner != path:
        first = re.match(r"/(queue/[a-z]+|[a-z_]+)", inner)
        known = ("upload", "upload_progress", "run", "call", "heartbeat", "file", "info", "cancel",
                 "reset", "queue/join", "queue/data", "queue/status", "component_server")
        return f"{API}/{first[1]}" if first and first[1] in known else f"{API}/other"
    first = re.match(r"/(assets|static|svelte|kept)/", path)
    return f"/{first[1]}" if first else "/other"
