"""Data flows one way: no module imports one downstream of it, and heavy packages come late."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = [  # upstream first; modules of one line may import each other
    {"errors", "settings", "randomness", "budgets", "goals", "fastconv", "hub", "nltk_data", "crew",
     "memory", "reading", "fastattention"},
    {"pairs"},
    {"cards", "models", "loading"},
    {"language", "edits"},
    {"result", "attacks"},
    {"boxes", "archives", "csvfile", "listings", "layouts", "sources", "hubsets", "datasets",
     "published", "catalogue"},
    {"metrics", "retrieval", "saving", "projection", "training", "views", "verdicts", "diskcache",
     "landmarks", "umapping", "space", "mapping", "figures", "saliency"},
    {"samples", "brought", "runlog", "runrecord", "jobs", "costs", "bundle", "replay", "background",
     "workrecord", "collecting", "places", "study", "failures", "cases", "evaluation"},
    {"lessons"},
    {"server"},
    {"cli", "commands", "evaluating", "terminal", "flags", "notebook", "calls", "ui", "pocket"},
    {"__main__"},
]
HEAVY = {"textattack", "umap", "transformers", "open_clip", "timm", "gradio", "plotly"}
FILES = sorted((ROOT / "explorer").rglob("*.py"))


def part_of(file: Path) -> str:
    """The part of the package that a file belongs to, such as "attacks"."""
    first = file.relative_to(ROOT / "explorer").parts[0]
    return first.removesuffix(".py")


def place(part: str) -> int:
    """Its line in ORDER; "__init__" (a version number) is upstream of everything."""
    if part == "__init__":
        return -1
    found = [k for k, parts in enumerate(ORDER) if part in parts]
    assert found, f"explorer.{part} has no place in ORDER: give it one"
    return found[0]


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
def test_imports_point_upstream(file: Path) -> None:
    own = place(part_of(file))
    if part_of(file) == "models":  # Library.load is the one door to the loaders beside it
        assert "explorer.models.loaders" in read(file, True)
    for name in read(file, True):
        if name.startswith("explorer.") and name != "explorer.__version__":
            assert place(name.split(".")[1]) <= own, f"{file.name} imports {name}, downstream of it"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_heavy_packages_come_late(file: Path) -> None:
    tops = {name.split(".")[0] for name in read(file, False)}
    if part_of(file) not in ("ui", "views"):
        assert not tops & HEAVY
    if part_of(file) == "views":
        assert not tops & (HEAVY - {"plotly"}) and "torch" not in tops
    if part_of(file) != "ui":
        assert "gradio" not in {name.split(".")[0] for name in read(file, True)}


def test_the_reader_of_imports_sees_them_all() -> None:
    """The two tests above can fail: a file that breaks the rules is caught."""
    source = ("import timm.models\nfrom explorer import cli\nclass A:\n    import gradio\n"
              "try:\n    import umap\nexcept ImportError:\n    import plotly\n"
              "if TYPE_CHECKING:\n    import open_clip\n"
              "def f():\n    from explorer.ui.shell import g\n")
    body = ast.parse(source).body
    early = ["timm.models", "explorer.actions.cli", "gradio", "umap", "plotly"]
    assert list(imports(body, False)) == early
    assert list(imports(body, True)) == [*early, "explorer.ui.shell"]
    assert place("cli") > place("metrics") > place("attacks") > place("models") > place("pairs")


def test_importing_the_library_loads_nothing_heavy() -> None:
    code = ("import sys, explorer.attacks.run, explorer.analysis.metrics, explorer.models.library, explorer.models.loaders;"
            f"print(sorted({HEAVY!r} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "[]"


def test_opening_a_model_leaves_out_what_no_clip_needs() -> None:
    code = ("import sys; from explorer.models.library import Library; Library().load('pocket');"
            "print(sorted({'sklearn', 'umap', 'textattack'} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "[]"
