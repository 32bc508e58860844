"""What lies near one point, before and after the attack, as HTML: pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explorer.analysis.embedding.shift import Anchors, Attacked, Near, nearest, overlap
from explorer.analysis.embedding.state import SetAttack
from explorer.analysis.embedding.words import Side, degrees
from explorer.results.views import esc, signed

HINT = ('<p class="sp-hint">Click a point, or find one in the list, to see its nearest captions '
        "and pictures before and after the attack.</p>")


def _list(near: Near, others: Near | None) -> str:
    held = None if others is None else {key for key, _, _ in others}
    rows = "".join(
        f'<li data-near="{esc(key)}"><span>{esc(name)}'
        f"{'' if held is None or key in held else ' <b>new</b>'}</span> "
        f"<i>{signed(cosine)}</i></li>"
        for key, name, cosine in near)
    return f"<ol>{rows}</ol>" if rows else "<p>none on this map</p>"


def _before_after(before: np.ndarray, after: np.ndarray | None, anchors: Anchors, k: int,
                  skip: str, heads: tuple[str, str]) -> str:
    parts = []
    for images, name in ((False, "captions"), (True, "pictures")):
        a = nearest(before, anchors, images, k, skip)
        if after is None:
            parts.append(f"<h4>Nearest {name}</h4>{_list(a, None)}")
            continue
        b = nearest(after, anchors, images, k, skip)
        share = overlap(a, b)
        stayed = "" if share is None else f", overlap@{len(a)} {share * 100:.0f} %"
        parts.append(f'<h4>Nearest {name}{stayed}</h4><div class="sp-two"><div><h5>{heads[0]}</h5>'
                     f"{_list(a, None)}</div><div><h5>{heads[1]}</h5>{_list(b, a)}</div></div>")
    return "".join(parts)


def picked(key: str, sides: Sequence[Side], attacks: Sequence[SetAttack | None], k: int) -> str:
    """Everything about one point: for an attacked one its neighbours before and after, else its
    neighbours in each model and how many they share. "" for a key that is not there."""
    blocks, name = [], ""
    lists: list[Near] = []
    for (model, anchors, found), attack in zip(sides, attacks, strict=True):
        pair = _ends(key, anchors, found, attack)
        if pair is None:
            continue
        name, before, after, skip = pair
        heads = ("clean", "with noise") if key == "noise" else ("clean", "attacked")
        blocks.append(f'<section class="sp-near"><h3>{esc(model)}</h3>'
                      f"{_before_after(before, after, anchors, k, skip, heads)}</section>")
        lists.append(nearest(before, anchors, False, k, skip))
    if not blocks:
        return '<p class="sp-hint">That point is not on the map any more: pick another one.</p>'
    shared = ""
    if len(lists) == 2:
        share = overlap(*lists)
        shared = "" if share is None else (
            f'<p class="sp-note">Before the attack the two models share {share * 100:.0f} % of its '
            f"{len(lists[0])} nearest captions.</p>")
    return f'<h3 class="sp-name" tabindex="-1">{esc(name)}</h3>{shared}{"".join(blocks)}'


def _ends(key: str, anchors: Anchors, found: Attacked | None, attack: SetAttack | None,
          ) -> tuple[str, np.ndarray, np.ndarray | None, str] | None:
    """(name, features before, after or None, key to leave out) of a point in one model."""
    if found is not None and found.has(key):
        point = found[key]
        if key == "noise":
            return point.name, found["clean"].features, point.features, ""
        starts = {b: a for a, b, kind in found.arrows if kind == "attack"}
        start = found[starts.get(key, key)]
        end = found.became(start.key)
        return point.name, start.features, None if end is None else end.features, ""
    clean = key.removeprefix("after:")
    if clean not in anchors.keys:
        return None
    row = anchors.keys.index(clean)
    after = None
    if attack is not None and row in attack.chosen.rows:
        after = attack.chosen.features[int(np.flatnonzero(attack.chosen.rows == row)[0])]
    return anchors.names[row], anchors.features[row], after, clean


def lassoed(keys: Sequence[str], anchors: Anchors, attack: SetAttack | None) -> str:
    """One sentence and the first names of a selection."""
    place = {key: i for i, key in enumerate(anchors.keys)}
    rows = [place[k] for k in dict.fromkeys(keys) if k in place]
    if not rows:
        return '<p class="sp-hint">No background point is inside the line you drew.</p>'
    own = sum(anchors.kinds[r] == "own" for r in rows)
    points = anchors.features[rows]
    alike = float(np.linalg.norm(points.mean(0)))
    said = (f"{len(rows):,} background points selected, {own:,} of them your pictures; the length "
            f"of their mean is {alike:.2f} (1 when all point the same way).")
    if attack is not None:
        hit = np.isin(attack.chosen.rows, rows)
        if hit.any():
            said += (f" {int(hit.sum()):,} of them were attacked and turned by "
                     f"{degrees(float(attack.angles[hit].mean()))} on average.")
    first = "".join(f"<li>{esc(anchors.names[r])}</li>" for r in rows[:40])
    more = f"<p>and {len(rows) - 40:,} more</p>" if len(rows) > 40 else ""
    return f'<p>{esc(said)}</p><ol class="sp-lasso">{first}</ol>{more}'
