"""Lessons as HTML, in any of their languages. Everything that is not our own text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from explorer.lessons.quiz import right
from explorer.lessons.record import Bars, Cell, Record, Table
from explorer.lessons.texts import COUNT, Lesson, Question, Texts
from explorer.results.views import (
    caption_diff,
    esc,
    percent,
    png_uri,
    progress_bar,
    signed,
    status_line,
)

MINUTES = 4
STEPS = ("idea", "predict", "look", "live", "keep")
MARKS = {"fooled": "✗", "held": "✓", "unchanged": "="}


def filled(text: str, values: Mapping[str, Any]) -> str:
    """A text with its {gaps} filled, for HTML. Raises KeyError when a value is missing."""
    return esc(text.format_map(values)).replace(" %", "\u00a0%")  # stays on one line


def paragraphs(lines: Sequence[str], values: Mapping[str, Any] | None = None) -> str:
    return "".join(f"<p>{esc(line) if values is None else filled(line, values)}</p>"
                   for line in lines)


def heading(texts: Texts, lesson: Lesson, finished: int) -> str:
    place = filled(texts.ui["lesson_of"], {"n": lesson.number, "total": COUNT})
    long = filled(texts.ui["minutes"], {"n": MINUTES})
    done = filled(texts.ui["progress"], {"done": finished, "total": COUNT})
    steps = "|".join(texts.ui[f"step_{name}"] for name in STEPS)
    return (f'<header class="ln-head" lang="{texts.language}" data-steps="{esc(steps)}">'
            f'<p class="ln-place">{place} · {long} · {done}</p>'
            f'<h2 id="ln-title" tabindex="-1">{esc(lesson.title)}</h2></header>')


def idea(texts: Texts, lesson: Lesson) -> str:
    formula = ""
    if lesson.formula:
        names = "".join(f"<dt>{esc(sign)}</dt><dd>{esc(means)}</dd>"
                        for sign, means in lesson.symbols)
        formula = (f'<section class="ln-formula"><h3>{esc(texts.ui["formula"])}</h3>'
                   f'<p class="ln-math">{esc(lesson.formula)}</p><dl>{names}</dl></section>')
    links = "".join(
        f'<li>{esc(title)}, <a href="https://arxiv.org/abs/{esc(number)}" target="_blank" '
        f'rel="noopener noreferrer">arXiv {esc(number)}</a></li>'
        for title, number in lesson.sources)
    return page(texts, f'<div class="ln-text">{paragraphs(lesson.idea)}</div>{formula}'
                 f'<section class="ln-sources"><h3>{esc(texts.ui["sources"])}</h3><ul>{links}</ul>'
                 "</section>")


def ask(texts: Texts, question: Question, record: Record | None = None) -> str:
    """The question, beside the clean photo where there is one."""
    shown = [p for p in record.pictures if p[0] == "clean"] if record else []
    picture = ""
    if shown and record:
        picture = (f'<figure><img src="{png_uri(shown[0][1])}" '
                   f'alt="{esc(texts.photos[record.photo])}"></figure>')
    return page(texts, f'<div class="ln-ask">{picture}<p class="ln-question">{esc(question.ask)}'
                 "</p></div>")


def feedback(texts: Texts, question: Question, chosen: int | None, correct: int,
             wrong: str = "wrong") -> str:
    """What is said once an answer was checked; chosen None: there was none."""
    ui = texts.ui
    if chosen is None:
        return page(texts, f'<p class="ln-said ln-none">{esc(ui["not_answered"])}</p>')
    good = chosen == correct
    kind, mark, word = (("ln-good", "✓", ui["right"]) if good else ("ln-bad", "✗", ui[wrong]))
    end = esc(ui["full_stop"])
    answer = "" if good else (f'<p><b>{esc(ui["it_was"])}</b> {esc(question.options[correct])}'
                              f"{end}{esc(question.why[correct])}</p>")
    return page(texts, f'<div class="ln-said {kind}" role="status"><p><span class="ln-mark" '
                 f'aria-hidden="true">{mark}</span> <b>{esc(word)}</b> {esc(ui["you_said"])} '
                 f"{esc(question.options[chosen])}{end}{esc(question.why[chosen])}</p>"
                 f"{answer}</div>")


def notice(texts: Texts, key: str) -> str:
    return page(texts, f'<p class="ln-said ln-none" role="status">{esc(texts.ui[key])}</p>')


def reveal(texts: Texts, lesson: Lesson, record: Record, chosen: int | None,
           stale: bool = False) -> str:
    """The answer, what it means, and the kept results."""
    return (feedback(texts, lesson.predict, chosen, right(lesson.number, record.facts))
            + page(texts, f'<div class="ln-text">{paragraphs(lesson.reveal, record.facts)}</div>'
                    f'<p class="ln-note">{_kept(texts, record, stale)}</p>{body(texts, record)}'))


def _kept(texts: Texts, record: Record, stale: bool) -> str:
    changed = f'{esc(texts.ui["stale"])} ' * stale
    return changed + filled(texts.ui["kept"], {"seconds": f"{record.seconds:.1f}",
                                     "photo": texts.photos[record.photo]})


def live(texts: Texts, lesson: Lesson, record: Record) -> str:
    """Results of a run of just now, with what they say of the prediction."""
    if record.option.startswith("train-"):
        return page(texts, trained(texts, [record]))
    done = filled(texts.ui["live_done"], {"seconds": f"{record.seconds:.1f}",
                                          "photo": texts.photos[record.photo]})
    answer = lesson.predict.options[right(lesson.number, record.facts)]
    told = filled(texts.ui["live_right"], {"answer": answer})
    return page(texts, f'<p class="ln-note">{done}</p><div class="ln-text">'
                 f"{paragraphs(lesson.reveal, record.facts)}</div>{body(texts, record)}"
                 f'<p class="ln-note">{told}</p>')


def trained(texts: Texts, records: Sequence[Record]) -> str:
    """Short trainings, side by side."""
    parts = []
    for record in records:
        method = texts.labels[f"method_{record.facts['method']}"]
        title = filled(texts.ui["trained_with"], {**record.facts, "method": method})
        parts.append(f'<section class="ln-run"><h3>{title}</h3>{body(texts, record)}</section>')
    return f'<div class="ln-runs">{"".join(parts)}</div>'


def keep(texts: Texts, lesson: Lesson) -> str:
    items = "".join(f"<li>{esc(line)}</li>" for line in lesson.keep)
    return page(texts, f'<h3>{esc(texts.ui["take_away"])}</h3><ul class="ln-keep">{items}</ul>'
                 f'<h3>{esc(texts.ui["check_yourself"])}</h3>'
                 f'<p class="ln-question">{esc(lesson.check.ask)}</p>')


def glossary(texts: Texts) -> str:
    rows = "".join(f"<dt>{esc(term)}</dt><dd>{esc(means)}</dd>" for term, means in texts.glossary)
    title = esc(texts.ui["glossary"])
    return page(texts, f'<details class="ln-glossary"><summary>{title}</summary><div '
                f'class="ln-terms" tabindex="0" role="region" aria-label="{title}"><dl>{rows}</dl>'
                "</div></details>")


def status(texts: Texts, text: str, done: int = 0, total: int = 0, error: bool = False) -> str:
    """The line under the live run's buttons; text is escaped here."""
    bar = progress_bar(text, done, total) if total else ""
    return status_line(text, bar, error, texts.language)


