"""The numbers of an evaluation: one row a model, set and attack, and the table of them all."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.analysis.evaluation.detection import Detection
from explorer.attacks.amounts import AREA, behind_words, strong_words
from explorer.base.errors import InputError
from explorer.base.intervals import wilson
from explorer.data.json_lists import parse_json
from explorer.data.tasks import CLASSES, KS, RETRIEVAL

if TYPE_CHECKING:
    from explorer.analysis.evaluation.plan import EvaluationPlan
    from explorer.analysis.retrieval import Retrieval

CLEAN = "clean"  # the kind of what no attack changed
CORRUPTED = "corruption"  # the kind of what changed by itself
ACCURACY = "accuracy"
DETAIL = ("model", "images", "captions", "skipped", "clean", "attacked", "success", "seconds")
WAYS = {"text": "TR", "image": "IR"}  # what is found: captions by image, images by caption


@dataclass(frozen=True)
class Score:
    """hits of n; share and its 95 % Wilson interval, in [0, 1]."""

    hits: int
    n: int

    @property
    def share(self) -> float:
        return self.hits / self.n if self.n else 0.0

    @property
    def ci95(self) -> tuple[float, float]:
        return wilson(self.hits, self.n)


@dataclass(frozen=True)
class Row:
    """One model on one set under one attack, or corruption. attack: the name it was asked for by;
    kind: clean, image, text, joint or corruption; eps: in [0, 1]; norm: "" where pixels stay; n:
    images measured of those drawn; seconds: of computing, over all processes; detail: all of a
    Retrieval; whole: whether all images are in; defence: behind which it was read, in a few words,
    and aware: whether the attacker knew of it; severity: of a corruption, 1 to 5."""

    data: str
    model: str
    attack: str
    kind: str
    eps: float
    norm: str
    n: int
    drawn: int
    scores: Mapping[str, Score]
    seconds: float
    detail: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = True
    defence: str = ""
    aware: bool = False
    severity: int = 0

    @property
    def place(self) -> tuple[str, str, str, float]:
        """Which cell of its table it is."""
        return self.data, self.model, self.line, self.eps

    @property
    def line(self) -> str:
        """The attack and what it had to get through: "image behind jpeg (known)"."""
        return self.named + behind_words(self.defence, self.aware)

    @property
    def named(self) -> str:
        """The attack, or the corruption with its severity."""
        return strong_words(self.attack, self.severity)

    @property
    def budget(self) -> str:
        """"2/255" (L-inf), "0.5" (L2), or "" where pixels stay."""
        if not self.norm:
            return ""
        if self.norm == AREA:
            return f"{self.eps:.1%} of the area"
        return f"{round(self.eps * 255, 4):g}/255" if self.norm == "linf" else f"{self.eps:.4g}"

    @property
    def column(self) -> str:
        """The attack with its budget, as in the head of a table."""
        return f"{self.named} {self.budget}".rstrip() + behind_words(self.defence, self.aware)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, from which `read_row` makes the row again."""
        base = {"data": self.data, "model": self.model, "attack": self.attack, "kind": self.kind,
                "norm": self.norm, "eps_255": round(self.eps * 255, 6), "drawn": self.drawn,
                **({"defence": self.defence, "aware": self.aware} if self.defence else {}),
                **({"severity": self.severity} if self.severity else {})}
        if self.detail:
            return {**base, **self.detail}
        score = self.scores[ACCURACY]
        return {**base, "n": self.n, "hits": score.hits, "accuracy": score.share,
                "ci95": list(score.ci95), "seconds": round(self.seconds, 3),
                **({} if self.whole else {"whole": False})}


def retrieval_scores(detail: Mapping[str, Any]) -> dict[str, Score]:
    """Recall (after the attack, if there was one) and, for the hits at 1, how many were lost."""
    found = {}
    for way, short in WAYS.items():
        for k in KS:
            for one in detail["attacked"] or detail["clean"]:
                if (one["direction"], one["k"]) == (way, k):
                    found[f"{short} R@{k}"] = Score(int(one["hits"]), int(one["n"]))
    for way, short in WAYS.items():
        for one in detail["success"]:
            if (one["direction"], one["k"]) == (way, 1):
                found[f"success {short}"] = Score(int(one["wrong"]), int(one["n"]))
    return found


def retrieval_row(found: Retrieval, **named: Any) -> Row:
    """named: the fields of a Row that say which one it is."""
    detail = json.loads(json.dumps(dataclasses.asdict(found)))  # tuples as JSON has them
    return Row(**named, n=found.images, scores=retrieval_scores(detail), seconds=found.seconds,
               detail=detail)


def read_row(raw: Mapping[str, Any]) -> Row:
    """The way back from `as_dict`. Raises KeyError, TypeError or ValueError for anything else."""
    words: dict[str, Any] = {name: str(raw[name]) for name in (
        "data", "model", "attack", "kind", "norm")}
    eps, drawn = float(raw["eps_255"]) / 255, int(raw["drawn"])
    if "clean" in raw:
        detail = {name: raw[name] for name in DETAIL}
        return Row(**words, eps=eps, n=int(raw["images"]), drawn=drawn, detail=detail,
                   scores=retrieval_scores(detail), seconds=float(raw["seconds"]))
    score = Score(int(raw["hits"]), int(raw["n"]))
    if not 0 <= score.hits <= score.n:
        raise ValueError(score)
    return Row(**words, eps=eps, n=score.n, drawn=drawn, scores={ACCURACY: score},
               seconds=float(raw["seconds"]), whole=bool(raw.get("whole", True)),
               defence=str(raw.get("defence", "")), aware=bool(raw.get("aware", False)),
               severity=int(raw.get("severity", 0)))


