"""CLIP robustness explorer: see how CLIP breaks, and how adversarial fine-tuning hardens it."""

__version__ = "0.1.0"
