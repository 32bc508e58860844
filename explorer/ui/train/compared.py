"""A trained model beside its base on the same held-out pictures, as HTML. Pure functions."""

from __future__ import annotations

from pathlib import Path

from explorer.analysis.failures.hunt import HuntPlan
from explorer.analysis.failures.slices import Example, Found
from explorer.results.views import esc, jpeg_of, percent, shared_start
from explorer.training.comparison import FOLDER


def compared(run: str, folder: Path, plan: HuntPlan, found: Found, live: bool) -> str:
    """The pictures, each with what became of it on both models, under a sentence that counts them.

    folder: of the run; live: a press opens a picture in the Attack tab, which needs the model.
    """
    if not found.cases:
        return ""
    start = shared_start(found.captions)
    cards = "".join(_card(folder, plan, found, case, start, live) for case in found.cases)
    note = " A click opens one in the Attack tab, with everything set as it was in the run." * live
    return (f'<section class="tr-compared" data-run="{esc(run)}" aria-label="Compared with its '
            f'base"><h4>{esc(headline(plan, found))}</h4><p class="tr-hint">Pictures that were '
            f"held out of the training, attacked on each model in turn, {esc(budget(plan))}."
            f"{note}</p><ul>{cards}</ul></section>")


def budget(plan: HuntPlan) -> str:
    """What the attack may do, in words."""
    norm = "L2" if plan.settings.get("norm") == "l2" else "L∞"
    return f"at the run's budget, {norm} {plan.settings['eps'] * 255:g}/255"


def headline(plan: HuntPlan, found: Found) -> str:
    """How many each model had right before the attack, and after it."""
    said = []
    for k, name in enumerate(plan.models):
        right = [case for case in found.cases if case.sides[k].was == case.label]
        held = sum(not case.broke(k) for case in right)
        said.append(f"{name} reads {len(right)} and keeps {held} under attack")
    return f"Of {len(found.cases)} pictures {', '.join(said)}."


def _card(folder: Path, plan: HuntPlan, found: Found, case: Example, start: str, live: bool,
          ) -> str:
    thumbs, truth = folder / FOLDER / "thumbs", esc(found.captions[case.label])
    pictures = f'<img src="{jpeg_of(thumbs / f"{case.place:05d}.jpg")}" alt="{truth}, clean">'
    now = jpeg_of(thumbs / f"{case.place:05d}-1.jpg") or jpeg_of(
        thumbs / f"{case.place:05d}-0.jpg")
    if now:
        pictures += f'<img src="{now}" alt="The same, attacked">'
    pictures = f'<span class="tr-pair">{pictures}</span>'
    if live:
        pictures = (f'<button type="button" class="tr-open" data-open="{case.place}" title="Open '
                    f'in the Attack tab">{pictures}</button>')
    lines = "".join(_line(name, found, case, k, start) for k, name in enumerate(plan.models))
    named = esc(found.captions[case.label].removeprefix(start))
    return f"<li>{pictures}<p><b>{named}</b></p>{lines}</li>"


def _line(model: str, found: Found, case: Example, k: int, start: str) -> str:
    one = case.sides[k]
    kind, mark = ("tr-wrong", "! wrong before") if one.was != case.label else (
        ("tr-fooled", "✗ fooled") if one.now != case.label else ("tr-held", "✓ held"))
    now = found.captions[one.now].removeprefix(start)
    return (f'<p class="{kind}"><span class="tr-mark">{mark}</span> {esc(model)} says '
            f"“{esc(now)}” {percent(one.p_now)}</p>")
