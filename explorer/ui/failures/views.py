"""A hunt as HTML: its state, slices and confusion matrix. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from explorer.analysis.failures.slices import (
    ALL,
    BOTH,
    LEFT,
    OTHERS,
    RIGHT,
    SLICES,
    WRONG,
    Example,
    Filter,
    Found,
    confusion,
    counts,
)
from explorer.base.intervals import wilson
from explorer.data.containers import SHOWN
from explorer.jobs.job import BUSY, FAILED, FINISHED, RUNNING, STOPPED, STOPPING, WAITING, Job
from explorer.results.views import esc, percent, progress_bar
from explorer.ui.failures.cards import Sheet, start_note
from explorer.ui.shared.states import badge, job_button, job_list, orders, truth, when

MOST_NAMES = 500
NONE = """<section class="fx-empty"><h3>Which pictures break, and which hold?</h3>
<p>Choose pictures on the left and press Start: the same attack runs on every one of them, against
both models. What broke is then sorted here, and a click opens a picture in the Attack tab.</p>
<p>A hunt goes on when you close this page, and is found here again.</p></section>"""


def names(models: Sequence[str], kinds: Sequence[str]) -> tuple[str, str]:
    """What the two models are called: by their role where the roles differ, else by their id."""
    if sorted(kinds) == ["robust", "standard"]:
        return kinds[0], kinds[1]
    return models[0], models[1]


def hunts(works: Sequence[Job], current: str) -> str:
    """The visitor's hunts as buttons, newest first."""
    if not works:
        return ""
    return job_list("fx-hunts", "Your hunts", (job_button(
        work, "fx-hunt", work.id == current, f'<b>{esc(work.title)}</b>{badge(work, "fx")}'
        f'<span class="fx-when">{esc(when(work))}</span>') for work in works))


def state(work: Job | None, found: Found, ahead: int, left: str, right: str) -> str:
    """What a hunt is doing, and its result in a sentence. ahead: works that go before it."""
    if work is None:
        return NONE
    bar = ""
    if work.state in BUSY:
        bar = progress_bar("Pictures attacked", work.done, work.total)
    some = "fx-some" if found.cases else "fx-none-yet"
    said = esc(doing(work, ahead, found.bad))
    return (f'<section class="fx-said {some}"><p class="fx-doing" role="status">{said}</p>{bar}'
            f"<p>{esc(summary(found, left, right))}</p>{_left_out(found)}"
            f'{orders(work, "fx", "Delete this hunt")}</section>')


def doing(work: Job, ahead: int, bad: int = 0) -> str:
    """A sentence on how far it is. bad: pictures that could not be read."""
    if work.is_example:
        return ("An example that came with the app: one attack on every picture, against both "
                "models. For your own, choose pictures on the left and press Start.")
    unread = f", {bad:,} of which could not be read" * bool(bad)
    reached = f"{work.done:,} of {work.total:,} pictures" if work.total else "the first pictures"
    if work.state == WAITING:
        return ("Waiting for its turn: it is the next." if not ahead else
                f"Waiting for its turn: {ahead} before it.")
    if work.state == STOPPING:
        return f"Stopping after this step. {reached} attacked so far."
    return {
        RUNNING: f"{work.done:,} of {work.total:,} pictures are done. {work.text}"
                 if work.total else work.text or "Starting …",
        FINISHED: f"Finished: {work.total:,} pictures{unread}.",
        STOPPED: f"Stopped after {reached}. Go on takes it up again.",
        FAILED: work.text,
    }[work.state]


def summary(found: Found, left: str, right: str) -> str:
    """Who broke on how many of the pictures that both had right."""
    number = counts(found.cases)
    fair = number[ALL] - number[WRONG]
    if not number[ALL]:
        return ""
    if not fair:
        return (f"All of the {number[ALL]:,} pictures were wrong before the attack for at least "
                "one model: there is nothing to break.")
    said = []
    for name, slice in ((left, LEFT), (right, RIGHT)):
        broke = number[slice] + number[BOTH]
        low, high = wilson(broke, fair)
        share = percent(broke / fair) if broke else "0 %"
        said.append(f"the {name} model broke on {broke:,} ({share}; 95 % interval "
                    f"{low * 100:.0f} to {high * 100:.0f} %)")
    before = (f"{number[WRONG]:,} more {'were' if number[WRONG] > 1 else 'was'} wrong before the "
              "attack." if number[WRONG] else "None was wrong before the attack.")
    return f"Of {fair:,} pictures that both models had right, {' and '.join(said)}. {before}"


