"""The tests of test_fuzz.py again, led by the code's branches: python tests/coverage_fuzz.py.

Needs atheris (Linux, `pip install atheris`); says so and ends well where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRACED = ("explorer.data.archives", "explorer.results.bundle", "explorer.data.text_tables",
          "explorer.data.pairs", "explorer.results.replay",
          "explorer.server", "explorer.base.settings")


def follow(name: str, runs: int) -> None:
    """Runs one test on inputs that reach new branches; the process ends with it."""
    import atheris

    with atheris.instrument_imports(include=list(TRACED)):
        test = getattr(importlib.import_module("test_fuzz"), name)
    atheris.Setup([sys.argv[0], f"-runs={runs}", "-max_len=4096", "-timeout=60", "-verbosity=0"],
                  test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="tests; all of test_fuzz.py by default")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: only the random cases were tried")
        return 0
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    if args.one:
        follow(args.names[0], args.runs)
    names = args.names or [name for name, test in vars(importlib.import_module("test_fuzz")).items()
                           if name.startswith("test_") and hasattr(test, "hypothesis")]
    again = [sys.executable, __file__, "--one", "--runs", str(args.runs)]
    failed = [name for name in names if subprocess.run([*again, name], check=False).returncode]
    print(f"{len(names) - len(failed)} of {len(names)} tests hold after {args.runs} cases led by "
          f"coverage{': ' + ', '.join(failed) + ' do not' if failed else ''}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
