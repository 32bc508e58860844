"""The measuring programs: what they count, compare and write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from helpers import grid_images
from training_helpers import tiny_model

from bench import before, start, versions
from bench.before import earlier
from bench.roofline import Roof, fastest, section, shapes, speed, step
from bench.start import Start
from explorer.data.pairs import Pairs


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
                          cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of three commits, the first one tagged."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    for number in range(3):
        (folder / "file").write_text(str(number), encoding="utf-8")
        git(folder, "add", "file")
        git(folder, "commit", "-qm", str(number))
        if number == 0:
            git(folder, "tag", "v1")
    monkeypatch.setattr(before, "ROOT", folder)
    return folder


def test_the_version_before_is_the_newest_tag_or_the_last_commit(history: Path) -> None:
    assert before.default() == "v1"
    git(history, "tag", "v3")  # this version's own
    assert before.default() == "v1"
    git(history, "tag", "-d", "v1")
    assert before.default() == "HEAD~1"
    with pytest.raises(SystemExit, match="worktree add"), earlier("no-such-version"):
        pass


def test_the_version_before_lies_beside_this_one_and_goes(history: Path) -> None:
    (history / "file").write_text("not committed", encoding="utf-8")
    with earlier("v1") as place:
        assert (place / "file").read_text("utf-8") == "0"
    assert not place.exists() and (history / "file").read_text("utf-8") == "not committed"
    assert len(git(history, "worktree", "list").splitlines()) == 1


def test_the_work_of_a_step_is_counted_and_the_roof_is_its_quotient() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = tiny_model()
    counts = []
    for n in (1, 2):
        pairs = Pairs(grid_images(n, 32), ("a", "b"), torch.zeros(n, dtype=torch.long))
        job = step(model, pairs)
        with FlopCounterMode(display=False) as counted:
            assert job().shape == pairs.images.shape
        counts.append(counted.get_total_flops())
    assert 0 < counts[0] < counts[1] <= 2 * counts[0]
    # By hand, a layer of 17 tokens of width 32: its four products forward, and as many back.
    layer = 2 * 17 * 32 * (3 * 32 + 32 + 2 * 4 * 32)
    assert counts[0] > 2 * 2 * layer
    wide = torch.nn.Module()
    wide.register_parameter("w", torch.nn.Parameter(torch.zeros(256, 128)))
    model.clip.visual = wide
    assert list(shapes(model, 5)) == [(5, 128, 256)]
    assert speed(4, 128, 256, torch.float32, 1) > 0 and len(fastest([lambda: 1], 1)) == 1
    told = section([Roof(32, "float32", 40 * 10**9, 100e9, 0.5)])
    assert "| 32 | float32 | 40 GFLOP | 100 GFLOP/s | 0.40 s | 0.50 s | 80% |" in told


def test_two_versions_are_told_side_by_side() -> None:
    one, two = (Start((s, s / 2), (2 * s, s), (3 * s, 2 * s), (4 * s, 3 * s), s / 10)
                for s in (4.0, 2.0))
    assert start._row("x", "page", "5 s", [(one, two)]) == (
        "| x | 8.0 s (4.0) | 4.0 s (2.0) | 0.50 (0.50) | 5 s |")
    assert "| 0.40 GB | 0.20 GB | 0.50 | 2.5 GB |" in start._resident([(one, two)])
    task = versions.Task(1, True)
    bare = versions.Task(1, True, True, True)
    row = versions._row(task, {task: ((0.3, 0.6), (0.21, 0.3)), bare: ((0.2, 0.3), (0.2, 0.3))})
    assert row == ("| batch 1, fast, new pictures | 300 ms | 210 ms | 0.70 (0.50) | 1.50 (2.00) | "
                   "1.05 (1.00) |")
