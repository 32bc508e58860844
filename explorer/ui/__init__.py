"""The Gradio app: one file per tab, and the shell around them."""

import sys
from types import ModuleType

from explorer.base.imports import after_import

UNUSED = "mcp"  # Gradio's own MCP server, which it can do without; ours is in api/


def _no_stubs(module: ModuleType) -> None:
    """Gradio reads its own source and writes a stub for editors beside each component, at each
    start: a sixth of the seconds to the first page."""
    module.create_or_modify_pyi = lambda *_: None  # type: ignore[attr-defined]


def import_gradio() -> None:
    """For the app's start, before the shell: what Gradio can do without is imported where it is
    used, if at all. Not here, because what draws pages needs no Gradio."""
    there = UNUSED in sys.modules
    if not there:
        sys.modules[UNUSED] = None  # type: ignore[assignment]
    try:
        import gradio  # noqa: F401
    finally:
        if not there:
            del sys.modules[UNUSED]


after_import("gradio.component_meta", _no_stubs)
