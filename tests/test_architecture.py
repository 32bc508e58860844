"""Data flows one way: no room imports from one above or beside it; heavy packages come late."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = [  # a room imports from rooms on lower floors alone: not up, and not sideways
    {"base"},
    {"models", "data", "jobs"},
    {"attacks"},
    {"results"},
    {"analysis"},
    {"training"},
    {"actions", "lessons"},
    {"ui"},
]
SERVER = {"base"}  # all that the server knows; of the rooms, ui alone knows the server
DOORS = {"__init__", "__main__", "pocket"}  # names that people type; each leads into a room
HEAVY = {"textattack", "umap", "transformers", "open_clip", "timm", "gradio", "plotly"}
DRAWING = {f"explorer.{name}" for name in (
    "results.views", "results.verdicts", "results.stage", "results.compare", "results.trail",
    "results.rewording", "results.outcome", "results.saving", "analysis.evaluation.rows",
    "analysis.evaluation.curve", "analysis.evaluation.exports", "analysis.evaluation.detectors",
    "analysis.embedding.words", "analysis.embedding.figures", "analysis.embedding.svg",
    "analysis.failures.slices", "lessons.draw", "ui.shared.states")}
FILES = sorted((ROOT / "explorer").rglob("*.py"))


def room_of(module: str) -> str:
    """The room of a dotted module, such as "attacks" for explorer.attacks.run."""
    return [*module.split("."), ""][1]


def module_of(file: Path) -> str:
    """Its dotted name, with __init__ where it is one."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def floor(room: str) -> int:
    found = [k for k, rooms in enumerate(FLOORS) if room in rooms]
    assert found, f"explorer/{room} is no room of FLOORS: put it into one, or give it a floor"
    return found[0]


def allowed(module: str, imported: str) -> bool:
    """Whether a module may import another of ours."""
    room, other = room_of(module), room_of(imported)
    if room == other or imported in ("explorer", "explorer.__version__"):
        return True
    if imported.startswith("tools"):
        return False
    if room == "server" or other == "server":
        return other in SERVER if room == "server" else room == "ui"
    return floor(other) < floor(room)


def tab_of(module: str) -> str:
    """The folder of a tab that a module of the page is in, "" for what all share."""
    parts = module.split(".")
    return parts[2] if parts[1] == "ui" and len(parts) > 3 else ""


def names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are written in full"
        base = node.module or ""
        return [f"{base}.{a.name}" for a in node.names] if base == "explorer" else [base]
    return []


def imports(body: list[ast.stmt], late: bool) -> Iterator[str]:
    """Imported modules; late: also those inside functions. Imports for types alone do not count."""
    for node in body:
        yield from names(node)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not late:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        for inner in ("body", "orelse", "finalbody"):
            yield from imports(getattr(node, inner, []), late)
        for handler in getattr(node, "handlers", []):
            yield from imports(handler.body, late)


def read(file: Path, late: bool) -> list[str]:
    return list(imports(ast.parse(file.read_text("utf-8")).body, late))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_down(file: Path) -> None:
    module = module_of(file)
    if room_of(module) in DOORS:
        assert file.read_text("utf-8").count("\n") < 30, "a door holds no code"
        return
    for name in read(file, True):
        if name.split(".")[0] in ("explorer", "tools"):
            assert allowed(module, name), f"{module} imports {name}: up, or sideways"


@pytest.mark.parametrize("file", sorted((ROOT / "explorer" / "ui").rglob("*.py")),
                         ids=lambda f: str(f.relative_to(ROOT)))
def test_no_tab_imports_another(file: Path) -> None:
    own = tab_of(module_of(file))
    for name in read(file, True):
        if name.startswith("explorer.ui.") and own:
            assert tab_of(f"{name}.x") in (own, "shared"), f"{file.name} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_heavy_packages_come_late(file: Path) -> None:
    room = room_of(module_of(file))
    tops = {name.split(".")[0] for name in read(file, False)}
    if room != "ui":
        assert not tops & HEAVY
        assert "gradio" not in {name.split(".")[0] for name in read(file, True)}


def test_the_readers_of_these_rules_see_what_breaks_them() -> None:
    source = ("import timm.models\nfrom explorer import actions\nclass A:\n    import gradio\n"
              "try:\n    import umap\nexcept ImportError:\n    import plotly\n"
              "if TYPE_CHECKING:\n    import open_clip\n"
              "def f():\n    from explorer.ui.shell import g\n")
    body = ast.parse(source).body
    early = ["timm.models", "explorer.actions", "gradio", "umap", "plotly"]
    assert list(imports(body, False)) == early
    assert list(imports(body, True)) == [*early, "explorer.ui.shell"]
    for module, imported in (("explorer.data.sets", "explorer.models.cards"),
                             ("explorer.attacks.run", "explorer.results.saving"),
                             ("explorer.server.gate", "explorer.jobs.queue"),
                             ("explorer.actions.attack", "explorer.server.gate"),
                             ("explorer.base.words", "tools.language.build")):
        assert not allowed(module, imported)
    assert allowed("explorer.results.saving", "explorer.attacks.run")
    assert tab_of("explorer.ui.train.tab") == "train" and not tab_of("explorer.ui.shell")


def test_importing_the_library_and_opening_a_model_load_nothing_that_no_clip_needs() -> None:
    code = ("import sys, explorer.attacks.run, explorer.analysis.metrics;"
            "import explorer.models.library, explorer.models.loaders;"
            f"print(sorted({HEAVY!r} & sys.modules.keys()));"
            "explorer.models.library.Library().load('pocket');"
            "print(sorted({'sklearn', 'umap', 'textattack'} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_a_page_is_drawn_without_torch() -> None:
    """What draws takes numbers that are there: it can be imported where no model could be opened.
    One process for all, since none of them may bring it."""
    own = [module_of(file) for file in FILES if file.parts[-3] == "ui"
           and file.stem in ("views", "cards", "charts")]
    names = [*sorted(DRAWING), *own]
    assert len(own) >= 5
    code = (f"import importlib, sys\nfor name in {names!r}:\n    importlib.import_module(name)\n"
            f"    assert not {HEAVY | {'torch'}!r} & sys.modules.keys(), name")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr[-400:]
