"""An evaluation as HTML: the list of them, its state, its table, its files. Pure functions."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

from explorer.analysis.evaluation import detectors, harm
from explorer.analysis.evaluation.curve import Lines, curves, figure, measure_of, summary
from explorer.analysis.evaluation.detection import Detection
from explorer.analysis.evaluation.exports import FORMATS, MIMES, export, grid, left_out, notes
from explorer.analysis.evaluation.rows import Score, Table
from explorer.base.errors import InputError, sentence
from explorer.data.tasks import RETRIEVAL
from explorer.jobs.job import BUSY, FAILED, FINISHED, RUNNING, STOPPED, STOPPING, WAITING, Job
from explorer.results.saving import file_stem
from explorer.results.views import esc, progress_bar, status_line
from explorer.ui.shared.states import badge, job_button, job_list, orders, truth, when

FILES = {".csv": "CSV", ".json": "JSON", ".md": "Markdown", ".tex": "LaTeX"}
NONE = """<section class="ev-empty"><h3>How robust is a model, in one table?</h3>
<p>Press Start: both models read the example photos, clean and attacked at three budgets, in about a
minute on a laptop. Other sets, models and attacks are chosen on the left.</p>
<p>The table comes with 95 % intervals, a curve of accuracy against the budget, and files for a
paper. An evaluation goes on when you close this page, and is found here again.</p></section>"""


def listing(works: Sequence[Job], current: str, letters: Mapping[str, str]) -> str:
    """The visitor's evaluations, newest first: a button each, and a box to lay it beside. letters:
    of those that lie side by side."""
    if not works:
        return ""
    rows = (_item(work, work.id == current, letters.get(work.id, "")) for work in works)
    hint = ("" if len(works) < 2 else
            '<p class="ev-hint">Tick others to lay them beside the one that is open.</p>')
    return job_list("ev-list", "Your evaluations", rows) + hint


def _item(work: Job, current: bool, letter: str) -> str:
    mark = f'<b class="ev-letter">{letter}</b> ' if letter else ""
    box = "" if current else (
        f'<label class="ev-tick"><input type="checkbox" data-do="tick" data-id="{esc(work.id)}" '
        f'data-key="tick-{esc(work.id)}"{" checked" * bool(letter)} aria-label="Lay '
        f'{esc(work.title)} of {esc(when(work))} beside it"> beside</label>')
    said = f'<b>{mark}{esc(work.title)}</b><span class="ev-when">{esc(when(work))}</span>'
    return (f'<div class="ev-item" data-current="{truth(current)}">'
            f'{job_button(work, "ev-open", current, said)}'
            f'<span class="ev-foot">{badge(work, "ev")}{box}</span></div>')


def state(work: Job | None, table: Table, ahead: int, said: Sequence[str] = ()) -> str:
    """What an evaluation is doing, and what came out in a sentence."""
    if work is None:
        return NONE
    bar = ""
    if work.state in BUSY and work.total:
        bar = progress_bar("Images read, over all attacks", work.done, work.total)
    lines = [*said, *left_out([table])]
    missing = "".join(f"<li>{esc(line)}</li>" for line in lines)
    told = f"<p>{esc(summary(table))}</p>" if table.rows else ""
    return (f'<section class="ev-said"><div class="ev-top"><p class="ev-doing" role="status">'
            f"{esc(doing(work, ahead))}</p>{orders(work, 'ev', 'Delete')}</div>{bar}{told}"
            f"{missing and f'<ul class=ev-left-out>{missing}</ul>'}</section>")


def doing(work: Job, ahead: int) -> str:
    """One sentence about its state."""
    if work.is_example:
        return ("An example that came with the app, measured on its own pictures. To measure "
                "yours, choose sets and attacks on the left and press Start.")
    if work.state == WAITING:
        return "Waiting: it is the next." if not ahead else f"Waiting: {ahead} before it."
    share = f"{100 * work.done // work.total} %" if work.total else ""
    return {
        RUNNING: f"Running, {share or 'starting'}. {work.text}".strip(),
        STOPPING: f"Stopping after this step, {share or 'starting'}.",
        FINISHED: "Finished.",
        STOPPED: f"Stopped at {share or '0 %'}. Go on takes it up again.",
        FAILED: f"It could not go on. {work.text}",
    }[work.state]


def table(tables: Sequence[Table]) -> str:
    """The numbers as a paper prints them, with a row of files below."""
    try:
        shown = grid(tables)
    except InputError as error:
        return "" if not any(one.rows for one in tables) else (
            status_line(sentence(error), error=True))
    open_rows = any(not row.whole for one in tables for row in one.rows)
    head = "".join(f'<th scope="col">{esc(word)}</th>' for word in shown.head)
    body = "".join(_line(line, shown.labels) for line in shown.lines)
    told = " ".join(notes(tables)) + (" Numbers so far; more images come in." * open_rows)
    if not shown.lines:
        return f"<p>{esc(told)}</p>{_files(tables)}"
    kind = "ev-recall" if tables[0].task == RETRIEVAL else "ev-accuracy"
    return (f'<div class="ev-scroll" tabindex="0" role="region" aria-label="Table of the '
            f'evaluation"><table class="ev-table {kind}"><caption>{esc(told)}</caption><thead><tr>'
            f"{head}</tr></thead><tbody>{body}</tbody></table></div>{_files(tables)}")


def _line(line: Sequence[str | Score | None], labels: int) -> str:
    cells = [f'<th scope="row">{esc(cell)}</th>' for cell in line[:labels]]
    return f"<tr>{''.join(cells)}{''.join(_cell(cell) for cell in line[labels:])}</tr>"


def _cell(score: str | Score | None) -> str:
    if not isinstance(score, Score):
        return "<td>–</td>"
    low, high = score.ci95
    said = f"{score.hits:,} of {score.n:,}"
    return (f'<td style="--share:{score.share:.2f}" title="{said}"><b>{score.share * 100:.1f}</b> '
            f"<small>({low * 100:.1f}–{high * 100:.1f})</small></td>")


def _files(tables: Sequence[Table]) -> str:
    stem = file_stem(tables[0].title) if len(tables) == 1 else "evaluations"
    links = " ".join(
        f'<a download="{esc(stem)}{suffix}" data-format="{suffix[1:]}" href="data:'
        f'{MIMES[suffix]};base64,{base64.b64encode(export(tables, suffix)).decode()}">'
        f"{FILES[suffix]}</a>" for suffix in FORMATS)
    return f'<p class="rx-files ev-files">Save the table: {links}</p>'


def curve(tables: Sequence[Table]) -> str:
    """JSON for the curve's part of the page: the figure and the same in words; "" for none."""
    try:
        drawn = figure(tables) if len({t.task for t in tables}) == 1 else None
    except KeyError:
        drawn = None
    if drawn is None:
        return ""
    return json.dumps({**drawn, "words": words(tables)})


