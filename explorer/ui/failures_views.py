"""A study as HTML: its state, slices, matrix, and a page of pictures. Pure functions."""

from __future__ import annotations

import base64
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from explorer.background import BUSY, DONE, FAILED, RUNNING, STOPPED, WAITING, Work
from explorer.failures import (
    ALL,
    BOTH,
    LEFT,
    OTHERS,
    RIGHT,
    SHOWN_FLIP,
    SLICES,
    WRONG,
    Case,
    Found,
    Side,
    View,
    confusion,
    counts,
    reworded,
)
from explorer.metrics import wilson
from explorer.views import caption_diff, esc, percent, signed

PAGE = 48
STATES = {WAITING: "waiting", RUNNING: "running", DONE: "finished", STOPPED: "stopped",
          FAILED: "failed"}
MARKS = {WAITING: "…", RUNNING: "▶", DONE: "✓", STOPPED: "■", FAILED: "✗"}
NONE = """<section class="fx-empty"><h3>Which pictures break, and which hold?</h3>
<p>Choose pictures on the left and press Start: the same attack runs on every one of them, against
both models. What broke is then sorted here, and a click opens a picture in the Attack tab.</p>
<p>A study goes on when you close this page, and is found here again.</p></section>"""


def names(models: Sequence[str], kinds: Sequence[str]) -> tuple[str, str]:
    """What the two models are called: by their role where the roles differ, else by their id."""
    if sorted(kinds) == ["robust", "standard"]:
        return kinds[0], kinds[1]
    return models[0], models[1]


def studies(works: Sequence[Work], current: str) -> str:
    """The visitor's studies as buttons, newest first."""
    if not works:
        return ""
    rows = "".join(
        f'<button type="button" class="fx-study" data-do="study" data-id="{esc(work.id)}" '
        f'data-key="study-{esc(work.id)}" aria-pressed="{_bool(work.id == current)}">'
        f'<b>{esc(work.title)}</b><span class="fx-state fx-{work.state}"><span aria-hidden="true">'
        f"{MARKS[work.state]}</span> {STATES[work.state]}</span><span class=\"fx-when\">"
        f"{esc(time.strftime('%d %b, %H:%M', time.localtime(work.created)))}</span></button>"
        for work in works)
    return f'<div class="fx-studies" role="group" aria-label="Your studies">{rows}</div>'


def state(work: Work | None, found: Found, ahead: int, left: str, right: str) -> str:
    """What a study is doing, and its result in a sentence."""
    if work is None:
        return NONE
    bar = ""
    if work.state in BUSY and work.total:
        bar = (f'<progress max="{work.total}" value="{work.done}" aria-label="Pictures attacked">'
               "</progress>")
    return (f'<section class="fx-said"><p class="fx-doing" role="status">{esc(doing(work, ahead))}'
            f"</p>{bar}<p>{esc(summary(found, left, right))}</p>{_left_out(found)}</section>")


