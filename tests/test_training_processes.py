"""Two gloo processes on the CPU compute what one does on the joined batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_helpers import write_parquet, write_tiny
from training_worker import measure

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1",
               "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}


@pytest.mark.parametrize(("method", "targets"), [
    ("mmcoa+", "soft"), pytest.param("mmcoa", "paper", marks=pytest.mark.slow),
])
def test_two_processes_have_the_losses_and_gradients_of_one(
        tmp_path: Path, method: str, targets: str) -> None:
    path = write_parquet(tmp_path / "set.parquet")
    alone = measure(str(path), method, targets)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "--master-port", "0", "--standalone", str(ROOT / "tests" / "training_worker.py"),
         str(path), str(tmp_path / "two.pt"), method, targets],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    assert two["processes"] == 2
    for ours, theirs in zip(two["losses"], alone["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert two["gradients"].keys() == alone["gradients"].keys()
    for name, gradient in alone["gradients"].items():
        torch.testing.assert_close(two["gradients"][name], gradient, rtol=1e-3, atol=1e-6,
                                   msg=name)


@pytest.mark.nightly
def test_accelerate_launches_the_command_on_two_processes(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny")
    path = write_parquet(tmp_path / "set.parquet")
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
         "--num_machines", "1", "--mixed_precision", "no", "--main_process_port", "0",
         "--dynamo_backend", "no", "-m", "explorer", "train", "--data", str(path), "--base",
         f"local-dir:{tmp_path / 'tiny'}", "--method", "clip", "--steps", "3", "--batch", "8",
         "--save-every", "2", "--probe-images", "8", "--precision", "fp32", "--device", "cpu",
         "--out", str(tmp_path / "out")],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(t) for t in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [t["index"] for t in told if t["kind"] == "step"] == [1, 2, 3]  # once each
    assert told[-1]["kind"] == "end"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["processes"] == 2
    assert (tmp_path / "out" / "model" / "card.json").is_file()
