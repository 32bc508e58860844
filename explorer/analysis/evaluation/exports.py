"""A table, or several laid side by side, as CSV, JSON, Markdown and LaTeX. Pure functions.

CSV and JSON have one entry a number; Markdown and LaTeX look as papers print them: a line a set
and model, a column an attack and budget.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from explorer.analysis.evaluation import detectors, harm
from explorer.analysis.evaluation.rows import ACCURACY, CORRUPTED, Row, Score, Table
from explorer.analysis.failures.slices import safe
from explorer.base.errors import InputError
from explorer.data.tasks import RETRIEVAL
from explorer.results.saving import json_bytes

TEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "ε": r"$\varepsilon$", "∞": r"$\infty$", "–": "--", "×": r"$\times$", "“": "``", "”": "''",
})


@dataclass(frozen=True)
class Grid:
    """A table as it is printed: head and lines of words; numbers: from which column on there are
    scores, which may be missing."""

    head: list[str]
    lines: list[list[str | Score | None]]
    labels: int


def measures(tables: Sequence[Table]) -> list[str]:
    """The names of all scores, in order."""
    return list(dict.fromkeys(name for t in tables for row in t.rows for name in row.scores))


def check(tables: Sequence[Table]) -> None:
    """Raises InputError for tables that cannot be laid side by side."""
    if not any(table.rows for table in tables):
        raise InputError("there are no numbers in it yet")
    if len({table.task for table in tables}) > 1:
        raise InputError("classification and retrieval have different numbers and do not go into "
                         "one table")


def grid(tables: Sequence[Table]) -> Grid:
    """As papers print it: for classification a column an attack, for retrieval a column a k."""
    check(tables)
    several = len(tables) > 1
    first = ["evaluation"] * several + ["data", "model"]
    if tables[0].task == RETRIEVAL:
        names = measures(tables)
        lines = [[*[t.title] * several, r.data, r.model, r.attack, r.budget,
                  *(r.scores.get(name) for name in names)] for t in tables for r in t.rows]
        return Grid([*map(_upper, [*first, "attack"]), "ε", *map(_upper, names)], lines,
                    len(first) + 2)
    columns = list(dict.fromkeys(row.column for table in tables for row in _printed(table)))
    lines = []
    for table in tables:
        for data, model in dict.fromkeys((row.data, row.model) for row in _printed(table)):
            own = {row.column: row.scores[ACCURACY] for row in _printed(table)
                   if (row.data, row.model) == (data, model)}
            lines.append([*[table.title] * several, data, model,
                          *(own.get(column) for column in columns)])
    return Grid([_upper(word) for word in [*first, *columns]], lines, len(first))


def _printed(table: Table) -> list[Row]:
    """What stands in the first table; corruptions have one of their own."""
    return [row for row in table.rows if row.kind != CORRUPTED]


def _upper(word: str) -> str:
    return word[:1].upper() + word[1:]


def score_words(score: Score | None, dash: str = "–") -> str:
    """54.2 (47.3–61.0), in %; a dash where there is none."""
    if score is None:
        return dash
    low, high = score.ci95
    return f"{score.share * 100:.1f} ({low * 100:.1f}{dash}{high * 100:.1f})"


def describe(settings: dict[str, Any]) -> str:
    """An attack's settings in a few words: pgd, 10 steps."""
    if not settings:
        return "no change"
    told = [str(settings["name"])]
    if "image_attack" in settings:
        told[0] += f" of {settings['image_attack']} and {settings['text_attack']}"
    for key, word in (("steps", "steps"), ("restarts", "restarts"), ("words", "words"),
                      ("characters", "characters")):
        if key in settings and not (key == "restarts" and settings[key] == 1):
            many = settings[key]
            told.append(f"{many} {word if many != 1 else word[:-1]}")
    if settings.get("norm") == "l2":
        told.append("ε in L2")
    return ", ".join(told)


