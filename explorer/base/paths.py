"""Where the project's own files lie."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "assets"
SHIPPED = ASSETS / "shipped"
EXAMPLES = SHIPPED / "jobs"  # finished work of the tabs, made by `make shipped`