def body(texts: Texts, record: Record) -> str:
    """Pictures, bars and tables of a record."""
    figures = "".join(_figure(texts, *p) for p in record.pictures)
    shown = f'<div class="ln-pictures">{figures}</div>' if figures else ""
    bars = "".join(_bars(texts, b) for b in record.bars)
    tables = "".join(_table(texts, t) for t in record.tables)
    return f'<div class="ln-body">{shown}<div class="ln-data">{bars}{tables}</div></div>'


def _figure(texts: Texts, label: str, pixels: Any, factor: int) -> str:
    said = esc(texts.labels[label]) + (f" (× {factor})" if factor else "")
    return (f'<figure><img src="{png_uri(pixels)}" alt="{said}"><figcaption>{said}</figcaption>'
            "</figure>")


def _bars(texts: Texts, bars: Bars) -> str:
    rows = "".join(
        f'<tr><th scope="row">{esc(caption)}{" ✓" if k == bars.true else ""}</th>'
        f"{_bar_cell(before, 'ln-before')}{_bar_cell(after, 'ln-after')}</tr>"
        for k, (caption, before, after) in enumerate(bars.rows))
    ui, title = texts.ui, texts.labels[bars.title]
    return _scroll(f"<table><caption>{esc(title)} ({esc(bars.model)})</caption><thead><tr>"
                   f'<th scope="col">{esc(texts.labels["caption"])}</th>'
                   f'<th scope="col">{esc(ui["answer_before"])}</th>'
                   f'<th scope="col">{esc(ui["answer_after"])}</th></tr></thead>'
                   f"<tbody>{rows}</tbody></table>", title)


def _bar_cell(p: float, kind: str) -> str:
    return (f'<td class="ln-barcell"><span class="ln-bar"><i class="{kind}" '
            f'style="width:{p * 100:.1f}%"></i></span> {percent(p)}</td>')


def _table(texts: Texts, table: Table) -> str:
    title = texts.labels[table.title]
    head = "".join(f'<th scope="col">{esc(texts.labels[h])}</th>' for h in table.head)
    rows = "".join("<tr>" + "".join(_cell(texts, c, k == 0) for k, c in enumerate(row)) + "</tr>"
                   for row in table.rows)
    return _scroll(f"<table><caption>{esc(title)}</caption><thead><tr>{head}</tr></thead>"
                   f"<tbody>{rows}</tbody></table>", title)


def _scroll(inner: str, title: str) -> str:
    return (f'<div class="ln-scroll" tabindex="0" role="region" aria-label="{esc(title)}">{inner}'
            "</div>")


def _cell(texts: Texts, cell: Cell, first: bool) -> str:
    kind, inner = "", ""
    if isinstance(cell, str):
        inner = esc(cell)
    elif "label" in cell:
        key = str(cell["label"])
        mark = f'<span aria-hidden="true">{MARKS[key]}</span> ' if key in MARKS else ""
        kind = f' class="ln-{key}"' if key in MARKS else ""
        inner = mark + filled(texts.labels[key], cell["values"])
    elif "chance" in cell:
        inner = percent(float(cell["chance"]))
    elif "cosine" in cell:
        inner = signed(float(cell["cosine"]))
    else:
        inner = caption_diff(str(cell["clean"]), str(cell["now"]), quotes=False)
    return f'<th scope="row"{kind}>{inner}</th>' if first else f"<td{kind}>{inner}</td>"


def page(texts: Texts, inner: str) -> str:
    return f'<div class="ln-page" lang="{texts.language}">{inner}</div>'
