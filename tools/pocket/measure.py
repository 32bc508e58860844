"""Measures the pair, writes the numbers into its cards and the report docs/pocket.md."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, cast

import torch
from tqdm import tqdm

from explorer.analysis.metrics import Measured, eps_of, evaluate, row
from explorer.analysis.retrieval import Recall, evaluate_retrieval
from explorer.attacks.image.classic import PGD
from explorer.attacks.image.strong import Strong
from explorer.attacks.joint import Alternating, CoAttack, Separate, SetGuided
from explorer.attacks.registry import Attack, name_of
from explorer.attacks.text.classic import BertAttack
from explorer.data.sets import TEMPLATE, read_examples, read_retrieval
from explorer.data.tasks import KS
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library

SETS = ("tiny_imagenet_val", "imagenet_sample", "cifar10_test")
FURTHER = ("caltech101", "eurosat", "flowers102", "food101_part", "imagenet_val_part",
           "oxford_pets_part", "stl10_train", "sun397_part")  # of data/sets; _part: not the whole
FOUND = "flickr8k_test"  # for retrieval, all of its captions
PGD10 = PGD(eps=1 / 255, step=1 / 255, steps=10)
ATTACKED = {"tiny_imagenet_val": 1000, "imagenet_sample": 500, "cifar10_test": 500}
BOTH = 200  # images of the first set for what attacks words as well, or takes long
FEW = 100  # images of the other sets for that; and photos of FOUND, with all of their captions
TEXT = BertAttack(objective="kl", captions="all")  # as the paper attacks captions
OWN = BertAttack(objective="goal", captions="true")
OTHERS: dict[str, Attack] = {
    "pgd, same images": PGD10, "strong": Strong(eps=1 / 255), "text": TEXT,
    "text, own caption": OWN, "joint": Separate(image=PGD10, text=TEXT)}
EVERYWHERE = ("text", "joint")  # of OTHERS, on every set
PLAIN = {"clean": None, "pgd": PGD10}
ORDER: dict[str, Attack | None] = {
    **PLAIN, "bert": BertAttack(objective="kl"), "separate": Separate(image=PGD10),
    "co-attack": CoAttack(image=PGD10), "set-guided": SetGuided(image=PGD10),
    "alternating": Alternating(image=PGD10)}
"""In the order that SGA's tables have them (Lu et al. 2023, arXiv 2307.14061)."""


def measure(model: DualEncoder, file: Path, attack: Attack | None, limit: int | None) -> Measured:
    """Accuracy on a parquet of labelled images, as `python -m explorer evaluate` gives it."""
    began, hits = time.perf_counter(), []
    examples = read_examples(file, limit)
    with tqdm(total=len(examples), desc=f"{model.card.id} {file.stem}", mininterval=10) as bar:
        for done, correct in evaluate(model, attack, examples.batches(model.frame)):
            hits.append(correct)
            bar.update(done - bar.n)
    name = name_of(attack) if attack else "clean"
    return row(model.card.id, name, eps_of(attack), torch.cat(hits), time.perf_counter() - began)


def retrieve(model: DualEncoder, file: Path, attack: Attack | None, limit: int | None = None,
             ) -> dict[str, Measured]:
    """{"text@1": Measured, ...}: recall both ways, as `python -m explorer evaluate` gives it;
    under an attack that of the attacked pictures. text: a picture finds one of its captions."""
    done = evaluate_retrieval(model, attack, read_retrieval(file, limit), batch=32)

    def line(r: Recall) -> Measured:
        return Measured(model.card.id, name_of(attack) if attack else "clean", eps_of(attack), r.n,
                   r.recall, r.ci95, done.seconds)

    return {f"{r.direction}@{r.k}": line(r) for r in (done.attacked if attack else done.clean)}


