"""A set of failures as one HTML page that needs no other file: it opens offline, years later."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from explorer.analysis.failures.hunt import HuntPlan
from explorer.analysis.failures.slices import SLICES, Example, Filter, counts, named_answers
from explorer.attacks.registry import REGISTRIES
from explorer.base.versions import versions
from explorer.results.views import esc
from explorer.ui.failures.cards import Sheet, cards, start_note, table
from explorer.ui.failures.views import matrix, summary

HERE = Path(__file__).parent
MOST_PICTURES, MOST_ROWS = 200, 2_000
WHAT = {"image": "the photo", "text": "the caption", "joint": "the photo and the caption"}


def report(sheet: Sheet, plan: HuntPlan, title: str, cases: Sequence[Example],
           marks: Mapping[str, str], chosen: str, axes: str = "models") -> str:
    """The page. cases: what was chosen, in order, which `chosen` describes; marks: model -> hash
    of its weights."""
    found, roles = sheet.found, sheet.roles
    named = named_answers(cases, axes)
    shown = cases[:MOST_PICTURES]
    facts = {
        "Pictures": f"{found.name or title}: {len(found.cases):,} attacked; this page shows "
                    f"{chosen} ({len(cases):,})",
        "Attack": attack_words(plan),
        **{f"{role.capitalize()} model": f"{name}, sha256 {marks.get(name, 'unknown')}"
           for role, name in zip(roles, plan.models, strict=True)},
        "Seed": str(plan.seed),
        "Made with": ", ".join(f"{k} {v}" for k, v in versions().items()),
        "Made on": time.strftime("%Y-%m-%d %H:%M"),
    }
    rows = "".join(f"<dt>{esc(k)}</dt><dd>{esc(v)}</dd>" for k, v in facts.items())
    number = counts(found.cases)
    slices = "; ".join(f"{text.format(left=roles[0], right=roles[1])}: {number[name]:,}"
                       for name, text in SLICES.items())
    left = "".join(f"<li>{esc(line)}</li>" for line in found.left_out)
    first = f" The first {len(shown):,} are shown." if len(shown) < len(cases) else ""
    parts = [
        f"<h1>What broke: {esc(title)}</h1>",
        f"<p>{esc(summary(found, *roles))}</p><dl>{rows}</dl>",
        f"<p>{esc(slices)}.</p>" + (f"<ul>{left}</ul>" if left else ""),
        f"<h2>Which answer became which</h2>{matrix(sheet, cases, Filter(axes=axes), named)}",
        f"<h2>Pictures</h2><p>Each clean and attacked, small, to recognise it by; a bundle holds "
        f"the exact ones. {esc(start_note(sheet))}{first}</p>{cards(sheet, shown)}",
        f"<h2>Numbers</h2>{table(sheet, cases[:MOST_ROWS])}",
    ]
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width"><title>What broke: {esc(title)}</title>'
            f"<style>{_style()}</style></head><body><main>{''.join(parts)}</main></body></html>")


def attack_words(plan: HuntPlan) -> str:
    """An attack and its settings for a person; budgets in grey levels."""
    said = []
    for name, value in plan.settings.items():
        if name in ("eps", "step") and isinstance(value, float) and (
                plan.settings.get("norm", "linf") == "linf"):
            said.append(f"{name} {value * 255:g}/255")
        elif value not in (None, ""):
            said.append(f"{name.replace('_', ' ')} {value}")
    known = REGISTRIES[plan.kind].get(plan.attack)
    name = known.__name__ if known else plan.attack
    return f"{name} on {WHAT[plan.kind]} ({', '.join(said)})"


def _style() -> str:
    """The app's own styles; dark where the reader's system is."""
    look = (HERE.parent / "style.css").read_text("utf-8")
    dark = re.search(r"\.dark \{([^}]*)\}", look)
    assert dark is not None
    own = "".join((HERE / name).read_text("utf-8") for name in ("failures.css", "report.css"))
    return (f"{look}{own}:root {{ color-scheme: light dark; }}"
            f"@media (prefers-color-scheme: dark) {{ :root {{{dark.group(1)}}} }}")
