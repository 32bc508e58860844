"""The call `evaluate`: the accuracy of models on a set of pictures, clean and under attacks."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from explorer.analysis.evaluation import rows
from explorer.analysis.evaluation.guards import UNGUARDED, Guards
from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan, harmed
from explorer.analysis.evaluation.rows import CLEAN
from explorer.analysis.evaluation.run import Evaluation as Running
from explorer.analysis.evaluation.sets import opened
from explorer.analysis.metrics import Measured
from explorer.attacks.amounts import AREA
from explorer.attacks.corruptions.base import Corruption
from explorer.attacks.registry import (
    USUAL,
    Attack,
    kind_named,
    make_attack,
    registered,
    settings_of,
)
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.versions import versions
from explorer.data.sets import Examples
from explorer.data.understood import Understood
from explorer.models.fast.padding import twins
from explorer.models.library import Library
from explorer.results.saving import json_bytes, write_files
from explorer.results.views import esc, table

BATCH = 8  # small, so that a run can be ended soon
FEW = 100
MOST_ATTACKS = 12
MOST_COLUMNS = 96  # attacks and corruptions, times defences
Attacks = dict[str, Attack | None]
HEAD = ("model", "attack", "budget", "right", "accuracy", "95 % interval", "seconds")


def named_attacks(names: Sequence[str], settings: Mapping[str, Any] | None = None) -> Attacks:
    """The attacks of a list by the names they were asked by: "clean", a kind ("image", "text",
    "joint": the usual one of it) or a registry name. Each takes those settings that it has.

    Raises InputError for unknown names, names given twice, and settings that none of them has.
    """
    names = ["clean" if name.strip().lower() == "clean" else registered(name) for name in names]
    if not 1 <= len(names) <= MOST_ATTACKS or len(set(names)) < len(names):
        raise InputError(f"attacks must be 1 to {MOST_ATTACKS} different names, such as clean and "
                         "image")
    left, found = dict(settings or {}), Attacks()
    for name in names:
        if name == CLEAN:
            found[name] = None
            continue
        kind, own = (name, None) if name in USUAL else (kind_named(name), name)
        has = settings_of(make_attack(kind, own))
        found[name] = make_attack(kind, own, {k: v for k, v in (settings or {}).items()
                                              if k in has})
        for key in has:
            left.pop(key, None)
    if left:
        raise InputError(f"none of these attacks has a setting {', '.join(sorted(left))}")
    return found


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Rows, one a model and attack, and what they were measured on. captions: how many answers
    there were to choose from; left_out: what of the set was not used, in sentences; understood:
    what was understood of it before it was measured."""

    rows: tuple[Measured, ...]
    data: str
    captions: int
    left_out: tuple[str, ...]
    attacks: dict[str, dict[str, Any]]
    seed: int
    understood: Understood

    def __getitem__(self, place: tuple[str, str]) -> Measured:
        """evaluation["pocket", "image"]; KeyError when it was not asked for."""
        for row in self.rows:
            if (row.model, row.attack) == place:
                return row
        raise KeyError(place)

    def sentence(self) -> str:
        """What came out, in plain words, and how sure it is."""
        first = self.rows[0]
        said = [f"Of {first.n} picture{'s' if first.n > 1 else ''} and {self.captions} captions to "
                "choose from:"]
        for model in dict.fromkeys(row.model for row in self.rows):
            parts = [f"{round(row.accuracy * row.n)} "
                     f"{row.attack if _clean(row) else f'under {row.attack}'}"
                     for row in self.rows if row.model == model]
            said.append(f"{model} is right on {', '.join(parts)}.")
        if first.n < FEW:
            said.append("So few pictures leave wide intervals: read them before comparing.")
        return " ".join([*said, *self.left_out])

    def lines(self) -> list[list[str]]:
        """The table as text, one line a row, in the order of HEAD."""
        return [[row.model, row.attack, self._budget(row), f"{round(row.accuracy * row.n)} of "
                 f"{row.n}", f"{row.accuracy:.1%}", f"{row.ci95[0]:.1%} to {row.ci95[1]:.1%}",
                 f"{row.seconds:.1f}"] for row in self.rows]

    def _budget(self, row: Measured) -> str:
        """ "1/255", "L2 0.5", "1 word", or a dash."""
        own, said = self.attacks[row.attack], []
        if "eps" in own:
            said.append(f"{own['eps']:.1%} of the area" if own["norm"] == AREA else
                        f"{row.eps_255:g}/255" if own["norm"] == "linf" else
                        f"L2 {own['eps']:.3g}")
        if "severity" in own:
            said.append(f"severity {own['severity']}")
        for unit in ("words", "characters"):
            if unit in own:
                said.append(f"{own[unit]} {unit if own[unit] != 1 else unit[:-1]}")
        return ", ".join(said) or "–"

    def plain(self) -> dict[str, Any]:
        return {"understood": self.understood.paragraph(), "set": self.understood.plain(),
                "sentence": self.sentence(), "rows": [asdict(row) for row in self.rows],
                "data": self.data, "captions": self.captions, "left_out": list(self.left_out),
                "attacks": self.attacks, "seed": self.seed, "versions": versions()}

    def __repr__(self) -> str:
        return self.sentence()

    def _repr_html_(self) -> str:
        drawn = table([h.capitalize() for h in HEAD], self.lines(), f"Accuracy on {self.data}")
        return f"<p>{esc(self.sentence())}</p>{drawn}"

    def save(self, file: str | Path) -> None:
        """Writes the table as .json, .csv or .md (Markdown)."""
        path = Path(file)
        made = {".json": lambda: json_bytes(self.plain()), ".csv": self._csv, ".md": self._markdown}
        if path.suffix not in made:
            raise InputError(f"an evaluation is saved as .json, .csv or .md, not as {path.name}")
        write_files(path.parent, {path.name: made[path.suffix]()})

    def _csv(self) -> bytes:
        out = io.StringIO()
        write = csv.writer(out)
        write.writerow(("model", "attack", "eps_255", "n", "accuracy", "low95", "high95",
                        "seconds"))
        for r in self.rows:
            write.writerow((r.model, r.attack, r.eps_255, r.n, r.accuracy, *r.ci95, r.seconds))
        return out.getvalue().encode()

    def _markdown(self) -> bytes:
        lines = [HEAD, ["---"] * len(HEAD), *self.lines()]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()


