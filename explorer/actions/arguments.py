"""The flags of the command line: what may be asked of each command, and what stands in its help."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from explorer.base.errors import InputError
from explorer.models.naming import norm_named
from explorer.training.flags import add_flags

# Of the registries, which are too heavy to import here; a test compares them.
IMAGE_NAMES = ("pgd, fgsm, mi-fgsm, apgd, apgd-dlr, apgd-t, square, transfer, eot, strong, "
               "universal, noise, patch, typographic")
TEXT_NAMES = "bert, synonym, hotflip, character, typo, textattack:RECIPE"
DEFENCE_NAMES = ("jpeg, bit-depth, blur, median, resize, random-pad, noise-vote, ensemble, ttc, "
                 "reliable-views, agc")
CORRUPTION_NAMES = ("gaussian-noise, shot-noise, impulse-noise, defocus-blur, glass-blur, "
                    "motion-blur, zoom-blur, snow, frost, fog, brightness, contrast, "
                    "elastic-transform, pixelate, jpeg-compression")
DETECTOR_NAMES = "stability, padding"
JOINT_NAMES = "separate, co-attack, set-guided, alternating"


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


def _add_perturbation(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("one change for all photos (docs/universal.md)")
    group.add_argument("--perturbation", metavar="FILE", help="of the attack universal: a .png, "
                       ".npy or .safetensors file, pocket or pocket-robust (default pocket)")
    return group


def _add_visible(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("things one could print: patch and typographic")
    group.add_argument("--area", type=float, metavar="A", help="what they may cover, as a share of "
                       "the photo, in the place of --eps (default patch 0.05, typographic 0.2)")
    group.add_argument("--place", metavar="P", help="of patch: random, centre, 'top left' and so "
                       "on; of typographic: bottom, middle or top")
    group.add_argument("--point", metavar="X,Y", help="of patch: its middle, as shares of width "
                       "and height from the top left")
    group.add_argument("--disc", action="store_true", help="of patch: round")
    group.add_argument("--word", metavar="W", help="of typographic (default iPod)")
    group.add_argument("--letters", type=float, metavar="S", help="of typographic: height of the "
                       "letters, as a share of the photo's (default 0.2)")
    group.add_argument("--no-paper", action="store_true", help="of typographic: straight on the "
                       "photo")


def _add_fit(parser: argparse.ArgumentParser) -> None:
    group = _add_perturbation(parser)
    group.add_argument("--fit", type=Path, metavar="DATA", help="learn one from these photos, "
                       "in the place of --image; written to --out, where the same command goes on "
                       "if it was ended")
    group.add_argument("--unseen", type=Path, action="append", default=[], metavar="DATA",
                       help="other photos, on which --fit measures it; may be given again")
    group.add_argument("--limit", type=int, default=200, metavar="N",
                       help="photos that --fit draws of each set (default 200)")
    group.add_argument("--passes", type=int, metavar="N",
                       help="over the photos of --fit (default 40)")
    group.add_argument("--labels", action="store_true",
                       help="--fit leads photos away from their labels, not their features")


def _add_sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="A,B", action="append",
                        help="image sets: names of the catalogue such as cifar10 (docs/"
                        "evaluate.md), files and folders (docs/data.md), patterns such as "
                        "'{00..09}.tar', or hf:NAME; may be given again")
    parser.add_argument("--data-root", type=Path, metavar="DIR",
                        help="folder of the catalogue's sets (default: that of EXPLORER_DATA)")
    parser.add_argument("--limit", type=int, metavar="N",
                        help="draw this many images of each set, fixed by the seed (default all)")
    parser.add_argument("--batch", type=int, default=32, metavar="N",
                        help="images at a time (default 32)")
    parser.add_argument("--keep", type=Path, metavar="DIR",
                        help="keep finished parts here: the same command goes on where it was "
                        "ended, and another one measures only what is new")
    parser.add_argument("--estimate", action="store_true",
                        help="say how long it would take, measured here, and end")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure accuracy or recall on image sets",
                                   allow_abbrev=False)
    _add_sets(evaluate)
    evaluate.add_argument("--columns", metavar="C", help="columns of the data's table, where "
                          "their names are not known: image=NAME,caption=NAME (or label=NAME)")
    evaluate.add_argument("--dry-run", action="store_true", help="say what is understood of the "
                          "data, measure nothing, and end")
    evaluate.add_argument("--task", choices=["classification", "retrieval"],
                          default="classification", help="which caption fits the image; or find "
                          "captions by image and images by caption, in a set with several "
                          "captions an image (default classification)")
    evaluate.add_argument("--attacks", default="clean,image", metavar="A,B",
                          help="clean, image, text, joint (see --image-attack and the like), "
                          f"{IMAGE_NAMES}, {TEXT_NAMES}, {JOINT_NAMES} (default clean,image)")
    evaluate.add_argument("--joint-attack", metavar="NAME",
                          help="what 'joint' is (default alternating; separate is the paper's)")
    evaluate.add_argument("--corruptions", metavar="A,B", help="what happens to photos by itself, "
                          f"as in ImageNet-C: all, or of {CORRUPTION_NAMES} (default none)")
    evaluate.add_argument("--severities", metavar="N,M", default="1,2,3,4,5",
                          help="of --corruptions, 1 to 5 (default all)")
    _add_models(evaluate, required=False)  # --dry-run needs none
    _add_budget(evaluate, paper_steps=100, several=True)
    _add_text(evaluate)
    _add_defence(evaluate, several=True)
    _add_perturbation(evaluate)
    _add_visible(evaluate)
    evaluate.add_argument("--out", type=Path, metavar="FILE",
                          help="ends in .json, .csv, .md or .tex (needed but with --dry-run)")
    evaluate.set_defaults(command="evaluate", paper_steps=100)


def _add_detect(commands: Any) -> None:
    detect = commands.add_parser("detect", help="measure how well attacked photos are told from "
                                 "clean ones", allow_abbrev=False)
    _add_sets(detect)
    detect.add_argument("--detectors", default=DETECTOR_NAMES.replace(" ", ""), metavar="A,B",
                        help=f"{DETECTOR_NAMES} (default both)")
    detect.add_argument("--attacker", choices=["unaware", "aware", "both"], default="both",
                        help="aware: the attacker knows the detector and keeps its score low "
                        "(default both)")
    detect.add_argument("--attack", default="pgd", metavar="NAME",
                        help=f"{IMAGE_NAMES} (default pgd)")
    _add_models(detect)
    _add_budget(detect, paper_steps=100)
    detect.add_argument("--out", required=True, type=Path, metavar="FILE",
                        help="ends in .csv, or in .json with the score of each photo")
    detect.set_defaults(command="detect", paper_steps=100)


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
                                  metavar="models | attack | evaluate | detect | compare | "
                                          "convert | train | replay")

    models = commands.add_parser("models", help="list the models", allow_abbrev=False)
    models.add_argument("--json", action="store_true", help="as JSON")
    _add_folders(models)
    models.set_defaults(command="models")

    attack = commands.add_parser("attack", help="attack one image", allow_abbrev=False)
    attack.add_argument("--image", metavar="F", help="a PNG, JPEG or such")
    attack.add_argument("--caption", action="append", default=[], dest="captions", metavar="T",
                        help="a possible answer; give it once for each")
    attack.add_argument("--label", type=int, default=0, metavar="N",
                        help="number of the true caption, from 0 (default 0)")
    attack.add_argument("--target", metavar="T", help="a caption that should win instead")
    attack.add_argument("--kind", choices=["image", "text", "joint"], default="image",
                        help="what is attacked (default image)")
    attack.add_argument("--attack", metavar="NAME", help=f"image: {IMAGE_NAMES}; text: "
                        f"{TEXT_NAMES}; joint: {JOINT_NAMES} (default pgd, bert or alternating)")
    attack.add_argument("--draw", metavar="T", help="draw this caption into the photo, or into "
                        "plain grey without --image: 100 steps in L2, --eps 20 (docs/attacks.md)")
    attack.add_argument("--film", action="store_true", help="write the steps as a film too (APNG)")
    attack.add_argument("--goal", choices=["classification", "similarity", "embedding"],
                        default="classification", help="default classification")
    _add_models(attack)
    _add_budget(attack, paper_steps=10)
    _add_text(attack)
    _add_defence(attack)
    _add_fit(attack)
    _add_visible(attack)
    attack.add_argument("--out", required=True, type=Path, metavar="DIR",
                        help="folder for result.json and the pictures")
    attack.set_defaults(command="attack", paper_steps=10)

    _add_evaluate(commands)
    _add_detect(commands)
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
