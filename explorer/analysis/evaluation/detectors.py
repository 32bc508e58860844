"""What detectors did, as a table in words, CSV, Markdown and LaTeX, and as curves."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from typing import Any

from explorer.analysis.evaluation.curve import DASHES, INKS, Figure
from explorer.analysis.evaluation.detection import Detection
from explorer.analysis.evaluation.rows import Table
from explorer.analysis.failures.slices import safe

HEAD = ("data", "model", "detector", "attack", "budget", "attacker", "AUC", "95 % interval",
        "found at 5 % false alarms", "clean", "attacked")
ABOUT = ("Detectors: the AUC is the chance that an attacked photo that fools the model scores "
         "above a clean one that it reads rightly (0.5 is guessing), with its 95 % interval; an "
         "aware attacker knows of the detector and keeps the score low.")
SIDE = 340  # pixels of the curves


def lines(found: Sequence[Detection], dash: str = "-") -> list[list[str]]:
    """A table as text, in the order of HEAD."""
    shown = []
    for one in found:
        said = [dash] * 3
        if one.attacked:
            low, high = one.ci95
            said = [f"{one.area:.3f}", f"{low:.3f} to {high:.3f}", f"{one.hits:.1%}"]
        shown.append([one.data, one.model, one.detector, str(one.attack["name"]), one.budget,
                      one.attacker, *said, str(len(one.clean)), str(len(one.attacked))])
    return shown


def as_csv(found: Sequence[Detection]) -> bytes:
    """One line a detection; shares and areas in [0, 1]."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["data", "model", "detector", "attack", "norm", "eps_255", "aware", "auc",
                     "auc low", "auc high", "found at 5 % false alarms", "n clean", "n attacked"])
    for one in found:
        numbers = [round(x, 6) for x in (one.area, *one.ci95, one.hits)] if (
            one.attacked) else [""] * 4
        writer.writerow([safe(one.data), safe(one.model), one.detector, one.attack["name"],
                         one.attack["norm"], round(one.attack["eps"] * 255, 6), int(one.aware),
                         *numbers, len(one.clean), len(one.attacked)])
    return out.getvalue().encode()


def found_in(tables: Sequence[Table]) -> list[Detection]:
    return [one for table in tables for one in table.detections]


def figure(found: Sequence[Detection]) -> Figure | None:
    """Data and layout of the curves: hits against false alarms; None where nothing fooled."""
    told = [one for one in found if one.attacked]
    if not told:
        return None
    models = list(dict.fromkeys(one.model for one in told))
    data = [_trace(one, models.index(one.model), sum(
        other.model == one.model for other in told[:k])) for k, one in enumerate(told)]
    chance = {"type": "scatter", "mode": "lines", "name": "guessing", "x": [0, 100], "y": [0, 100],
              "line": {"width": 1, "dash": "dot"}, "meta": {"ink": len(INKS) - 1},
              "hoverinfo": "skip"}
    axis = {"range": [0, 101], "dtick": 20, "zeroline": False}
    return {"data": [*data, chance], "inks": [list(ink) for ink in INKS], "layout": {
        "height": SIDE, "margin": {"l": 56, "r": 14, "t": 14, "b": 52}, "hovermode": "closest",
        "font": {"size": 12}, "showlegend": True, "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {**axis, "title": {"text": "clean photos reported, in %", "standoff": 8}},
        "yaxis": {**axis, "title": {"text": "attacked photos found, in %", "standoff": 6}}}}


def name_of(one: Detection) -> str:
    """As its curve is called."""
    return f"{one.model} · {one.detector}, {one.budget}, {one.attacker} attacker"


def _trace(one: Detection, ink: int, number: int) -> dict[str, Any]:
    points = one.curve
    colour = INKS[ink % len(INKS)][0]
    return {"type": "scatter", "mode": "lines", "name": html.escape(name_of(one)),
            "x": [round(alarm * 100, 2) for alarm, _ in points],
            "y": [round(hit * 100, 2) for _, hit in points],
            "hovertemplate": "%{y:.0f} % found at %{x:.0f} % false alarms"
                             "<extra>%{fullData.name}</extra>",
            "line": {"color": colour, "width": 2, "dash": DASHES[number % len(DASHES)],
                     "shape": "hv"},
            "marker": {"color": colour}, "meta": {"ink": ink % len(INKS)}}
