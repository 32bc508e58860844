"""The picture that a visitor gives, as the file it was."""

from __future__ import annotations

from typing import Any

import gradio as gr


class Photo(gr.Image):
    """gr.Image that hands over the file as it was sent, so that we decode it, with our words."""

    is_template = True

    def preprocess(self, payload: Any) -> str | None:
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            return str(super().preprocess(payload))
        return str(payload.path) if payload.path else None