def doing(work: Work, ahead: int) -> str:
    reached = f"{work.done:,} of {work.total:,} pictures" if work.total else "the first pictures"
    if work.state == WAITING:
        return ("Waiting: it is the next." if not ahead else
                f"Waiting: {ahead} before it.")
    return {
        RUNNING: f"Attacked {reached}. {work.text}".strip(),
        DONE: f"Finished: {reached} attacked.",
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
        said.append(f"the {name} model broke on {broke:,} ({percent(broke / fair)}; 95 % interval "
                    f"{low * 100:.0f} to {high * 100:.0f} %)")
    return (f"Of {fair:,} pictures that both models had right, {' and '.join(said)}. "
            f"{number[WRONG]:,} more were wrong before the attack.")


def _left_out(found: Found) -> str:
    if not found.left_out:
        return ""
    lines = "".join(f"<li>{esc(line)}</li>" for line in found.left_out)
    return f'<ul class="fx-left-out">{lines}</ul>'


def slices(found: Found, view: View, left: str, right: str) -> str:
    """The slices as buttons with their sizes; the chosen one pressed."""
    if not found.cases:
        return ""
    number = counts(found.cases)
    buttons = "".join(
        f'<button type="button" class="fx-slice" data-do="slice" data-id="{name}" '
        f'data-key="slice-{name}" aria-pressed="{_bool(view.slice == name)}">'
        f"{esc(text.format(left=left, right=right))} <b>{number[name]:,}</b></button>"
        for name, text in SLICES.items())
    return f'<div class="fx-slices" role="group" aria-label="Slices">{buttons}</div>'


def matrix(found: Found, cases: Sequence[Case], view: View, named: Sequence[int], left: str,
           right: str) -> str:
    """The confusion matrix; a cell is a button that shows its pictures."""
    if not cases:
        return ""
    table = confusion(cases, view.axes, named)
    rows_are, columns_are = {
        "models": (f"{left}, attacked", f"{right}, attacked"),
        "left": (f"{left}, clean", f"{left}, attacked"),
        "right": (f"{right}, clean", f"{right}, attacked")}[view.axes]
    answers = [*named, OTHERS]
    words = [found.captions[a] for a in named] + ["any other answer"]
    if not any(table[-1]) and not any(line[-1] for line in table):
        answers, words = answers[:-1], words[:-1]
    most = max(1, *(max(line) for line in table))
    top = "".join(f'<th scope="col"><span>{esc(word)}</span></th>' for word in words)
    body = "".join(
        f'<tr><th scope="row">{esc(words[r])}</th>' + "".join(
            _cell(table[r][c], (answers[r], answers[c]), (words[r], words[c]), view, most,
                  (rows_are, columns_are)) for c in range(len(answers))) + "</tr>"
        for r in range(len(answers)))
    return ('<div class="fx-scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
            f'<table class="fx-matrix"><caption>Rows: the answer of {esc(rows_are)}; columns: of '
            f"{esc(columns_are)}. Press a number to see its pictures.</caption>"
            f"<thead><tr><td></td>{top}</tr></thead><tbody>{body}</tbody></table></div>")


def _cell(count: int, cell: tuple[int, int], words: tuple[str, str], view: View, most: int,
          axes: tuple[str, str]) -> str:
    if not count:
        return "<td></td>"
    row, column = cell
    said = f"{count} pictures: {axes[0]} says {words[0]}, {axes[1]} says {words[1]}"
    return (f'<td style="--share:{count / most:.2f}"><button type="button" data-do="cell" '
            f'data-id="{row},{column}" data-key="cell-{row},{column}" '
            f'aria-pressed="{_bool(view.cell == cell)}" aria-label="{esc(said)}">{count}</button>'
            "</td>")


def gallery(folder: Path, found: Found, cases: Sequence[Case], view: View, left: str, right: str,
            ticked: Collection[int]) -> str:
    """One page of pictures, as cards or as a table, and the way to the other pages."""
    if not found.cases:
        return ""
    if not cases:
        return '<p class="fx-none">No picture is in this choice.</p>'
    pages = -(-len(cases) // PAGE)
    page = min(view.page, pages - 1)
    shown = cases[page * PAGE:(page + 1) * PAGE]
    draw = _table if view.table else _cards
    return (f"{_pager(page, pages, len(cases))}"
            f"{draw(folder, found, shown, (left, right), ticked)}")


def _pager(page: int, pages: int, total: int) -> str:
    if pages == 1:
        return f'<p class="fx-pager">{total:,} picture{"s" * (total > 1)}</p>'
    first, last = page * PAGE + 1, min(total, (page + 1) * PAGE)

    def button(text: str, to: int, on: bool) -> str:
        return (f'<button type="button" data-do="page" data-id="{to}" data-key="page-{text}"'
                f'{"" if on else " disabled"}>{text}</button>')

    return (f'<p class="fx-pager">{button("Back", page - 1, page > 0)} Pictures {first:,} to '
            f'{last:,} of {total:,} {button("Next", page + 1, page < pages - 1)}</p>')


def _cards(folder: Path, found: Found, cases: Sequence[Case], roles: tuple[str, str],
           ticked: Collection[int]) -> str:
    cards = "".join(_card(folder, found, case, roles, case.place in ticked) for case in cases)
    return f'<ul class="fx-cards">{cards}</ul>'


def _card(folder: Path, found: Found, case: Case, roles: tuple[str, str], ticked: bool) -> str:
    side = 1 if case.broke(1) and not case.broke(0) else 0
    truth = found.captions[case.label]
    clean = _thumb(folder / "thumbs" / f"{case.place:05d}.jpg")
    now = _thumb(folder / "thumbs" / f"{case.place:05d}-{side}.jpg") or clean
    lines = "".join(_line(found, case, k, roles[k]) for k in (0, 1))
    return (f'<li class="fx-card"><button type="button" class="fx-open" data-do="open" '
            f'data-id="{case.place}" data-key="open-{case.place}" title="Open in the Attack tab">'
            f'<img class="fx-clean" src="{clean}" alt="{esc(case.name)}, clean: {esc(truth)}. '
            f'Open in the Attack tab"><img class="fx-now" src="{now}" alt="The same picture, '
            f'attacked on the {esc(roles[side])} model"><span class="fx-tag" aria-hidden="true">'
            f'</span></button>{_tick(case, ticked, truth)}{lines}</li>')


def _tick(case: Case, ticked: bool, text: str) -> str:
    return (f'<label class="fx-tick" title="{esc(case.name)}"><input type="checkbox" '
            f'data-do="tick" data-id="{case.place}" data-key="tick-{case.place}" '
            f'{"checked " * ticked}aria-label="Choose {esc(case.name)}"> '
            f"<b>{esc(text)}</b></label>")


def _line(found: Found, case: Case, k: int, role: str) -> str:
    one = case.sides[k]
    right_before = one.was == case.label
    kind = "broke" if case.broke(k) else "held" if right_before else "wrong"
    mark = {"broke": "✗ broke", "held": "✓ held", "wrong": "! wrong before"}[kind]
    said = _answer(found, one)
    flip = ""
    if one.flip is not None:
        flip = f'<span class="fx-flip">{esc(_flips(one))}</span>'
    return (f'<p class="fx-side fx-side-{k} fx-is-{kind}"><span class="fx-mark">{esc(role)}: '
            f"{mark}</span> {said}{flip}</p>")


def _answer(found: Found, one: Side) -> str:
    """The answer before and after, with rewording marked."""
    now = reworded(found, one, one.now)
    marked = caption_diff(found.captions[one.now], now, quotes=False)
    after = f"{marked} {percent(one.p_now)}"
    if one.was == one.now:
        return f"{percent(one.p_was)} → {after}"
    return f"{esc(found.captions[one.was])} {percent(one.p_was)} → {after}"


def _flips(one: Side) -> str:
    assert one.flip is not None
    level, tried = one.flip
    if level is None:
        return f"no ε up to {tried}/255 flips it"
    return "wrong without any change" if level == 0 else f"flips at {level}/255"


def _table(folder: Path, found: Found, cases: Sequence[Case], roles: tuple[str, str],
           ticked: Collection[int]) -> str:
    head = ["Picture", "True answer"]
    for role in roles:
        head += [f"{role}: answer, clean → attacked", "margin", "shift", "words", "flips at"]
    tops = "".join(f'<th scope="col">{esc(text)}</th>' for text in head)
    rows = "".join(_row(found, case, case.place in ticked) for case in cases)
    return ('<div class="fx-scroll fx-long" tabindex="0" role="region" aria-label="Pictures">'
            "<table class=\"fx-table\"><caption>Margin: cosine of the true caption minus that of "
            "the best other, after the attack. Shift: 1 − cosine of the embedding before and "
            f"after. ε in n/255, searched up to {SHOWN_FLIP}/255 on request.</caption><thead><tr>"
            f"{tops}</tr></thead><tbody>{rows}</tbody></table></div>")


def _row(found: Found, case: Case, ticked: bool) -> str:
    cells = []
    for k, one in enumerate(case.sides):
        hit = ' class="fx-hit"' if case.broke(k) else ""
        flip = "" if one.flip is None else (
            str(one.flip[0]) if one.flip[0] is not None else f"> {one.flip[1]}")
        cells += [f"<td{hit}>{_answer(found, one)}</td>", f"<td>{signed(one.margin)}</td>",
                  f"<td>{one.shift:.2f}</td>", f"<td>{one.words}</td>", f"<td>{flip}</td>"]
    return (f'<tr><th scope="row">{_tick(case, ticked, "")}<button type="button" class="fx-name" '
            f'data-do="open" data-id="{case.place}" data-key="open-{case.place}">'
            f"{esc(case.name)}</button></th><td>{esc(found.captions[case.label])}</td>"
            f"{''.join(cells)}</tr>")


def _thumb(path: Path) -> str:
    """A data URI, or "" where there is none."""
    try:
        return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""


def _bool(value: bool) -> str:
    return "true" if value else "false"
