"""The library in a few lines, for notebooks and scripts: attack, evaluate, detect, project, keep.

    import explorer
    case = explorer.attack("cat.jpg", ["a photo of a cat", "a photo of a dog"])
    case                      # a notebook draws it as the app does
    explorer.project(case)    # where its embeddings went
    explorer.evaluate("sample:photos", eps="2/255")
"""

from __future__ import annotations

import html
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from explorer.actions import detect as detecting
from explorer.actions import evaluate as evaluating
from explorer.actions import project as projecting
from explorer.actions.answers import sentence
from explorer.actions.company import finished
from explorer.actions.detect import Detections
from explorer.actions.evaluate import Evaluation
from explorer.actions.project import Map
from explorer.actions.values import choice, harm, text, texts, truth, whole
from explorer.analysis.embedding.layout import View
from explorer.analysis.embedding.shift import LANDMARKS
from explorer.analysis.embedding.state import Spaces
from explorer.analysis.evaluation.guards import Guards
from explorer.attacks.corruptions.base import SEVERITIES
from explorer.attacks.defences.registry import parse_defence
from explorer.attacks.drawing import drawn
from explorer.attacks.goals import GOALS
from explorer.attacks.registry import make_attack
from explorer.attacks.request import MOST_SEED, PAIR, Request
from explorer.attacks.result import Result
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.examples import load_examples
from explorer.data.given import picture, plainly
from explorer.data.given_sets import open_data
from explorer.models.library import Library
from explorer.results.bundle import bundle_bytes
from explorer.results.film import film
from explorer.results.outcome import Outcome, Part
from explorer.results.saving import write_files
from explorer.results.stage import draw

T = TypeVar("T")
LOOK = Path(__file__).parents[1] / "ui"
EXAMPLE = "example:"
_library: list[Library] = []
_spaces: list[Spaces] = []


def library() -> Library:
    """The models, opened once a process."""
    if not _library:
        from explorer.models.fast.convolution import keep_memory

        # tqdm asks notebooks for widgets, with the path of its file, before it draws anything.
        warnings.filterwarnings("ignore", "IProgress not found")
        keep_memory()
        _library.append(Library())
    return _library[0]


def spaces() -> Spaces:
    """The fixed points of the maps, read once a process."""
    if not _spaces:
        _spaces.append(Spaces(library(), load_examples()))
    return _spaces[0]


@dataclass(frozen=True, eq=False)
class Case:
    """One photo and its captions, attacked on one or more models; case["pocket"] is a Result.
    note: how an array was read as a picture."""

    results: dict[str, Result]
    alt: str
    note: str = ""

    def __getitem__(self, model: str) -> Result:
        return self.results[model]

    def _outcome(self, small: bool) -> Outcome:
        """small: without what makes a page heavy, the pictures of every step and the files."""
        return Outcome(self.alt, [
            Part(library().card(name), _last(result) if small else result, flip_searched=False,
                 files=not small, live=False) for name, result in self.results.items()])

    @property
    def sentences(self) -> list[str]:
        """What happened on each model."""
        return [sentence(result) for result in self.results.values()]

    def html(self, small: bool = False) -> str:
        """A page of its own that needs no other file. small: without steps and downloads."""
        style = (LOOK / "style.css").read_text(encoding="utf-8")
        script = (LOOK / "script.js").read_text(encoding="utf-8")
        look = f"body {{ font-family: system-ui, sans-serif }} {style}"
        return ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
                "<title>CLIP robustness explorer: a case</title>"
                f'<style id="rx-look">{look}</style></head><body>{draw(self._outcome(small))}'
                f'<script id="rx-code">{script}</script></body></html>')

    def __repr__(self) -> str:
        return "\n".join([self.note] * bool(self.note) + self.sentences)

    def _repr_html_(self) -> str:
        inside = html.escape(self.html(small=True), quote=True)
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return (f'{note}<iframe srcdoc="{inside}" title="Attack on {html.escape(self.alt)}" '
                'style="width:100%;height:660px;border:0"></iframe>')

    def film(self, file: str | Path, model: str) -> None:
        """Writes the steps on one model as an animation (APNG)."""
        frames = self.results[model].frames
        if frames is None or Path(file).suffix != ".png":
            raise InputError("a film needs recorded steps, and a name that ends in .png")
        write_files(Path(file).parent, {Path(file).name: film(list(frames))})

    def save(self, file: str | Path) -> None:
        """Writes a bundle (.zip, see `python -m explorer replay`) or a page (.html)."""
        path = Path(file)
        if path.suffix == ".html":
            content = self.html().encode()
        elif path.suffix == ".zip":
            marks = {name: library().load(name).fingerprint for name in self.results}
            content = bundle_bytes(list(self.results.values()), marks, self.alt)
        else:
            raise InputError(f"a case is saved as .zip or .html, not as {path.name}")
        write_files(path.parent, {path.name: content})


