"""What the commands of the command line do, from parsed flags to files and words."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from explorer import metrics, saving
from explorer.attacks.run import Attack, name_of, run, settings_of
from explorer.bundle import bundle_bytes, read_bundle
from explorer.datasets import Examples, read_examples, read_retrieval
from explorer.errors import InputError
from explorer.fastconv import keep_memory
from explorer.flags import kind_named, make_attack
from explorer.models import DualEncoder, Library
from explorer.pairs import clean_captions, one_pair, open_image
from explorer.replay import replay as replay_checks
from explorer.result import Result, versions
from explorer.retrieval import Retrieval, evaluate_retrieval
from explorer.views import verdict

PLAIN = str.maketrans({"“": "'", "”": "'", "→": "->", "∞": "inf"})
Attacks = dict[str, Attack | None]


def models(args: argparse.Namespace) -> None:
    """Lists the models, as a table or as JSON."""
    library = Library(args.models_dir)
    cards = list(library.cards().values())
    if args.json:
        listed = [dataclasses.asdict(card) for card in cards]
        print(saving.json_bytes({"models": listed, "pairs": library.pairs()}).decode(), end="")
    else:
        head = ("model", "kind", "fine-tuned from", "architecture", "licence")
        _print_table([head, *((c.id, c.kind, c.base or "-", c.architecture or "-", c.licence)
                              for c in cards)])


def attack(args: argparse.Namespace) -> None:
    """Attacks one image for each model; writes result.json and the pictures."""
    setting = make_attack(args, args.kind, args.attack)
    captions = list(clean_captions(args.captions))
    target = None if args.target is None else _target(args, captions)
    if args.out.is_file():
        raise InputError(f"{args.out} is a file: --out must be a folder")
    saving.check_writable(args.out)
    image = open_image(args.image)
    encoders = _load(args)
    runs: list[dict[str, Any]] = []
    results: list[Result] = []
    contents: dict[str, bytes] = {}
    for model in encoders:
        pairs = one_pair(image, captions, args.label, model.size)
        result = run(setting, model, pairs, args.goal, target, args.seed)
        names, files = saving.picture_files(result, _stem(model.card.id, contents))
        runs.append(saving.as_dict(result, files=names))
        contents.update(files)
        results.append(result)
        print(sentence(result))
    contents["result.json"] = saving.json_bytes({
        "runs": runs, "image": Path(args.image).name, "captions": captions, "label": args.label,
        "seed": args.seed, "versions": versions()})
    contents["bundle.zip"] = bundle_bytes(
        results, {m.card.id: m.fingerprint for m in encoders}, Path(args.image).name)
    saving.write_files(args.out, contents)


def evaluate(args: argparse.Namespace) -> None:
    """Accuracy of each model under each attack on a set of images, or recall in retrieval; writes
    one JSON file."""
    attacks = _attacks(args)
    if args.out.is_dir():
        raise InputError(f"{args.out} is a folder: --out must be a file")
    saving.check_writable(args.out.parent)
    if args.task == "retrieval":
        _evaluate_retrieval(args, attacks)
        return
    examples = read_examples(args.data, args.limit, args.seed)
    encoders = _load(args)
    total = len(examples) * len(attacks) * len(encoders)
    rows: list[metrics.Row] = []
    with tqdm(total=total, unit="image", leave=False, disable=None) as bar:
        for model in encoders:
            rows += _evaluate_model(model, attacks, examples, args.seed, bar)
    skipped = len(examples) - min(row.n for row in rows)
    saving.write_files(args.out.parent, {args.out.name: saving.json_bytes({
        "rows": [dataclasses.asdict(row) for row in rows], "data": examples.name,
        "captions": len(examples.captions), "drawn": len(examples), "skipped": skipped,
        "attacks": {name: _settings(a) for name, a in attacks.items()},
        "seed": args.seed, "versions": versions()})})
    _print_rows(rows, args.norm)
    if skipped:
        print(f"left out: {skipped} of {len(examples)} images, which cannot be read")


def replay(args: argparse.Namespace) -> int:
    """Scores a bundle again; 0 when all holds, 1 when something does not."""
    bundle = read_bundle(args.bundle)
    keep_memory()
    library = Library(args.models_dir)
    failed = 0
    for check in replay_checks(bundle, library, args.rerun, _device(args.device)):
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


def _evaluate_retrieval(args: argparse.Namespace, attacks: Attacks) -> None:
    """Recall both ways, clean and under each attack, and how much of it each attack takes."""
    data = read_retrieval(args.data, args.limit, args.seed)
    rows: list[tuple[str, float, Retrieval]] = []
    encoders = _load(args)
    with tqdm(total=len(attacks) * len(encoders), unit="run", leave=False, disable=None) as bar:
        for model in encoders:
            for name, found in attacks.items():
                bar.set_description(f"{model.card.id}, {name}", refresh=False)
                rows.append((name, metrics.eps_of(found), evaluate_retrieval(
                    model, found, data, seed=args.seed)))
                bar.update()
    saving.write_files(args.out.parent, {args.out.name: saving.json_bytes({
        "task": "retrieval", "rows": [{"attack": name, "eps_255": round(eps * 255, 6),
                                       **dataclasses.asdict(row)} for name, eps, row in rows],
        "data": data.name, "drawn": len(data),
        "attacks": {name: _settings(found) for name, found in attacks.items()},
        "seed": args.seed, "versions": versions()})})
    _print_table(_recall_lines(rows))
    if skipped := rows[0][2].skipped:
        print(f"left out: {skipped} of {len(data)} images, which cannot be read")


def _recall_lines(rows: Sequence[tuple[str, float, Retrieval]]) -> list[list[str]]:
    """Recall after the attack, TR: captions found by image, IR: images by caption, and the share
    of the hits at 1 that the attack takes, with 95 % intervals."""
    places = [(way, k) for way in ("text", "image") for k in (1, 5, 10)]
    names = {"text": "TR", "image": "IR"}
    head = ["model", "attack", *(f"{names[way]} R@{k}" for way, k in places), "success TR",
            "success IR", "images", "captions", "seconds"]
    lines = [head]
    for name, _, row in rows:
        found = {(r.direction, r.k): (r.recall, r.ci95) for r in row.attacked or row.clean}
        taken = {s.direction: (s.rate, s.ci95) for s in row.success if s.k == 1}
        lines.append([row.model, name, *(_share(found.get(place)) for place in places),
                      *(_share(taken.get(way)) for way in names), str(row.images),
                      str(row.captions), f"{row.seconds:.1f}"])
    return lines


def _share(found: tuple[float, tuple[float, float]] | None) -> str:
    """12.5 % (3-30), or - where there is none, as for k of the gallery's size."""
    if found is None:
        return "-"
    share, (low, high) = found
    return f"{share:.1%} ({low * 100:.0f}-{high * 100:.0f})"


