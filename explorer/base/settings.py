"""Every limit and switch of the app in one place, each with its EXPLORER_ environment variable.

Defaults suit a laptop and a classroom; docs/deploy.md lists them. Nothing is read at import time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import lru_cache
from typing import Any

from explorer.base.errors import InputError

PREFIX = "EXPLORER_"
WORDS = {"1": True, "true": True, "yes": True, "on": True,
         "0": False, "false": False, "no": False, "off": False}


def whole(default: int, low: int, high: int, about: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "about": about})


def text(default: str, about: str, *choices: str) -> Any:
    return field(default=default, metadata={"choices": choices, "about": about})


@dataclass(frozen=True)
class Settings:
    """What a visitor may ask for, how visitors share the device, and how the server is reached."""

    upload_bytes: int = whole(40_000_000, 1_000, 1_000_000_000, "largest file, bytes")
    json_bytes: int = whole(8_000_000, 10_000, 1_000_000_000, "largest request but files, bytes")
    pixels: int = whole(40_000_000, 10_000, 1_000_000_000, "largest picture, pixels")
    captions: int = whole(2_000, 1, 1_000_000, "most captions a run")
    caption_characters: int = whole(2_000, 10, 100_000, "longest caption, characters")
    steps: int = whole(1_000, 1, 100_000, "most steps of an attack")
    batch: int = whole(256, 1, 100_000, "most pictures in one batch")
    compile: str = text("off", "torch.compile for image towers, for GPUs: a slow first run, faster "
                        "ones after; aot_eager only looks for faults", "off", "inductor",
                        "cudagraphs", "aot_eager")

    waiting: int = whole(64, 1, 10_000, "most runs that wait for the device")
    waiting_each: int = whole(4, 1, 1_000, "most runs of one visitor, waiting or running")
    at_once: int = whole(0, 0, 64, "runs on the device at the same time; 0: two on several "
                         "CPU cores, else one")
    run_seconds: int = whole(600, 1, 86_400, "longest run, seconds")
    stall_seconds: int = whole(900, 1, 86_400, "a run silent for so long loses its turn, seconds")
    runs_per_minute: int = whole(30, 1, 10_000, "runs a visitor may start in a minute")
    requests_per_minute: int = whole(6_000, 10, 1_000_000, "requests an address may send a minute")
    uploads_per_minute: int = whole(60, 1, 100_000, "files a visitor may send in a minute")
    streams_each: int = whole(300, 2, 100_000, "open connections for news an address may hold")
    body_seconds: int = whole(60, 1, 3_600, "longest silence while a request is sent, seconds")
    keep_seconds: int = whole(3_600, 60, 604_800, "how long uploaded files are kept, seconds")

    training: bool = field(default=False, metadata={"about": "whether visitors may train models"})
    runs: str = text("runs", "folder of training runs, their models, and other long work")
    data: str = text("", "folder of image sets that visitors may use; empty: none")
    api: str = text("local", "who may call attack, evaluate and project from programs: docs/api.md",
                    "off", "local", "all")
    mcp: bool = field(default=False, metadata={
        "about": "whether language models may call them as MCP tools, at /mcp"})
    demo: str = text("off", "rotate finished examples until somebody touches the page; closed: "
                     "without training and files, too: docs/teaching.md", "off", "open", "closed")
    preset: str = text("", "file of what a page opens with: docs/teaching.md")
    auth_file: str = text("", "file of user:password lines; empty: no log-in")
    auth: str = text("", "user:password in place of a file")
    login_failures: int = whole(5, 1, 1_000, "wrong passwords before an address is locked out")
    lockout_seconds: int = whole(300, 1, 86_400, "how long it is locked out, seconds")

    root_path: str = text("", "path under which a proxy serves the app, such as /clip")
    hosts: str = text("", "names the server answers to, by comma; empty: loopback names when it "
                          "listens on loopback, else any")
    trusted_proxies: str = text("", "addresses whose X-Forwarded headers count, by comma")
    frame_ancestors: str = text("'self'", "pages that may show the app in a frame, as in CSP")
    metrics: str = text("private", "who may read /metrics", "off", "private", "all")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Defaults, overridden by EXPLORER_<FIELD>. Raises InputError with one sentence.

        On a hosted Hugging Face demo (SPACE_ID is set) its frame and its proxy are trusted.
        """
        hosted = {"frame_ancestors": "'self' https://huggingface.co", "trusted_proxies": "*"}
        start = hosted if environment.get("SPACE_ID") else {}
        given = {f.name: _read(f, environment[variable(f)]) for f in fields(cls)
                 if environment.get(variable(f), "") != ""}
        settings = cls(**{**start, **given})
        if settings.root_path and not (settings.root_path.startswith("/")
                                       and settings.root_path.rstrip("/").isprintable()
                                       and not set(settings.root_path) & set("?#\"'<> \\")):
            raise InputError(f"{PREFIX}ROOT_PATH must be a path such as /clip, not "
                             f"'{shown(settings.root_path)}'")
        if set(settings.frame_ancestors) & set(";,\r\n"):
            raise InputError(f"{PREFIX}FRAME_ANCESTORS must be sources parted by spaces")
        return settings


def variable(setting: Field[Any]) -> str:
    """The name of a setting's environment variable."""
    return PREFIX + setting.name.upper()


def shown(raw: str) -> str:
    """A value as it may stand in a sentence."""
    return "".join(c if c.isprintable() else "?" for c in raw[:60])


def _read(setting: Field[Any], raw: str) -> Any:
    name, meta = variable(setting), setting.metadata
    if isinstance(setting.default, bool):
        if raw.strip().lower() not in WORDS:
            raise InputError(f"{name} must be on or off, not '{shown(raw)}'")
        return WORDS[raw.strip().lower()]
    if isinstance(setting.default, int):
        try:
            number = int(raw.replace("_", ""))
        except ValueError:
            number = -1
        if not meta["low"] <= number <= meta["high"]:
            raise InputError(f"{name} must be a whole number from {meta['low']} to {meta['high']}, "
                             f"not '{shown(raw)}'")
        return number
    if meta["choices"] and raw not in meta["choices"]:
        raise InputError(f"{name} must be one of {', '.join(meta['choices'])}, not '{shown(raw)}'")
    return raw


def unknown(environment: Mapping[str, str]) -> list[str]:
    """EXPLORER_ variables that set nothing: most likely misspelt."""
    known = {variable(f) for f in fields(Settings)} | {CACHE}
    return sorted(n for n in environment if n.startswith(PREFIX) and n not in known)


CACHE = f"{PREFIX}CACHE"
"""Names the folder of explorer.base.diskcache, which has no setting of its own: it is asked for
before there are any."""


@lru_cache(maxsize=1)
def current() -> Settings:
    """The settings of this process, read from its environment at the first call."""
    return Settings.from_environment(os.environ)
