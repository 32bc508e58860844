"""What the commands of the command line do, from parsed flags to files and words."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from explorer.actions.company import accompany, answered, whole
from explorer.actions.detect import detect
from explorer.actions.evaluate_command import compare, evaluate
from explorer.actions.flags import make_attack
from explorer.actions.terminal import device_named, model_names, print_table
from explorer.attacks.amounts import AREA
from explorer.attacks.defences.registry import parse_defence
from explorer.attacks.drawing import drawn
from explorer.attacks.image.perturbation import open_perturbation
from explorer.attacks.image.typographic import Typographic
from explorer.attacks.image.universal import Universal
from explorer.attacks.request import Request
from explorer.attacks.result import Result
from explorer.base.errors import InputError
from explorer.base.versions import versions
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library
from explorer.results import saving
from explorer.results.bundle import bundle_bytes, read_bundle
from explorer.results.replay import replay as replay_checks
from explorer.results.verdicts import behind, verdict

__all__ = ["attack", "compare", "convert", "detect", "evaluate", "models", "replay", "sentence",
           "train"]

PLAIN = str.maketrans({"“": "'", "”": "'", "→": "->", "∞": "inf"})


def models(args: argparse.Namespace) -> None:
    """Lists the models, as a table or as JSON."""
    library = Library(args.models_dir)
    cards = list(library.cards().values())
    if args.json:
        listed = [dataclasses.asdict(card) for card in cards]
        print(saving.json_bytes({"models": listed, "pairs": library.pairs()}).decode(), end="")
    else:
        head = ("model", "kind", "fine-tuned from", "architecture", "licence")
        print_table([head, *((c.id, c.kind, c.base or "-", c.architecture or "-", c.licence)
                              for c in cards)])


def attack(args: argparse.Namespace) -> None:
    """Attacks one image for each model; writes result.json and the pictures. With --fit, learns one
    change for all photos."""
    if args.fit is not None:
        from explorer.actions.fit import fit

        fit(args)
        return
    if args.out.is_file():
        raise InputError(f"{args.out} is a file: --out must be a folder")
    saving.check_writable(args.out)
    runs: list[dict[str, Any]] = []
    results: list[Result] = []
    contents: dict[str, bytes] = {}
    asked = _request(args).checked()
    setting = asked.attack
    device = device_named(args.device)
    library, models = model_names(args)
    loaded = [library.load(name, device) for name in models]  # all, before any runs
    for note in dict.fromkeys(note for model in loaded for note in model.notes):
        print(note, file=sys.stderr)
    marks = {model.card.id: model.fingerprint for model in loaded}
    if isinstance(setting, Universal):
        change = open_perturbation(setting.perturbation)
        for note in dict.fromkeys(change.note(m.frame.height, m.frame.width) for m in loaded):
            print(f"note: {note}" if note else "", end="\n" * bool(note))
    asked = whole(accompany(library, dataclasses.replace(asked, models=tuple(models)), device))
    for result in answered(library, asked, args.film, device):
        if not isinstance(result, Result):
            continue
        names, files = saving.picture_files(result, _stem(result.model, contents))
        runs.append(saving.as_dict(result, files=names))
        contents.update(files)
        results.append(result)
        print(sentence(result))
        if isinstance(setting, Typographic) and not bool(result.success[0]):
            print(f"note: this needs a CLIP that can read, and {result.model} may not be one")
    contents["result.json"] = saving.json_bytes({
        "runs": runs, "image": asked.alt, "captions": list(asked.captions), "label": args.label,
        "seed": args.seed, "versions": versions()})
    contents["bundle.zip"] = bundle_bytes(results, marks, asked.alt)
    saving.write_files(args.out, contents)


def _request(args: argparse.Namespace) -> Request:
    """What the flags ask: an attack, or with --draw a caption to be drawn."""
    more: dict[str, Any] = {
        "seed": args.seed, "alt": Path(args.image or "").name, "aware": args.attacker == "aware",
        "defence": None if args.defence is None else parse_defence(args.defence)}
    if args.draw is not None:
        if args.attack or args.target or (args.kind, args.goal) != ("image", "classification"):
            raise InputError("--draw says what is attacked and why: leave --attack, --kind, "
                             "--target and --goal out")
        own = {name: getattr(args, name) for name in ("eps", "steps", "step")
               if getattr(args, name) is not None}
        return drawn(args.draw, args.image, args.captions, args.label, own, **more)
    missing = [flag for flag, given in (("--image", args.image), ("--caption", args.captions))
               if not given]
    if missing:
        raise InputError(f"the following arguments are required: {', '.join(missing)}")
    return Request((args.image,), tuple(args.captions), (args.label,),
                   make_attack(args, args.kind, args.attack), args.target, args.goal, **more)


def convert(args: argparse.Namespace) -> None:
    """Makes a model folder of a file of weights, saying what it takes."""
    from explorer.models.architecture import Asked
    from explorer.models.convert import convert

    asked = Asked(args.arch, args.base, args.take, args.kind)
    for sentence in convert(args.file, args.out, asked, Library(args.models_dir)):
        print(sentence)


def replay(args: argparse.Namespace) -> int:
    """Scores a bundle again; 0 when all holds, 1 when something does not."""
    bundle = read_bundle(args.bundle)
    keep_memory()
    library = Library(args.models_dir)
    failed = 0
    for check in replay_checks(bundle, library, args.rerun, device_named(args.device)):
        mark = {True: "ok", False: "DIFFERS", None: "-"}[check.holds]
        failed += check.holds is False
        print(f"{check.model}: {mark}: {check.sentence}")
    print("the numbers hold" if not failed else f"{failed} checks do not hold")
    return 1 if failed else 0


def train(args: argparse.Namespace) -> None:
    """Fine-tunes a model against attacks, in a folder of its own."""
    from explorer.training import command

    keep_memory()
    command.train(args)


def _stem(model: str, taken: dict[str, bytes]) -> str:
    """A file name's start for a model that no model before it has."""
    stem, number = saving.file_stem(model), 2
    while f"{stem}-clean.png" in taken:
        stem, number = f"{saving.file_stem(model)}-{number}", number + 1
    return stem


def sentence(result: Result) -> str:
    """What happened to image 0 in one plain line, with the achieved distance and the time."""
    head, _, tail = verdict(result)[1].rstrip(".").partition(": ")
    words = f"{head[0].lower()}{head[1:]}, {tail}".translate(PLAIN) if tail else head
    if result.settings.get("eps") == 0 and result.kind == "image":
        words = "nothing changed, as eps is 0"
    notes = "".join(f"; {note.rstrip('.')}" for note in result.notes)
    spent = f"({_size(result)}, {result.seconds:.1f} s)"
    return f"{result.model}{behind(result)}: {words} {spent}{notes}"


def _size(result: Result) -> str:
    """What was changed, by how much."""
    said = []
    if result.kind != "text":
        norm = result.settings["norm"]
        said.append(f"{float(result.covered[0]):.1%} of the area" if norm == AREA else
                    f"L-inf {int(result.linf_255[0])}/255" if norm == "linf" else
                    f"L2 {float(result.l2[0]):.3g}")
        steps = result.settings.get("steps", 1)
        said.append(f"{steps} step{'s' * (steps > 1)}")
    if result.kind != "image":
        clean, now = result.own_captions()
        said.append(f"caption '{now}'" if now != clean else "caption unchanged")
    return ", ".join(said)