def jobs(model: DualEncoder | None, data: Path,
         ) -> Iterator[tuple[str, Callable[[], dict[str, Measured]]]]:
    """(name, what measures one or more entries of the card), those that take longest last;
    without a model only the names are of use."""
    asked = cast(DualEncoder, model)
    folders = {part: data / f"{part}.parquet" for part in SETS}
    folders |= {part: data / "sets" / f"{part}.parquet" for part in FURTHER}
    found = data / f"{FOUND}.parquet"

    def one(part: str, kind: str, attack: Attack | None, limit: int | None,
            ) -> tuple[str, Callable[[], dict[str, Measured]]]:
        key = f"{part}/{kind}"
        return key, lambda: {key: measure(asked, folders[part], attack, limit)}

    def recall(kind: str, attack: Attack | None, limit: int | None = None,
               ) -> tuple[str, Callable[[], dict[str, Measured]]]:
        key = f"{FOUND}/{kind}" + (f", {limit} photos" if limit else "")
        return key, lambda: {f"{key} {k}": v
                             for k, v in retrieve(asked, found, attack, limit).items()}

    yield from (one(part, "clean", None, None) for part in folders)
    yield recall("clean", None)
    yield from (one(part, "pgd", PGD10, ATTACKED[part]) for part in SETS)
    yield from (one(SETS[0], kind, attack, BOTH) for kind, attack in OTHERS.items()
                if kind != "strong")
    yield recall("pgd", PGD10)
    yield one(SETS[0], "strong", OTHERS["strong"], BOTH)
    yield from (one(part, "pgd", PGD10, FEW) for part in FURTHER)
    yield from (one(part, kind, OTHERS[kind], FEW) for part in folders for kind in EVERYWHERE
                if part != SETS[0])
    yield from (recall(kind, attack, FEW) for kind, attack in ORDER.items())


def measure_all(data: Path, library: Library, names: tuple[str, ...], file: Path,
                ) -> dict[str, dict[str, Measured]]:
    """{model: {"set/clean": Measured, "set/pgd": Measured,
    "flickr8k_test/clean text@1": Measured, ...}}.

    file: what is measured already, by the weights' checksum; a stopped run goes on from there, and
    from what the cards say.
    """
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found: dict[str, dict[str, Measured]] = {}
    for name in names:
        model = library.load(name)
        done = known.setdefault(str(model.card.sha256), {})
        for key, job in jobs(model, data):
            if key not in done and (told := _told(model, key)):
                done[key] = told
            if key not in done:
                done[key] = {k: asdict(v) for k, v in job().items()}
                write_aside(file, json.dumps(known, indent=1))
        found[name] = {k: Measured(**{**v, "ci95": tuple(v["ci95"])})
                       for part in done.values() for k, v in part.items()}
    return found


def _told(model: DualEncoder, key: str) -> dict[str, Any]:
    """What the card of these very weights says already, for a job."""
    return {k: {**v, "model": model.card.id} for k, v in model.card.numbers.items()
            if k == key or k.startswith(f"{key} ")}


def write_aside(file: Path, text: str) -> None:
    """Written beside and renamed: a kill leaves the old one or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(file)


def _cell(card: dict[str, Any], key: str) -> str:
    entry = card["numbers"].get(key)
    if entry is None:  # the card is older than the entry
        return "not measured"
    low, high = entry["ci95"]
    return (f"{entry['accuracy'] * 100:.1f} % ({low * 100:.1f} to {high * 100:.1f}, "
            f"n = {entry['n']:,})")


def report(cards: dict[str, dict[str, Any]]) -> str:
    """The tables of docs/pocket.md in Markdown, from the models' cards."""
    lines = ["| data set | model | clean | PGD-10 | text | joint |", "|---|---|---|---|---|---|"]
    for part in (*SETS, *FURTHER):
        for name, card in cards.items():
            cells = [_cell(card, f"{part}/{kind}") for kind in ("clean", "pgd", *EVERYWHERE)]
            lines.append(f"| {_label(part)} | {name} | {' | '.join(cells)} |")
    lines += _table(cards, f"{SETS[0]} under", {k: f"{SETS[0]}/{k}" for k in OTHERS})
    lines += _retrieval(cards)
    lines.append("\nstrong: APGD, targeted APGD and Square in turn; text: BERT-Attack, 1 word, on "
                 "all class captions at once, away from their clean embedding; text, own caption: "
                 "on the picture's own class caption alone, against that picture; joint: text and "
                 "PGD-10. All at 1/255. A set with \"(part)\" is not here whole.")
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    lines.append(f"\nZero-shot top-1 with \"{TEMPLATE}\", 95 % Wilson intervals, seed 0, "
                 f"scores in float32, {machine}, {date.today().isoformat()}.")
    return "\n".join(lines) + "\n"


