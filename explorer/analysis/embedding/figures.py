"""Layouts as Plotly figures, plain dictionaries that Plotly.js draws: colour by kind of point,
shape by modality. Pure functions; nothing here imports torch, Gradio or Plotly.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from explorer.analysis.embedding.layout import Chosen, Layout, View
from explorer.analysis.embedding.shift import (
    EXAMPLE,
    IMAGE_KINDS,
    LANDMARK,
    OWN,
    SENTENCE,
    Anchors,
    Attacked,
    answer,
)

# Okabe and Ito's palette, told apart by colour-blind readers; lighter tones on dark ground.
INKS = {
    LANDMARK: ("#8a93a3", "#75808f"), SENTENCE: ("#6b8e23", "#a3c45a"),
    EXAMPLE: ("#56b4e9", "#4d86b0"), OWN: ("#009e73", "#35c9a1"),
    "clean": ("#0072b2", "#62b8f5"), "attacked": ("#d55e00", "#ff9d5c"),
    "noise": ("#5b6470", "#c3cad4"), "caption": ("#a8487f", "#e79cc8"),
    "halo": ("#ffffff", "#161c27"),
    "attacked caption": ("#b07800", "#f0c04a"), "picked": ("#6a4cff", "#b3a4ff"),
}
LABELS = {
    LANDMARK: "concepts (texts)", SENTENCE: "sentences (texts)", EXAMPLE: "examples",
    OWN: "your pictures",
    "clean": "clean picture", "attacked": "attacked picture", "noise": "random noise",
    "caption": "captions", "attacked caption": "attacked captions",
}
SIZES = {LANDMARK: 4, SENTENCE: 5, EXAMPLE: 8, OWN: 5, "clean": 11, "attacked": 11, "noise": 9,
         "caption": 9, "attacked caption": 11}
PALE = {LANDMARK: (0.55, 0.22), SENTENCE: (0.55, 0.22), OWN: (0.55, 0.4),
        EXAMPLE: (1, 0.45)}  # alone; behind an attack
MANY = 1_500  # own pictures above which their density is drawn too, and all points by WebGL
Figure = dict[str, Any]


def short(text: str, most: int = 26) -> str:
    """A label for a crowded picture, safe for Plotly, which reads some HTML in texts."""
    return html.escape(text if len(text) <= most else text[: most - 1].rstrip() + "…")


def _columns(points: np.ndarray) -> dict[str, list[float | None]]:
    """(n, dims) -> x, y (and z) lists; NaN becomes a gap."""
    rounded = np.round(points, 4)
    return {axis: [None if np.isnan(v) else float(v) for v in rounded[:, i]]
            for i, axis in enumerate("xyz"[: points.shape[1]])}


def _type(dims: int, many: bool) -> str:
    return "scatter3d" if dims == 3 else "scattergl" if many else "scatter"


def _symbol(kind: str) -> str:
    return ("square" if kind in IMAGE_KINDS else "circle") + ("-open" if kind == "noise" else "")


def _dots(kind: str, points: np.ndarray, keys: Sequence[str], names: Sequence[str], fast: bool,
          behind: bool = False, **more: Any) -> Figure:
    """One kind of point. customdata: its key and its name, for hover, click and CSV. fast: by
    WebGL, which lies above all else, so either every kind of point is drawn by it or none; behind:
    an attack is what is to be seen."""
    dims, many = points.shape[1], kind in (LANDMARK, SENTENCE, EXAMPLE, OWN)
    marker = {"symbol": _symbol(kind), "size": SIZES[kind] * (0.6 if dims == 3 else 1),
              "color": INKS[kind][0], "opacity": PALE.get(kind, (1, 1))[behind],
              "line": {"width": 0 if many else 1, "color": "#ffffff"}}
    return {"type": _type(dims, fast), "mode": "markers", "name": LABELS[kind], **_columns(points),
            "customdata": [[k, n] for k, n in zip(keys, names, strict=True)], "marker": marker,
            "hoverinfo": "none", "meta": {"ink": kind}, **more}


def _lines(kind: str, pairs: list[tuple[np.ndarray, np.ndarray]], dims: int, name: str,
           fast: bool) -> Figure:
    """Lines from start to end, with a dot or diamond at the end; gaps between."""
    gap = np.full(dims, np.nan)
    rows = np.stack([row for a, b in pairs for row in (a, b, gap)])
    solid = dims == 3
    return {"type": _type(dims, fast), "mode": "lines+markers", "name": name, **_columns(rows),
            "line": {"color": INKS[kind][0], "width": 3 if solid else 1},
            "marker": {"symbol": "diamond" if solid else "square", "color": INKS[kind][0],
                       "size": [0, 3 if solid else 4, 0] * len(pairs)},
            "opacity": 0.5 if len(pairs) > 20 else 1, "hoverinfo": "skip", "showlegend": False,
            "meta": {"ink": kind, "role": "arrow"}}


def _heads(attack: Attacked, layout: Layout) -> list[Figure]:
    """The arrows of one attack as annotations, which lie above points of any kind. name: ink."""
    place = {p.key: i for i, p in enumerate(attack.points)}
    refs = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y"}
    arrows = []
    for a, b, kind in attack.arrows:
        ink = "noise" if kind == "noise" else "attacked"
        if not np.isfinite(layout.points[[place[a], place[b]]]).all():
            continue  # a map may have no place for a point
        (ax, ay), (x, y) = (np.round(layout.points[place[k]], 4).tolist() for k in (a, b))
        arrow = {**refs, "x": x, "y": y, "ax": ax, "ay": ay, "text": "", "showarrow": True,
                 "arrowhead": 2, "arrowcolor": INKS[ink][0]}
        wide = 3.4 if kind == "attack" else 2
        arrows.append({**arrow, "name": "halo", "arrowsize": 0.75, "arrowwidth": wide + 5})
        arrows.append({**arrow, "name": ink, "arrowsize": 1, "arrowwidth": wide})
    return sorted(arrows, key=lambda arrow: ("halo", "noise", "attacked").index(arrow["name"]))


def _background(anchors: Anchors, layout: Layout, fast: bool, behind: bool) -> list[Figure]:
    traces = []
    for kind in (LANDMARK, SENTENCE, OWN, EXAMPLE):
        rows = np.array([i for i, k in enumerate(anchors.kinds) if k == kind], int)
        if not len(rows):
            continue
        points = layout.anchors[rows]
        if kind == OWN and fast and points.shape[1] == 2:
            traces.append({
                "type": "histogram2dcontour", **_columns(points), "name": "density, your pictures",
                "ncontours": 8, "showscale": False, "hoverinfo": "skip", "opacity": 0.6,
                "colorscale": [[0, "rgba(0,158,115,0)"], [1, "rgba(0,158,115,0.75)"]],
                "line": {"width": 0.5}, "meta": {"role": "density"}})
        traces.append(_dots(kind, points, [anchors.keys[i] for i in rows],
                            [anchors.names[i] for i in rows], fast, behind))
    return traces


def _attack(attack: Attacked, layout: Layout, fast: bool) -> list[Figure]:
    dims = layout.points.shape[1]
    place = {p.key: i for i, p in enumerate(attack.points)}
    traces: list[Figure] = []
    if len(layout.trail) > 1 and attack.has("attacked"):
        traces.append({  # not to be hovered: steps would hide the points they start and end at
            "type": _type(dims, fast), "mode": "lines+markers", "name": "path of the steps",
            **_columns(layout.trail), "hoverinfo": "skip",
            "line": {"color": INKS["attacked"][0], "width": 1, "dash": "dot"},
            "marker": {"symbol": "square", "size": 3 if dims == 3 else 5,
                       "color": INKS["attacked"][0], "opacity": 0.7},
            "meta": {"ink": "attacked", "role": "trail"}})
        traces.append({**_dots("attacked", layout.trail[-1:], ["attacked"],
                               [f"the picture after step {attack.steps[-1]}"], fast),
                       "name": "step shown", "showlegend": False, "hoverinfo": "skip",
                       "meta": {"ink": "attacked", "role": "step"}})
        traces[-1]["marker"].update(symbol="square-open", size=19 if dims == 2 else 10)
    for kind, ink in (("noise", "noise"), ("attack", "attacked")):
        pairs = [(layout.points[place[a]], layout.points[place[b]])
                 for a, b, k in attack.arrows if k == kind]
        if pairs and dims == 3:
            traces.append(_lines(ink, pairs, dims, f"{kind}: clean to changed", fast))
    for kind in ("caption", "attacked caption", "noise", "clean", "attacked"):
        mine = [p for p in attack.points if p.kind == kind]
        if mine:
            words = _labels(attack)
            said: dict[str, Any] = {
                "mode": "markers+text", "textfont": {"size": 12}, "textposition": "top center",
                "text": [words.get(p.key, "") for p in mine]} if dims == 3 else {}
            traces.append(_dots(
                kind, layout.points[[place[p.key] for p in mine]], [p.key for p in mine],
                [p.name for p in mine], fast, **said))
    return traces


def _labels(attack: Attacked) -> dict[str, str]:
    """Words beside points, by key: of a few only, the most needed first."""
    now, reworded = answer(attack), attack.became(attack.true)
    said = {"attacked": "attacked", "clean": "clean"}
    if now is not None and now.key not in (attack.true, reworded.key if reworded else ""):
        said[now.key] = f"new answer: {short(now.name)}"
    said[attack.true] = f"true: {short(attack[attack.true].name)}" if (
        attack.has(attack.true)) else ""
    if reworded is not None:
        said[reworded.key] = f"attacked: {short(reworded.name)}"
    return {**said, "noise": "noise"}


def labels(attack: Attacked, layout: Layout) -> list[dict[str, Any]]:
    """The words of a flat map with their places; the page finds room for them."""
    place = {p.key: layout.points[i] for i, p in enumerate(attack.points)}
    kinds = {p.key: p.kind for p in attack.points}
    return [{"text": words, "ink": kinds[key], "x": round(float(place[key][0]), 4),
             "y": round(float(place[key][1]), 4)}
            for key, words in _labels(attack).items()
            if key in place and words and np.isfinite(place[key]).all()]


def _chosen(anchors: Anchors, layout: Layout, chosen: Chosen, fast: bool) -> list[Figure]:
    """Arrows of pictures among the anchors: a person's own, or examples, faint behind the one."""
    starts, dims = layout.anchors[chosen.rows], layout.chosen.shape[1]
    pairs = list(zip(starts, layout.chosen, strict=True))
    dots = _dots("attacked", layout.chosen, [f"after:{anchors.keys[i]}" for i in chosen.rows],
                 [f"{anchors.names[i]} (attacked)" for i in chosen.rows], fast)
    dots["marker"].update(size=5 if dims == 2 else 3, line={"width": 0})
    kind = anchors.kinds[chosen.rows[0]]
    faint = {"opacity": 0.4} if kind == EXAMPLE else {}
    lines = _lines("attacked", pairs, dims, f"{LABELS[kind]}: clean to attacked", fast)
    return [{**lines, **faint}, {**dots, **faint, "name": f"{LABELS[kind]}, attacked"}]


