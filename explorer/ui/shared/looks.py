"""What tabs share that look at work while they are open, and redraw only what has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import gradio as gr

from explorer.ui.shared.runs import LIGHT

EVERY = 2.0  # seconds between two looks
PARTS = (Path(__file__).parent / "parts.js").read_text("utf-8")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def only_new(shown: Mapping[str, Any], now: Mapping[str, Any]) -> Callable[[str, Any], Any]:
    """Of (name, value): the value where what the page shows under the name is not what it is now,
    and nothing to do otherwise."""
    def only(name: str, value: Any) -> Any:
        return value if shown.get(name) != now[name] else gr.skip()

    return only


def while_open(tabs: gr.Tabs, own: str, is_open: gr.State) -> Iterator[Any]:
    """Keeps in `is_open` whether the tab is the one that is seen; yields the events that do. own:
    the tab's id."""
    for tab in tabs.children:  # gr.Tabs has such an event too, which is never sent
        assert isinstance(tab, gr.Tab)
        yield cast(Any, tab).select(_says(tab.id == own), None, is_open, **LIGHT)


def _says(value: bool) -> Callable[[], bool]:
    return lambda: value
