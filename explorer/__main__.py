"""python -m explorer"""

import io
import sys

from explorer.actions.cli import main

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a caption must not fail on a terminal's encoding
        stream.reconfigure(errors="backslashreplace")
sys.exit(main())
