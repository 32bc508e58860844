"""Runs the guarded app: routes of its own beside the page, one process, a clean end."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from explorer import __version__
from explorer.server.gate import Gate
from explorer.server.guards import Guard
from explorer.server.logs import say

SWEEP = 30.0  # seconds between two looks for files whose visitors have gone


class Health:
    """What /health says. models: ids in memory, asked each time; fault: why the models that the
    page needs could not be opened, "" while they can."""

    def __init__(self, gate: Gate, models: Callable[[], list[str]]) -> None:
        self.gate, self.models = gate, models
        self.began, self.fault, self.ready = time.monotonic(), "", False
        gate.meters.models.set_function(lambda: len(models()))

    def opened(self, fault: str = "") -> None:
        self.fault, self.ready = fault, True

    def state(self) -> dict[str, Any]:
        status = "degraded" if self.fault else "ok" if self.ready else "starting"
        return {"status": status, "models": self.models(), "fault": self.fault,
                "waiting": self.gate.turns.waiting(), "running": self.gate.turns.running(),
                "version": __version__, "seconds": round(time.monotonic() - self.began, 1)}

    def routes(self) -> list[BaseRoute]:
        """/health answers 503 when the models cannot be opened; /metrics is Prometheus text."""

        def health(_: Request) -> Response:
            state = self.state()
            return JSONResponse(state, 503 if state["status"] == "degraded" else 200)

        def metrics(_: Request) -> Response:
            return Response(self.gate.meters.text(), media_type="text/plain; version=0.0.4")

        return [Route("/health", health), Route("/metrics", metrics)]


class Server(uvicorn.Server):
    """uvicorn, with something to do once it listens, a broom for files left behind, and `tidy` for
    memory."""

    def __init__(self, config: uvicorn.Config, guard: Guard, listening: Callable[[], None],
                 tidy: Callable[[], object]) -> None:
        super().__init__(config)
        self.guard, self.listening, self.tidy = guard, listening, tidy
        self._broom: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.listening()
            self._broom = asyncio.create_task(self._sweep())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._broom:
            self._broom.cancel()
        await super().shutdown(sockets)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            swept = await asyncio.to_thread(self.guard.sweep)
            if swept:
                say("swept", files=swept)
            await asyncio.to_thread(self.tidy)


def end_tidily() -> None:
    """Lets SIGTERM end the process as Ctrl+C does, through every `finally`; uvicorn raises the
    signal again once it has closed its connections."""

    def end(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)


def serve(guard: Guard, bound: socket.socket, listening: Callable[[], None],
          tidy: Callable[[], object]) -> None:
    """Serves until a signal ends it; visitors' open connections get two seconds."""
    config = uvicorn.Config(
        guard, log_config=None, access_log=False, proxy_headers=False, server_header=False,
        date_header=False, lifespan="on", ws="none", timeout_keep_alive=20, backlog=512,
        limit_concurrency=2000, h11_max_incomplete_event_size=65_536,
        timeout_graceful_shutdown=2)
    with suppress(KeyboardInterrupt, SystemExit):
        Server(config, guard, listening, tidy).run(sockets=[bound])