def _left_out(found: Found) -> str:
    if not found.left_out:
        return ""
    lines = "".join(f"<li>{esc(line)}</li>" for line in found.left_out)
    names = "".join(
        f"<p><b>{esc(reason)}</b> ({len(files):,}): {esc(', '.join(files[:MOST_NAMES]))}"
        f"{' …' * (len(files) > MOST_NAMES)}</p>" for reason, files in found.names.items())
    more = f"<details><summary>All their names</summary>{names}</details>" * (
        sum(map(len, found.names.values())) > SHOWN)
    return f'<ul class="fx-left-out">{lines}</ul>{more}'


def picked(ticked: int, shown: int) -> str:
    """What the buttons beside it work on."""
    said = (f"With {ticked:,} ticked:" if ticked else f"With all {shown:,} shown:" if shown
            else "With none:")
    return f'<p class="fx-picked">{said}</p>'


def slices(found: Found, view: Filter, left: str, right: str) -> str:
    """The slices as buttons with their sizes; the chosen one pressed."""
    if not found.cases:
        return ""
    number = counts(found.cases)
    buttons = "".join(
        f'<button type="button" class="fx-slice" data-do="slice" data-id="{name}" '
        f'data-key="slice-{name}" aria-pressed="{truth(view.slice == name)}">'
        f"{esc(text.format(left=left, right=right))} <b>{number[name]:,}</b></button>"
        for name, text in SLICES.items())
    return f'<div class="fx-slices" role="group" aria-label="Slices">{buttons}</div>'


def matrix(sheet: Sheet, cases: Sequence[Example], view: Filter, named: Sequence[int]) -> str:
    """The confusion matrix; a cell is a button that shows its pictures."""
    if not cases:
        return ""
    table, (left, right) = confusion(cases, view.axes, named), sheet.roles
    axes = {"models": (f"{left}, attacked", f"{right}, attacked"),
            "left": (f"{left}, clean", f"{left}, attacked"),
            "right": (f"{right}, clean", f"{right}, attacked")}[view.axes]
    answers = [*named, OTHERS]
    words = [*(sheet.short(sheet.found.captions[a]) for a in named), "any other answer"]
    if not any(table[-1]) and not any(line[-1] for line in table):
        answers, words = answers[:-1], words[:-1]
    most = max(1, *(max(line) for line in table))
    top = "".join(f'<th scope="col"><span>{esc(word)}</span></th>' for word in words)
    body = "".join(
        f'<tr><th scope="row">{esc(words[r])}</th>' + "".join(
            _cell(sheet, table[r][c], (answers[r], answers[c]), (words[r], words[c]), view, most,
                  axes) for c in range(len(answers))) + "</tr>"
        for r in range(len(answers)))
    press = " Press a number to see its pictures, and again to see all." if sheet.live else ""
    return ('<div class="fx-scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
            f'<table class="fx-matrix"><caption>Rows: the answer of {esc(axes[0])}. Columns: of '
            f"{esc(axes[1])}.{press} {esc(start_note(sheet))}</caption>"
            f"<thead><tr><td></td>{top}</tr></thead><tbody>{body}</tbody></table></div>")


def _cell(sheet: Sheet, count: int, cell: tuple[int, int], words: tuple[str, str], view: Filter,
          most: int, axes: tuple[str, str]) -> str:
    if not count:
        return "<td></td>"
    share, (row, column) = f' style="--share:{count / most:.2f}"', cell
    if not sheet.live:
        return f"<td{share}>{count}</td>"
    said = (f"{count} picture{'s' * (count > 1)}: {axes[0]} says {words[0]}, {axes[1]} says "
            f"{words[1]}")
    return (f'<td{share}><button type="button" data-do="cell" data-id="{row},{column}" '
            f'data-key="cell-{row},{column}" aria-pressed="{truth(view.cell == cell)}" '
            f'aria-label="{esc(said)}" title="{esc(said)}">{count}</button></td>')
