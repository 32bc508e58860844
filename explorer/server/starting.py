"""What answers on the port while the app's modules are imported: seconds in which a browser would
find nobody. Its page asks again until it gets the app's; other programs hear 503, and when to come
back. Only Python's own modules are imported here."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType

MOST = 64  # connections at once; the oldest gives way
LONGEST = 16_384  # bytes of a request that are read
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="refresh" content="1"><title>CLIP robustness explorer</title>
<style>:root{color-scheme:light dark;font-family:system-ui,sans-serif}
body{margin:4rem auto;max-width:40rem;padding:0 1rem}</style></head><body>
<h1>CLIP robustness explorer</h1><p role="status">The app is starting. This page opens by itself in
a few seconds.</p></body></html>
"""


def open_port(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OSError or OverflowError when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


class Doorman:
    """Answers on a bound socket, in a thread, until it leaves; who comes between it and the app
    waits in the line of the socket. with Doorman(bound) as doorman: ... doorman.leave()."""

    def __init__(self, bound: socket.socket) -> None:
        self.bound, self._began = bound, time.monotonic()
        self._call, self._called = socket.socketpair()
        self._thread = threading.Thread(target=self._work, name="doorman", daemon=True)

    def __enter__(self) -> Doorman:
        self.bound.listen(512)
        self.bound.setblocking(False)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.leave()

    def leave(self) -> None:
        """Ends its work; the socket stays open. Again: nothing."""
        if self._thread.is_alive():
            self._call.send(b"x")
            self._thread.join(5)
        self._call.close()
        self._called.close()

    def _work(self) -> None:
        heads: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as lobby:
            lobby.register(self.bound, selectors.EVENT_READ)
            lobby.register(self._called, selectors.EVENT_READ)

            def close(visitor: socket.socket) -> None:
                lobby.unregister(visitor)
                del heads[visitor]
                visitor.close()

            while True:
                for key, _ in lobby.select():
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one is self._called:
                        for visitor in list(heads):
                            close(visitor)
                        return
                    if one is self.bound:
                        self._let_in(lobby, heads)
                        if len(heads) > MOST:
                            close(next(iter(heads)))
                    elif one in heads and self._heard(one, heads):
                        close(one)

    def _let_in(self, lobby: selectors.BaseSelector, heads: dict[socket.socket, bytes]) -> None:
        with suppress(OSError):  # gone again
            visitor, _ = self.bound.accept()
            visitor.setblocking(False)
            lobby.register(visitor, selectors.EVENT_READ)
            heads[visitor] = b""

    def _heard(self, visitor: socket.socket, heads: dict[socket.socket, bytes]) -> bool:
        """Reads on; once the request is there, answers. Whether the connection is over."""
        try:
            came = visitor.recv(LONGEST)
            heads[visitor] += came
            if came and b"\r\n\r\n" not in heads[visitor] and len(heads[visitor]) < LONGEST:
                return False
            if came:
                visitor.send(self.answer(heads[visitor]))
                visitor.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return False
        except OSError:
            pass  # gone
        return True

    def answer(self, request: bytes) -> bytes:
        """The whole answer to the head of a request."""
        method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        kind, body = "text/plain", "The app is starting.\n"
        if path.endswith(b"/health"):
            kind = "application/json"
            body = (f'{{"status":"starting","models":[],"fault":"",'
                    f'"seconds":{time.monotonic() - self._began:.1f}}}')
        elif path.endswith(b"/"):
            kind, body = "text/html", PAGE
        raw = body.encode()
        head = ("HTTP/1.1 503 Service Unavailable\r\n"
                f"content-type: {kind}; charset=utf-8\r\ncontent-length: {len(raw)}\r\n"
                "retry-after: 1\r\ncache-control: no-store\r\nconnection: close\r\n"
                "x-content-type-options: nosniff\r\nx-frame-options: DENY\r\n"
                "content-security-policy: default-src 'none'; style-src 'unsafe-inline'\r\n\r\n")
        return head.encode() + (b"" if method == b"HEAD" else raw)
