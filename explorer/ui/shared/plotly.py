"""The browser half of Plotly, from the installed package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

LOADER = (Path(__file__).parent / "plotly.js").read_text("utf-8")


def plotly_js() -> Path:
    """The browser library inside the plotly package, found without importing it."""
    spec = importlib.util.find_spec("plotly")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / "package_data" / "plotly.min.js"
