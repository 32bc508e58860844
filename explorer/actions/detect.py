"""The action `detect`: how well attacked photos are told from clean ones, by attackers who know of
the detector or not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.actions.evaluate_command import measure as measured
from explorer.actions.flags import make_attack
from explorer.actions.terminal import device_named, model_names, names_of, print_table
from explorer.analysis.evaluation import detectors
from explorer.analysis.evaluation.cost import Cost, estimate
from explorer.analysis.evaluation.detection import Detection
from explorer.analysis.evaluation.keep import Store
from explorer.analysis.evaluation.plan import Asked, EvaluationPlan
from explorer.analysis.evaluation.rows import CLEAN, Table
from explorer.analysis.evaluation.run import Evaluation
from explorer.analysis.evaluation.sets import opened, split_names
from explorer.analysis.evaluation.watched import watched
from explorer.attacks.defences.detect import DETECTORS
from explorer.attacks.defences.registry import attackers_named
from explorer.attacks.registry import Attack
from explorer.base.errors import InputError
from explorer.base.processes import join
from explorer.base.progress import Progress
from explorer.base.versions import versions
from explorer.data.sets import Examples
from explorer.models.library import Library
from explorer.results import saving
from explorer.results.views import esc, table

FORMATS = (".json", ".csv")
BATCH = 8  # small, so that a run can be ended soon
PARTIAL = 1


@dataclass(frozen=True, eq=False)
class Detections:
    """What detectors did: one entry a model, detector and attacker. left_out: what of the set was
    not used, and what could not be measured, in sentences."""

    found: tuple[Detection, ...]
    data: str
    left_out: tuple[str, ...]
    seed: int

    def __getitem__(self, place: tuple[str, str, bool]) -> Detection:
        """found["pocket", "stability", True]: the model, the detector, and whether the attacker
        knew of it; KeyError when it was not asked for."""
        for one in self.found:
            if (one.model, one.detector, one.aware) == place:
                return one
        raise KeyError(place)

    def sentence(self) -> str:
        return " ".join([*(one.sentence() for one in self.found), *self.left_out])

    def plain(self) -> dict[str, Any]:
        return {"rows": [one.as_dict() for one in self.found], "data": self.data,
                "left_out": list(self.left_out), "seed": self.seed, "versions": versions()}

    def __repr__(self) -> str:
        return self.sentence()

    def _repr_html_(self) -> str:
        head = [name[:1].upper() + name[1:] for name in detectors.HEAD]
        drawn = table(head, detectors.lines(self.found), f"Detectors on {self.data}")
        return f"<p>{esc(self.sentence())}</p>{drawn}"

    def save(self, file: str | Path) -> None:
        """Writes the table as .csv, or with the score of each photo as .json."""
        path = Path(file)
        made = {".json": lambda: saving.json_bytes(self.plain()),
                ".csv": lambda: detectors.as_csv(self.found)}
        if path.suffix not in made:
            raise InputError(f"detections are saved as {' or '.join(FORMATS)}, not as {path.name}")
        saving.write_files(path.parent, {path.name: made[path.suffix]()})


def make_plan(sets: Sequence[str], models: Sequence[str], names: Sequence[str], attack: Attack,
              attacker: str, **more: Any) -> EvaluationPlan:
    """Raises InputError for unknown names, and attacks that leave the photo alone."""
    asked = watched(names or list(DETECTORS), [attack], attackers_named(attacker))
    return EvaluationPlan(tuple(sets), tuple(models), (Asked(CLEAN),), watched=asked, **more)


def measure(library: Library, models: Sequence[str], names: Sequence[str], attack: Attack,
            attacker: str, data: Examples, seed: int = 0) -> Iterator[Progress | Detections]:
    """Measures detectors on a set that is at hand; at last the Detections."""
    plan = make_plan((data.name,), models, names, attack, attacker, seed=seed, batch=BATCH)
    running = Evaluation(plan, library, given=(opened(data),))
    for event in running.steps():
        if isinstance(event, Progress) and event.text:
            yield event
    found = running.table
    if not found.detections:
        raise InputError("; ".join(found.left_out))
    (about,) = found.as_dict()["sets"]
    told = (*about["left_out"], *(f"Left out: {one}." for one in found.left_out))
    yield Detections(tuple(found.detections), data.name, told, seed)


def detect(args: argparse.Namespace) -> int:
    """The command: measures and writes a table; 1 when a part of it could not be measured."""
    suffix = args.out.suffix.lower()
    if suffix not in FORMATS or args.out.is_dir():
        raise InputError(f"--out must be a file that ends in {' or '.join(FORMATS)}, not "
                         f"'{args.out.name}'")
    saving.check_writable(args.out.parent)
    plan = make_plan([name for text in args.data for name in split_names(text)],
                     names_of(args.models, "models"), names_of(args.detectors, "detectors"),
                     make_attack(args, "image", args.attack), args.attacker, limit=args.limit,
                     seed=args.seed, batch=args.batch)
    device = device_named(args.device)
    library, _ = model_names(args)
    crew = join(device)
    if args.estimate:
        for event in estimate(plan, library, args.data_root, device=crew.device):
            if isinstance(event, Cost) and crew.first:
                print(event.sentence())
        return 0
    found = measured(plan, library, Store(args.keep, rank=crew.rank), args, crew)
    return _written(found, args, suffix) if crew.first else 0


def _written(found: Table, args: argparse.Namespace, suffix: str) -> int:
    """Writes what was found, and says it."""
    if not found.detections:
        raise InputError("; ".join(found.left_out))
    raw = saving.json_bytes(found.as_dict()) if suffix == ".json" else (
        detectors.as_csv(found.detections))
    saving.write_files(args.out.parent, {args.out.name: raw})
    print_table([list(detectors.HEAD), *detectors.lines(found.detections)])
    for sentence in found.left_out:
        print(f"left out: {' '.join(sentence.split())}")
    return PARTIAL if found.left_out else 0