def _last(result: Result) -> Result:
    return replace(result, frames=None, frame_steps=(), frame_captions=(), trail=None)


def attack(image: Any, captions: Sequence[str] | str = (), true: int | str = 0,
           kind: str = "image", name: str | None = None, models: Sequence[str] | str = PAIR,
           goal: str = "classification", target: int | str | None = None, seed: int = 0,
           defence: str | None = None, aware: bool = False, **settings: Any) -> Case:
    """Attacks one photo, its captions, or both (kind "image", "text", "joint").

    image: a path, bytes, an open file, a PIL image, a NumPy array or a torch tensor (H x W x 3 or
    3 x H x W; uint8, or floats from 0 to 1: the case says how it was read), or "example:cat" and
    the like, which brings captions of its own. true, target: a caption or its number; name: of
    the attack's registry; models: ids, folders, hf-hub:NAME or open_clip:ARCHITECTURE:TAG;
    settings: the attack's own, such as eps="4/255" or words=2; defence: such as "jpeg:quality=50",
    behind which the models read, and aware: the attacker knows of it. The case of names does not
    count.
    Raises InputError in one sentence for wrong input.
    """
    texts_given = [] if captions is None else texts(plainly(captions), "captions")
    true, target, seed = plainly(true), plainly(target), plainly(seed)
    if isinstance(image, str) and image.lower().startswith(EXAMPLE):
        examples, wanted = load_examples(), image[len(EXAMPLE):].strip().lower()
        if wanted not in examples:
            raise InputError(f"there is no example '{wanted}'; known are {', '.join(examples)}")
        image = examples[wanted].path
        if not texts_given:
            texts_given, true = list(examples[wanted].captions), examples[wanted].true
    opened, note = picture(image)
    attack = make_attack(plainly(kind), _name(name),
                         {k: plainly(v) for k, v in settings.items()})
    asked = Request((opened,), tuple(texts_given), (true,), attack, target,
                    choice(goal, "goal", tuple(GOALS)), tuple(_models(models)),
                    whole(seed, "seed", 0, MOST_SEED),
                    defence=parse_defence(text(defence, "defence")) if defence else None,
                    aware=truth(aware, "aware")).checked()
    asked, results = finished(library(), asked, record=True)
    return Case(results, asked.captions[int(asked.true[0])], note)


def draw_caption(caption: str, image: Any = None, captions: Sequence[str] | str = (),
                 true: int | str = 0, models: Sequence[str] | str = PAIR, seed: int = 0,
                 **settings: Any) -> Case:
    """Draws a caption into a photo, or without one into plain grey: many steps towards it in L2.

    image, captions, true, models, seed: as for `attack`; settings: eps (20), steps (100), step.
    The steps are in case["pocket"].frames; `case.film("pocket.png", "pocket")` saves them as a
    film. Raises InputError for wrong input.
    """
    opened, note = (None, "") if image is None else picture(image)
    asked = drawn(text(caption, "caption"), opened, texts(plainly(captions), "captions"),
                  plainly(true), {k: plainly(v) for k, v in settings.items()},
                  models=tuple(_models(models)),
                  seed=whole(plainly(seed), "seed", 0, MOST_SEED)).checked()
    asked, results = finished(library(), asked, record=True)
    return Case(results, asked.captions[int(asked.true[0])], note)


def _name(name: Any) -> str | None:
    return None if name is None else text(name, "name")


def _models(names: Any) -> list[str]:
    """The models' names, all known; a listed one by its id."""
    found = texts(plainly(names), "models")
    cards = [library().card(name) for name in found]
    known = library().cards()
    ids = [card.id if card.id in known else name for card, name in zip(cards, found, strict=True)]
    if not ids or len({card.id for card in cards}) < len(ids):
        raise InputError("models must be one or more different names of models")
    return ids


