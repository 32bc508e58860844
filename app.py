"""Starts the app: python app.py [--host HOST] [--port PORT] [--models-dir DIR] [...]."""

import argparse
import gc
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from explorer.server.starting import Doorman


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="CLIP robustness explorer, in a browser. Limits: docs/deploy.md.")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT", "7860"))
    parser.add_argument("--models-dir", type=Path, action="append", default=[],
                        help="a folder of open_clip model folders to offer as well")
    parser.add_argument("--root-path", help="the path under which a proxy serves the app")
    parser.add_argument("--auth", metavar="FILE", help="ask for a log-in: lines of user:password")
    parser.add_argument("--enable-training", action="store_true", help="let visitors train models")
    parser.add_argument("--runs-dir", metavar="DIR", help="folder of training runs (default runs)")
    parser.add_argument("--data", metavar="DIR", help="folder of image sets to offer to visitors")
    parser.add_argument("--api", choices=["off", "local", "all"], help="who may call the app from "
                        "programs; local, the default: this computer (docs/api.md)")
    parser.add_argument("--mcp", action="store_true", help="offer the API as MCP tools, at /mcp")
    parser.add_argument("--demo", nargs="?", const="open", choices=["open", "closed"],
                        help="rotate finished examples, large, until somebody touches the page; "
                        "closed: without training and uploads (docs/teaching.md)")
    parser.add_argument("--preset", metavar="FILE", help="what a page opens with: docs/teaching.md")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    gc.disable()  # it would look through all modules again and again; on once the models are open
    from explorer.server.starting import Doorman, open_port

    try:
        bound = open_port(args.host, args.port)
    except (OSError, OverflowError):  # taken, or no port number at all
        print(f"error: cannot serve on {args.host}:{args.port}; the port may be taken: choose "
              "another by --port", file=sys.stderr)
        return 1
    with Doorman(bound) as doorman:
        return serve(args, doorman)


def serve(args: argparse.Namespace, doorman: "Doorman") -> int:
    """Builds the app and serves it; the exit status. The page's own modules take seconds: they come
    after all that can be refused at once."""
    from explorer.base.errors import InputError
    from explorer.base.settings import current
    from explorer.models.library import Library

    try:
        given = {"root_path": args.root_path, "auth_file": args.auth,
                 "training": args.enable_training or None, "runs": args.runs_dir,
                 "preset": args.preset, "demo": args.demo, "data": args.data, "api": args.api,
                 "mcp": args.mcp or None}
        settings = replace(current(), **{k: v for k, v in given.items() if v is not None})
        library = Library(folders=args.models_dir, listed_only=True)
        from explorer.ui import import_gradio

        import_gradio()
        from explorer.ui.shell import run

        run(library, settings, args.host, doorman)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot read or write {error.filename}: {error.strerror}; is the app's "
              "folder complete, and is there room in the temporary folder?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
