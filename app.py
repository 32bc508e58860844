"""Starts the app: python app.py [--host HOST] [--port PORT] [--models-dir DIR]."""

import argparse
import os
import sys
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CLIP robustness explorer, in a browser.")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT", "7860"))
    parser.add_argument("--models-dir", type=Path, action="append", default=[],
                        help="a folder of open_clip model folders to offer as well")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from explorer.errors import InputError
    from explorer.models import Library
    from explorer.ui.shell import PAIR, build, launch_options, warm

    try:
        library = Library(folders=args.models_dir)
        demo = build(library)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        demo.launch(server_name=args.host, server_port=args.port, prevent_thread_lock=True,
                    **launch_options())
    except (OSError, OverflowError):  # taken, or no port number at all
        print(f"error: cannot serve on {args.host}:{args.port}; the port may be taken: choose "
              "another by --port", file=sys.stderr)
        return 1
    warm(library, PAIR)
    demo.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