def found(tables: Sequence[Table]) -> str:
    """What detectors did, as a table with its file; "" for none."""
    told = detectors.found_in(tables)
    if not told:
        return ""
    head = "".join(f'<th scope="col">{esc(_upper(word))}</th>' for word in detectors.HEAD)
    body = "".join("<tr>" + "".join(f"<td>{esc(cell)}</td>" for cell in line) + "</tr>"
                   for line in detectors.lines(told, "–"))
    raw = base64.b64encode(detectors.as_csv(told)).decode()
    return ('<div class="ev-scroll" tabindex="0" role="region" aria-label="Table of the detectors">'
            f'<table class="ev-table ev-detectors"><caption>{esc(detectors.ABOUT)}</caption><thead>'
            f'<tr>{head}</tr></thead><tbody>{body}</tbody></table></div><p class="rx-files '
            'ev-files">Save this table: <a download="detectors.csv" data-format="detectors-csv" '
            f'href="data:text/csv;base64,{raw}">CSV</a> (JSON, Markdown and LaTeX above hold both)'
            "</p>")


def harmed(tables: Sequence[Table]) -> str:
    """Accuracy under corruptions, a line each and a column a severity; "" for none."""
    lines = harm.table(tables)
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{esc(word)}</th>' for word in lines[0])
    body = "".join("<tr>" + "".join(
        f'<th scope="row">{esc(cell)}</th>' for cell in line[:harm.LABELS]) + "".join(
        f"<td>{esc(cell)}</td>" for cell in line[harm.LABELS:]) + "</tr>" for line in lines[1:])
    return ('<div class="ev-scroll" tabindex="0" role="region" aria-label="Table of corruptions">'
            f'<table class="ev-table ev-harm"><caption>{esc(harm.ABOUT)}</caption><thead><tr>{head}'
            f"</tr></thead><tbody>{body}</tbody></table></div>")


def roc(tables: Sequence[Table]) -> str:
    """JSON for the detectors' curves: the figure, and the same in words; "" for none."""
    told = detectors.found_in(tables)
    drawn = detectors.figure(told)
    if drawn is None:
        return ""
    rows = "".join(f"<tr><td>{esc(detectors.name_of(one))}</td><td>{esc(_alarms(one))}</td></tr>"
                   for one in told if one.attacked)
    return json.dumps({**drawn, "words": (
        '<table class="ev-table"><caption>The points of the curves</caption><thead><tr><th '
        'scope="col">curve</th><th scope="col">false alarms: found</th></tr></thead><tbody>'
        f"{rows}</tbody></table>")})


def _alarms(one: Detection) -> str:
    """The most that is found at a few shares of false alarms."""
    return "; ".join(f"{limit} %: " + f"{max(h for a, h in one.curve if a <= limit / 100):.0%}"
                     for limit in (1, 5, 10, 20, 50))


def _upper(word: str) -> str:
    return f"{word[:1].upper()}{word[1:]}"


def words(tables: Sequence[Table]) -> str:
    """The curves as a table of text, for those who do not see them."""
    rows = "".join(_curve_row(panel, name, line) for panel, lines in curves(tables).items()
                   for name, line in _items(lines))
    return ('<table class="ev-table"><caption>The points of the curves: '
            f"{esc(measure_of(tables))} in %, with its 95 % interval</caption><thead><tr>"
            '<th scope="col">set</th><th scope="col">curve</th><th scope="col">budget ε: number'
            f"</th></tr></thead><tbody>{rows}</tbody></table>")


def _items(lines: Lines) -> list[tuple[str, list[tuple[float, Score]]]]:
    return [(", ".join(part for part in name if part), line) for name, line in lines.items()]


def _curve_row(panel: tuple[str, str], name: str, line: list[tuple[float, Score]]) -> str:
    title, norm = panel
    points = []
    for eps, score in line:
        low, high = score.ci95
        at = f"{round(eps * 255, 4):g}/255" if norm == "linf" else f"{eps:.4g}"
        points.append(f"{at}: {score.share * 100:.1f} ({low * 100:.1f} to {high * 100:.1f})")
    return f"<tr><td>{esc(title)}</td><td>{esc(name)}</td><td>{esc('; '.join(points))}</td></tr>"
