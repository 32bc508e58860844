"""The flags of `python -m explorer train`, made from the fields of Recipe. No heavy import."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from explorer.training.recipe import Recipe

COMMON = ("method", "eps", "inner_steps", "epochs", "steps", "batch", "lr", "seed")


def _on_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"must be on or off, not '{text}'")
    return text == "on"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Every flag; those of the recipe are None where they are not given."""
    parser.add_argument("--data", metavar="PATH", help="pictures to train on: a parquet, CSV or "
                        "JSON file, a zip or tar, a folder, or hf:NAME[:SPLIT]")
    parser.add_argument("--columns", metavar="C", help="columns of the data's table, where "
                        "their names are not known: image=NAME,caption=NAME (or label=NAME)")
    parser.add_argument("--dry-run", action="store_true", help="say what is understood of the "
                        "data, train nothing, and end")
    parser.add_argument("--base", metavar="ID", help="id of `models` to start from, or "
                        "local-dir:FOLDER (default pocket)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR",
                        help="folder of the run: log, checkpoints, and the model at the end")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="all that is asked for, as JSON "
                        "of the form of a run's run.json, in the place of the other flags")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in "
                        "--out, with the settings it was started with")
    parser.add_argument("--eval-data", metavar="PATH", help="pictures to measure on (default: "
                        "some of --data, held out)")
    parser.add_argument("--name", metavar="ID", help="id of the new model (default: the folder's "
                        "name)")
    parser.add_argument("--minutes", type=float, metavar="M", help="as many steps as take about so "
                        "long here, measurements included: the run times a few of them")
    parser.add_argument("--save-every", type=int, metavar="N", help="steps between checkpoints "
                        "(default 50)")
    parser.add_argument("--probe-every", type=int, metavar="N", help="steps between measurements "
                        "(default: a tenth of the run)")
    parser.add_argument("--probe-images", type=int, metavar="N", help="pictures measured (default "
                        "128)")
    parser.add_argument("--models-dir", type=Path, action="append", default=[], metavar="DIR",
                        help="a folder of open_clip model folders to offer as well")
    parser.add_argument("--device", choices=["cpu"], help="cpu: even where there is a GPU (which "
                        "GPUs: see `accelerate launch --help`)")
    first = parser.add_argument_group("the method")
    more = parser.add_argument_group("more settings")
    known = {field.name: field for field in fields(Recipe)}
    for name in (*COMMON, *(n for n in known if n not in COMMON)):
        _add(first if name in COMMON else more, name, known[name])


def _add(group: Any, name: str, field: Any) -> None:
    form, kind = field.metadata, str(field.type)
    default = field.default
    said = f"{form['help']} (default {_said(default, form)})" if default not in (None, "") else (
        form["help"])
    options: dict[str, Any] = {"help": said.replace("%", "%%"), "dest": name}
    if form.get("choices"):
        options["choices"] = form["choices"]
    elif form.get("unit") == "/255":
        options["metavar"] = "E"  # read by budgets.parse_eps, so that 1/255 is understood
    elif kind.startswith("int"):
        options |= {"type": int, "metavar": "N"}
    elif kind.startswith("float"):
        options |= {"type": float, "metavar": "X"}
    elif kind == "bool":
        options |= {"type": _on_off, "metavar": "on|off"}
    else:
        options["metavar"] = "TEXT"
    group.add_argument(f"--{name.replace('_', '-')}", **options)


def _said(default: Any, form: Any) -> str:
    if form.get("unit") == "/255":
        return f"{round(default * 255, 6):g}/255"
    return {True: "on", False: "off"}.get(default, str(default)) if isinstance(
        default, bool) else str(default)
