"""Pictures of a hunt as HTML, each clean and attacked in one: cards or a table. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

from explorer.analysis.failures.slices import SHOWN_FLIP, Example, Filter, Found, Side, reworded
from explorer.results.views import caption_diff, esc, jpeg_of, percent, shared_start, signed

PAGE = 48
MARKS = {"broke": "✗ broke", "held": "✓ held", "wrong": "! wrong before"}
LATER = ("words changed", "flips at ε")
MARGIN = ("Margin: how much closer the photo is to its true caption than to the best other one "
          "(cosine, after the attack; below 0 the answer is wrong). Shift: how far the attack "
          "moved the embedding (1 − cosine; 0 is not at all).")
FLIPS = (" Flips at: the smallest ε, in grey levels of 255, that changes the answer; up to "
         f"{SHOWN_FLIP} were tried.")


@dataclass(frozen=True)
class Sheet:
    """What pictures are drawn with. folder: of the hunt; roles: what its models are called;
    ticked: places of the pictures that are chosen; live: buttons and boxes that do something."""

    folder: Path
    found: Found
    roles: tuple[str, str]
    ticked: Collection[int] = field(default_factory=set)
    live: bool = True

    @property
    def start(self) -> str:
        """The words that all answers begin with, which are said once."""
        return shared_start(self.found.captions)

    def short(self, text: str) -> str:
        """An answer without the words that all begin with."""
        return text.removeprefix(self.start)


def start_note(sheet: Sheet) -> str:
    """What is left out of every answer, as a sentence."""
    return f"Every answer begins with “{sheet.start.strip()} …”." if sheet.start else ""


def gallery(sheet: Sheet, cases: Sequence[Example], view: Filter) -> str:
    """One page of pictures, as cards or as a table, and the way to the other pages."""
    if not sheet.found.cases:
        return ""
    if not cases:
        return ('<p class="fx-none">No picture fits this choice. Choose another slice, cell or '
                "answer, or empty From and To.</p>")
    pages = -(-len(cases) // PAGE)
    page = min(view.page, pages - 1)
    shown = cases[page * PAGE:(page + 1) * PAGE]
    body = table(sheet, shown) if view.table else cards(sheet, shown)
    return f"{_pager(page, pages, len(cases), start_note(sheet))}{body}"


def _pager(page: int, pages: int, total: int, note: str) -> str:
    note = f'<span class="fx-note">{esc(note)}</span>' if note else ""
    if pages == 1:
        return f'<p class="fx-pager">{total:,} picture{"s" * (total > 1)}.{note}</p>'
    first, last = page * PAGE + 1, min(total, (page + 1) * PAGE)

    def button(text: str, to: int, on: bool) -> str:
        return (f'<button type="button" data-do="page" data-id="{to}" data-key="page-{text}"'
                f'{"" if on else " disabled"}>{text}</button>')

    return (f'<p class="fx-pager">{button("Back", page - 1, page > 0)}<span>Pictures {first:,} to '
            f"{last:,} of {total:,}</span>{button('Next', page + 1, page < pages - 1)}{note}</p>")


def cards(sheet: Sheet, cases: Sequence[Example]) -> str:
    return f'<ul class="fx-cards">{"".join(_card(sheet, case) for case in cases)}</ul>'


def _card(sheet: Sheet, case: Example) -> str:
    truth = sheet.found.captions[case.label]
    lines = "".join(_line(sheet, case, k) for k in (0, 1))
    pair = _pair(sheet, case)
    if not sheet.live:
        name = f'<p class="fx-tick"><b>{esc(truth)}</b></p><p class="fx-flip">{esc(case.name)}</p>'
        return f'<li class="fx-card"><div class="fx-open">{pair}</div>{name}{lines}</li>'
    return (f'<li class="fx-card"><button type="button" class="fx-open" data-do="open" '
            f'data-id="{case.place}" data-key="open-{case.place}" title="Open '
            f'{esc(case.name)} in the Attack tab">{pair}</button>'
            f"{_tick(sheet, case, truth)}{lines}</li>")


def worse(case: Example) -> int:
    """Which model's attacked picture is shown: that of the one that broke, else the left one's."""
    return 1 if case.broke(1) and not case.broke(0) else 0


def _pair(sheet: Sheet, case: Example) -> str:
    """The clean and the attacked picture as one unit; one alone where no pixel changed."""
    side, thumbs = worse(case), sheet.folder / "thumbs"
    truth = esc(sheet.found.captions[case.label])
    clean = jpeg_of(thumbs / f"{case.place:05d}.jpg")
    now = jpeg_of(thumbs / f"{case.place:05d}-{side}.jpg")
    if not now:
        return (f'<span class="fx-half"><img src="{clean}" alt="{truth}"><span class="fx-tag">'
                "photo unchanged</span></span>")
    role = esc(sheet.roles[side])
    return (f'<span class="fx-half"><img src="{clean}" alt="{truth}, clean"><span class="fx-tag">'
            f'clean</span></span><span class="fx-half"><img src="{now}" alt="The same, attacked on '
            f'the {role} model"><span class="fx-tag">attacked: {role}</span></span>')


def _tick(sheet: Sheet, case: Example, text: str) -> str:
    named = f"<b>{esc(text)}</b>" if text else ""
    return (f'<label class="fx-tick" title="{esc(case.name)}"><input type="checkbox" '
            f'data-do="tick" data-id="{case.place}" data-key="tick-{case.place}" '
            f'{"checked " * (case.place in sheet.ticked)}aria-label="Choose {esc(case.name)}"> '
            f"{named}</label>")


def outcome(case: Example, k: int) -> str:
    """ "broke", "held" or "wrong", for one model."""
    if case.broke(k):
        return "broke"
    return "held" if case.sides[k].was == case.label else "wrong"


def _line(sheet: Sheet, case: Example, k: int) -> str:
    one, kind = case.sides[k], outcome(case, k)
    flip = "" if one.flip is None else f'<span class="fx-flip">{esc(_flips(one))}</span>'
    return (f'<p class="fx-side fx-side-{k} fx-is-{kind}"><span class="fx-mark">'
            f"{esc(sheet.roles[k])}: {MARKS[kind]}</span> {_answer(sheet, one)}{flip}</p>")


def _answer(sheet: Sheet, one: Side) -> str:
    """The answer before and after, with rewording marked."""
    found = sheet.found
    now = reworded(found, one, one.now)
    marked = caption_diff(sheet.short(found.captions[one.now]), sheet.short(now), quotes=False)
    if one.was == one.now and now == found.captions[one.now]:
        return f"{marked} {_sure(one.p_was)} → {_sure(one.p_now)}"
    return (f"{esc(sheet.short(found.captions[one.was]))} {_sure(one.p_was)} → {marked} "
            f"{_sure(one.p_now)}")


def _sure(p: float) -> str:
    """A probability that is not parted from its sign at the end of a line."""
    return percent(p).replace(" ", "\u00a0")


def _flips(one: Side) -> str:
    assert one.flip is not None
    level, tried = one.flip
    if level is None:
        return f"no ε up to {tried}/255 flips it"
    return "wrong without any change" if level == 0 else f"flips at ε {level}/255"


def table(sheet: Sheet, cases: Sequence[Example]) -> str:
    """Numbers, a row a picture; a column is left out where it would hold nothing at all."""
    sides = [one for case in cases for one in case.sides]
    has = (any(one.words for one in sides), any(one.flip for one in sides))
    own = ("answer, clean → attacked", "margin", "shift", *compress(LATER, has))
    head = "".join(f'<th scope="colgroup" colspan="{len(own)}" class="fx-of-{k}">{esc(role)} '
                   "model</th>" for k, role in enumerate(sheet.roles))
    tops = "".join(f'<th scope="col">{text}</th>' for text in own) * 2
    rows = "".join(_row(sheet, case, has) for case in cases)
    terms = MARGIN + FLIPS * has[1]
    return ('<div class="fx-scroll fx-long" tabindex="0" role="region" aria-label="Pictures">'
            f'<table class="fx-table"><caption>{terms}</caption><thead><tr>'
            '<th scope="col" rowspan="2">Picture</th><th scope="col" rowspan="2">True answer</th>'
            f"{head}</tr><tr>{tops}</tr></thead><tbody>{rows}</tbody></table></div>")


def _row(sheet: Sheet, case: Example, has: Sequence[bool]) -> str:
    cells = []
    for k, one in enumerate(case.sides):
        kind = outcome(case, k)
        level, tried = one.flip or (None, 0)
        flip = "" if one.flip is None else f"> {tried}" if level is None else str(level)
        cells += [f'<td class="fx-is-{kind}"><span class="fx-mark">{MARKS[kind]}</span> '
                  f"{_answer(sheet, one)}</td>", f"<td>{signed(one.margin)}</td>",
                  f"<td>{one.shift:.3f}</td>",
                  *compress((f"<td>{one.words}</td>", f"<td>{flip}</td>"), has)]
    name = esc(case.name)
    if sheet.live:
        name = (f'{_tick(sheet, case, "")}<button type="button" class="fx-name" data-do="open" '
                f'data-id="{case.place}" data-key="open-{case.place}" title="Open {name} in the '
                f'Attack tab">{_mini(sheet, case)}<span>{name}</span></button>')
    return (f'<tr><th scope="row"><div>{name}</div></th>'
            f"<td>{esc(sheet.short(sheet.found.captions[case.label]))}</td>{''.join(cells)}</tr>")


def _mini(sheet: Sheet, case: Example) -> str:
    """Both pictures, small, beside a name that says the same."""
    names = (f"{case.place:05d}.jpg", f"{case.place:05d}-{worse(case)}.jpg")
    uris = [uri for name in names if (uri := jpeg_of(sheet.folder / "thumbs" / name))]
    return "".join(f'<img src="{uri}" alt="">' for uri in uris)