def _label(part: str) -> str:
    return part.replace("_part", " (part)")


def _table(cards: dict[str, dict[str, Any]], title: str, rows: dict[str, str]) -> list[str]:
    """A column a model; rows: what to call an entry, and its key in the cards."""
    return [f"\n| {title} | {' | '.join(cards)} |", "|---|" + "---|" * len(cards),
            *(f"| {said} | " + " | ".join(_cell(card, key) for card in cards.values()) + " |"
              for said, key in rows.items())]


def _retrieval(cards: dict[str, dict[str, Any]]) -> list[str]:
    """Recall of all photos, and of FEW of them under one attack after the other."""
    ways = (("text", "image to text"), ("image", "text to image"))
    whole = {f"{asked}, at {k}, {kind}": f"{FOUND}/{kind} {way}@{k}"
             for kind in PLAIN for way, asked in ways for k in KS}
    some = {f"{asked}, at 1, {kind}": f"{FOUND}/{kind}, {FEW} photos {way}@1"
            for way, asked in ways for kind in ORDER}
    return [*_table(cards, f"{FOUND}, recall", whole),
            *_table(cards, f"{FOUND}, its first {FEW} photos, recall", some)]


def model_card(card: dict[str, Any]) -> str:
    """README.md of a model folder."""
    lines = [f"- {part}, {kind}: {_cell(card, f'{part}/{kind}')}"
             for part in SETS for kind in ("clean", "pgd")]
    lines += [f"- {SETS[0]}, {kind}: {_cell(card, f'{SETS[0]}/{kind}')}"
              for kind in OTHERS]
    lines += [f"- {_label(part)}, {kind}: {_cell(card, f'{part}/{kind}')}"
              for part in FURTHER for kind in ("clean", "pgd")]
    lines += [f"- {FOUND}, {kind}, R@1 {asked}: "
              f"{_cell(card, f'{FOUND}/{kind} {way}@1')}"
              for kind in ("clean", "pgd")
              for way, asked in (("text", "image to text"), ("image", "text to image"))]
    return f"""---
license: apache-2.0
library_name: open_clip
---
# {card["title"]}

{card["about"]} Input: {card["architecture"]}. Made by `python -m explorer.pocket build`, described
in docs/pocket.md of the CLIP robustness explorer; origin and licence of its parts in ../NOTICE.md.

Zero-shot top-1 with "{TEMPLATE}", 95 % intervals; pgd is PGD-10 at eps 1/255, step 1/255:

{chr(10).join(lines)}

It knows the things of ImageNet and the kinds that they belong to, by their English names, in
photographs. It is for teaching and research, not for decisions about anyone.

From inside this folder, plain open_clip opens it (call `eval()`, or its batch norm computes
something else):

    import open_clip
    model = open_clip.create_model_from_pretrained("local-dir:.", return_transform=False).eval()
    tokenizer = open_clip.get_tokenizer("local-dir:.")
"""


def write(found: dict[str, dict[str, Measured]], models: Path, page: Path) -> None:
    """Puts the numbers into the cards, and the cards' numbers into docs/pocket.md."""
    cards = {}
    for folder in sorted(models.glob("pocket*")):
        file = folder / "card.json"
        card = json.loads(file.read_text(encoding="utf-8"))
        if folder.name in found:
            card["numbers"] = {key: {k: v for k, v in asdict(entry).items() if k != "model"}
                               for key, entry in found[folder.name].items()}
            file.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
            (folder / "README.md").write_text(model_card(card), encoding="utf-8")
        if card.get("numbers"):
            cards[folder.name] = card
    fill(page, "numbers", report(cards))


def fill(page: Path, mark: str, table: str) -> None:
    """Puts a table between a page's two comments of that name."""
    text = page.read_text(encoding="utf-8")
    start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    head, rest = text.split(start)
    page.write_text(head + start + table + end + rest.split(end)[1], encoding="utf-8")