def _clean(row: Measured) -> bool:
    """Whether nothing was attacked, behind a defence or not."""
    return row.attack.partition(" ")[0] == CLEAN


def measure(library: Library, models: Sequence[str], attacks: Attacks, data: Examples,
            seed: int = 0, keep: Path | None = None, guards: Guards = UNGUARDED,
            corruptions: Sequence[Corruption] = (),
            ) -> Iterator[Progress | Evaluation]:
    """Says what was understood of the set, then measures every model under every attack and
    corruption, and behind every defence, saying how far it is; at last the Evaluation.

    keep: a folder of finished parts, from which the same question goes on where it was ended, and
    another one measures only what is new.
    """
    asked = guards.columns([*(Asked(name, attack) for name, attack in attacks.items()),
                            *harmed(corruptions)])
    if len(asked) > MOST_COLUMNS:
        raise InputError(f"at most {MOST_COLUMNS} attacks and corruptions, times defences, are "
                         f"measured at once, not {len(asked)}")
    plan = EvaluationPlan((data.name,), tuple(models), asked, seed=seed, batch=BATCH)
    store = Store(_place(plan, keep), keep) if keep is not None else Store()
    understood = data.understood
    yield Progress(understood.paragraph())
    running = Running(plan, library, store, given=(opened(data),))
    for event in running.steps():
        if isinstance(event, Progress) and event.text:
            yield event
    found = running.table
    if found.left_out:
        raise InputError("; ".join(found.left_out))
    (about,) = found.as_dict()["sets"]
    same = twins(library.load(models[0]).tokenize, data.captions)  # read, and not judged
    lost = about["skipped"] - sum(label in same for label in data.labels)
    unread = (f"{lost} of {about['drawn']} pictures cannot be read.",) if lost > 0 else ()
    yield Evaluation(tuple(_line(row) for row in found.rows), data.name, len(data.captions),
                     (*data.report.sentences(), *unread, *about.get("notes", ())),
                     {one.line: {**one.settings, **one.guard} for one in asked}, seed, understood)


def _place(plan: EvaluationPlan, keep: Path) -> Path:
    """A folder for the unfinished parts of one question."""
    about = json.dumps(plan.as_dict(), sort_keys=True).encode()
    return keep / hashlib.sha256(about).hexdigest()[:32]


def _line(found: rows.Row) -> Measured:
    score = found.scores[rows.ACCURACY]
    return Measured(found.model, found.line, round(found.eps * 255, 6), score.n, score.share,
               score.ci95, round(found.seconds, 3))
