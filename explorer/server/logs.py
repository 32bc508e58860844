"""Logs as JSON lines with a request id, and without anything a visitor sent.

No image, caption, file name or query ever reaches them: an exception is logged as its kind and the
lines it passed, never with its message, which may quote the input.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TextIO

REQUEST: ContextVar[str] = ContextVar("explorer_request", default="")
OURS = ("explorer", "__main__")
LOG = logging.getLogger("explorer.server")


class JsonLines(logging.Formatter):
    """One JSON object a record: time (UTC), level, logger, message, request id, own fields.

    Messages of other libraries are reduced to where they came from, since they may quote input.
    """

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.startswith(OURS)
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "logger": record.name,
            "message": str(record.msg) if ours else f"{record.module}:{record.lineno}",
        }
        if request := getattr(record, "request", "") or REQUEST.get():
            entry["request"] = request
        entry.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0]:
            entry.update(fault(record.exc_info[0], record.exc_info[2]))
        return json.dumps(entry, ensure_ascii=True)


def fault(kind: type[BaseException], trace: TracebackType | None) -> dict[str, Any]:
    """An exception's kind and the last lines it passed; its message stays out."""
    frames = traceback.extract_tb(trace)[-6:]
    return {"error": kind.__name__,
            "at": [f"{'/'.join(f.filename.split('/')[-2:])}:{f.lineno} {f.name}" for f in frames]}


def say(message: str, level: int = logging.INFO, **fields: Any) -> None:
    """One line of our own; the message is fixed text, what varies goes into fields."""
    LOG.log(level, message, extra={"fields": fields})


class QuietTraceback:
    """Stands in for the traceback module where a library prints exceptions by itself."""

    @staticmethod
    def print_exc(*_: Any, **__: Any) -> None:
        if sys.exc_info()[0] is not None:
            LOG.warning("a request failed", exc_info=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)


def configure(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Sends every logger of the process through JsonLines; called once, by the server."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("explorer").setLevel(level)
    logging.captureWarnings(True)
