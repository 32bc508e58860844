"""The command line: python -m explorer models | attack | evaluate | compare | convert |
train | replay.

Only reads flags; the work is in explorer.actions.commands, imported once they are read, so that
--help and a mistyped flag answer at once. Wrong input: status 2 and one line on standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from explorer.base.errors import InputError
from explorer.models.naming import norm_named
from explorer.training.flags import add_flags

# Of the registries, which are too heavy to import here; a test compares them.
IMAGE_NAMES = ("pgd, fgsm, mi-fgsm, apgd, apgd-dlr, apgd-t, square, transfer, eot, strong, "
               "noise")
TEXT_NAMES = "bert, synonym, hotflip, character, typo, textattack:RECIPE"
DEFENCE_NAMES = ("jpeg, bit-depth, blur, median, resize, random-pad, noise-vote, ensemble, ttc, "
                 "reliable-views, agc")
JOINT_NAMES = "separate, co-attack, set-guided, alternating"
WRONG_INPUT, INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the flags as every other mistake is said, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def _add_models(parser: argparse.ArgumentParser, required: bool = True) -> None:
    parser.add_argument("--models", required=required, metavar="A,B",
                        help="ids of `models`, folders of models, hf-hub:NAME or "
                        "open_clip:ARCHITECTURE:TAG (docs/models.md)")
    _add_folders(parser)
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (default: the best there is)")


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models-dir", type=Path, action="append", default=[], metavar="DIR",
                        help="a folder of open_clip model folders to offer as well")


def _add_budget(parser: argparse.ArgumentParser, paper_steps: int, several: bool = False) -> None:
    group = parser.add_argument_group("the attack")
    group.add_argument("--eps", metavar="E,F" if several else "E",
                       help="largest change, as 1/255 or 0.004, in pixel values from 0 to 1 "
                       f"(default 1/255; for l2 0.5){'; or several' * several}")
    group.add_argument("--norm", choices=["linf", "l2"], default="linf", type=norm_named,
                       help="linf: each pixel by at most E; l2: the whole change (default linf)")
    group.add_argument("--steps", type=int, metavar="N",
                       help="of attacks that take steps (default: the attack's own, pgd 10)")
    group.add_argument("--step", metavar="S", help="step size of pgd (default 1/255 up to eps "
                       "4/255, else 2.5 eps / steps)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    group.add_argument("--preset", choices=["paper"],
                       help=f"paper: pgd, eps 1/255, step 1/255, {paper_steps} steps, random "
                       "start; bert with kl on all captions; separate, as in arXiv 2404.19287; "
                       "other flags change it")


def _add_text(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("words and characters")
    group.add_argument("--words", type=int, metavar="N", help="words to exchange (default 1)")
    group.add_argument("--chars", type=int, metavar="N",
                       help="edit distance of the attack character (default 1)")
    group.add_argument("--objective", choices=["goal", "kl", "cosine"],
                       help="goal: away from being right; kl, cosine: away from the clean "
                       "caption's embedding (default goal)")
    group.add_argument("--text-captions", choices=["true", "all"],
                       help="change the true caption, or all at once (default true)")
    group.add_argument("--similarity", type=float, metavar="S",
                       help="least cosine of the sentence embeddings, 0 to 1")
    group.add_argument("--protect", action="store_true", help="leave the class words alone")
    group.add_argument("--masked-lm", metavar="NAME", help="masked language model of bert: a "
                       "name or folder (default: the embedded one)")
    group = parser.add_argument_group("joint attacks")
    group.add_argument("--image-attack", metavar="NAME", help="the image half (default pgd)")
    group.add_argument("--text-attack", metavar="NAME", help="the text half (default bert)")
    group.add_argument("--rounds", type=int, metavar="N", help="of alternating (default 2)")
    group.add_argument("--alpha", type=float, metavar="A", help="of co-attack (default 3)")


def _add_defence(parser: argparse.ArgumentParser, several: bool = False) -> None:
    group = parser.add_argument_group("a defence when the picture is read (docs/defences.md)")
    group.add_argument("--defence", metavar="A,B" if several else "NAME",
                       help=f"{DEFENCE_NAMES}; with a setting of its own jpeg:quality=50"
                       + "; none is no defence (default none)" * several)
    group.add_argument("--attacker", choices=["unaware", "aware", *["both"] * several],
                       default="unaware", help="aware: the attacker knows of the defence and "
                       f"follows its slope{'; both: each in turn' * several} (default unaware)")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure accuracy or recall on image sets",
                                   allow_abbrev=False)
    evaluate.add_argument("--data", required=True, metavar="A,B", action="append",
                          help="image sets: names of the catalogue such as cifar10 (docs/"
                          "evaluate.md), files and folders (docs/data.md), patterns such as "
                          "'{00..09}.tar', or hf:NAME; may be given again")
    evaluate.add_argument("--columns", metavar="C", help="columns of the data's table, where "
                          "their names are not known: image=NAME,caption=NAME (or label=NAME)")
    evaluate.add_argument("--dry-run", action="store_true", help="say what is understood of the "
                          "data, measure nothing, and end")
    evaluate.add_argument("--data-root", type=Path, metavar="DIR",
                          help="folder of the catalogue's sets (default: that of EXPLORER_DATA)")
    evaluate.add_argument("--task", choices=["classification", "retrieval"],
                          default="classification", help="which caption fits the image; or find "
                          "captions by image and images by caption, in a set with several "
                          "captions an image (default classification)")
    evaluate.add_argument("--attacks", default="clean,image", metavar="A,B",
                          help="clean, image, text, joint (see --image-attack and the like), "
                          f"{IMAGE_NAMES}, {TEXT_NAMES}, {JOINT_NAMES} (default clean,image)")
    evaluate.add_argument("--joint-attack", metavar="NAME",
                          help="what 'joint' is (default alternating; separate is the paper's)")
    evaluate.add_argument("--limit", type=int, metavar="N",
                          help="draw this many images of each set, fixed by the seed (default all)")
    evaluate.add_argument("--batch", type=int, default=32, metavar="N",
                          help="images at a time (default 32)")
    evaluate.add_argument("--keep", type=Path, metavar="DIR",
                          help="keep finished parts here: the same command goes on where it was "
                          "ended, and another one measures only what is new")
    evaluate.add_argument("--estimate", action="store_true",
                          help="say how long it would take, measured here, and end")
    _add_models(evaluate, required=False)  # --dry-run needs none
    _add_budget(evaluate, paper_steps=100, several=True)
    _add_text(evaluate)
    _add_defence(evaluate, several=True)
    evaluate.add_argument("--out", type=Path, metavar="FILE",
                          help="ends in .json, .csv, .md or .tex (needed but with --dry-run)")
    evaluate.set_defaults(command="evaluate", paper_steps=100)


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser("compare", help="lay evaluations side by side",
                                  allow_abbrev=False)
    compare.add_argument("tables", type=Path, nargs="+", metavar="FILE.json",
                         help="as `evaluate` writes them")
    compare.add_argument("--out", type=Path, metavar="FILE",
                         help="ends in .json, .csv, .md or .tex (default: print only)")
    compare.set_defaults(command="compare")


def _add_convert(commands: Any) -> None:
    convert = commands.add_parser("convert", help="make a model folder of a file of weights",
                                  allow_abbrev=False)
    convert.add_argument("file", type=Path, metavar="FILE",
                         help="weights in .safetensors, or as torch.save wrote them (.pt, .pth, "
                         ".bin, .ckpt), or a folder with them; no code in it is run")
    convert.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="a new folder")
    convert.add_argument("--arch", metavar="NAME", help="open_clip's name of the architecture, "
                         "such as ViT-B-32-quickgelu, or a .json file with its config (default: a "
                         "config beside FILE, or the only one that fits)")
    convert.add_argument("--base", metavar="ID", help="the model that a tower alone belongs to: "
                         "what FILE does not have is taken from it")
    convert.add_argument("--take", metavar="PART", help="the part of FILE to take where it holds "
                         "several models (default: averaged weights, if there are some)")
    convert.add_argument("--kind", choices=["standard", "robust"], default="standard",
                         help="what the model's card says (default standard)")
    _add_folders(convert)
    convert.set_defaults(command="convert")


def parser() -> Parser:
    """All flags; `set_defaults(command=...)` names the function of explorer.actions.commands."""
    top = Parser(prog="python -m explorer", allow_abbrev=False,
                 description="CLIP robustness explorer: attack CLIP models and measure them.")
    commands = top.add_subparsers(required=True,
                                  metavar="models | attack | evaluate | compare | convert | "
                                          "train | replay")

    models = commands.add_parser("models", help="list the models", allow_abbrev=False)
    models.add_argument("--json", action="store_true", help="as JSON")
    _add_folders(models)
    models.set_defaults(command="models")

    attack = commands.add_parser("attack", help="attack one image", allow_abbrev=False)
    attack.add_argument("--image", required=True, metavar="F", help="a PNG, JPEG or such")
    attack.add_argument("--caption", action="append", required=True, dest="captions", metavar="T",
                        help="a possible answer; give it once for each")
    attack.add_argument("--label", type=int, default=0, metavar="N",
                        help="number of the true caption, from 0 (default 0)")
    attack.add_argument("--target", metavar="T", help="a caption that should win instead")
    attack.add_argument("--kind", choices=["image", "text", "joint"], default="image",
                        help="what is attacked (default image)")
    attack.add_argument("--attack", metavar="NAME", help=f"image: {IMAGE_NAMES}; text: "
                        f"{TEXT_NAMES}; joint: {JOINT_NAMES} (default pgd, bert or alternating)")
    attack.add_argument("--goal", choices=["classification", "similarity", "embedding"],
                        default="classification", help="default classification")
    _add_models(attack)
    _add_budget(attack, paper_steps=10)
    _add_text(attack)
    _add_defence(attack)
    attack.add_argument("--out", required=True, type=Path, metavar="DIR",
                        help="folder for result.json and the pictures")
    attack.set_defaults(command="attack", paper_steps=10)

    _add_evaluate(commands)
    _add_compare(commands)
    _add_convert(commands)

    replay = commands.add_parser("replay", help="score a saved bundle again",
                                 allow_abbrev=False)
    replay.add_argument("bundle", type=Path, metavar="BUNDLE.zip",
                        help="as `attack` and the app save it")
    replay.add_argument("--rerun", action="store_true", help="attack again, too")
    _add_folders(replay)
    replay.add_argument("--device", metavar="NAME", help="cpu or cuda (default: the best there is)")
    replay.set_defaults(command="replay")

    train = commands.add_parser("train", help="fine-tune a model against attacks",
                                allow_abbrev=False)
    add_flags(train)
    train.set_defaults(command="train")
    return top


def _run(argv: Sequence[str] | None) -> int:
    args = parser().parse_args(argv)
    from explorer.actions import commands

    run = {"models": commands.models, "attack": commands.attack, "evaluate": commands.evaluate,
           "compare": commands.compare, "convert": commands.convert, "train": commands.train,
           "replay": commands.replay}
    return run[args.command](args) or 0


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