def notes(tables: Sequence[Table]) -> list[str]:
    """What a reader needs beside the numbers, a sentence each."""
    what = ("Recall after the attack in %: TR finds captions by image, IR images by caption; "
            "success is the share of the hits at 1 that the attack takes"
            if tables[0].task == RETRIEVAL else "Accuracy in %")
    said = [f"{what}; in brackets the 95 % Wilson interval."]
    for table in tables:
        called = table.about.get("called")
        name = f"{table.title} ({called})" if called else table.title
        start = f"{name}: " if len(tables) > 1 else ""
        read = {row.data: row.n for row in table.rows}
        sets = ", ".join(f"{one['data']} ({read.get(one['data'], 0):,} images, "
                         f"{one['captions']:,} captions)" for one in table.sets)
        told = dict.fromkeys(f"{name.split(' ')[0]} is {describe(settings)}" for name, settings in
                             table.about.get("attacks", {}).items() if settings)
        guards = "; ".join(f"{label} is {_guard(own)}" for label, own in
                           table.about.get("defences", {}).items())
        known = any(row.aware for row in table.rows)
        said.append(f"{start}{sets}." + f" Attacks: {'; '.join(told)}." * bool(told)
                    + f" Defences: {guards}." * bool(guards) + " Known: the attacker knows of the "
                    "defence and has the same budget." * known
                    + f" Seed {table.about.get('seed', 0)}.")
    return said


def _guard(settings: dict[str, Any]) -> str:
    """A defence's settings in a few words: quality 75."""
    return ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in settings.items()
                     if key != "name")


def left_out(tables: Sequence[Table]) -> list[str]:
    """What could not be measured, a sentence each."""
    return [f"{f'{table.title}: ' * (len(tables) > 1)}Left out: {sentence}." for table in tables
            for sentence in table.left_out]


def as_json(tables: Sequence[Table]) -> bytes:
    check(tables)
    if len(tables) == 1:
        return json_bytes(tables[0].as_dict())
    return json_bytes({"evaluations": [table.as_dict() for table in tables]})


def as_csv(tables: Sequence[Table]) -> bytes:
    """One line a row; shares and intervals in [0, 1]."""
    check(tables)
    out, names = io.StringIO(), measures(tables)
    writer = csv.writer(out, lineterminator="\n")
    columns = [f"{name}{part}" for name in names for part in ("", " low", " high", " n")]
    guarded = any(row.defence for table in tables for row in table.rows)
    harmed = bool(harm.rows_in(tables))
    writer.writerow(["evaluation", "data", "model", "attack", *["severity"] * harmed,
                     *["defence", "aware"] * guarded,
                     "kind", "norm", "eps_255", "n", "drawn", *columns, "seconds"])
    for table in tables:
        for row in table.rows:
            behind = [row.severity] * harmed + [safe(row.defence), int(row.aware)] * guarded
            writer.writerow([safe(table.title), safe(row.data), safe(row.model), safe(row.attack),
                             *behind, row.kind, row.norm, round(row.eps * 255, 6), row.n, row.drawn,
                             *(cell for name in names for cell in _cells(row, name)),
                             round(row.seconds, 3)])
    return out.getvalue().encode()


def _cells(row: Row, name: str) -> list[Any]:
    score = row.scores.get(name)
    if score is None:
        return [""] * 4
    return [round(score.share, 6), *(round(x, 6) for x in score.ci95), score.n]


def as_markdown(tables: Sequence[Table]) -> bytes:
    shown = grid(tables)
    lines = [shown.head, ["---"] * shown.labels + ["---:"] * (len(shown.head) - shown.labels)]
    lines += [[cell if isinstance(cell, str) else score_words(cell) for cell in line]
              for line in shown.lines]
    said = f"{_piped(lines)}\n\n" * bool(shown.lines)
    said += f"{' '.join([*notes(tables), *left_out(tables)])}\n"
    if harmed := harm.table(tables):
        rule = ["---"] * harm.LABELS + ["---:"] * (len(harmed[0]) - harm.LABELS)
        said += f"\n{_piped([harmed[0], rule, *harmed[1:]])}\n\n{harm.ABOUT}\n"
    if found := detectors.found_in(tables):
        more = [list(detectors.HEAD), ["---"] * 6 + ["---:"] * 5, *detectors.lines(found, "–")]
        said += f"\n{_piped(more)}\n\n{detectors.ABOUT}\n"
    return said.encode()


