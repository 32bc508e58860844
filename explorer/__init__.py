"""CLIP robustness explorer: see how CLIP breaks, and how adversarial fine-tuning hardens it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explorer.actions.notebook import attack as attack
    from explorer.actions.notebook import evaluate as evaluate
    from explorer.actions.notebook import project as project

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`explorer.attack` and the others open the library when they are first used."""
    if name in ("attack", "evaluate", "project"):
        return getattr(import_module("explorer.actions.notebook"), name)
    raise AttributeError(f"module 'explorer' has no attribute '{name}'")
