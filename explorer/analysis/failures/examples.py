"""Single pictures of a hunt again as Results, for bundles, contact sheets and the smallest eps."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from explorer.analysis.failures.hunt import HuntPlan
from explorer.analysis.failures.pictures import attacked_picture, clean_picture
from explorer.analysis.failures.slices import Example, Found, reworded
from explorer.analysis.metrics import smallest_flip
from explorer.attacks.goals import make_goal
from explorer.attacks.image.classic import PGD, ImageAttack, Noise
from explorer.attacks.registry import attack_of
from explorer.attacks.result import Result, Seen
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.pairs import Pairs, to_pixels
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.bundle import bundle_bytes
from explorer.results.outcome import Flip
from explorer.results.saving import file_stem
from explorer.results.views import shared_start

MOST_BUNDLES, MOST_SHEET, MOST_FLIPS = 48, 120, 48
FLIP_STEPS = 60  # of an attack that is longer, PGD is searched with instead
MOST_LEVEL = 16
COLUMNS, TILE, TEXT = 6, 128, 34  # pairs a row, pixels a picture, pixels of text under it


def result_of(folder: Path, plan: HuntPlan, found: Found, case: Example, side: int,
              model: DualEncoder) -> Result:
    """The Result of one picture, read again from the pictures and captions as they were saved.
    queries and seconds are those of its batch and its share in it."""
    one, captions = case.sides[side], found.captions
    clean = to_pixels(clean_picture(folder, case.place, side), model.frame)[None]
    moved = clean if not one.linf else to_pixels(
        attacked_picture(folder, case.place, side), model.frame)[None]
    rows = (tuple(one.captions.get(str(k), text) for k, text in enumerate(captions)),)
    label = torch.tensor([case.label])
    text, words = model.encode_text(captions), model.encode_text(rows[0])
    with torch.no_grad():
        before, after = model.encode_image(clean), model.encode_image(moved)
    goal = make_goal("classification", before, text, label.to(model.device), model.scale)
    success = goal.reached(after, words).cpu()
    return Result.measured(
        Seen(clean, before, (captions,), text), Seen(moved, after, rows, words), model.scale,
        model=model.card.id, kind=plan.kind, attack=plan.attack, settings=plan.settings,
        goal="classification", seed=plan.seed, labels=label, targets=None,
        success=success, raw_success=success, queries=one.queries, seconds=one.seconds)


def bundle(folder: Path, plan: HuntPlan, found: Found, case: Example, library: Library) -> bytes:
    """The bundle of one picture, as the Attack tab saves it."""
    models = [library.load(name) for name in plan.models]
    results = [result_of(folder, plan, found, case, k, model) for k, model in enumerate(models)]
    return bundle_bytes(results, {m.card.id: m.fingerprint for m in models}, case.name)


def bundles(folder: Path, plan: HuntPlan, found: Found, cases: Sequence[Example], library: Library,
            ) -> Iterator[Progress | tuple[str, bytes]]:
    """Progress, then (file name, bytes): one bundle, or a zip of several."""
    if not cases:
        raise InputError("choose pictures first: tick the box of each")
    if len(cases) > MOST_BUNDLES:
        raise InputError(f"at most {MOST_BUNDLES} bundles are made at a time: choose fewer")
    made: dict[str, bytes] = {}
    for number, case in enumerate(cases):
        yield Progress("Making bundles", number, len(cases))
        made[f"{case.place:05d}-{file_stem(case.name)}.zip"] = bundle(
            folder, plan, found, case, library)
    if len(made) == 1:
        yield next(iter(made.items()))
        return
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, raw in made.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), raw)
    yield "bundles.zip", out.getvalue()


def flips(folder: Path, plan: HuntPlan, found: Found, cases: Sequence[Example], library: Library,
          ) -> Iterator[Progress]:
    """Searches the smallest eps that flips each picture, for both models, and appends it to
    flips.jsonl. Raises InputError for an attack without pixels."""
    if not cases:
        raise InputError("choose pictures first: tick the box of each")
    if len(cases) > MOST_FLIPS:
        raise InputError(f"at most {MOST_FLIPS} pictures are searched at a time: choose fewer")
    attack = _pixels(plan)
    total, done = 2 * len(cases), 0
    for case in cases:
        for side, name in enumerate(plan.models):
            if case.sides[side].flip is None:
                model = library.load(name)
                image = to_pixels(clean_picture(folder, case.place, side), model.frame)[None]
                pair = Pairs(image, found.captions, torch.tensor([case.label]))
                for event in smallest_flip(attack, model, pair, seed=plan.seed, most=MOST_LEVEL):
                    if isinstance(event, Flip):
                        _note(folder, case.place, side, event)
                    else:
                        yield Progress(f"{case.name} on {name}", done, total, kept=False)
            done += 1
            yield Progress(f"{case.name} on {name}", done, total)


def _pixels(plan: HuntPlan) -> ImageAttack:
    attack = attack_of(plan.kind, plan.attack, plan.settings)
    if not isinstance(attack, ImageAttack) or isinstance(attack, Noise):
        raise InputError("the smallest ε is searched for attacks on the photo alone, not for "
                         "noise, words, or both at once")
    return attack if attack.total <= FLIP_STEPS else replace(PGD(), eps=attack.eps)


def _note(folder: Path, place: int, side: int, flip: Flip) -> None:
    with open(folder / "flips.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"i": place, "side": side, "level": flip.level,
                               "tried": flip.tried}) + "\n")


def contact_sheet(folder: Path, found: Found, cases: Sequence[Example], models: Sequence[str],
                  ) -> bytes:
    """A PNG of pairs, clean and attacked (by the model that broke, else the left one), with what
    each was taken for underneath."""
    if not cases:
        raise InputError("there is no picture to put on the sheet")
    shown = cases[:MOST_SHEET]
    start = shared_start(found.captions)
    rows, width, height = -(-len(shown) // COLUMNS), 2 * TILE + 12, TILE + TEXT + 10
    sheet = Image.new("RGB", (min(COLUMNS, len(shown)) * width + 12, rows * height + 12), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, case in enumerate(shown):
        x, y = 12 + number % COLUMNS * width, 12 + number // COLUMNS * height
        side = 1 if case.broke(1) and not case.broke(0) else 0
        for k, image in enumerate((clean_picture(folder, case.place, side),
                                   attacked_picture(folder, case.place, side))):
            tile = image.resize((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (x + k * TILE, y))
        one = case.sides[side]
        was, now = found.captions[one.was], reworded(found, one, one.now)
        texts = (f"true: {found.captions[case.label].removeprefix(start)}",
                 f"{models[side]}: {was.removeprefix(start)} → {now.removeprefix(start)}")
        for line, text in enumerate(texts):
            draw.text((x, y + TILE + 3 + 14 * line), _fit(draw, text, font, 2 * TILE),
                      fill="#a3154b" if line and case.broke(side) else "#111827", font=font)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _fit(draw: ImageDraw.ImageDraw, text: str, font: object, width: int) -> str:
    if draw.textlength(text, font=font) <= width:  # type: ignore[arg-type]
        return text
    while text and draw.textlength(text + "…", font=font) > width:  # type: ignore[arg-type]
        text = text[:-1]
    return text + "…"