def _piped(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(_pipe(cell) for cell in line)} |" for line in lines)


def _pipe(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def as_latex(tables: Sequence[Table]) -> bytes:
    """A table environment for the packages booktabs and graphicx; intervals in small type."""
    shown = grid(tables)
    spec = "l" * shown.labels + "r" * (len(shown.head) - shown.labels)
    body, before = [], ""
    for line in shown.lines:
        group = "|".join(str(cell) for cell in line[: shown.labels - (
            3 if tables[0].task == RETRIEVAL else 1)])
        if before and group != before:
            body.append(r"    \midrule")
        before = group
        body.append("    " + " & ".join(_tex(cell) for cell in line) + r" \\")
    caption = " ".join(notes(tables)).translate(TEX)
    printed = [
        r"\begin{table}", r"  \centering",
        rf"  \caption{{{caption}}}", r"  \label{tab:robustness}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{{spec}}}", r"    \toprule",
        "    " + " & ".join(name.translate(TEX) for name in shown.head) + r" \\", r"    \midrule",
        *body, r"    \bottomrule", r"  \end{tabular}}", r"\end{table}", ""]
    return "\n".join([
        r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
        *(f"% {' '.join(sentence.split())}" for sentence in left_out(tables)),
        *(printed if body else ()), *_harm(tables), *_detectors(tables)]).encode()


def _detectors(tables: Sequence[Table]) -> list[str]:
    """A second table, of what detectors did, if there were any."""
    found = detectors.found_in(tables)
    if not found:
        return []
    return _tabular([list(detectors.HEAD), *detectors.lines(found, "–")], "l" * 6 + "r" * 5,
                    detectors.ABOUT, "detectors")


def _harm(tables: Sequence[Table]) -> list[str]:
    """A table of corruptions, if there were any."""
    found = harm.table(tables)
    if not found:
        return []
    return _tabular(found, "l" * harm.LABELS + "r" * (len(found[0]) - harm.LABELS), harm.ABOUT,
                    "corruptions")


def _tabular(lines: Sequence[Sequence[str]], spec: str, caption: str, label: str) -> list[str]:
    """A table environment of words, its head first."""
    rows = [" & ".join(cell.translate(TEX) for cell in line) + r" \\" for line in lines]
    return [r"\begin{table}", r"  \centering", rf"  \caption{{{caption.translate(TEX)}}}",
            rf"  \label{{tab:{label}}}",
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"  \begin{{tabular}}{{{spec}}}", r"    \toprule", f"    {rows[0]}", r"    \midrule",
            *(f"    {row}" for row in rows[1:]), r"    \bottomrule", r"  \end{tabular}}",
            r"\end{table}", ""]


def _tex(cell: str | Score | None) -> str:
    if isinstance(cell, str):
        return cell.translate(TEX)
    if cell is None:
        return "--"
    low, high = cell.ci95
    return f"{cell.share * 100:.1f} {{\\scriptsize({low * 100:.1f}--{high * 100:.1f})}}"


FORMATS: dict[str, Callable[[Sequence[Table]], bytes]] = {
    ".csv": as_csv, ".json": as_json, ".md": as_markdown, ".tex": as_latex}
MIMES = {".csv": "text/csv", ".json": "application/json", ".md": "text/markdown",
         ".tex": "application/x-tex"}


def export(tables: Sequence[Table], suffix: str) -> bytes:
    """The bytes of a file with that ending. Raises InputError for another one."""
    if suffix.lower() not in FORMATS:
        raise InputError(f"the table can be written as {', '.join(FORMATS)}, not as "
                         f"'{suffix[:20]}'")
    return FORMATS[suffix.lower()](tables)
