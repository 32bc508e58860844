"""Robust accuracy against the budget as a Plotly figure, a plain dictionary; and in words.

Nothing here imports Plotly: its browser library draws the dictionary.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from explorer.analysis.evaluation.harm import average
from explorer.analysis.evaluation.rows import ACCURACY, CLEAN, CORRUPTED, Row, Score, Table
from explorer.attacks.amounts import NORMS

# Okabe and Ito's palette, (on light, on dark ground); first the two model colours of the app.
INKS = (("#b34700", "#ff9d5c"), ("#0063a3", "#62b8f5"), ("#00795a", "#35c9a1"),
        ("#9c3f75", "#e79cc8"), ("#7a5c00", "#f0c04a"), ("#4b5563", "#c3cad4"))
DASHES = ("solid", "dot", "dash", "dashdot")
MARKS = ("circle", "square", "diamond", "triangle-up")
MEASURES = (ACCURACY, "TR R@1")
UNDER = {"image": "with the photo attacked", "text": "with the caption attacked",
         "joint": "with both attacked"}
HIGH = 260  # pixels of one panel
Figure = dict[str, Any]
Point = tuple[float, Score]
Lines = dict[tuple[str, str, str], list[Point]]  # (evaluation, model, attack) -> by budget


def measure_of(tables: Sequence[Table]) -> str:
    """Accuracy, or for retrieval the recall at 1 of captions."""
    return MEASURES[tables[0].task != "classification"] if tables else ACCURACY


def curves(tables: Sequence[Table]) -> dict[tuple[str, str], Lines]:
    """(set, norm) -> the lines of its panel; the clean number is at budget 0."""
    found: dict[tuple[str, str], Lines] = {}
    measure = measure_of(tables)
    for table in tables:
        title = table.title if len(tables) > 1 else ""
        clean = {(r.data, r.model, r.defence): r.scores[measure] for r in table.rows
                 if r.kind == CLEAN and measure in r.scores}
        for row in table.rows:
            if row.norm not in NORMS or measure not in row.scores:
                continue
            panel = found.setdefault((row.data, row.norm), {})
            line = panel.setdefault((title, row.model, row.line), [])
            start = clean.get((row.data, row.model, row.defence))
            if not line and start and row.eps > 0:
                line.append((0.0, start))
            line.append((row.eps, row.scores[measure]))
    return {panel: {name: sorted(line, key=lambda point: point[0]) for name, line in lines.items()}
            for panel, lines in found.items()}


def figure(tables: Sequence[Table]) -> Figure | None:
    """data and layout, a panel for each set; None where no attack had a budget of pixels."""
    panels = curves(tables)
    if not any(len(line) > 1 for lines in panels.values() for line in lines.values()):
        return None
    models = list(dict.fromkeys((t.title if len(tables) > 1 else "", r.model)
                                for t in tables for r in t.rows))
    attacks = list(dict.fromkeys(r.line for t in tables for r in t.rows if r.norm in NORMS))
    wide = min(2, len(panels))
    rows = -(-len(panels) // wide)
    data, layout = [], _layout(rows)
    for k, ((title, norm), lines) in enumerate(panels.items()):
        mark = "" if k == 0 else str(k + 1)
        _axes(layout, mark, (k // wide, k % wide, rows, wide), title, norm, measure_of(tables),
              [eps for line in lines.values() for eps, _ in line])
        for (run, model, attack), line in lines.items():
            data.append(_trace((run, model, attack), line, models.index((run, model)),
                               attacks.index(attack), mark, norm, k == 0))
    return {"data": data, "layout": layout, "inks": [list(ink) for ink in INKS]}


def _trace(name: tuple[str, str, str], line: list[Point], ink: int, attack: int, mark: str,
           norm: str, first: bool) -> Figure:
    factor = 255 if norm == "linf" else 1
    shares = [round(score.share * 100, 2) for _, score in line]
    ends = [[x * 100 for x in score.ci95] for _, score in line]
    colour = INKS[ink % len(INKS)][0]
    said = [f"{score.share * 100:.1f} % ({low:.1f} to {high:.1f} %), n = {score.n:,}"
            for (_, score), (low, high) in zip(line, ends, strict=True)]
    words = html.escape(" · ".join(part for part in name if part))
    return {"type": "scatter", "mode": "lines+markers", "name": words, "legendgroup": words,
            "showlegend": first, "cliponaxis": False, "xaxis": f"x{mark}", "yaxis": f"y{mark}",
            "x": [round(eps * factor, 4) for eps, _ in line], "y": shares, "text": said,
            "hovertemplate": "ε = %{x}: %{text}<extra>%{fullData.name}</extra>",
            "line": {"color": colour, "width": 2, "dash": DASHES[attack % len(DASHES)]},
            "marker": {"color": colour, "size": 8, "symbol": MARKS[attack % len(MARKS)]},
            "error_y": {"type": "data", "symmetric": False, "thickness": 1, "width": 4,
                        "color": colour,
                        "array": [round(h - s, 2) for (_, h), s in zip(ends, shares, strict=True)],
                        "arrayminus": [round(s - low, 2) for (low, _), s in
                                       zip(ends, shares, strict=True)]},
            "meta": {"ink": ink % len(INKS)}}


def _layout(rows: int) -> Figure:
    return {"height": HIGH * rows + 110, "margin": {"l": 56, "r": 14, "t": 30, "b": 52},
            "showlegend": True, "hovermode": "closest", "annotations": [], "font": {"size": 12},
            "legend": {"orientation": "h", "x": 0, "y": 1 + 26 / (HIGH * rows), "yanchor": "bottom",
                       "font": {"size": 12}},
            "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}


def _axes(layout: Figure, mark: str, at: tuple[int, int, int, int], title: str, norm: str,
          measure: str, budgets: Sequence[float]) -> None:
    row, column, rows, wide = at
    gap_x, gap_y = 0.09, 0.24 if rows > 1 else 0
    width, high = (1 - gap_x * (wide - 1)) / wide, (1 - gap_y * (rows - 1)) / rows
    left, top = column * (width + gap_x), 1 - row * (high + gap_y)
    unit = "ε, grey levels of 255 (L∞)" if norm == "linf" else "ε, L2 of pixels in 0 to 1"
    factor = 255 if norm == "linf" else 1
    ticks = sorted({round(eps * factor, 4) for eps in budgets})
    layout[f"xaxis{mark}"] = {"domain": [left, left + width], "anchor": f"y{mark}",
                              "title": {"text": unit, "standoff": 8}, "tickvals": ticks,
                              "range": [-0.03 * ticks[-1], 1.03 * ticks[-1]], "zeroline": False}
    layout[f"yaxis{mark}"] = {"domain": [top - high, top], "anchor": f"x{mark}", "range": [0, 103],
                              "title": {"text": f"{measure} in %", "standoff": 6},
                              "zeroline": False, "dtick": 20}
    layout["annotations"].append({
        "text": html.escape(title), "xref": "paper", "yref": "paper", "x": left + width / 2,
        "y": top, "xanchor": "center", "yanchor": "bottom", "showarrow": False})


def summary(table: Table) -> str:
    """What came out, in a sentence or two: the strongest drop of each model on the first set."""
    measure = measure_of([table])
    rows = [row for row in table.rows if measure in row.scores]
    if not rows:
        return ""
    said = []
    data = rows[0].data
    for model in dict.fromkeys(row.model for row in rows if row.data == data):
        own = [row for row in rows if (row.data, row.model, row.defence) == (data, model, "")]
        own = own or [row for row in rows if (row.data, row.model) == (data, model)]
        clean = next((row for row in own if row.kind == CLEAN), None)
        worst = min((row for row in own if row.kind not in (CLEAN, CORRUPTED)), default=None,
                    key=lambda row: (row.scores[measure].share, -row.eps))
        harmed = [row for row in own if row.kind == CORRUPTED]
        said.append(_of_model(model, clean, worst, harmed, measure))
    more = len(dict.fromkeys(row.data for row in rows)) - 1
    tail = f" {more} more set{'s are' if more > 1 else ' is'} in the table." if more else ""
    return f"On {data}, {'; '.join(said)}.{tail}"


def _of_model(model: str, clean: Row | None, worst: Row | None, harmed: Sequence[Row],
              measure: str) -> str:
    what = "of the images" if measure == ACCURACY else "of the images, their captions"

    def share(row: Row) -> str:
        return f"{row.scores[measure].share * 100:.0f} %"

    under = []
    if worst is not None:
        under.append(f"{share(worst)} {UNDER.get(worst.kind, 'attacked')}" + (
            f" at ε = {worst.budget}" if worst.budget else ""))
    if harmed:
        under.append(f"{average(harmed) * 100:.0f} % on average under corruptions")
    if clean is None:
        return f"{model} reads {' and '.join(under)} {what} rightly"
    return ", and ".join([f"{model} reads {share(clean)} {what} rightly", *under])
