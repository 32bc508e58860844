"""Line charts as inline SVG: pure functions of numbers, no script, readable without colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from explorer.results.views import esc

WIDTH, HEIGHT = 460, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 8, 34
MOST_POINTS = 240  # of a line; more are averaged in groups
MARKED = 24  # lines of so few points show each of them
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line: its name in the legend, and (x, y) by rising x."""

    name: str
    points: tuple[Point, ...]


def line_chart(series: Sequence[Series], title: str, x_label: str, share: bool = False) -> str:
    """An SVG figure. share: y is from 0 to 1 and shown in percent.

    Points that are not finite are left out. Each line has its own colour, dashes and marks.
    """
    lines = [(s.name, thin([p for p in s.points if math.isfinite(p[1])])) for s in series]
    lines = [(name, points) for name, points in lines if points]
    if not lines:
        return f'<p class="tr-none">{esc(title)}: nothing measured yet.</p>'
    xs = [x for _, points in lines for x, _ in points]
    ys = [y for _, points in lines for _, y in points]
    x_range = (min(xs), max(xs))
    y_range = (0.0, upper(max(ys), share)) if share else (min(0.0, *ys), max(ys))
    scale = _Scale(x_range, y_range)
    drawn = "".join(_line(k, points, scale) for k, (_, points) in enumerate(lines))
    legend = "".join(_legend(k, name, points[-1][1], share)
                     for k, (name, points) in enumerate(lines))
    return (f'<figure class="tr-chart"><figcaption>{esc(title)}</figcaption>'
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{esc(said(lines, title, x_label, share))}">'
            f'{_axes(scale, x_label, share)}{drawn}</svg>'
            f'<p class="tr-legend" aria-hidden="true">{legend}</p></figure>')


def said(lines: Sequence[tuple[str, Sequence[Point]]], title: str, x_label: str, share: bool,
         ) -> str:
    """The chart in words: where each line starts and ends."""
    parts = [f"{name} from {number(points[0][1], share)} at {points[0][0]:g} "
             f"to {number(points[-1][1], share)} at {points[-1][0]:g}" for name, points in lines]
    return f"{title}, by {x_label}: " + "; ".join(parts)


def number(value: float, share: bool) -> str:
    return f"{value * 100:.0f} %" if share else f"{value:.3g}"


def upper(highest: float, share: bool) -> float:
    """The top of a percent axis: the next full fifth, so that small gains can be seen."""
    return min(1.0, max(0.2, math.ceil(highest * 5 - 1e-9) / 5)) if share else highest


def thin(points: Sequence[Point]) -> list[Point]:
    """At most MOST_POINTS: means of neighbours; the last point stays as it is."""
    group = -(-len(points) // MOST_POINTS)
    if group <= 1:
        return list(points)
    means = []
    for start in range(0, len(points) - 1, group):
        part = points[start : min(start + group, len(points) - 1)]
        means.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return [*means, points[-1]]


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers within [low, high], about so many."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class _Scale:
    """From data to places in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, point: Point) -> tuple[float, float]:
        return (LEFT + self._part(point[0], self.x) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - self._part(point[1], self.y) * (HEIGHT - TOP - BOTTOM))

    @staticmethod
    def _part(value: float, span: tuple[float, float]) -> float:
        low, high = span
        return (value - low) / (high - low) if high > low else 0.5


def _axes(scale: _Scale, x_label: str, share: bool) -> str:
    parts = []
    for tick in ticks(*scale.y):
        _, y = scale.at((scale.x[0], tick))
        parts.append(f'<line class="tr-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"/><text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                     f"{number(tick, share)}</text>")
    for tick in ticks(*scale.x, about=6):
        x, _ = scale.at((tick, scale.y[0]))
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">'
                     f"{tick:g}</text>")
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 3}" '
                 f'text-anchor="middle">{esc(x_label)}</text>')
    return "".join(parts)


def _line(k: int, points: Sequence[Point], scale: _Scale) -> str:
    places = [scale.at(p) for p in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = ""
    if len(places) <= MARKED:
        marks = "".join(_mark(k, x, y) for x, y in places)
    return f'<g class="tr-line tr-line-{k % 6}"><polyline points="{path}"/>{marks}</g>'


def _mark(k: int, x: float, y: float) -> str:
    if k % 2:
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'


def _legend(k: int, name: str, last: float, share: bool) -> str:
    mark = _mark(k, 14, 6)
    return (f'<span><svg class="tr-key" viewBox="0 0 28 12"><g class="tr-line tr-line-{k % 6}">'
            f'<polyline points="0,6 28,6"/>{mark}</g></svg>{esc(name)} '
            f"<b>{number(last, share)}</b></span>")
