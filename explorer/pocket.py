"""python -m explorer.pocket: the builders of the embedded pair, which are in tools/pocket."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tools.pocket", run_name="__main__", alter_sys=True)