def _evaluate_model(model: DualEncoder, attacks: Attacks, examples: Examples, seed: int,
                    bar: Any) -> list[metrics.Row]:
    """One row an attack; each batch is decoded once for all of them."""
    hits: dict[str, list[torch.Tensor]] = {name: [] for name in attacks}
    seconds = dict.fromkeys(attacks, 0.0)
    model.encode_text(examples.captions)  # so that the first attack's time is not the captions'
    for pairs in examples.batches(model.size):
        for name, attack in attacks.items():
            bar.set_description(f"{model.card.id}, {name}", refresh=False)
            began = time.perf_counter()
            hits[name] += [good for _, good in metrics.evaluate(model, attack, [pairs], seed)]
            seconds[name] += time.perf_counter() - began
            bar.update(len(pairs))
    return [metrics.row(model.card.id, name, metrics.eps_of(attack),
                        torch.cat(hits[name]), seconds[name]) for name, attack in attacks.items()]


def _attacks(args: argparse.Namespace) -> Attacks:
    """The attacks of --attacks by the name they were asked for; None is no attack."""
    usual = {"image": args.image_attack, "text": args.text_attack, "joint": args.joint_attack}
    found: Attacks = {}
    for name in _names(args.attacks, "attacks"):
        if name == "clean":
            found[name] = None
        elif name in usual:
            found[name] = make_attack(args, name, usual[name])
        else:
            found[name] = make_attack(args, kind_named(name), name)
    return found


def _settings(attack: Attack | None) -> dict[str, Any]:
    if attack is None:
        return {}
    return {"name": name_of(attack), **settings_of(attack)}


def _target(args: argparse.Namespace, captions: list[str]) -> torch.Tensor:
    """(1,) number of the target; it joins `captions` when it is not among them."""
    if args.goal == "embedding":
        raise InputError("the goal embedding has no target: it only leads away from the image")
    (target,) = clean_captions([args.target])
    if not 0 <= args.label < len(captions):  # else the target itself could be taken for the truth
        raise InputError(f"a label must be a caption's number, 0 to {len(captions) - 1}")
    if target not in captions:
        captions.append(target)
    return torch.tensor([captions.index(target)])


def _names(text: str, what: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise InputError(f"--{what} must be different names with a comma between them, "
                         f"not '{text}'")
    return names


def _load(args: argparse.Namespace) -> list[DualEncoder]:
    """The models of --models: all known before the first is loaded, all loaded before any runs."""
    device = _device(args.device)
    names = _names(args.models, "models")
    library = Library(args.models_dir, keep=len(names))
    ids = [library.card(name).id for name in names]
    if len(set(ids)) < len(ids):
        raise InputError(f"--models names the same model twice: {', '.join(ids)}")
    keep_memory()
    return [library.load(name, device) for name in names]


def _device(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"there is no device '{name}': use cpu or cuda") from None
    gpus = torch.cuda.device_count()
    if device.type not in ("cpu", "cuda") or (device.index or 0) >= max(gpus, 1):
        raise InputError(f"there is no device '{name}': use cpu or cuda")
    if device.type == "cuda" and not gpus:
        raise InputError("this machine has no GPU that PyTorch can use: leave out --device")
    return name


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
    return f"{result.model}: {words} ({_size(result)}, {result.seconds:.1f} s)"


def _size(result: Result) -> str:
    """What was changed, by how much."""
    said = []
    if result.kind != "text":
        linf = result.settings["norm"] == "linf"
        said.append(f"L-inf {int(result.linf_255[0])}/255" if linf else
                    f"L2 {float(result.l2[0]):.3g}")
        steps = result.settings.get("steps", 1)
        said.append(f"{steps} step{'s' * (steps > 1)}")
    if result.kind != "image":
        clean, now = result.own_captions()
        said.append(f"caption '{now}'" if now != clean else "caption unchanged")
    return ", ".join(said)


def _print_rows(rows: Sequence[metrics.Row], norm: str) -> None:
    head = ("model", "attack", "eps", "n", "accuracy", "95 % interval", "seconds")
    lines = [head]
    for row in rows:
        eps = f"{row.eps_255:g}/255" if norm == "linf" else f"{row.eps_255 / 255:.4g}"
        low, high = row.ci95
        lines.append((row.model, row.attack, "-" if row.attack == "clean" else eps, str(row.n),
                      f"{row.accuracy:.1%}", f"{low:.1%} - {high:.1%}", f"{row.seconds:.1f}"))
    _print_table(lines)


def _print_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        cells = zip(line, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