def evaluate(data: Any = "sample:photos", models: Sequence[str] | str = PAIR,
             attacks: Sequence[str] | str = ("clean", "image"), limit: Any = None,
             seed: Any = 0, keep: str | Path | None = None,
             defences: Sequence[str] | str = (), attacker: str = "unaware",
             corruptions: Sequence[str] | str = (), severities: Sequence[int] = SEVERITIES,
             **settings: Any) -> Evaluation:
    """Accuracy of models on labelled pictures, clean and under attacks, with 95 % intervals.

    data: a folder with one sub-folder a class, an archive, a .csv or .parquet file, hf:NAME, a set
    of the catalogue ("cifar10") or one that comes with the app ("sample:photos", "sample:scenes",
    "sample:emoji", "sample:emoji-kinds"); a datasets.Dataset, a pandas DataFrame, a data set of
    torchvision such as ImageFolder, or a list of (picture, class name). attacks: "clean", kinds or
    registry names; each takes the settings that it has. keep: a folder from which the same call
    goes on where it was ended. defences: such as ("none", "jpeg:quality=50"), each measured in
    turn, by an attacker who is "unaware" of them, "aware", or "both". corruptions: such as ("fog",
    "jpeg-compression"), or "all" fifteen of ImageNet-C, at each of severities. Raises InputError.
    """
    chosen = evaluating.named_attacks(texts(plainly(attacks), "attacks"),
                                      {k: plainly(v) for k, v in settings.items()})
    names = _models(models)
    most = None if limit is None else whole(plainly(limit), "limit", 1, 1_000_000_000)
    start = whole(plainly(seed), "seed", 0, MOST_SEED)
    guards = Guards.named(texts(plainly(defences), "defences"), text(attacker, "attacker"))
    examples = open_data(data, most, start, Path(tempfile.gettempdir()))
    return _end(evaluating.measure(library(), names, chosen, examples, start,
                                   None if keep is None else Path(keep), guards,
                                   harm(plainly(corruptions), plainly(severities))))


def detect(data: Any = "sample:photos", models: Sequence[str] | str = PAIR,
           detectors: Sequence[str] | str = (), attack: str = "pgd", attacker: str = "both",
           limit: Any = None, seed: Any = 0, **settings: Any) -> Detections:
    """How well detectors tell attacked photos from clean ones: the area under the curve, with its
    95 % interval, by an attacker who is "unaware" of the detector, "aware", or "both".

    data, models, limit, seed: as for `evaluate`; detectors: of "stability" and "padding", both if
    left out; settings: the attack's own, such as eps="4/255". Raises InputError.
    """
    chosen = make_attack("image", _name(attack), {k: plainly(v) for k, v in settings.items()})
    names = _models(models)
    most = None if limit is None else whole(plainly(limit), "limit", 1, 1_000_000_000)
    start = whole(plainly(seed), "seed", 0, MOST_SEED)
    examples = open_data(data, most, start, Path(tempfile.gettempdir()))
    return _end(detecting.measure(library(), names, texts(plainly(detectors), "detectors"), chosen,
                                  text(attacker, "attacker"), examples, start))


def project(case: Case, projection: str = "plane", centre: bool = False, neighbours: int = 10,
            landmarks: str = "both") -> Map:
    """Where an attack took the embeddings: a map of each model, and the numbers of the true space.

    projection: "plane", through the clean point, the attacked one and the true caption, or "pca".
    landmarks: what stands around, "things", "sentences" or "both".
    The first call reads about 1,200 captions on each model: seconds. Raises InputError.
    """
    if not isinstance(case, Case):
        raise InputError("project takes the case that explorer.attack returned")
    view = View(choice(projection, "projection", projecting.PROJECTIONS), 2,
                truth(plainly(centre), "centre"),
                landmarks=choice(landmarks, "landmarks", tuple(LANDMARKS)))
    near = whole(plainly(neighbours), "neighbours", 1, projecting.MOST_NEIGHBOURS)
    return _end(projecting.lay(library(), spaces(), case.results, view, near))


def _end(events: Iterator[Progress | T]) -> T:
    """What comes after the progress."""
    for event in events:
        if not isinstance(event, Progress):
            return event
    raise AssertionError("a call ended without its result")
