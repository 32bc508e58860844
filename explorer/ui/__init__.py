"""The Gradio app: one file per tab, and the shell around them."""

from types import ModuleType

from explorer.base.imports import after_import


def _no_stubs(module: ModuleType) -> None:
    """Gradio reads its own source and writes a stub for editors beside each component, at each
    start: a sixth of the seconds to the first page."""
    module.create_or_modify_pyi = lambda *_: None  # type: ignore[attr-defined]


after_import("gradio.component_meta", _no_stubs)
