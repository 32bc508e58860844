"""Comparisons under the two columns: the halves of a joint attack, and transfer between models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.results.outcome import Outcome, Part
from explorer.results.verdicts import verdict
from explorer.results.views import esc, percent

if TYPE_CHECKING:
    from explorer.attacks.result import Reading, Result


def halves(outcome: Outcome) -> str:
    """Clean, image alone, text alone, joint: one row a model."""
    parts = [p for p in outcome.parts if p.result is not None and len(p.alone) == 2]
    if not parts:
        return ""
    heads = ("clean", "photo alone", "caption alone", "both")
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    rows = "".join(f'<tr><th scope="row">{esc(p.card.id)}</th>{_cells(p)}</tr>' for p in parts)
    return ('<section class="rx-transfer"><h3>What does each half do?</h3><p>The same budget for '
            "the photo alone, for the caption alone, and for both together.</p>"
            f'<div class="rx-scroll"><table><thead><tr><td></td>{top}</tr></thead><tbody>{rows}'
            "</tbody></table></div></section>")


def _cells(part: Part) -> str:
    joint = part.result
    assert joint is not None
    was = int(joint.clean.prediction[0])
    p = percent(float(joint.clean.probabilities[0, was]))
    right = was == int(joint.labels[0])
    cells = [_cell("right" if right else "wrong", f"{joint.captions[was]} {p}", not right)]
    for result in (part.alone["image"], part.alone["text"], joint):
        kind, _ = verdict(result)
        cells.append(_cell(kind, _said(result), kind == "fooled"))
    return "".join(cells)


def _said(result: Result) -> str:
    """The answer after the attack, or what the goal measures where it is no answer."""
    if result.goal == "similarity" and result.targets is None:
        return f"cosine {float(result.adversarial.cosines[0, int(result.labels[0])]):.2f}"
    now = int(result.adversarial.prediction[0])
    p = percent(float(result.adversarial.probabilities[0, now]))
    return f"{result.adversarial_captions[0][now]} {p}"


def _cell(word: str, said: str, hit: bool) -> str:
    return f'<td class="{"rx-hit" if hit else "rx-safe"}"><b>{esc(word)}</b> {esc(said)}</td>'


def controls(outcome: Outcome) -> str:
    """What harmless changes do, at about the distance of the attack: one row a model."""
    parts = [p for p in outcome.parts if p.result is not None and p.harmless]
    if not parts:
        return ""
    heads = "".join(f'<th scope="col">{esc(word)}</th>' for word in (
        "JPEG", "blur", "brightness", "a shift"))
    rows, broken, many = [], 0, 0
    for part in parts:
        broken, many = broken + sum(c.changed for c in part.harmless), many + len(part.harmless)
        cells = "".join(
            f'<td class="{"rx-hit" if c.changed else "rx-safe"}"><b>'
            f'{"changes" if c.changed else "stays"}</b> {esc(c.answer)} <span class="rx-unit">'
            f"{percent(c.probability)}</span>"
            f"<br><small>{esc(c.name)}, L2 {c.l2:.2f}</small></td>" for c in part.harmless)
        rows.append(f'<tr><th scope="row">{esc(part.card.id)}</th>{cells}</tr>')
    said = (f"Changes that everybody knows, about as far from the photo as the attack went: the "
            f"answer changes in {broken} of {many}.")
    return ('<section class="rx-transfer"><h3>Does it also break by itself?</h3>'
            f'<p>{esc(said)}</p><div class="rx-scroll"><table><thead><tr><td></td>{heads}</tr>'
            f"</thead><tbody>{''.join(rows)}</tbody></table></div></section>")


def _carried(result: Result, clean: Reading, now: int) -> str:
    """fooled, held, changed (but not into the target) or wrong before, as another model reads."""
    label, was = int(result.labels[0]), int(clean.prediction[0])
    if was != label:
        return "wrong before"
    if result.targets is not None and now == int(result.targets[0]):
        return "fooled"
    if now == label:
        return "held"
    return "fooled" if result.targets is None else "changed"


def transfer(outcome: Outcome) -> str:
    """Who is fooled by what was made against whom."""
    n = len(outcome.parts)
    if len(outcome.grid) < n * n or n < 2:
        return ""
    names = [p.card.id for p in outcome.parts]
    rows = []
    for made in range(n):
        cells = []
        for read in range(n):
            result, clean, after = outcome.grid[made, read]
            now = int(after.prediction[0])
            p = percent(float(after.probabilities[0, now]))
            word = _carried(result, clean, now)
            cells.append(_cell(word, f"{result.adversarial_captions[0][now]} {p}",
                               word == "fooled"))
        rows.append(f'<tr><th scope="row">made on <b>{esc(names[made])}</b></th>'
                    f'{"".join(cells)}</tr>')
    heads = "".join(f'<th scope="col">read by <b>{esc(name)}</b></th>' for name in names)
    return ('<section class="rx-transfer"><h3>Does the attack carry over?</h3><p>Each attack was '
            "made to fool one model; here both models read it.</p><div class=\"rx-scroll\"><table>"
            f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
            "</section>")
