"""One model's map as a still picture in SVG, for notebooks and pages without scripts."""

from __future__ import annotations

import numpy as np

from explorer.analysis.embedding.figures import INKS, SIZES
from explorer.analysis.embedding.layout import Layout
from explorer.analysis.embedding.shift import IMAGE_KINDS, Attacked, Point
from explorer.results.views import esc

SIDE, EDGE = 420, 34  # pixels
CLOSE = 24  # pixels within which a second label would cover the first
Place = tuple[float, float]


def drawing(model: str, layout: Layout, found: Attacked) -> str:
    """The background small, the attack's points large with their arrows; in two dimensions. The
    same scale along both axes, so that directions are true to the map."""
    every = np.concatenate([layout.anchors[:, :2], layout.points[:, :2]])
    low, high = every.min(0), every.max(0)
    scale = (SIDE - 2 * EDGE) / max(float((high - low).max()), 1e-9)
    middle = (low + high) / 2

    def at(row: np.ndarray) -> Place:
        x, y = (row[:2] - middle) * scale
        return round(SIDE / 2 + float(x), 1), round(SIDE / 2 - float(y), 1)

    dots = " ".join("M{} {}h0".format(*at(row)) for row in layout.anchors)
    parts = [f'<path d="{dots}" stroke="{INKS["landmark"][0]}" stroke-width="3" '
             'stroke-linecap="round" opacity="0.45"/>']
    place = {p.key: at(layout.points[i]) for i, p in enumerate(found.points)}
    for start, end, kind in found.arrows:
        (x1, y1), (x2, y2) = place[start], place[end]
        ink = INKS["noise" if kind == "noise" else "attacked"][0]
        parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{ink}" '
                     'stroke-width="2"/>')
    parts += [_mark(point, place[point.key]) for point in found.points]
    parts += _labels(found, place)
    said = (f"Map of {model}: the attack's points among {len(layout.anchors):,} fixed ones; the "
            "table has the numbers")
    across, up = layout.titles[:2]
    return (f'<svg viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}" role="img" '
            f'aria-label="{esc(said)}" style="background:#fff;border:1px solid #d1d5db">'
            f'{"".join(parts)}</svg><div style="max-width:{SIDE}px;font-size:12px">→ {esc(across)}'
            f"; ↑ {esc(up)}. Grey: {len(layout.anchors):,} landmarks and example pictures</div>")


def _mark(point: Point, place: Place) -> str:
    """Squares are pictures, circles texts; hollow is the control."""
    x, y = place
    ink, half = INKS[point.kind][0], SIZES[point.kind] / 2.6
    fill = f'fill="none" stroke="{ink}" stroke-width="2"' if point.kind == "noise" else (
        f'fill="{ink}"')
    title = f"<title>{esc(point.name)}</title>"
    if point.kind in IMAGE_KINDS:
        return (f'<rect x="{x - half:.1f}" y="{y - half:.1f}" width="{2 * half:.1f}" '
                f'height="{2 * half:.1f}" {fill}>{title}</rect>')
    return f'<circle cx="{x}" cy="{y}" r="{half:.1f}" {fill}>{title}</circle>'


def _labels(found: Attacked, place: dict[str, Place]) -> list[str]:
    """Names beside what a person has to find: the clean point's to its left, the others' to their
    right; one that would lie on another is left to the mark's own title."""
    wanted = {"clean": "clean", "attacked": "attacked", found.true: "true caption",
              "noise": "noise"}
    said, taken = [], list[Place]()
    for key, words in wanted.items():
        if key not in place:
            continue
        x, y = place[key]
        left = key == "clean" and x > 60
        if not left and any(abs(x - a) < CLOSE and abs(y - b) < CLOSE for a, b in taken):
            if key == "noise":
                continue
            y += 22  # below the mark in place of above it
        taken.append((x, y))
        said.append(f'<text x="{x + (-9 if left else 9):.1f}" y="{y - 7:.1f}" font-size="12" '
                    f'text-anchor="{"end" if left else "start"}" fill="#1f2937" '
                    f'font-family="system-ui, sans-serif">{words}</text>')
    return said
