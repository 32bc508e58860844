"""Which requests may go in at all: paths on a list, this server's own pages, a known host name.

Gradio serves far more paths than the page uses, some without any log-in; only those the page needs
are let through.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from explorer.base.settings import Settings
from explorer.server.visit import API, Visit

NAME = r"[A-Za-z0-9_-]{1,80}"
READ = re.compile("|".join((
    r"/(config|theme\.css|robots\.txt|manifest\.json|favicon\.ico)?",
    r"/(assets|static|svelte)/[^\\]*",
    r"/(health|metrics)",
    r"/kept/[0-9a-f]{32}\.[a-z]{2,4}",
    API + r"/(info|openapi\.json|app_id|login_check|user|startup-events|theme\.css|"
          r"upload_progress|queue/data|queue/status)/?",
    API + rf"/heartbeat/{NAME}",
    API + r"/file=.+",
)), re.DOTALL)
WRITE = re.compile("|".join((
    API + r"/(queue/join|upload|cancel|reset)/?",
    API + rf"/run/{NAME}/?",
)))
TOOLS = "/mcp"  # where MCP clients call, when the keeper lets them
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?\Z")
URL = re.compile(r"[a-z][a-z0-9+.-]*:|[/\\]{2}", re.IGNORECASE)


def keeper_alone(settings: Settings, host: str) -> bool:
    """Whether only this computer can reach the app: it listens on loopback, and nothing says that
    a proxy brings others there."""
    behind = settings.hosts or settings.trusted_proxies or settings.root_path
    return host in LOOPBACK and not behind


def host_name(host: str) -> str:
    """"[::1]:80" -> "::1"; "" for what is no host."""
    return host.rsplit("]")[0][1:].lower() if host.startswith("[") else host.split(":")[0].lower()


def listed(visit: Visit, tools: bool = False) -> bool:
    """Whether the page, or with `tools` an MCP client, ever asks for this."""
    if tools and visit.path.rstrip("/") == TOOLS:
        return visit.method == "POST"
    if visit.method in ("GET", "HEAD"):
        return READ.fullmatch(visit.path) is not None
    return visit.method == "POST" and WRITE.fullmatch(visit.path) is not None


def file_refusal(path: str) -> str | None:
    """Why a file path may not be fetched: it is another address, or it climbs."""
    _, mark, name = path.partition("/file=")
    if not mark:
        return None
    if URL.match(name.strip()):
        return "only files of this server can be fetched"
    if "\x00" in name or ".." in re.split(r"[/\\]", name):
        return "there is no such file"
    return None


def host_refusal(visit: Visit, hosts: frozenset[str]) -> str | None:
    """hosts: the names served; empty: any. A page elsewhere whose name was made to lead here
    (DNS rebinding) sends its own name."""
    host = visit.headers.get("host", "")
    if not HOST.match(host):
        return "the request names no host"
    if hosts and host_name(host) not in hosts:
        return ("this server does not answer to that name: its keeper can add it to "
                "EXPLORER_HOSTS")
    return None


def origin_refusal(visit: Visit) -> str | None:
    """Refuses what another site's page sends here in a visitor's name, links to the page apart.

    Browsers say so by Sec-Fetch-Site, which no page can forge, or, over plain HTTP, by Origin.
    """
    fetched, origin = visit.headers.get("sec-fetch-site"), visit.headers.get("origin")
    if fetched in ("same-origin", "none"):
        return None
    refused = "requests from other sites are not accepted"
    if fetched is not None:
        framed = visit.is_page and visit.headers.get("sec-fetch-mode") == "navigate"
        return None if framed else refused
    if origin is None:
        return None
    own = {visit.headers.get("host", "").lower()}
    if visit.proxied and "x-forwarded-host" in visit.headers:
        own.add(visit.headers["x-forwarded-host"].split(",")[0].strip().lower())
    try:
        theirs = urlsplit(origin).netloc.lower()
    except ValueError:
        return refused
    return None if theirs and theirs in own else refused
