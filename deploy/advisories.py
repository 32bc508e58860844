"""Known holes in what is installed: python -m deploy.advisories. Runs pip-audit, and says so when
it could not ask anybody, which pip-audit itself passes over."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def judge(text: str) -> tuple[int, list[str]]:
    """pip-audit's JSON -> exit status and what to say. 0: nothing known; 1: holes; 3: not asked."""
    try:
        packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 3, ["pip-audit could not reach an advisory service: nothing was audited"]
    asked = [p for p in packages if "skip_reason" not in p]
    holes = [f"{p['name']} {p['version']}: {v['id']}, fixed in "
             f"{', '.join(v['fix_versions']) or '-'}" for p in asked for v in p["vulns"]]
    if not asked:
        return 3, [f"the package index here gives no advisories for any of the {len(packages)} "
                   "installed packages: nothing was audited"]
    said = f"{len(asked)} of {len(packages)} packages were audited: {len(holes)} known holes"
    return (1 if holes else 0), [*holes, said]


def main() -> int:
    done = subprocess.run([sys.executable, "-m", "pip_audit", "--format", "json",
                           "--progress-spinner", "off", "--timeout", "20"],
                          capture_output=True, text=True, check=False)
    status, words = judge(done.stdout)
    print("\n".join(words))
    return status


if __name__ == "__main__":
    sys.exit(main())
