"""CLIP robustness explorer: see how CLIP breaks, and how adversarial fine-tuning hardens it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explorer.notebook import attack as attack

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`explorer.attack` opens the library when it is first used."""
    if name == "attack":
        return import_module("explorer.notebook").attack
    raise AttributeError(f"module 'explorer' has no attribute '{name}'")
