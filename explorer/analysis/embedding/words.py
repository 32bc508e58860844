"""The Embedding space tab in words and tables: pure functions from numbers to HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from explorer.analysis.embedding.shift import (
    Anchors,
    Attacked,
    Shift,
    caption_ranks,
    nearest,
    overlap,
    shifts,
)
from explorer.base.intervals import wilson
from explorer.results.views import signed, table

if TYPE_CHECKING:
    from explorer.analysis.embedding.state import SetAttack

Side = tuple[str, Anchors, Attacked | None]


def degrees(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}°" if value < 9.95 else f"{value:.0f}°"


def times(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.1f} ×" if value < 9.95 else f"{value:.0f} ×"


def _main(found: Attacked) -> Shift | None:
    """The shift to speak of: the picture's, or else that of the true caption, or of any."""
    said = shifts(found)
    true = found[found.true].name if found.has(found.true) else ""
    return next((s for s in said if s.name == "picture"),
                next((s for s in said if s.name == true), said[0] if said else None))


def sentence(sides: Sequence[Side]) -> str:
    """What happened, in one plain sentence and its control."""
    told = [(name, _main(found)) for name, _, found in sides if found is not None]
    moved = [(name, shift) for name, shift in told if shift is not None]
    if not told:
        return ("There is no attack to show yet: run one in the Attack tab. Until then the map "
                "shows the clean points alone.")
    if not moved:
        return "The attack moved no embedding: nothing was changed, so there is no arrow to draw."
    what = "picture" if moved[0][1].name == "picture" else "caption"
    parts = [f"by {degrees(shift.angle)} in {name}" for name, shift in moved]
    text = f"The attack turned the {what}’s embedding {' and '.join(parts)}"
    if len(moved) == 2 and min(s.angle for _, s in moved) > 0:
        first, second = moved
        more, less = (first, second) if first[1].angle >= second[1].angle else (second, first)
        text += f" ({times(more[1].angle / less[1].angle)} as far in {more[0]})"
    noise = [degrees(s.noise) for _, s in moved if s.noise is not None]
    if noise:
        text += f"; random noise of the same size turned it by {' and '.join(noise)}"
    return text + "." + _words_too(sides, what)


def _words_too(sides: Sequence[Side], what: str) -> str:
    """The second sentence of a joint attack: how far the true caption went."""
    turned = [degrees(s.angle) for _, _, found in sides if found is not None
              and found.has(found.true) for s in shifts(found)
              if what == "picture" and s.name == found[found.true].name]
    return f" The true caption’s turned by {' and '.join(turned)}." if turned else ""


def numbers(sides: Sequence[Side], shown: Sequence[dict[tuple[str, str], float | None]],
            k: int) -> str:
    """The true-space table: one column a model."""
    known = [(name, anchors, found, seen) for (name, anchors, found), seen
             in zip(sides, shown, strict=True) if found is not None]
    if not known:
        return ""
    columns: list[dict[str, str]] = []
    angles = []
    for _, anchors, found, seen in known:
        columns.append(_column(anchors, found, seen, k))
        main = _main(found)
        angles.append(main.angle if main else None)
    labels = list(dict.fromkeys(label for c in columns for label in c))
    rows: list[list[str]] = [[label, *(c.get(label, "–") for c in columns)] for label in labels]
    if len(angles) == 2 and angles[0] is not None and angles[1]:
        rows.insert(1, [f"turned, {known[0][0]} over {known[1][0]}",
                        times(angles[0] / angles[1]), ""])
    sizes = {anchors.features.shape[1] for _, anchors, _, _ in known}
    note = "" if len(sizes) == 1 else (
        '<p class="sp-note">The embeddings of the two models have different sizes ('
        f'{" and ".join(str(a.features.shape[1]) for _, a, _, _ in known)} numbers), so each has '
        "a space of its own; angles and ranks can be compared, places cannot.</p>")
    return note + table(["In the true space, nothing projected", *(n for n, _, _, _ in known)],
                        rows, "Shifts, ranks and neighbours of each model")


def _column(anchors: Anchors, found: Attacked, seen: dict[tuple[str, str], float | None],
            k: int) -> dict[str, str]:
    cells: dict[str, str] = {}
    for shift in shifts(found):
        name = shift.name if shift.name == "picture" else f"“{shift.name}”"
        cells[f"{name} turned by"] = f"{degrees(shift.angle)} (cosine {signed(shift.cosine)})"
        if shift.noise is not None:
            cells["... random noise of the same size"] = degrees(shift.noise)
            cells["... attack over noise"] = times(shift.ratio)
    for (start, _), share in seen.items():
        if start == "clean" and share is not None:
            cells.setdefault("... of its arrow’s true length, seen on this map",
                             f"{share * 100:.0f} %")
    if found.has("clean") and found.has(found.true):
        before, after, of = caption_ranks(found)
        moved = "unchanged" if before == after else "changed"
        cells["rank of the true caption"] = f"{before} → {after} of {of}, {moved}"
    if found.has("attacked"):
        a, b = found["clean"].features, found["attacked"].features
        for images, name in ((False, "captions"), (True, "pictures")):
            share = overlap(nearest(a, anchors, images, k), nearest(b, anchors, images, k))
            if share is not None:
                cells[f"nearest {name} that stayed, overlap@{k}"] = f"{share * 100:.0f} %"
    return cells


def set_table(attacks: dict[str, SetAttack]) -> str:
    """What an attack on many did to each model."""
    rows = []
    for name, made in attacks.items():
        n, right, hit = len(made.angles), int(made.right.sum()), int(made.fooled.sum())
        low, high = wilson(hit, right)
        turned, noise = (float(v.mean()) if n else None for v in (made.angles, made.noise))
        ratio = turned / noise if turned is not None and noise else None
        rows.append([name, f"{n:,}", degrees(turned), degrees(noise), times(ratio),
                     f"{hit:,} of {right:,} ({low * 100:.0f} to {high * 100:.0f} %)"])
    if not rows:
        return ""
    eps = next(iter(attacks.values())).eps
    head = ["Model", "Pictures", "Mean turn", "Mean turn, noise", "Attack over noise",
            "Fooled, of those right before (95 % interval)"]
    return table(head, rows, f"PGD, 10 steps, L∞ {eps:g}/255, on your pictures")
