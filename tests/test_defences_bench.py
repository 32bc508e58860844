"""The scripts that fill docs/defences.md and docs/universal.md, on two small random models."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from test_evaluation import write_set

from bench import defences, universal

pytest_plugins = ["cli_fixtures"]


def part(page: Path, name: str) -> str:
    found = re.search(rf"<!-- measured: {name} -->(.*)<!-- /measured: {name} -->",
                      page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def timeless(line: str) -> list[str]:
    """The cells of a line but the milliseconds."""
    cells = line.split(" | ")
    return cells[:2] + cells[3:]


def test_defences_fill_their_page(models_dir: Path, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(shutil.copy(defences.PAGE, tmp_path / "defences.md"))
    flags = [f"--data={write_set(tmp_path / 'set')}", "--limit=6", "--models=one", "--seed=3",
             "--defences=jpeg,blur", f"--models-dir={models_dir}", f"--keep={tmp_path / 'keep'}",
             f"--page={page}"]
    assert defences.main(flags) == 0
    told = part(page, "defences")
    assert "**one**" in told and "Seed 3" in told and "Not measured yet" not in told
    lines = [line for line in told.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines[1:]] == ["| none", "| `jpeg`", "| `blur`"]
    assert all(len(line.split(" | ")) == 8 for line in lines)
    assert part(page, "detectors").count("| one |") == 8  # detectors, budgets, attackers
    capsys.readouterr()
    assert defences.main(flags) == 0  # kept: the same page again
    again = [line for line in part(page, "defences").splitlines() if line.startswith("| ")]
    assert [timeless(line) for line in again] == [timeless(line) for line in lines]


def test_universal_fills_its_page(models_dir: Path, tmp_path: Path) -> None:
    page = Path(shutil.copy(universal.PAGE, tmp_path / "universal.md"))
    data = Path(write_set(tmp_path / "set"))
    flags = [f"--data={data.parent}", f"--learn={data.name}", f"--unseen={data.name}",
             "--growth=2,6", "--passes=2", "--limit=6", "--models=one,two",
             f"--models-dir={models_dir}", f"--keep={tmp_path / 'keep'}", f"--page={page}"]
    assert universal.main(flags) == 0
    lines = [line.split(" | ") for line in part(page, "universal").splitlines()
             if line.startswith("| one") or line.startswith("| two")]
    assert [(line[0], line[1], line[3]) for line in lines] == [
        ("| one", "2", "one"), ("| one", "6", "one"), ("| one", "6", "two"),
        ("| two", "2", "two"), ("| two", "6", "one"), ("| two", "6", "two")]
    assert len(list((tmp_path / "keep").glob("*.png"))) == 4
    rates = [line[5] for line in lines]
    assert universal.main(flags) == 0
    assert [line.split(" | ")[5] for line in part(page, "universal").splitlines()
            if line.startswith(("| one", "| two"))] == rates
