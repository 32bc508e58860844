"""Breaks the library in one place at a time, in a copy, and tells which tests notice.

python tests/mutations.py [PART OF A NAME ...]: `make bites`. Ends with 1 if a fault stays unseen.
A place is found by its text, wherever it stands in explorer/; a text that is no longer there ends
the script, so that the list keeps up with the code.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTEXT = multiprocessing.get_context("forkserver")
LARGE = ["pytest", "torch", "open_clip", "timm", "transformers", "gradio", "hypothesis"]
ATTACKS = "tests/test_attacks.py -k 'closed_form or saved_picture or every_attack and noise'"
MOST = 3  # failing tests are enough to know that a fault is noticed
COPIED = ("explorer", "tools", "tests", "app.py", "bench", "deploy", "examples", "pyproject.toml")


@dataclass(frozen=True)
class Fault:
    """A mistake somebody could make. old, new: what stands there and what is put in its place;
    tests: arguments for pytest, the tests of that place."""

    name: str
    old: str
    new: str
    tests: str


FAULTS = (
    Fault("PGD walks down the gradient",
          "x = ball.project(x + self.step_size * ball.direction(grad), clean)",
          "x = ball.project(x - self.step_size * ball.direction(grad), clean)",
          ATTACKS),
    Fault("nothing holds an L-inf attack inside its budget",
          "torch.minimum(torch.maximum(x, clean - self.eps), clean + self.eps).clamp(0, 1)",
          "x.clamp(0, 1)", f"tests/test_budgets.py {ATTACKS}"),
    Fault("the picture is not rounded to 8 bits",
          "lambda rows: attack.ball.quantise(raw[rows], on.clean[rows]))",
          "lambda rows: raw[rows])", ATTACKS),
    Fault("the default step is ten times too small",
          "return 2.5 * eps / max(steps, 1)", "return 0.25 * eps / max(steps, 1)",
          "tests/test_cli.py -k default"),
    Fault("the seed changes nothing", "self.generators = []", "self.generators, seed = [], 0",
          "tests/test_attacks.py tests/test_joint.py -k 'seed or every_attack and noise'"),
    Fault("a targeted attack leads away from its target",
          "return -F.cross_entropy(self.scale * cosines(image, text), self.targets",
          "return F.cross_entropy(self.scale * cosines(image, text), self.targets",
          "tests/test_goals.py"),
    Fault("a word more than the budget may change",
          "words_changed(clean, caption) > self.words",
          "words_changed(clean, caption) > self.words + 1",
          "tests/test_edits.py"),
    Fault("pictures are not normalised", "x = (pixels.to(self.device) - self.mean) / self.std",
          "x = pixels.to(self.device)", "tests/test_models.py -k 'features or plain'"),
    Fault("the Wilson interval lacks its correction",
          "half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))",
          "half = Z95 * math.sqrt(p * (1 - p) / n)", "tests/test_metrics.py"),
    Fault("a table gives every model the numbers of the last",
          "if (row.data, row.model) == (data, model)}", "if row.data == data}",
          "tests/test_evaluation_tables.py"),
    Fault("a table loses its last column",
          "columns = _unique([c.strip() for c in found[0][1]])",
          "columns = _unique([c.strip() for c in found[0][1][:-1]])", "tests/test_datasets.py"),
    Fault("an archive may climb out of its folder", 'or ".." in parts', "or False",
          "tests/test_archives.py -k lead_out"),
    Fault("damaged weights are opened",
          "if checksum is not None and sha256_of(folder / name) != checksum.lower():",
          "if False:", "tests/test_server_faults.py tests/test_models.py -k damaged"),
    Fault("other sites may post", "return None if theirs and theirs in own else refused",
          "return None", "tests/test_server_hostile.py -k other_sites"),
    Fault("a visitor may fetch what another sent",
          "return owners is None or visitor in owners", "return True",
          "tests/test_server_restarts.py -k uploads"),
)


def places_of(fault: Fault) -> list[Path]:
    """The files of explorer/ that hold its text."""
    found = [p.relative_to(ROOT) for p in (ROOT / "explorer").rglob("*.py")
             if fault.old in p.read_text("utf-8")]
    if not found:
        sys.exit(f"{fault.name}: this text is nowhere in explorer/: {fault.old}")
    return found


def copied(to: Path) -> None:
    """The code as it is; what is only read is linked."""
    for path in ROOT.iterdir():
        if path.name in COPIED:
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, to / path.name)
        elif path.name != ".git":
            (to / path.name).symlink_to(path)


def noticed(fault: Fault, tree: Path) -> list[str]:
    """The first tests that fail with the fault in the code, at most MOST."""
    sound = {tree / p: (ROOT / p).read_text("utf-8") for p in places_of(fault)}
    for file, text in sound.items():
        file.write_text(text.replace(fault.old, fault.new), "utf-8")
    said = tree / "said.txt"
    try:
        process = CONTEXT.Process(target=run_tests, args=(tree, shlex.split(fault.tests), said))
        process.start()
        process.join()
    finally:
        for file, text in sound.items():
            file.write_text(text, "utf-8")
    told = said.read_text("utf-8")
    assert process.exitcode in (0, 1), told[-4000:]
    return re.findall(r"^(?:FAILED|ERROR) tests/(\S+)", told, re.MULTILINE)


def run_tests(tree: Path, arguments: list[str], said: Path) -> None:
    """In a process of its own, which finds the large libraries imported."""
    os.chdir(tree)
    sys.dont_write_bytecode = True
    sys.path[:] = [p for p in sys.path if p not in ("", str(ROOT), str(ROOT / "tests"))]
    with open(said, "w", encoding="utf-8") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
    sys.exit(int(pytest.main(["-q", "--tb=no", f"--maxfail={MOST}", "-p", "no:cacheprovider",
                              "-m", "not slow and not nightly and not browser", *arguments])))


def main(asked: list[str]) -> int:
    chosen = [f for f in FAULTS if not asked or any(word in f.name for word in asked)]
    for fault in chosen:
        places_of(fault)
    CONTEXT.set_forkserver_preload(LARGE)
    os.environ["OMP_NUM_THREADS"] = "1"
    unseen = 0
    with tempfile.TemporaryDirectory() as folder:
        copied(Path(folder))
        for fault in chosen:
            tests = noticed(fault, Path(folder))
            names = list(dict.fromkeys(test.partition("[")[0] for test in tests))
            many = f"{len(tests)}{' or more' * (len(tests) >= MOST)}" if tests else "NO"
            print(f"{fault.name}: {many} tests fail", *names, sep="\n    ", flush=True)
            unseen += not tests
    print(f"{len(chosen) - unseen} of {len(chosen)} faults were noticed")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
