"""The command line: python -m explorer models | attack | evaluate | detect | compare | convert |
train | replay.

Only reads flags (explorer.actions.arguments); the work is in explorer.actions.commands, imported
once they are read, so that --help and a mistyped flag answer at once. Wrong input: status 2 and one
line on standard error.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from explorer.actions.arguments import parser
from explorer.base.errors import InputError

WRONG_INPUT, INTERRUPTED = 2, 130


def _run(argv: Sequence[str] | None) -> int:
    args = parser().parse_args(argv)
    from explorer.actions import commands

    return getattr(commands, args.command)(args) or 0


def _say(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
        print(" ".join(line.split()), file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status: 0, 1 (a replay that does not hold, an evaluation
    that left something out), 2 (wrong input) or 130 (Ctrl-C)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # standard error is for our one line
            return _run(argv)
    except InputError as error:
        _say(f"error: {error}")
        return WRONG_INPUT
    except KeyboardInterrupt:
        kept = any(word.startswith("--keep") for word in argv or sys.argv[1:])
        _say("interrupted: what is finished is kept, and the same command goes on with it" if kept
             else "interrupted: nothing was written")
        return INTERRUPTED
