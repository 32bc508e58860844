"""The paper's table on a tiny model: a short, smaller run of `make reproduce`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from training_helpers import write_parquet, write_tiny

from bench.reproduce import config as settings
from bench.reproduce.__main__ import main
from bench.reproduce.report import Table, interval, spread, strongest
from bench.reproduce.work import KINDS, Cell
from explorer.base.errors import InputError
from explorer.base.intervals import wilson

HERE = Path(settings.__file__).parent
CONFIG = """
base = "local-dir:{base}"
train = "train.parquet"
known = "known.parquet"
others = ["other.parquet"]
images = 8
eps = [1]
curve = [1, 2]
attack_steps = 2
words = 1
[recipe]
steps = 2
batch = 8
inner_steps = 1
lr = 1e-3
precision = "fp32"
[[rows]]
method = "tecoa"
seeds = [0, 1]
[[rows]]
method = "mmcoa"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduce")
    for seed, name in enumerate(("train", "known", "other")):
        write_parquet(folder / f"{name}.parquet", 24, seed=seed)
    (folder / "config.toml").write_text(CONFIG.format(base=write_tiny(folder / "base")))
    return folder


def test_a_small_run_makes_the_page_and_goes_on_from_what_is_there(
        place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--config", str(place / "config.toml"), "--data", str(place), "--work",
            str(place / "work"), "--page", str(place / "page.md")]
    assert main(call) == 0
    page = (place / "page.md").read_text("utf-8")
    for part in ("(a)", "(b)", "(c)", "base, not tuned", "`tecoa`", "`mmcoa`", "seeds", "n = 8",
                 "trained on its distribution", "never trained on", "page.svg"):
        assert part in page, part
    assert (place / "page.svg").read_text("utf-8").count("<svg") == 1
    cells = sorted((place / "work" / "cells").glob("*.json"))
    assert len(cells) == 4 * 3  # base, two of tecoa, mmcoa; 1 and 2 on known, 1 on other
    first = json.loads(cells[0].read_text("utf-8"))
    assert set(first["hits"]) == set(KINDS) and all(len(v) == 8 for v in first["hits"].values())
    capsys.readouterr()
    assert main(call) == 0
    assert capsys.readouterr().out.startswith("wrote")  # nothing was computed again
    assert (place / "page.md").read_text("utf-8") == page


def test_a_damaged_config_is_refused_in_a_sentence(
        place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "bad.toml").write_text("base = 3")
    assert main(["--config", str(place / "bad.toml"), "--work", str(place / "w")]) == 2
    assert "error: cannot use bad.toml" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot use nowhere.toml"):
        settings.read(place / "nowhere.toml")


@pytest.mark.parametrize("name", ["embedded.toml", "paper.toml"])
def test_the_configs_are_valid_and_compare_like_with_like(name: str) -> None:
    config = settings.read(HERE / name)
    methods = {row.method: row for row in config.rows}
    assert {"clip", "tecoa", "fare", "leaf", "mmcoa", "mmcoa+"} == set(methods)
    assert len(methods["tecoa"].seeds) == len(methods["mmcoa"].seeds) == 3
    recipes = [config.of(row, 0).as_dict() for row in config.rows if row.method != "mmcoa+"]
    assert all({**r, "method": ""} == {**recipes[0], "method": ""} for r in recipes)


def test_intervals_of_one_and_of_several_seeds() -> None:
    one = np.array([[1.0] * 30 + [0.0] * 70])
    assert interval(one) == wilson(30, 100)
    low, high = interval(np.concatenate([one, one]))
    width = 2 * 1.96 * (0.3 * 0.7 / 100) ** 0.5
    assert low < 0.3 < high and high - low == pytest.approx(width, abs=0.02)
    assert spread(np.zeros(50)) == (0.0, 0.0)


def test_the_answer_follows_the_cells(place: Path) -> None:
    config = settings.read(place / "config.toml")

    def cell(joint: int) -> Cell:
        hits = {"clean": [1] * 4, "image": [1, 1, 0, 0], "text": [1, 1, 1, 0],
                "joint": [1] * joint + [0] * (4 - joint)}
        return Cell("m", "none", 0, "known", 1, hits, 1.0)

    assert "Yes: in 1 of 1" in strongest(Table([cell(1)]), config)
    assert "No: in 0 of 1" in strongest(Table([cell(3)]), config)