@dataclass
class Table:
    """All that an evaluation has found so far. sets: what was read of each, for a person and a
    script; left_out: a sentence for each set or model that could not be read; about: settings,
    seed, versions; title: what it is called among others; detections: what detectors did."""

    task: str = CLASSES
    rows: list[Row] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    detections: list[Detection] = field(default_factory=list)

    @classmethod
    def of(cls, plan: EvaluationPlan, title: str = "") -> Table:
        from explorer.base.versions import versions

        attacked = [a for a in plan.asked if a.corruption is None]
        sizes = {(a.name, a.eps) for a in attacked}
        several = {name for name, _ in sizes if sum(name == other for other, _ in sizes) > 1}
        attacks = {f"{a.name} {round(a.eps * 255, 4):g}/255" if a.name in several and
                   a.norm == "linf" else f"{a.name} {a.eps:.4g}" if a.name in several else a.name:
                   a.settings for a in attacked}
        harm: dict[str, list[int]] = {}
        for a in plan.asked:
            if a.severity and a.severity not in harm.setdefault(a.name, []):
                harm[a.name].append(a.severity)
        guards = {a.behind: a.guard["defence"] for a in plan.asked if a.guard}
        return cls(plan.task, title=title, about={
            "attacks": attacks, **({"defences": guards} if guards else {}),
            **({"corruptions": harm} if harm else {}),
            "models": list(plan.models), "seed": plan.seed,
            "limit": plan.limit, "made": time.strftime("%Y-%m-%d"), "versions": versions()})

    def put(self, row: Row) -> None:
        """Adds a row, in the place of an unfinished one of the same cell."""
        for k, old in enumerate(self.rows):
            if old.place == row.place:
                self.rows[k] = row
                return
        self.rows.append(row)

    def sort(self, plan: EvaluationPlan) -> None:
        """Sets, models and attacks as the plan has them."""
        titles = [one["data"] for one in self.sets]
        columns = [(a.line, round(a.eps, 9)) for a in plan.asked]

        def key(row: Row) -> tuple[int, int, int]:
            return (_at(titles, row.data), _at(plan.models, row.model),
                    _at(columns, (row.line, round(row.eps, 9))))

        self.rows.sort(key=key)
        self.detections.sort(key=lambda one: (_at(titles, one.data), _at(plan.models, one.model)))

    def note_set(self, title: str, drawn: int, captions: int, understood: Sequence[str] = (),
                 ) -> None:
        """understood: what was understood of the set, in sentences."""
        self.sets.append({"data": title, "drawn": drawn, "captions": captions, "left_out": [],
                          "understood": list(understood)})

    def read(self, title: str, said: Sequence[str], notes: Sequence[str] = ()) -> None:
        """Notes what was left out of a set while it was read, and how its captions were read."""
        for one in self.sets:
            if one["data"] == title:
                one["left_out"] = [*said, *notes]
                one["notes"] = list(notes)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, from which `read_table` makes the table again."""
        read = {row.data: row.n for row in self.rows if row.whole}
        sets = [{**one, "skipped": one["drawn"] - read.get(one["data"], one["drawn"])}
                for one in self.sets]
        return {"task": self.task, "title": self.title, "rows": [r.as_dict() for r in self.rows],
                "data": ", ".join(one["data"] for one in sets),
                **{key: sum(one[key] for one in sets) for key in ("drawn", "skipped", "captions")},
                "sets": sets, "left_out": self.left_out, **self.about,
                **({"detections": [one.as_dict() for one in self.detections]}
                   if self.detections else {})}


def _at(names: Sequence[Any], name: Any) -> int:
    return names.index(name) if name in names else len(names)


def read_table(raw: bytes, name: str) -> Table:
    """A table from its JSON. Raises InputError when it is not one of ours."""
    parsed = parse_json(raw)
    try:
        if parsed["task"] not in (CLASSES, RETRIEVAL):
            raise ValueError
        about = {key: value for key, value in parsed.items() if key not in (
            "task", "title", "rows", "data", "drawn", "skipped", "captions", "sets", "left_out",
            "detections")}
        return Table(str(parsed["task"]), [read_row(one) for one in parsed["rows"]],
                     [dict(one) for one in parsed["sets"]],
                     [str(one) for one in parsed["left_out"]], about, str(parsed["title"]),
                     [Detection.read(one) for one in parsed.get("detections", ())])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{name} is not the JSON of an evaluation, as `evaluate` writes it"
                         ) from None


def load_table(path: Path) -> Table:
    """`read_table` of a file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return read_table(raw, path.name)


def clean_of(rows: Sequence[Row], row: Row) -> Row | None:
    """The clean number of the same model and set, behind the same defence."""
    return next((r for r in rows if r.kind == CLEAN and (r.data, r.model, r.defence) == (
        row.data, row.model, row.defence)), None)
