"""CLIP robustness explorer: see how CLIP breaks, and how adversarial fine-tuning hardens it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explorer.actions.notebook import attack as attack
    from explorer.actions.notebook import detect as detect
    from explorer.actions.notebook import draw_caption as draw_caption
    from explorer.actions.notebook import evaluate as evaluate
    from explorer.actions.notebook import project as project

# What Apple's GPU lacks runs on the processor; PyTorch looks at this when it is first imported.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`explorer.attack` and the others open the library when they are first used."""
    if name in ("attack", "detect", "draw_caption", "evaluate", "project"):
        return getattr(import_module("explorer.actions.notebook"), name)
    raise AttributeError(f"module 'explorer' has no attribute '{name}'")