def figure(anchors: Anchors, attack: Attacked | None, layout: Layout, view: View,
           chosen: Chosen | None = None, side: float | None = None) -> Figure:
    """data and layout of one panel. The zoom survives until the kind of picture changes. side: of
    the square that a flat map shows at first, in its own unit; None for what fits."""
    fast = sum(kind == OWN for kind in anchors.kinds) > MANY
    dims = len(layout.titles)
    data = _background(anchors, layout, fast, attack is not None or chosen is not None)
    if chosen is not None and len(chosen.rows):
        data += _chosen(anchors, layout, chosen, fast)
    if attack is not None:
        data += _attack(attack, layout, fast)
    small = {"size": 12}
    axes: Figure = {
        f"{axis}axis": {"title": {"text": title, "font": small}, "zeroline": False,
                        "tickfont": small}
        for axis, title in zip("xyz", layout.titles, strict=False)}
    if dims == 2:
        axes["xaxis"]["title"]["standoff"] = 4
        axes["yaxis"].update(scaleanchor="x", scaleratio=1)  # lengths alike in both directions
        if side is not None:
            for axis, (low, high) in zip(("xaxis", "yaxis"), square(layout, side), strict=True):
                axes[axis]["range"] = [low, high]
    return {"data": data, "layout": {
        "annotations": _heads(attack, layout) if attack is not None and dims == 2 else [],
        "margin": {"l": 44, "r": 6, "t": 6, "b": 34}, "hovermode": "closest", "dragmode": "pan",
        "showlegend": False,
        "uirevision": f"{layout.drawn}-{dims}-{view.centre}", "font": {"size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        **({"scene": {**axes, "aspectmode": "data"}} if dims == 3 else axes)}}


def square(layout: Layout, side: float) -> list[tuple[float, float]]:
    """(low, high) along both axes around the middle of a map, with an edge."""
    every = np.concatenate([layout.anchors, layout.points])
    middle, half = (every.min(0) + every.max(0)) / 2, side * 0.54
    return [(round(float(m - half), 4), round(float(m + half), 4)) for m in middle]


def panel(name: str, role: str, anchors: Anchors, attack: Attacked | None, layout: Layout,
          view: View, chosen: Chosen | None = None, side: float | None = None) -> Figure:
    """What the page needs of one model: its figure, its labels and the coordinates of its trail."""
    flat = attack is not None and len(layout.titles) == 2
    return {"name": name, "role": role,
            "figure": figure(anchors, attack, layout, view, chosen, side),
            "labels": labels(attack, layout) if attack is not None and flat else [],
            "trail": np.nan_to_num(np.round(layout.trail, 4)).tolist(),
            "steps": list(attack.steps) if attack is not None else []}


def blend(picture: np.ndarray, values: np.ndarray, top: float, signed: bool) -> np.ndarray:
    """A map laid over its picture in grey: (H, W, 3) uint8 and (H, W) -> (H, W, 3) uint8.

    top: the value at the end of the colours. Unsigned: dark to yellow; signed: blue below zero,
    orange above. Both keep their order for colour-blind readers.
    """
    grey = picture.mean(2, keepdims=True)
    share = np.clip(values / top if top > 0 else np.zeros_like(values), -1, 1)
    stops = ([(0, 114, 178), (240, 240, 240), (213, 94, 0)] if signed else
             [(8, 12, 30), (0, 90, 140), (213, 120, 20), (255, 236, 130)])
    places = np.linspace(-1 if signed else 0, 1, len(stops))
    colour = np.stack([np.interp(share, places, [s[c] for s in stops]) for c in range(3)], -1)
    strength = (0.25 + 0.65 * np.abs(share))[..., None] if signed else 0.72
    mixed: np.ndarray = grey * (1 - strength) + colour * strength
    return mixed.round().clip(0, 255).astype(np.uint8)
